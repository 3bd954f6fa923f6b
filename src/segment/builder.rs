//! Records to a segment file.

use std::sync::Arc;

use arrow_ipc::writer::FileWriter;
use bytes::Bytes;

use super::layout::{BlockKind, assemble};
use super::schema::to_batch;
use super::{SegmentError, vectors};
use crate::types::{ImageRecord, Judgement, ModelHash};

/// What all records of a collection share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSpec {
    /// Components of an embedding.
    pub dim: usize,
    /// Network that made the embeddings.
    pub model: ModelHash,
}

/// A segment file, not yet stored.
#[derive(Debug, Clone)]
pub struct Built {
    /// The file.
    pub file: Bytes,
    /// Images in it.
    pub rows: u64,
    /// Checksum of its trailer, and by it of the file.
    pub crc: u32,
}

/// Builds a segment. Takes CPU time for the vector index: call it off the event loop.
///
/// # Errors
/// [`SegmentError::Invalid`] when two records have one id, or an embedding has the wrong dimension.
pub fn build(
    mut records: Vec<Arc<ImageRecord>>,
    judgements: &[Judgement],
    spec: SegmentSpec,
) -> Result<Built, SegmentError> {
    let invalid = |what: &dyn std::fmt::Display| SegmentError::Invalid {
        what: what.to_string(),
    };
    records.sort_unstable_by_key(|record| record.id);
    if let Some(pair) = records.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(invalid(&format!("image {} stands twice", pair[0].id)));
    }
    let rows = u32::try_from(records.len()).map_err(|e| invalid(&e))?;
    let batch = to_batch(&records, judgements, spec.dim)?;
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).map_err(|e| invalid(&e))?;
    writer.write(&batch).map_err(|e| invalid(&e))?;
    let arrow = writer.into_inner().map_err(|e| invalid(&e))?;
    drop(batch);

    let mut by_time: Vec<u32> = (0..rows).collect();
    by_time.sort_unstable_by_key(|&row| {
        let record = &records[row as usize];
        std::cmp::Reverse((record.created, record.id))
    });
    let mut by_pixels: Vec<u32> = (0..rows).collect();
    by_pixels.sort_unstable_by_key(|&row| (records[row as usize].fingerprint.pixel_hash, row));
    let mut blocks = vec![
        (BlockKind::CreatedOrder, numbers(&by_time)),
        (BlockKind::PixelOrder, numbers(&by_pixels)),
    ];
    if let Some(index) = vectors::build_index(&records, spec.dim)? {
        blocks.push((BlockKind::VectorIndex, index));
    }
    let (file, crc) = assemble(&arrow, &blocks, spec.dim, u64::from(rows), spec.model)?;
    Ok(Built {
        file,
        rows: u64::from(rows),
        crc,
    })
}

fn numbers(rows: &[u32]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.to_le_bytes()).collect()
}
