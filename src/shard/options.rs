//! Settings of a shard.

use std::path::PathBuf;
use std::time::Duration;

use crate::segment::SegmentSpec;
use crate::segment::compaction::Policy;
use crate::types::ModelHash;

/// Settings of a shard; [`Self::new`] gives those of a local folder.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// Dimension and model of all embeddings.
    pub spec: SegmentSpec,
    /// How long the first record of a group waits for others, at most.
    pub group_window: Duration,
    /// When it waits no longer.
    pub grouping: Grouping,
    /// A group that has this many bytes waits no longer.
    pub group_bytes: usize,
    /// Calls that may wait for the writer; more are refused as overloaded.
    pub queue: usize,
    /// Appends are refused as overloaded while this many bytes of WAL are not sealed.
    pub backlog_bytes: u64,
    /// A growing segment with this many images is sealed.
    pub seal_rows: usize,
    /// A growing segment with this many bytes of WAL is sealed.
    pub seal_bytes: u64,
    /// A growing segment whose first record is this old is sealed.
    pub seal_age: Duration,
    /// When segments are merged.
    pub compaction: Policy,
    /// Objects that nothing refers to are removed once they are this old.
    pub orphan_age: Duration,
    /// Whether sealing, compaction and garbage collection start by themselves.
    pub maintenance: Maintenance,
    /// Folder for copies of a remote store's segments, to be mapped; without one they are held in memory.
    pub cache_dir: Option<PathBuf>,
}

/// When a group stops waiting for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// When it has as many calls as the group before it, at the latest at the end of the window: callers that write
    /// again once they are answered are all there by then, and one that is alone does not wait.
    LikeTheLast,
    /// At the end of the window: every object has its price.
    WholeWindow,
}

/// Who starts sealing, compaction and garbage collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// The shard, as its options say.
    Automatic,
    /// The caller, by `seal`, `compact` and `collect_garbage`.
    Manual,
}

impl ShardOptions {
    /// Settings for a local folder.
    #[must_use]
    pub fn new(dim: usize, model: ModelHash) -> Self {
        Self {
            spec: SegmentSpec { dim, model },
            group_window: Duration::from_millis(3),
            grouping: Grouping::LikeTheLast,
            group_bytes: 4 << 20,
            queue: 8192,
            backlog_bytes: 512 << 20,
            seal_rows: 32_768,
            seal_bytes: 128 << 20,
            seal_age: Duration::from_secs(3600),
            compaction: Policy::default(),
            orphan_age: Duration::from_secs(24 * 3600),
            maintenance: Maintenance::Automatic,
            cache_dir: None,
        }
    }

    /// Settings for an object store that bills every request and answers in tens of milliseconds.
    #[must_use]
    pub fn remote(self) -> Self {
        Self {
            group_window: Duration::from_millis(100),
            grouping: Grouping::WholeWindow,
            ..self
        }
    }
}
