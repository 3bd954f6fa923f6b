//! Tries again what failed, and reads back what may have happened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{BlobError, BlobMeta, BlobStore, Created, Purpose};

/// How long to keep trying.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub attempts: u32,
    /// Pause after the first failed try; doubles from try to try.
    pub first_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
    /// A try that takes longer counts as one whose reply was lost. Large objects get a second per MiB on top.
    pub timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(50),
            max_pause: Duration::from_secs(1),
            timeout: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    fn pause(&self, tries: u32) -> Duration {
        self.first_pause
            .saturating_mul(1 << tries.min(16))
            .min(self.max_pause)
    }
}

/// A [`BlobStore`] that tries again. `AlreadyExists` has three meanings (another's object, our own earlier try whose
/// reply was lost, nothing at all any more); `create` reads back and tells them apart by comparing all bytes, of
/// which a nonce is part where it matters.
#[derive(Debug)]
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
}

impl<S: BlobStore> Retrying<S> {
    /// Wraps a store.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    /// `Ok(Some)` when the name is taken, by our bytes or another's; `Ok(None)` when it is free.
    async fn read_back(&self, name: &str, data: &Bytes) -> Result<Option<Created>, BlobError> {
        match self.inner.get(name).await {
            Ok(found) if found == *data => {
                // The lost call may have failed to sync: a second, harmless one makes the store do it.
                self.inner.create(name, data.clone()).await?;
                Ok(Some(Created::New))
            }
            Ok(_) => Ok(Some(Created::AlreadyExists)),
            Err(BlobError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Runs `create`, a try to store `data` under `name`, until it is known what became of it.
    async fn settle<F>(
        &self,
        name: &str,
        data: &Bytes,
        create: impl Fn() -> F + Send + Sync,
    ) -> Result<Created, BlobError>
    where
        F: Future<Output = Result<Created, BlobError>> + Send,
    {
        let mebibytes = u32::try_from(data.len() >> 20).unwrap_or(u32::MAX);
        let timeout = self.policy.timeout + Duration::from_secs(1).saturating_mul(mebibytes);
        let unknown = || BlobError::OutcomeUnknown {
            name: name.to_owned(),
        };
        // Once a try may have happened, no later refusal makes it unhappen.
        let mut maybe_happened = false;
        let mut tries = 0;
        loop {
            let error = match tokio::time::timeout(timeout, create()).await {
                Ok(Ok(Created::New)) => return Ok(Created::New),
                Ok(Ok(Created::AlreadyExists)) | Err(_) => {
                    maybe_happened = true;
                    unknown()
                }
                Ok(Err(e @ BlobError::OutcomeUnknown { .. })) => {
                    maybe_happened = true;
                    e
                }
                Ok(Err(e @ (BlobError::Unavailable { .. } | BlobError::Full { .. }))) => e,
                Ok(Err(e)) => return Err(e),
            };
            if maybe_happened {
                if let Ok(Ok(Some(created))) = tokio::time::timeout(timeout, self.read_back(name, data)).await
                {
                    return Ok(created);
                }
            } else if matches!(error, BlobError::Full { .. }) {
                return Err(error);
            }
            tries += 1;
            if tries >= self.policy.attempts {
                return Err(if maybe_happened { unknown() } else { error });
            }
            tokio::time::sleep(self.policy.pause(tries)).await;
        }
    }

    /// Runs `operation` until it succeeds or fails for good.
    async fn persist<T, F>(&self, operation: impl Fn() -> F) -> Result<T, BlobError>
    where
        F: Future<Output = Result<T, BlobError>>,
    {
        let mut tries = 0;
        loop {
            let error = match tokio::time::timeout(self.policy.timeout * 4, operation()).await {
                Ok(Err(e @ BlobError::Unavailable { .. })) => e,
                Ok(settled) => return settled,
                Err(_) => BlobError::Unavailable {
                    reason: "no answer in time".to_owned(),
                },
            };
            tries += 1;
            if tries >= self.policy.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.policy.pause(tries)).await;
        }
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Retrying<S> {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        self.settle(name, &data, || self.inner.create(name, data.clone()))
            .await
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        self.settle(name, &data, || self.inner.create_from(name, data.clone(), file))
            .await
    }

    async fn create_in_reserve(
        &self,
        name: &str,
        data: Bytes,
        purpose: Purpose,
    ) -> Result<Created, BlobError> {
        self.settle(name, &data, || {
            self.inner.create_in_reserve(name, data.clone(), purpose)
        })
        .await
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
        self.persist(|| self.inner.get(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        self.persist(|| self.inner.list(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.persist(|| self.inner.delete(name)).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        self.persist(|| self.inner.recycle(name)).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.inner.local_path(name)
    }
}
