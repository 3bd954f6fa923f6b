//! Counts and times what callers see of a store.

use std::path::{Path, PathBuf};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::{BlobError, BlobMeta, BlobStore, Created, Purpose};

/// A [`BlobStore`] that records `doppel_blob_seconds{op, outcome}` and `doppel_blob_written_bytes_total`.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
}

impl<S: BlobStore> Metered<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

async fn timed<T>(
    op: &'static str,
    call: impl Future<Output = Result<T, BlobError>>,
) -> Result<T, BlobError> {
    let start = Instant::now();
    let result = call.await;
    let outcome = result.as_ref().map_or_else(|e| e.kind().as_str(), |_| "ok");
    metrics::histogram!("doppel_blob_seconds", "op" => op, "outcome" => outcome).record(start.elapsed());
    result
}

async fn timed_create(
    bytes: usize,
    call: impl Future<Output = Result<Created, BlobError>>,
) -> Result<Created, BlobError> {
    let created = timed("create", call).await?;
    if created == Created::New {
        metrics::counter!("doppel_blob_written_bytes_total").increment(bytes as u64);
    }
    Ok(created)
}

#[async_trait]
impl<S: BlobStore> BlobStore for Metered<S> {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        timed_create(data.len(), self.inner.create(name, data)).await
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        timed_create(data.len(), self.inner.create_from(name, data, file)).await
    }

    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        purpose: Purpose,
    ) -> Result<Created, BlobError> {
        timed_create(data.len(), self.inner.create_in_reserve(name, data, purpose)).await
    }

    async fn give_reserve(&self) -> bool {
        self.inner.give_reserve().await
    }

    async fn tidy(&self) {
        self.inner.tidy().await;
    }

    fn block(&self) -> usize {
        self.inner.block()
    }

    async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        timed("get", self.inner.get(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        timed("list", self.inner.list(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        timed("delete", self.inner.delete(name)).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        timed("delete", self.inner.recycle(name)).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.inner.local_path(name)
    }
}
