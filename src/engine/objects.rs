//! Thumbnails and originals, as images need them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Engine, EngineError};
use crate::shard::media::{Hold, Media, MediaKind};
use crate::shard::{EVIDENCE, ShardError};
use crate::types::{CollectionName, ContentHash, ImageId, ImageRecord};

/// Age from which objects that no image needs are removed: younger ones may belong to an upload that is under way.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);
/// Between two looks for them; the whole store is listed each time.
const SWEEP_EVERY: Duration = Duration::from_secs(12 * 3600);

/// Between two looks whether there is space to put by.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// Stores an image's thumbnail, and the file itself if it is to be kept; durable when it returns.
pub(super) async fn store(
    media: &Media,
    hold: &Hold,
    thumbnail: Bytes,
    original: Option<Bytes>,
) -> Result<(), ShardError> {
    let original = async {
        match original {
            Some(file) => media.put(hold, MediaKind::Original, file).await,
            None => Ok(()),
        }
    };
    futures::try_join!(media.put(hold, MediaKind::Thumbnail, thumbnail), original)?;
    Ok(())
}

impl Engine {
    /// The JPEG thumbnail of an image.
    ///
    /// # Errors
    /// [`EngineError::NoThumbnail`] when it is missing from the store.
    pub async fn thumbnail(&self, record: &ImageRecord) -> Result<Bytes, EngineError> {
        let found = self
            .media
            .get(MediaKind::Thumbnail, &record.fingerprint.content_hash)
            .await?;
        found.ok_or(EngineError::NoThumbnail { id: record.id })
    }

    /// The uploaded file of an image.
    ///
    /// # Errors
    /// [`EngineError::NoOriginal`] when it was not kept.
    pub async fn original(
        &self,
        collection: &CollectionName,
        record: &ImageRecord,
    ) -> Result<Bytes, EngineError> {
        let missing = || EngineError::NoOriginal {
            id: record.id,
            collection: collection.clone(),
        };
        // Another collection may keep the same file: what this one says counts.
        if !self.opened(collection)?.keeps_originals() {
            return Err(missing());
        }
        let found = self
            .media
            .get(MediaKind::Original, &record.fingerprint.content_hash)
            .await?;
        found.ok_or_else(missing)
    }

    /// Removes the objects of a deleted image that no image of any collection needs.
    pub(super) async fn release(&self, content: ContentHash) {
        let released = self
            .media
            .release(&content, &|kind, content| self.needs(kind, content))
            .await;
        if let Err(error) = released {
            // The next sweep finds what is left.
            tracing::warn!(%error, image = %content, "objects of a deleted image are left behind");
        }
    }

    /// Removes objects older than `age` that no image needs, as deleted collections and broken uploads leave them. None as
    /// long as there is evidence of lost images: these objects may be all that is left of them.
    pub(super) async fn sweep(&self, age: Duration) -> Result<usize, EngineError> {
        self.sweep_copies().await;
        let evidence = self.stores.blobs.list(EVIDENCE).await?;
        if !evidence.is_empty() {
            tracing::warn!(
                "images were lost: nothing is swept until doppel fsck --repair has removed the evidence"
            );
            return Ok(0);
        }
        Ok(self
            .media
            .sweep(age, &|kind, content| self.needs(kind, content))
            .await?)
    }

    /// Sweeps every now and then for as long as the engine lives: uploads that broke off and removals that were cut short
    /// leave objects behind.
    pub(super) fn sweep_regularly(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                match engine.sweep(ORPHAN_AGE).await {
                    Ok(removed) => tracing::debug!(removed, "removed objects that no image needs"),
                    Err(error) => tracing::warn!(%error, "objects that no image needs are left behind"),
                }
            }
        });
    }

    /// Has the object store put space by for deletions every now and then, for as long as the engine lives.
    pub(super) fn tidy_regularly(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.stores.blobs.tidy().await;
            }
        });
    }

    /// Removes what a deleted collection left, in the background.
    pub(super) fn sweep_soon(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            match engine.sweep(Duration::ZERO).await {
                Ok(removed) => tracing::info!(removed, "removed objects of a deleted collection"),
                Err(error) => tracing::warn!(%error, "objects of a deleted collection are left behind"),
            }
        });
    }

    /// Whether an image refers to an object, or may: what cannot be read might.
    fn needs(&self, kind: MediaKind, content: &ContentHash) -> bool {
        if !self.closed.read().is_empty() {
            return true;
        }
        let id = ImageId::from(*content);
        self.open.read().values().any(|collection| {
            collection.is_damaged()
                || collection.get(id).is_some()
                    && (kind == MediaKind::Thumbnail || collection.keeps_originals())
        })
    }
}
