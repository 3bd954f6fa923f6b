//! Immutable objects under slash-separated names: a local folder or an S3-compatible store.
//!
//! Wrappers, outermost first: [`Metered`] (counts what callers see) over [`Retrying`] (tries again, reads back) over,
//! in tests, [`faults::Faulty`], over [`ObjectBlobStore`]. [`production`] puts them together.

pub mod faults;
mod local;
mod metered;
mod object;
mod packs;
mod probe;
mod reserve;
mod retry;
mod syncer;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use metered::Metered;
pub use object::{ObjectBlobStore, S3Options};
pub use probe::probe;
pub use retry::{RetryPolicy, Retrying};

use crate::error::ErrorKind;

/// `store` with the wrappers that a running service has: metrics over retries.
#[must_use]
pub fn production(store: ObjectBlobStore) -> Arc<dyn BlobStore> {
    Arc::new(Metered::new(Retrying::new(store, RetryPolicy::default())))
}

/// Why an object operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No object of that name.
    #[error("no object {name}")]
    NotFound {
        /// The object's name.
        name: String,
    },
    /// The disk or the quota is full; nothing was stored.
    #[error("no space left to store {name}")]
    Full {
        /// The object's name.
        name: String,
    },
    /// The request may have taken effect or not, and reading back did not tell.
    #[error("the outcome of storing {name} is unknown")]
    OutcomeUnknown {
        /// The object's name.
        name: String,
    },
    /// The store does not answer, or refuses for now.
    #[error("the object store is not available: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// The location of the store makes no sense.
    #[error("cannot use {location} as an object store: {reason}")]
    BadLocation {
        /// Folder or URL.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store does not honour create-if-absent, on which fencing rests.
    #[error("this object store does not honour create-if-absent ({evidence}): it cannot be used")]
    NotConditional {
        /// What the probe saw.
        evidence: String,
    },
}

impl BlobError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Full { .. } => ErrorKind::StorageFull,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::NotConditional { .. } | Self::BadLocation { .. } => ErrorKind::Invalid,
        }
    }
}

/// Outcome of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is new, and durable.
    New,
    /// An object of that name was there before; it is unchanged. The caller reads it back and compares.
    AlreadyExists,
}

/// What an object is that may take space put by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Deletions, which give space back: all there is.
    Deletion,
    /// What people said, which is dear and gives none back: half of it.
    Verdict,
}

/// An object's name and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMeta {
    /// Full name, `wal/default/0/…`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: chrono::DateTime<chrono::Utc>,
}

/// A store of immutable objects. Writes are durable when they return (file and directory synced, or acknowledged by
/// the remote store); an object is seen whole or not at all.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Stores an object unless one of that name exists. Of many racing calls with different bytes exactly one gets
    /// [`Created::New`]. Racing calls with equal bytes may all get it: writers that must be told apart put a nonce in.
    ///
    /// # Errors
    /// [`BlobError`]; after [`BlobError::OutcomeUnknown`] the object may exist.
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError>;

    /// [`Self::create`] of an object whose bytes stand in a file as well, which nobody writes to any more: a folder on the
    /// file's disk takes the file, under the object's name too, instead of writing a copy.
    ///
    /// # Errors
    /// As there.
    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError>;

    /// [`Self::create`] of a small object that may take space put by for its purpose.
    ///
    /// # Errors
    /// As there.
    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        _purpose: Purpose,
    ) -> Result<Created, BlobError> {
        self.create(name, data).await
    }

    /// Gives up all space that is put by, for what gives much of it back; tells whether there was any.
    async fn give_reserve(&self) -> bool {
        false
    }

    /// Puts space by for [`Self::create_in_reserve`], and gives back what is kept for objects that do not come. To be called
    /// when the store is open, and every now and then.
    async fn tidy(&self) {}

    /// Objects of a multiple of so many bytes are stored in fewer steps; 1 where it makes no difference.
    fn block(&self) -> usize {
        1
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Unavailable`].
    async fn get(&self, name: &str) -> Result<Bytes, BlobError>;

    /// All objects whose name starts with the folder `prefix` (no trailing slash), in order of their names.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError>;

    /// Removes an object; one that does not exist is no error.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// [`Self::delete`] of an object that nobody reads any more, and that does no harm if it is back after a restart: its place
    /// may be used for another one.
    ///
    /// # Errors
    /// As there.
    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        self.delete(name).await
    }

    /// Path of an object in the local file system, for mapping it into memory; `None` when the store is remote.
    fn local_path(&self, name: &str) -> Option<PathBuf>;
}

#[async_trait]
impl<S: BlobStore + ?Sized> BlobStore for Arc<S> {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        (**self).create(name, data).await
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        (**self).create_from(name, data, file).await
    }

    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        purpose: Purpose,
    ) -> Result<Created, BlobError> {
        (**self).create_in_reserve(name, data, purpose).await
    }

    async fn give_reserve(&self) -> bool {
        (**self).give_reserve().await
    }

    async fn tidy(&self) {
        (**self).tidy().await;
    }

    fn block(&self) -> usize {
        (**self).block()
    }

    async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        (**self).get(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        (**self).list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        (**self).delete(name).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        (**self).recycle(name).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        (**self).local_path(name)
    }
}
