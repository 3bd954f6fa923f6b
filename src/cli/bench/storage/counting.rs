//! Stores that count what is written to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::shard::Stores;
use crate::store::blob::{BlobError, BlobMeta, BlobStore, Created};
use crate::store::metadata::{
    Compare, KeyValue, LeaseId, MetadataError, MetadataStore, Op, Snapshot, TxnOutcome, WatchStream,
};

/// Bytes written so far, by what they were written for.
#[derive(Debug, Default)]
pub(super) struct Written {
    wal: AtomicU64,
    wal_objects: AtomicU64,
    segments: AtomicU64,
    tombstones: AtomicU64,
    metadata: AtomicU64,
}

/// [`Written`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Bytesum {
    pub(super) wal: u64,
    pub(super) wal_objects: u64,
    pub(super) segments: u64,
    pub(super) tombstones: u64,
    pub(super) metadata: u64,
}

impl Bytesum {
    pub(super) fn total(&self) -> u64 {
        self.wal + self.segments + self.tombstones + self.metadata
    }
}

impl Written {
    pub(super) fn now(&self) -> Bytesum {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Bytesum {
            wal: read(&self.wal),
            wal_objects: read(&self.wal_objects),
            segments: read(&self.segments),
            tombstones: read(&self.tombstones),
            metadata: read(&self.metadata),
        }
    }
}

/// The same stores, counted.
pub(super) fn counted(stores: Stores) -> (Stores, Arc<Written>) {
    let written = Arc::<Written>::default();
    let counted = Stores {
        metadata: Arc::new(CountedMetadata(stores.metadata, Arc::clone(&written))),
        blobs: Arc::new(CountedBlobs(stores.blobs, Arc::clone(&written))),
    };
    (counted, written)
}

struct CountedBlobs(Arc<dyn BlobStore>, Arc<Written>);

impl CountedBlobs {
    fn count(&self, name: &str, bytes: usize, created: Created) -> Created {
        if created == Created::New {
            let counter = if name.starts_with("wal/") {
                self.1.wal_objects.fetch_add(1, Ordering::Relaxed);
                &self.1.wal
            } else if name.contains(".del.") {
                &self.1.tombstones
            } else {
                &self.1.segments
            };
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        created
    }
}

#[async_trait]
impl BlobStore for CountedBlobs {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        let bytes = data.len();
        let created = self.0.create(name, data).await?;
        Ok(self.count(name, bytes, created))
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        let bytes = data.len();
        let created = self.0.create_from(name, data, file).await?;
        Ok(self.count(name, bytes, created))
    }

    async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        self.0.get(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        self.0.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.0.delete(name).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        self.0.recycle(name).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.0.local_path(name)
    }
}

struct CountedMetadata(Arc<dyn MetadataStore>, Arc<Written>);

#[async_trait]
impl MetadataStore for CountedMetadata {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        self.0.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        self.0.range(prefix).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError> {
        let bytes = ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        });
        self.1
            .metadata
            .fetch_add(bytes.sum::<usize>() as u64, Ordering::Relaxed);
        self.0.txn(compares, ops).await
    }

    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError> {
        self.0.watch(prefix, revision).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError> {
        self.0.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.0.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.0.revoke_lease(lease).await
    }
}
