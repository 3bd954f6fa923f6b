//! The catalogue of metadata keys. All stand under `/{cluster}/`; nothing else in doppel spells a key.
//!
//! | key | lease | value |
//! |---|---|---|
//! | `meta` | | format version, cluster uuid |
//! | `node/{id}` | yes | address, zone, boot id, roles, draining, build |
//! | `ctl/leader` | yes | node id; its `create_revision` guards what the leader writes |
//! | `cfg/{key}` | | one dynamic setting |
//! | `coll/{c}` | | dim, metric, shard count, replicas, model hash, options |
//! | `assign/{c}/{s}` | | owner, epoch, replicas |
//! | `head/{c}/{s}` | | epochs with their ends, WAL floor, generation |
//! | `seg/{c}/{s}/{id}` | | rows, bytes, checksum, tombstone version (about 300 bytes) |
//! | `job/{id}` | | a batch job's state, progress, owner |
//! | `lock/{name}` | yes | holder; never trusted alone |
//! | `pin/{id}` | | held by a running backup |
//!
//! Values are JSON with a version `v`, so that `etcdctl get` shows what a person can read. No vectors, no per-write
//! checkpoints, no load gauges: 100,000 segments stay under 64 MB.

use std::fmt;

use crate::types::{CollectionName, NodeId, SegmentId, ShardId};

/// Key space of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    cluster: String,
}

impl Keys {
    /// The keys of the cluster of that name; a single node uses `local`. The name is one path segment.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
        }
    }

    /// Name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    fn key(&self, rest: fmt::Arguments<'_>) -> String {
        format!("/{}/{rest}", self.cluster)
    }

    /// Format version and cluster uuid.
    #[must_use]
    pub fn meta(&self) -> String {
        self.key(format_args!("meta"))
    }

    /// Prefix of all nodes.
    #[must_use]
    pub fn nodes(&self) -> String {
        self.key(format_args!("node/"))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> String {
        self.key(format_args!("node/{node}"))
    }

    /// The elected controller.
    #[must_use]
    pub fn leader(&self) -> String {
        self.key(format_args!("ctl/leader"))
    }

    /// Prefix of all collections.
    #[must_use]
    pub fn collections(&self) -> String {
        self.key(format_args!("coll/"))
    }

    /// One collection.
    #[must_use]
    pub fn collection(&self, collection: &CollectionName) -> String {
        self.key(format_args!("coll/{collection}"))
    }

    /// Prefix of all assignments.
    #[must_use]
    pub fn assignments(&self) -> String {
        self.key(format_args!("assign/"))
    }

    /// Who owns a shard.
    #[must_use]
    pub fn assignment(&self, collection: &CollectionName, shard: ShardId) -> String {
        self.key(format_args!("assign/{collection}/{shard}"))
    }

    /// Epochs and WAL floor of a shard.
    #[must_use]
    pub fn head(&self, collection: &CollectionName, shard: ShardId) -> String {
        self.key(format_args!("head/{collection}/{shard}"))
    }

    /// Prefix of all published segments of a shard.
    #[must_use]
    pub fn segments(&self, collection: &CollectionName, shard: ShardId) -> String {
        self.key(format_args!("seg/{collection}/{shard}/"))
    }

    /// One published segment.
    #[must_use]
    pub fn segment(&self, collection: &CollectionName, shard: ShardId, segment: SegmentId) -> String {
        self.key(format_args!("seg/{collection}/{shard}/{segment}"))
    }

    /// One batch job.
    #[must_use]
    pub fn job(&self, id: &str) -> String {
        self.key(format_args!("job/{id}"))
    }

    /// Prefix of all batch jobs.
    #[must_use]
    pub fn jobs(&self) -> String {
        self.key(format_args!("job/"))
    }

    /// One dynamic setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> String {
        self.key(format_args!("cfg/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_the_catalogue_says() {
        let keys = Keys::new("local");
        let c = CollectionName::default_collection();
        let s = ShardId::new(3);
        assert_eq!(keys.meta(), "/local/meta");
        assert_eq!(keys.collection(&c), "/local/coll/default");
        assert_eq!(keys.assignment(&c, s), "/local/assign/default/3");
        assert_eq!(keys.head(&c, s), "/local/head/default/3");
        let id = SegmentId::random();
        assert!(keys.segment(&c, s, id).starts_with(&keys.segments(&c, s)));
    }
}
