//! The index over a segment's embeddings.

use std::sync::Arc;

use bytes::Bytes;

use super::SegmentError;
use super::schema::Rows;
use crate::types::{Embedding, ImageRecord};
use crate::vector::VectorIndex;
use crate::vector::flat::FlatIndex;
use crate::vector::frozen::{BuildParams, FrozenIndex};

/// With fewer rows than this, comparing with all of them is as fast as the graph, and exact.
pub(super) const INDEXED_FROM: usize = 4096;

/// The index block of records in their row order; `None` when the segment is searched without one.
pub(super) fn build_index(records: &[Arc<ImageRecord>], dim: usize) -> Result<Option<Vec<u8>>, SegmentError> {
    if records.len() < INDEXED_FROM {
        return Ok(None);
    }
    let vectors: Vec<Embedding> = records
        .iter()
        .map(|record| record.fingerprint.embedding.clone())
        .collect();
    let block = FrozenIndex::build(dim, &vectors, &BuildParams::default());
    block.map(Some).map_err(|error| SegmentError::Invalid {
        what: error.to_string(),
    })
}

/// The index of a segment: its block, or an exact one over the rows where there is none.
pub(super) fn open_index(block: Option<Bytes>, rows: &Rows) -> Result<Box<dyn VectorIndex>, SegmentError> {
    if let Some(block) = block {
        let index = FrozenIndex::open(block).map_err(SegmentError::corrupt)?;
        if (index.dim(), index.len()) != (rows.dim(), rows.len()) {
            return Err(SegmentError::corrupt("the vector index is one of other rows"));
        }
        return Ok(Box::new(index));
    }
    let mut index = FlatIndex::new(rows.dim());
    for (row, components) in (0..).zip(rows.embeddings().chunks_exact(rows.dim().max(1))) {
        let embedding = Embedding::from_stored(components).map_err(SegmentError::corrupt)?;
        index.insert(row, &embedding).map_err(SegmentError::corrupt)?;
    }
    Ok(Box::new(index))
}
