//! Records to a segment file, a batch of rows at a time: of a row no more stays in memory than the index needs.

use std::cmp::Reverse;
use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::layout::{BlockKind, RowsWriter};
use super::schema::{schema, to_batch};
use super::vectors::IndexBuilder;
use super::{Made, SegmentError, SegmentSpec};
use crate::types::{ImageId, ImageRecord, Judgement, PixelHash};
use crate::vector::RowId;

/// Rows of a batch, of which the last has fewer.
pub(super) const BATCH_ROWS: usize = 8192;

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Images in the file.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Checksum of its trailer, and by it of the file.
    pub crc: u32,
}

/// Builds a segment of records that come by rising id, and writes its file. Takes CPU time for the vector index: call it off
/// the event loop.
///
/// # Errors
/// The first error among `rows`; [`SegmentError::Invalid`] when ids do not rise, or an embedding has the wrong dimension;
/// [`SegmentError::NotWritten`] as `out` fails.
pub fn build(
    mut rows: impl Iterator<Item = Result<Arc<ImageRecord>, SegmentError>>,
    judgements: &[Judgement],
    made: Made,
    spec: SegmentSpec,
    out: impl Write,
) -> Result<Built, SegmentError> {
    let schema = schema(judgements, made, spec.dim)?;
    let mut file = RowsWriter::new(out, &schema)?;
    let mut orders = Orders::default();
    let mut vectors = IndexBuilder::new(spec.dim, rows.size_hint().0)?;
    let mut batch: Vec<Arc<ImageRecord>> = Vec::new();
    loop {
        batch.clear();
        for record in rows.by_ref().take(BATCH_ROWS) {
            batch.push(record?);
        }
        for record in &batch {
            orders.add(record)?;
            vectors.add(&record.fingerprint.embedding)?;
        }
        // A segment without rows has a batch without rows.
        if !batch.is_empty() || orders.newest.is_empty() {
            file.write(&to_batch(&batch, &schema, spec.dim)?)?;
        }
        if batch.len() < BATCH_ROWS {
            break;
        }
    }
    drop(batch);
    let index = vectors.finish()?;
    let mut file = file.finish()?;
    let count = orders.newest.len() as u64;
    let (by_time, by_pixels) = orders.sorted();
    file.block(BlockKind::CreatedOrder, |out| {
        out.write_all(bytemuck::cast_slice(&by_time))
    })?;
    file.block(BlockKind::PixelOrder, |out| {
        out.write_all(bytemuck::cast_slice(&by_pixels))
    })?;
    if let Some(index) = index {
        file.block(BlockKind::VectorIndex, |out| index.write_to(out))?;
    }
    let (bytes, crc) = file.finish(spec, count)?;
    Ok(Built {
        rows: count,
        bytes,
        crc,
    })
}

/// The rows by what they are listed and found by.
#[derive(Default)]
struct Orders {
    last: Option<ImageId>,
    newest: Vec<(Reverse<DateTime<Utc>>, Reverse<RowId>)>,
    pixels: Vec<(PixelHash, RowId)>,
}

impl Orders {
    fn add(&mut self, record: &ImageRecord) -> Result<(), SegmentError> {
        if self.last >= Some(record.id) {
            return Err(SegmentError::invalid(format!(
                "image {} stands twice, or out of order",
                record.id
            )));
        }
        self.last = Some(record.id);
        let row = RowId::try_from(self.newest.len()).map_err(SegmentError::invalid)?;
        self.newest.push((Reverse(record.created), Reverse(row)));
        self.pixels.push((record.fingerprint.pixel_hash, row));
        Ok(())
    }

    /// Newest first, of one time the highest id first; by rising pixel hash.
    fn sorted(mut self) -> (Vec<RowId>, Vec<RowId>) {
        self.newest.sort_unstable();
        self.pixels.sort_unstable();
        (
            self.newest.into_iter().map(|(_, Reverse(row))| row).collect(),
            self.pixels.into_iter().map(|(_, row)| row).collect(),
        )
    }
}
