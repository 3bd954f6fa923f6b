//! The index over a segment's embeddings.

use std::sync::Arc;

use bytes::Bytes;

use super::SegmentError;
use super::schema::Rows;
use crate::types::{Embedding, ImageRecord};
use crate::vector::VectorIndex;
use crate::vector::flat::FlatIndex;

/// The index block of records in their row order; `None` when the segment is searched without one.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the frozen index, which can fail, is not there yet"
)]
pub(super) fn build_index(_: &[Arc<ImageRecord>], _: usize) -> Result<Option<Vec<u8>>, SegmentError> {
    Ok(None)
}

/// The index of a segment: its block, or an exact one over the rows where there is none.
pub(super) fn open_index(_: Option<Bytes>, rows: &Rows) -> Result<Box<dyn VectorIndex>, SegmentError> {
    let mut index = FlatIndex::new(rows.dim());
    for (row, components) in (0..).zip(rows.embeddings().chunks_exact(rows.dim().max(1))) {
        let embedding = Embedding::from_stored(components).map_err(SegmentError::corrupt)?;
        index.insert(row, &embedding).map_err(SegmentError::corrupt)?;
    }
    Ok(Box::new(index))
}
