//! The `object_store` crate behind [`BlobStore`]: a local folder, an S3-compatible API, or memory for tests.

use std::error::Error as StdError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};

use super::local::{self, Outcome, is_full_disk};
use super::packs::{self, Packs, Removal};
use super::reserve::Reserve;
use super::syncer::{PAGE, Syncer, sync_folder};
use super::{BlobError, BlobMeta, BlobStore, Created, Purpose};

/// How to reach a bucket of an S3-compatible store. What is `None` comes from the usual `AWS_*` variables.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// Name of the bucket; it must exist.
    pub bucket: String,
    /// Folder in the bucket that holds everything, without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
    /// `http://host:port` of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Region; stores that are not Amazon's take any.
    pub region: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Secret key.
    pub secret_access_key: Option<String>,
}

/// A [`BlobStore`] over one `object_store` implementation.
#[derive(Debug)]
pub struct ObjectBlobStore {
    inner: Arc<dyn ObjectStore>,
    /// The folder, when the objects are files.
    root: Option<PathBuf>,
    /// Where files are created as [`local`] does: what writes them.
    one_round: Option<Arc<Syncer>>,
    /// Objects of the folder that stand in packs.
    packs: Option<Arc<Packs>>,
    /// Space put by in the folder, where this is its only owner.
    reserve: Option<Arc<Reserve>>,
    /// Folder within the store; empty for none.
    prefix: String,
}

impl ObjectBlobStore {
    /// A folder, made if it is missing. Every write syncs the file and the folders that gained an entry.
    ///
    /// # Errors
    /// [`BlobError::BadLocation`] when the folder cannot be made or read.
    pub fn local(root: &Path) -> Result<Self, BlobError> {
        let bad = |reason: &dyn std::fmt::Display| BlobError::BadLocation {
            location: root.display().to_string(),
            reason: reason.to_string(),
        };
        std::fs::create_dir_all(root).map_err(|e| bad(&e))?;
        let root_path = root.canonicalize().map_err(|e| bad(&e))?;
        if let Some(parent) = root_path.parent() {
            sync_folder(parent).map_err(|e| bad(&e))?;
        }
        let packs = Packs::open(&root_path).map_err(|e| bad(&e))?;
        let inner = LocalFileSystem::new_with_prefix(&root_path)
            .map_err(|e| bad(&e))?
            .with_fsync(true);
        Ok(Self {
            inner: Arc::new(inner),
            one_round: local::keeps_order(&root_path).then(Arc::default),
            packs: Some(Arc::new(packs)),
            root: Some(root_path),
            reserve: None,
            prefix: String::new(),
        })
    }

    /// Objects in memory, gone with the value.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            inner: Arc::new(InMemory::new()),
            root: None,
            one_round: None,
            packs: None,
            reserve: None,
            prefix: String::new(),
        }
    }

    /// A bucket.
    ///
    /// # Errors
    /// [`BlobError::BadLocation`] when the options do not make a client. Nothing is sent yet.
    pub fn s3(options: &S3Options) -> Result<Self, BlobError> {
        // One provider serves the whole process: one that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&options.bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Retrying is done above, where a lost reply can be told from another's object.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(true)
                    .with_connect_timeout(Duration::from_secs(3))
                    .with_timeout(Duration::from_secs(120)),
            );
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &options.access_key_id {
            builder = builder.with_access_key_id(key);
        }
        if let Some(secret) = &options.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        let inner = builder.build().map_err(|e| BlobError::BadLocation {
            location: format!("s3://{}/{}", options.bucket, options.prefix),
            reason: e.to_string(),
        })?;
        Ok(Self {
            inner: Arc::new(inner),
            root: None,
            one_round: None,
            packs: None,
            reserve: None,
            prefix: options.prefix.clone(),
        })
    }

    /// The same store with log objects in packs, many to a file. For the sole owner of a folder. Blocking.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] when packs that are there cannot be synced or removed.
    pub fn with_packs(self) -> Result<Self, BlobError> {
        if let Some(packs) = &self.packs {
            packs.own().map_err(|e| unavailable("packs of the log", &e))?;
        }
        Ok(self)
    }

    /// [`Self::with_packs`], whatever the file system.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_packs_anywhere(self) -> Self {
        self.packs.as_ref().expect("a folder").own_anywhere();
        Self {
            one_round: Some(Arc::default()),
            ..self
        }
    }

    /// The same store with space put by for [`BlobStore::create_in_reserve`], from the first [`BlobStore::tidy`] on; until then
    /// what was put by is free. For the sole owner of a folder.
    #[must_use]
    pub fn with_reserve(self) -> Self {
        let reserve = self.root.as_deref().map(Reserve::given_up);
        Self {
            reserve: reserve.map(Arc::new),
            ..self
        }
    }

    /// Frees the space that an earlier owner put by in a folder. Blocking.
    pub fn give_reserve_up(root: &Path) {
        drop(Reserve::given_up(root));
    }

    /// Removes what writes cut off by a crash left half-done: files that no listing shows. For the sole owner of the
    /// folder, before it writes. Returns how many were removed; 0 for a store that is not a folder.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] when the folder cannot be read.
    pub fn sweep_unfinished(&self) -> Result<usize, BlobError> {
        let Some(root) = &self.root else { return Ok(0) };
        local::sweep_unfinished(root).map_err(|e| unavailable("unfinished writes", &e))
    }

    fn path(&self, name: &str) -> ObjectPath {
        if self.prefix.is_empty() {
            ObjectPath::from(name)
        } else {
            ObjectPath::from(format!("{}/{name}", self.prefix))
        }
    }

    /// Creates an object in a pack or as a file, without object_store; `None` when that is not the way to do it.
    async fn create_local(&self, name: &str, data: &Bytes) -> Option<Result<Created, BlobError>> {
        let (path, packs) = (self.local_path(name)?, Arc::clone(self.packs.as_ref()?));
        if !packs.keeps(name) && packs.contains(name) {
            return Some(Ok(Created::AlreadyExists));
        }
        let (name_of, data, syncer) = (
            name.to_owned(),
            data.clone(),
            Arc::clone(self.one_round.as_ref()?),
        );
        let create = move || {
            let create = || {
                if packs.keeps(&name_of) {
                    packs.create(&name_of, &data, &syncer)
                } else {
                    local::create(&path, &data, &syncer)
                }
            };
            match create() {
                // What packs without objects occupy is free space.
                Outcome::Failed(error) if is_full_disk(&error) && packs.clear() => create(),
                outcome => outcome,
            }
        };
        self.create_as_file(name, create).await
    }

    /// Removes an object; tells whether it stood in a pack.
    async fn remove_from_pack(&self, name: &str, removal: Removal) -> Result<bool, BlobError> {
        let Some(packs) = self.packs.clone().filter(|packs| packs.contains(name)) else {
            return Ok(false);
        };
        let name_of = name.to_owned();
        blocking(name, move || packs.remove(&name_of, removal)).await
    }

    /// Creates an object by `create`, a call to [`local`]; `None` when that is not the way to do it.
    async fn create_as_file(
        &self,
        name: &str,
        create: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Option<Result<Created, BlobError>> {
        let name = || name.to_owned();
        Some(match tokio::task::spawn_blocking(create).await {
            Ok(Outcome::NotThisWay) => return None,
            Ok(Outcome::Created) => Ok(Created::New),
            Ok(Outcome::Exists) => self.sync_existing(&name()).await.map(|()| Created::AlreadyExists),
            Ok(Outcome::Failed(error)) if is_full_disk(&error) => Err(BlobError::Full { name: name() }),
            Ok(Outcome::Failed(error)) => Err(unavailable(&name(), &error)),
            Ok(Outcome::NotSynced(error)) => {
                tracing::warn!(name = name(), %error, "a new object could not be synced");
                Err(BlobError::OutcomeUnknown { name: name() })
            }
            Err(_) => Err(BlobError::OutcomeUnknown { name: name() }),
        })
    }

    /// Makes sure that an object which another call wrote is as durable as one of our own: that call may not have
    /// synced yet.
    async fn sync_existing(&self, name: &str) -> Result<(), BlobError> {
        let Some(path) = self.local_path(name) else {
            return Ok(());
        };
        let synced = tokio::task::spawn_blocking(move || {
            File::open(&path)?.sync_all()?;
            path.parent().map_or(Ok(()), sync_folder)
        })
        .await
        .map_err(|e| BlobError::Unavailable {
            reason: e.to_string(),
        })?;
        match synced {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(BlobError::OutcomeUnknown {
                name: name.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Runs what waits for the disk off the event loop.
async fn blocking<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(call).await;
    done.unwrap_or_else(|e| Err(io::Error::other(e)))
        .map_err(|e| unavailable(name, &e))
}

fn unavailable(name: &str, error: &io::Error) -> BlobError {
    BlobError::Unavailable {
        reason: format!("{name}: {error}"),
    }
}

#[async_trait]
impl BlobStore for ObjectBlobStore {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        if let Some(answer) = self.create_local(name, &data).await {
            return answer;
        }
        match self
            .inner
            .put_opts(&self.path(name), data.into(), PutMode::Create.into())
            .await
        {
            Ok(_) => Ok(Created::New),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                self.sync_existing(name).await?;
                Ok(Created::AlreadyExists)
            }
            Err(e) if is_full(&e) => Err(BlobError::Full {
                name: name.to_owned(),
            }),
            Err(e) if is_refusal(&e) => Err(BlobError::Unavailable {
                reason: e.to_string(),
            }),
            Err(e) => {
                tracing::warn!(name, error = %e, "storing an object failed, outcome unknown");
                Err(BlobError::OutcomeUnknown {
                    name: name.to_owned(),
                })
            }
        }
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        if let Some(path) = self.local_path(name) {
            let file = file.to_owned();
            let created = self.create_as_file(name, move || local::adopt(&path, &file));
            if let Some(answer) = created.await {
                return answer;
            }
        }
        self.create(name, data).await
    }

    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        purpose: Purpose,
    ) -> Result<Created, BlobError> {
        loop {
            let created = self.create(name, data.clone()).await;
            let (Err(BlobError::Full { .. }), Some(reserve)) = (&created, &self.reserve) else {
                return created;
            };
            let reserve = Arc::clone(reserve);
            if !matches!(
                tokio::task::spawn_blocking(move || reserve.give(purpose)).await,
                Ok(true)
            ) {
                return created;
            }
            tracing::info!(name, "the disk is full: using space put by");
        }
    }

    fn block(&self) -> usize {
        if self.one_round.is_some() { PAGE } else { 1 }
    }

    async fn give_reserve(&self) -> bool {
        let Some(reserve) = self.reserve.clone() else {
            return false;
        };
        let given = tokio::task::spawn_blocking(move || reserve.give_all());
        matches!(given.await, Ok(true))
    }

    async fn tidy(&self) {
        let (reserve, packs) = (self.reserve.clone(), self.packs.clone());
        let tidied = tokio::task::spawn_blocking(move || {
            if let Some(packs) = packs {
                packs.clear_idle(Instant::now());
            }
            reserve.map(|reserve| reserve.fill())
        });
        if let Ok(Some(Err(error))) = tidied.await {
            tracing::warn!(%error, "no space could be put by for deletions");
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        if let Some(packs) = self.packs.clone().filter(|packs| packs.contains(name)) {
            let name_of = name.to_owned();
            if let Some(object) = blocking(name, move || packs.get(&name_of)).await? {
                return Ok(object);
            }
        }
        let read = async { self.inner.get(&self.path(name)).await?.bytes().await };
        read.await.map_err(|e| read_error(name, &e))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        let folder = self.path(prefix);
        let objects: Vec<_> = self
            .inner
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|e| read_error(prefix, &e))?;
        let strip = if self.prefix.is_empty() {
            0
        } else {
            self.prefix.len() + 1
        };
        let mut found: Vec<_> = objects
            .into_iter()
            .map(|meta| BlobMeta {
                name: meta.location.as_ref()[strip..].to_owned(),
                size: meta.size,
                modified: meta.last_modified,
            })
            .collect();
        if let Some(packs) = &self.packs {
            found.retain(|object| !packs::is_pack(&object.name));
            found.extend(packs.list(prefix));
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        if self.remove_from_pack(name, Removal::Durable).await? {
            return Ok(());
        }
        match self.inner.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(BlobError::Unavailable {
                reason: e.to_string(),
            }),
        }
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        if self.remove_from_pack(name, Removal::Lazy).await? {
            return Ok(());
        }
        self.delete(name).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(name))
    }
}

fn read_error(name: &str, error: &object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound {
            name: name.to_owned(),
        },
        e => BlobError::Unavailable {
            reason: e.to_string(),
        },
    }
}

/// Whether the store said, before doing anything, that it will not do it.
fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error;
    matches!(
        error,
        Error::NotFound { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

/// Whether there is no space, by the system's errors or the codes that S3 servers give.
fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(io_error) = e.downcast_ref::<io::Error>() {
            return is_full_disk(io_error);
        }
        cause = e.source();
    }
    let text = error.to_string();
    ["XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"]
        .iter()
        .any(|code| text.contains(code))
}
