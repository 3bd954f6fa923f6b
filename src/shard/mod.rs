//! Floor 2: one shard of a collection.

pub(crate) mod codec;
pub(crate) mod wal;
