//! Faults on purpose: a store that loses replies, delays, hangs and refuses, for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{BlobError, BlobMeta, BlobStore, Created, Purpose};

/// What a caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`BlobStore::create`], [`BlobStore::create_from`].
    Create,
    /// [`BlobStore::create_in_reserve`].
    CreateInReserve,
    /// [`BlobStore::get`].
    Get,
    /// [`BlobStore::list`].
    List,
    /// [`BlobStore::delete`], [`BlobStore::recycle`].
    Delete,
}

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is done, and the caller is told that the outcome is unknown.
    LoseReply,
    /// It is not done, and the caller is told that the store is not available.
    Refuse,
    /// It is not done, and the caller is told that the outcome is unknown.
    LoseRequest,
    /// It is not done: no space.
    Full,
    /// It is done after a pause.
    Delay(Duration),
    /// It never answers.
    Hang,
}

/// Decides, for each operation on each name, what goes wrong.
pub type Plan = Arc<dyn Fn(Operation, &str) -> Fault + Send + Sync>;

/// A [`BlobStore`] that fails as planned.
pub struct Faulty<S> {
    inner: S,
    plan: Plan,
}

impl<S: BlobStore> Faulty<S> {
    /// Wraps a store.
    pub fn new(inner: S, plan: Plan) -> Self {
        Self { inner, plan }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        name: &str,
        call: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        match (self.plan)(operation, name) {
            Fault::None => call.await,
            Fault::LoseReply => {
                call.await?;
                Err(lost(operation, name))
            }
            Fault::Refuse => Err(BlobError::Unavailable {
                reason: "refused on purpose".to_owned(),
            }),
            Fault::LoseRequest => Err(lost(operation, name)),
            Fault::Full => Err(BlobError::Full {
                name: name.to_owned(),
            }),
            Fault::Delay(pause) => {
                tokio::time::sleep(pause).await;
                call.await
            }
            Fault::Hang => std::future::pending().await,
        }
    }
}

fn lost(operation: Operation, name: &str) -> BlobError {
    if matches!(operation, Operation::Create | Operation::CreateInReserve) {
        BlobError::OutcomeUnknown {
            name: name.to_owned(),
        }
    } else {
        BlobError::Unavailable {
            reason: "reply lost on purpose".to_owned(),
        }
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Faulty<S> {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        self.run(Operation::Create, name, self.inner.create(name, data))
            .await
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        self.run(Operation::Create, name, self.inner.create_from(name, data, file))
            .await
    }

    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        purpose: Purpose,
    ) -> Result<Created, BlobError> {
        let call = self.inner.create_in_reserve(name, data, purpose);
        self.run(Operation::CreateInReserve, name, call).await
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
        self.run(Operation::Get, name, self.inner.get(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        self.run(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.run(Operation::Delete, name, self.inner.delete(name)).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        self.run(Operation::Delete, name, self.inner.recycle(name)).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.inner.local_path(name)
    }
}
