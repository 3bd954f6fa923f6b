//! Why a shard refuses.

use crate::error::ErrorKind;
use crate::segment::SegmentError;
use crate::store::blob::BlobError;
use crate::store::metadata::MetadataError;
use crate::vector::VectorError;

/// Why a shard refuses.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The metadata store fails.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The object store fails.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A segment cannot be built or read.
    #[error("segment {name}: {source}")]
    Segment {
        /// Its object.
        name: String,
        /// Why.
        source: SegmentError,
    },
    /// The vector index refuses.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// The record cannot be stored as it stands.
    #[error("the image cannot be stored: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Too much waits to be sealed, or too many calls wait.
    #[error("too much is waiting to be written ({waiting}): try again later")]
    Overloaded {
        /// What waits.
        waiting: String,
    },
    /// No space left; nothing was stored.
    #[error("no space left to store the image")]
    Full,
    /// Writing does not work right now; nothing was stored.
    #[error("the shard cannot write now: {reason}")]
    Unavailable {
        /// What is in the way.
        reason: String,
    },
    /// The write was sent and no answer came: it may have happened or not.
    #[error("it is not known whether the write happened: {reason}")]
    OutcomeUnknown {
        /// What the store said.
        reason: String,
    },
    /// Another node owns the shard now.
    #[error("another node has taken over the shard (this one held epoch {epoch})")]
    Fenced {
        /// Epoch of this node.
        epoch: u64,
    },
    /// The shard was closed.
    #[error("the shard is closed")]
    Closed,
    /// Stored metadata makes no sense.
    #[error("{name} is damaged: {what}")]
    Corrupt {
        /// Key or object.
        name: String,
        /// What was found.
        what: String,
    },
}

impl ShardError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Metadata(e) => e.kind(),
            Self::Blob(e) => e.kind(),
            Self::Segment { source, .. } => source.kind(),
            Self::Vector(e) => e.kind(),
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Full => ErrorKind::StorageFull,
            Self::Unavailable { .. } | Self::Fenced { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }
}
