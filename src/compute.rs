//! What doppel computes: the two pillars that do arithmetic and no I/O, and the words they share.
//!
//! A package of its own so that these loops are optimised in every profile while the rest of doppel compiles fast
//! (docs/adr/0006-two-packages.md). `doppel` re-exports every module under the same path.

// floor 1: pillars that know nothing of each other
pub mod vector;
pub mod vision;
// floor 0: words and memory
pub mod error;
mod memory;
pub mod types;
