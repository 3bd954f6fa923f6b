//! What an error tells its caller to do. Every module has its own `thiserror` enum; each answers [`ErrorKind`].

use std::fmt;

/// Kind of an error, by what the caller can do about it. The doors map it to an HTTP status and an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request can never work as it stands: change it.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or changed meanwhile: look again, then decide.
    Conflict,
    /// Too much is waiting: send the same request again, later.
    Overloaded,
    /// The disk or the object store is full: nothing was acknowledged; make room, then send it again.
    StorageFull,
    /// Not possible right now: send the same request again.
    Unavailable,
    /// It may have happened or not: ask before sending it again.
    OutcomeUnknown,
    /// Stored data fails its checks: run `doppel fsck`.
    Corrupt,
    /// A defect of doppel: report it.
    Internal,
}

impl ErrorKind {
    /// The kind as written in problem documents and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage_full",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
