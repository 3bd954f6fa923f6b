//! Floor 2: sealed segments. Immutable sets of records with the index over their embeddings, in one file that any
//! Arrow reader opens, mapped into memory and never rewritten. What dies in them is noted beside them.

mod builder;
pub mod compaction;
mod error;
mod filter;
#[cfg(test)]
pub(crate) mod fixtures;
mod layout;
mod mapping;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod tombstones;
mod vectors;

pub use builder::{Built, build};
pub use error::SegmentError;
pub use mapping::{map_file, to_aligned};
pub use reader::Segment;
pub use tombstones::Tombstones;

use crate::types::{Epoch, ModelHash};

/// What all records of a collection share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSpec {
    /// Components of an embedding.
    pub dim: usize,
    /// Network that made the embeddings.
    pub model: ModelHash,
}

/// When a segment's rows were taken, in the life of its shard. A segment made of others, or once more of the same log, is the
/// later one: what it lacks of them was dead by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Epoch of the owner that made it.
    pub epoch: Epoch,
    /// Segments that this owner had begun before.
    pub step: u64,
}
