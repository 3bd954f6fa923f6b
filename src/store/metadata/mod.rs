//! Small keys under consensus: an embedded store (redb) on one machine, etcd on many.

pub mod embedded;
pub mod etcd;
pub mod keys;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::ErrorKind;

/// Why a metadata operation failed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The store does not answer, or has lost its leader.
    #[error("the metadata store is not available: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// A transaction was sent and no answer came: it may have been committed.
    #[error("the outcome of a metadata transaction is unknown: {reason}")]
    OutcomeUnknown {
        /// What it said.
        reason: String,
    },
    /// The revision asked for was compacted away: list again.
    #[error("revision {revision} is compacted")]
    Compacted {
        /// The revision asked for.
        revision: i64,
    },
    /// The lease has run out.
    #[error("lease {lease} has run out")]
    LeaseLost {
        /// The lease.
        lease: i64,
    },
    /// The disk or the quota is full; nothing was committed.
    #[error("no space left in the metadata store")]
    Full,
    /// The transaction can never be committed as it stands.
    #[error("the metadata transaction is not valid: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the data folder open.
    #[error("{path} is in use by another doppel process")]
    Locked {
        /// The database file.
        path: String,
    },
    /// The file fails its checks.
    #[error("the metadata store is damaged: {reason}")]
    Corrupt {
        /// What was found.
        reason: String,
    },
}

impl MetadataError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } | Self::LeaseLost { .. } | Self::Compacted { .. } => {
                ErrorKind::Unavailable
            }
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Self::Locked { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Full => ErrorKind::StorageFull,
            Self::Invalid { .. } => ErrorKind::Invalid,
        }
    }
}

/// A key with its value and revisions, as etcd has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Full key.
    pub key: String,
    /// Value.
    pub value: Bytes,
    /// Store revision at which the key was created.
    pub create_revision: i64,
    /// Store revision of the key's last change.
    pub mod_revision: i64,
    /// Lease the key is bound to.
    pub lease: Option<LeaseId>,
}

/// Keys of a range as they were at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Revision of the store at the time of the read.
    pub revision: i64,
    /// Keys in order.
    pub entries: Vec<KeyValue>,
}

/// Identity of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// Condition of a transaction. There is no compare-by-value: a value can come back, a revision cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent {
        /// The key.
        key: String,
    },
    /// The key's last change was at this revision.
    ModRevision {
        /// The key.
        key: String,
        /// Revision expected.
        revision: i64,
    },
    /// The key was created at this revision (it may have changed since).
    CreateRevision {
        /// The key.
        key: String,
        /// Revision expected.
        revision: i64,
    },
}

/// Effect of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// Lease that the key lives and dies with.
        lease: Option<LeaseId>,
    },
    /// Removes a key; one that does not exist is no error.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// Sets a key that lives until it is deleted.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Compare {
    /// The key stands as `known` says: absent, or last changed at that entry's revision.
    #[must_use]
    pub fn unchanged(key: &str, known: Option<&KeyValue>) -> Self {
        let key = key.to_owned();
        match known {
            None => Self::Absent { key },
            Some(entry) => Self::ModRevision {
                key,
                revision: entry.mod_revision,
            },
        }
    }
}

/// Most effects of one transaction, etcd's default.
pub const MAX_TXN_OPS: usize = 128;

/// Most bytes of one transaction, below etcd's default of 1.5 MiB.
pub const MAX_TXN_BYTES: usize = 1 << 20;

/// Refuses what etcd would refuse, so that every store behaves the same.
pub(crate) fn check_txn(compares: &[Compare], ops: &[Op]) -> Result<(), MetadataError> {
    let invalid = |reason: String| Err(MetadataError::Invalid { reason });
    if compares.len() > MAX_TXN_OPS || ops.len() > MAX_TXN_OPS {
        return invalid(format!("more than {MAX_TXN_OPS} conditions or effects"));
    }
    let bytes: usize = ops
        .iter()
        .map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        })
        .sum();
    if bytes > MAX_TXN_BYTES {
        return invalid(format!("{bytes} bytes, more than {MAX_TXN_BYTES}"));
    }
    let mut keys: Vec<&str> = ops.iter().map(Op::key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => invalid(format!("key {} is changed twice", pair[0])),
        None => Ok(()),
    }
}

/// Outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All conditions held; all effects are durable and became visible at once, at this revision.
    Committed {
        /// The store's revision after the transaction.
        revision: i64,
    },
    /// A condition did not hold; nothing changed.
    Refused,
}

/// One change seen by a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key was set.
    Put(KeyValue),
    /// A key was removed, or its lease ran out.
    Delete {
        /// The key.
        key: String,
        /// Revision of the removal.
        revision: i64,
    },
    /// Changes may have been missed (connection lost beyond the history, or history compacted): these are all keys of the
    /// prefix now. The receiver replaces what it knew.
    Reset(Snapshot),
}

/// Receives the events of a watch, in order of revision. Ends only when dropped or when the store is closed.
pub type WatchStream = tokio::sync::mpsc::Receiver<WatchEvent>;

/// Keys under consensus. Linearizable: a read that begins after a write returned sees it.
#[async_trait]
pub trait MetadataStore: Send + Sync + 'static {
    /// One key.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`].
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError>;

    /// All keys that start with `prefix`, at one revision.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`].
    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError>;

    /// Applies all `ops` if all `compares` hold, else nothing. Never split. A transaction that changes nothing
    /// commits at the current revision.
    ///
    /// # Errors
    /// [`MetadataError::Invalid`] for a key changed twice, or more than [`MAX_TXN_OPS`] or [`MAX_TXN_BYTES`];
    /// [`MetadataError::OutcomeUnknown`] when the answer was lost: read, then decide.
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError>;

    /// Changes to keys under `prefix` after `revision`.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] when the watch cannot be started.
    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError>;

    /// Starts a lease that runs out `ttl` after its last renewal (whole seconds, at least 1).
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`].
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError>;

    /// Renews a lease.
    ///
    /// # Errors
    /// [`MetadataError::LeaseLost`] when it has run out: its keys are gone.
    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError>;

    /// Ends a lease and removes its keys.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`].
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError>;
}
