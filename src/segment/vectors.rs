//! The index over a segment's embeddings.

use bytes::Bytes;

use super::SegmentError;
use super::schema::Rows;
use crate::types::Embedding;
use crate::vector::VectorIndex;
use crate::vector::flat::FlatIndex;
use crate::vector::frozen::{BuildParams, FrozenBlock, FrozenBuilder, FrozenIndex};

/// With fewer rows than this, comparing with all of them is as fast as the graph, and exact.
pub(super) const INDEXED_FROM: usize = 4096;

/// Takes the embeddings of a new segment in their row order.
pub(super) struct IndexBuilder {
    graph: FrozenBuilder,
    rows: usize,
}

impl IndexBuilder {
    /// For about `rows` embeddings of `dim` components.
    pub(super) fn new(dim: usize, rows: usize) -> Result<Self, SegmentError> {
        let graph = FrozenBuilder::new(dim, rows, &BuildParams::default()).map_err(SegmentError::invalid)?;
        Ok(Self { graph, rows: 0 })
    }

    pub(super) fn add(&mut self, embedding: &Embedding) -> Result<(), SegmentError> {
        self.rows += 1;
        self.graph.push(embedding).map_err(SegmentError::invalid)
    }

    /// The index block; `None` when the segment is searched without one.
    pub(super) fn finish(self) -> Result<Option<FrozenBlock>, SegmentError> {
        if self.rows < INDEXED_FROM {
            return Ok(None);
        }
        let block = self.graph.finish(&|_| ());
        block.map(Some).map_err(SegmentError::invalid)
    }
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
    for (number, row) in (0..).zip(0..rows.len()) {
        let embedding = Embedding::from_stored(rows.embedding(row)).map_err(SegmentError::corrupt)?;
        index.insert(number, &embedding).map_err(SegmentError::corrupt)?;
    }
    Ok(Box::new(index))
}
