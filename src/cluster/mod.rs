//! Floor 3: what a cluster agrees on: its collections, its nodes, who owns which shard.

pub mod catalogue;
pub mod leader;
pub mod registry;
