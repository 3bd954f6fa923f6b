//! Floor 2: sealed segments. Immutable sets of records with the index over their embeddings, in one file that any
//! Arrow reader opens, mapped into memory and never rewritten. What dies in them is noted beside them.

mod builder;
pub mod compaction;
mod error;
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

pub use builder::{Built, SegmentSpec, build};
pub use error::SegmentError;
pub use mapping::{map_file, to_aligned};
pub use reader::Segment;
pub use tombstones::Tombstones;
