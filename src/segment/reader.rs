//! A segment file, read where it lies.

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::FileDecoder;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::filter::IdFilter;
use super::layout::{BlockKind, Trailer};
use super::schema::Rows;
use super::vectors::open_index;
use super::{Made, SegmentError, SegmentSpec, to_aligned};
use crate::types::{Embedding, ImageId, ImageRecord, Judgement, PdqHash, PixelHash};
use crate::vector::{RowId, VectorIndex};

/// An open segment. Rows are numbered by rising id. Cheap to open: nothing is copied but the trailer and the schema, and two bytes
/// are kept for each row.
pub struct Segment {
    file: Bytes,
    trailer: Trailer,
    rows: Rows,
    ids: IdFilter,
    by_time: Bytes,
    by_pixels: Bytes,
    index: Box<dyn VectorIndex>,
}

impl Segment {
    /// Opens a file after computing all its checksums.
    ///
    /// # Errors
    /// [`SegmentError`] as the file fails its checks or holds another model's vectors.
    pub fn open(file: Bytes, spec: SegmentSpec) -> Result<Self, SegmentError> {
        let file = to_aligned(file);
        let trailer = Trailer::read(&file)?;
        trailer.verify(&file)?;
        if trailer.model != spec.model {
            return Err(SegmentError::WrongModel {
                what: format!("{}, not {}", trailer.model, spec.model),
            });
        }
        if trailer.dim != spec.dim {
            return Err(SegmentError::WrongModel {
                what: format!("{} components, not {}", trailer.dim, spec.dim),
            });
        }
        let rows = read_rows(&file, trailer.dim)?;
        let order = |kind| {
            let block = trailer.block(&file, kind).unwrap_or_default();
            if as_numbers(&block).len() == rows.len() {
                Ok(block)
            } else {
                Err(SegmentError::corrupt("an order of rows of the wrong length"))
            }
        };
        let by_time = order(BlockKind::CreatedOrder)?;
        let by_pixels = order(BlockKind::PixelOrder)?;
        let index = open_index(trailer.block(&file, BlockKind::VectorIndex), &rows)?;
        if trailer.rows != rows.len() as u64 || index.len() != rows.len() {
            return Err(SegmentError::corrupt("the numbers of rows differ"));
        }
        let ids = IdFilter::new(rows.len(), (0..rows.len()).map(|row| rows.id(row)));
        Ok(Self {
            file,
            trailer,
            rows,
            ids,
            by_time,
            by_pixels,
            index,
        })
    }

    /// What a file's trailer says of all its records.
    ///
    /// # Errors
    /// [`SegmentError`] when it has no sound trailer.
    pub fn spec(file: &[u8]) -> Result<SegmentSpec, SegmentError> {
        let Trailer { dim, model, .. } = Trailer::read(file)?;
        Ok(SegmentSpec { dim, model })
    }

    /// When it was made; `None` when the file is of before that was noted.
    #[must_use]
    pub fn made(&self) -> Option<Made> {
        self.rows.made()
    }

    /// Number of rows, dead ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.file.len()
    }

    /// Checksum of the file, as [`super::Built`] had it.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.trailer.crc
    }

    /// The index over the embeddings.
    #[must_use]
    pub fn index(&self) -> &dyn VectorIndex {
        &*self.index
    }

    /// Identity of a row. Rows are below [`Self::len`] throughout.
    #[must_use]
    pub fn id(&self, row: RowId) -> ImageId {
        self.rows.id(row as usize)
    }

    /// When a row's image was acknowledged.
    #[must_use]
    pub fn created(&self, row: RowId) -> DateTime<Utc> {
        self.rows.created(row as usize)
    }

    /// A whole row.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when it cannot be a record.
    pub fn record(&self, row: RowId) -> Result<ImageRecord, SegmentError> {
        self.rows.record(row as usize)
    }

    /// The row of an image.
    #[must_use]
    pub fn find(&self, id: &ImageId) -> Option<RowId> {
        if !self.ids.may_have(id) {
            return None;
        }
        let row = partition_point(self.len(), self.near(id), |row| self.rows.id(row) < *id);
        (row < self.len() && self.rows.id(row) == *id).then(|| to_row(row))
    }

    /// About the row of an id. Ids are hashes: as many are lower as their share of all numbers, more or less; and where
    /// another id is found there, this one is about as far from it as their numbers are.
    fn near(&self, id: &ImageId) -> usize {
        let (len, Some(last)) = (self.len(), self.len().checked_sub(1)) else {
            return 0;
        };
        let wanted = share(id, len);
        (0..2).fold(wanted.min(last), |row, _| {
            let there = share(&self.rows.id(row), len);
            (row + wanted).saturating_sub(there).min(last)
        })
    }

    /// Rows with these pixels.
    pub fn by_pixel_hash<'a>(&'a self, hash: &'a PixelHash) -> impl Iterator<Item = RowId> + 'a {
        let order = as_numbers(&self.by_pixels);
        let start = order.partition_point(|&row| self.rows.pixel_hash(row as usize) < *hash);
        order[start..]
            .iter()
            .copied()
            .take_while(move |&row| self.rows.pixel_hash(row as usize) == *hash)
    }

    /// Rows, newest first, of images that come after `(created, id)` in that order; all when it is `None`.
    pub fn newest_first(&self, after: Option<(DateTime<Utc>, ImageId)>) -> impl Iterator<Item = RowId> + '_ {
        let order = as_numbers(&self.by_time);
        let start = after.map_or(0, |cursor| {
            order.partition_point(|&row| (self.created(row), self.id(row)) >= cursor)
        });
        order[start..].iter().copied()
    }

    /// Calls `found` with each row whose PDQ hash is within `radius` bits of one of `variants`, and the least distance.
    /// Rows of a quality below `min_quality` are passed over.
    pub fn pdq_within(
        &self,
        variants: &[PdqHash],
        radius: u32,
        min_quality: u8,
        mut found: impl FnMut(RowId, u32),
    ) {
        for (row, (hash, quality)) in self.rows.pdqs().enumerate() {
            if quality < min_quality {
                continue;
            }
            if let Some(distance) = variants.iter().map(|v| v.hamming(&hash)).min()
                && distance <= radius
            {
                found(to_row(row), distance);
            }
        }
    }

    /// A row's embedding.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when it cannot be one.
    pub fn embedding(&self, row: RowId) -> Result<Embedding, SegmentError> {
        Embedding::from_stored(self.rows.embedding(row as usize)).map_err(SegmentError::corrupt)
    }

    /// The judgements that were sealed with the rows.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when they cannot be read.
    pub fn judgements(&self) -> Result<Vec<Judgement>, SegmentError> {
        self.rows.judgements()
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("rows", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

fn to_row(row: usize) -> RowId {
    RowId::try_from(row).expect("segments are built with row numbers of 32 bits")
}

/// How many of `len` numbers that are spread evenly are lower than an id's first 64 bits.
fn share(id: &ImageId, len: usize) -> usize {
    let [first, _] = bytemuck::cast::<[u8; 16], [[u8; 8]; 2]>(*id.as_bytes());
    let lower = (u128::from(u64::from_be_bytes(first)) * len as u128) >> 64;
    usize::try_from(lower).expect("a part of a usize")
}

/// The first of `len` places that is not `before`, looked for around `near` first: in as many steps as the logarithm of its
/// distance has bits, twice.
fn partition_point(len: usize, near: usize, before: impl Fn(usize) -> bool) -> usize {
    // Everything below `low` is before, and nothing from `high` on.
    let (mut low, mut high) = (0, len);
    let mut step = 2;
    if near < len && before(near) {
        low = near + 1;
        while low + step < high {
            if !before(low + step) {
                high = low + step;
                break;
            }
            low += step + 1;
            step *= 2;
        }
    } else {
        high = near.min(len);
        while step < high {
            if before(high - step) {
                low = high - step + 1;
                break;
            }
            high -= step;
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// A block of little-endian numbers; empty when its length or address does not fit.
fn as_numbers(block: &[u8]) -> &[u32] {
    const { assert!(cfg!(target_endian = "little"), "segments are read where they lie") };
    bytemuck::try_cast_slice(block).unwrap_or_default()
}

fn read_rows(file: &Bytes, dim: usize) -> Result<Rows, SegmentError> {
    let footer_bytes = Trailer::footer(file)?;
    let footer = arrow_ipc::root_as_footer(&footer_bytes).map_err(SegmentError::corrupt)?;
    let schema = footer
        .schema()
        .ok_or_else(|| SegmentError::corrupt("no schema"))?;
    let schema: SchemaRef = try_fb_to_schema(schema).map_err(SegmentError::corrupt)?.into();
    let decoder = FileDecoder::new(schema.clone(), footer.version());
    let batches = footer.recordBatches().into_iter().flatten().map(|block| {
        let len = i64::from(block.metaDataLength()).saturating_add(block.bodyLength());
        let range = usize::try_from(block.offset())
            .ok()
            .zip(usize::try_from(len).ok());
        let (from, to) = range
            .and_then(|(from, len)| Some((from, from.checked_add(len)?)))
            .filter(|&(_, to)| to <= file.len())
            .ok_or_else(|| SegmentError::corrupt("rows lie outside the file"))?;
        decoder
            .read_record_batch(block, &file.slice(from..to).into())
            .map_err(SegmentError::corrupt)?
            .ok_or_else(|| SegmentError::corrupt("a batch without rows"))
    });
    let batches = batches.collect::<Result<_, SegmentError>>()?;
    Rows::new(schema, batches, dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_from_anywhere() {
        for len in 0..40 {
            for point in 0..=len {
                for near in 0..len + 3 {
                    let found = partition_point(len, near, |place| {
                        assert!(place < len, "{place} of {len}");
                        place < point
                    });
                    assert_eq!(found, point, "of {len}, from {near}");
                }
            }
        }
    }

    #[test]
    fn a_place_that_is_near_takes_few_steps() {
        let (len, point) = (1 << 20, 700_000);
        for near in point - 20..point + 20 {
            let steps = std::cell::Cell::new(0);
            let found = partition_point(len, near, |place| {
                steps.set(steps.get() + 1);
                place < point
            });
            assert_eq!(found, point);
            assert!(steps.get() <= 10, "{} from {near}", steps.get());
        }
    }
}
