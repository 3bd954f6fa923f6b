//! Why a segment cannot be built or read.

use std::io;

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
    /// The file cannot be written.
    #[error("the segment cannot be written: {what}")]
    NotWritten {
        /// Kind of what the system said.
        kind: io::ErrorKind,
        /// What the system said.
        what: String,
    },
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::NotWritten {
            kind: error.kind(),
            what: error.to_string(),
        }
    }
}

impl SegmentError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NewerVersion { .. } | Self::Invalid { .. } => ErrorKind::Invalid,
            Self::WrongModel { .. } => ErrorKind::Conflict,
            Self::NotWritten {
                kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge,
                ..
            } => ErrorKind::StorageFull,
            Self::NotWritten { .. } => ErrorKind::Unavailable,
        }
    }

    pub(super) fn invalid(what: impl std::fmt::Display) -> Self {
        Self::Invalid {
            what: what.to_string(),
        }
    }

    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            what: what.to_string(),
        }
    }
}
