//! Why a segment cannot be built or read.

use crate::error::ErrorKind;

/// Why a segment cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The bytes fail a check.
    #[error("the segment is damaged: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// It was written by a newer doppel.
    #[error("the segment has format version {version}, which this doppel does not know")]
    NewerVersion {
        /// Version found.
        version: u32,
    },
    /// Its vectors are another model's.
    #[error("the segment's vectors are of another model ({what})")]
    WrongModel {
        /// What differs.
        what: String,
    },
    /// The records cannot stand in one segment.
    #[error("the records cannot be put into a segment: {what}")]
    Invalid {
        /// Why.
        what: String,
    },
}

impl SegmentError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NewerVersion { .. } | Self::Invalid { .. } => ErrorKind::Invalid,
            Self::WrongModel { .. } => ErrorKind::Conflict,
        }
    }

    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            what: what.to_string(),
        }
    }
}
