//! doppel finds duplicate images: an HTTP service, a folder tool and a web gallery over one engine.
//!
//! Modules stand on floors and import only lower floors; ARCHITECTURE.md says why, `tests/architecture.rs` checks it.

// floor 5: the doors
pub mod cli;
pub mod http;
// floor 4: what both doors share
pub mod engine;
// floor 3: decisions
pub mod cluster;
pub mod dedup;
// floor 2: data at rest and in flight
pub mod segment;
pub mod shard;
// floor 1: three pillars that know nothing of each other
pub mod store;
pub use doppel_compute::{vector, vision};
// floor 0: words
pub mod config;
pub mod telemetry;
pub use doppel_compute::{error, types};
