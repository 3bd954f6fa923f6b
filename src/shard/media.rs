//! Thumbnails and originals: objects named by their image's content, shared by all collections.
//!
//! An object is removed only when no image of any collection refers to it. Uploads and removals of the same content
//! exclude each other: an upload holds its content from before its objects are put until its record is durable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::ShardError;
use crate::store::blob::{BlobError, BlobStore};
use crate::types::ContentHash;

/// Kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Small JPEG; every image has one.
    Thumbnail,
    /// The uploaded file; kept where the collection says so.
    Original,
}

impl MediaKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Thumbnail, Self::Original];

    /// Folder of all objects of this kind.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumb",
            Self::Original => "original",
        }
    }

    /// Name of an image's object.
    #[must_use]
    pub fn name(self, content: &ContentHash) -> String {
        format!("{}/{content}", self.folder())
    }
}

/// Start of the eight bytes behind a thumbnail: this, then the CRC-32 of what is before them. JPEG readers ignore what
/// follows the image.
const TRAILER_MAGIC: [u8; 4] = *b"DPLT";
/// The same where zeros fill the object up to whole blocks: before it stands the length of the JPEG, a u32.
const FILLED_MAGIC: [u8; 4] = *b"DPLF";

/// A thumbnail as an object of whole `block`s.
fn with_checksum(jpeg: &[u8], block: usize) -> Bytes {
    let length = u32::try_from(jpeg.len()).ok().filter(|_| block > 1);
    let trailer = if length.is_some() { 12 } else { 8 };
    let total = (jpeg.len() + trailer).next_multiple_of(block);
    let mut object = Vec::with_capacity(total);
    object.extend_from_slice(jpeg);
    if let Some(length) = length {
        object.resize(total - trailer, 0);
        object.extend_from_slice(&length.to_le_bytes());
    }
    let crc = crc32fast::hash(&object);
    object.extend_from_slice(if length.is_some() {
        &FILLED_MAGIC
    } else {
        &TRAILER_MAGIC
    });
    object.extend_from_slice(&crc.to_le_bytes());
    object.into()
}

/// What an object holds, `None` when it is not what was stored. A thumbnail without a checksum, as earlier versions wrote
/// them, is taken as it is.
pub(crate) fn checked(kind: MediaKind, content: &ContentHash, object: Bytes) -> Option<Bytes> {
    match kind {
        MediaKind::Original => (blake3::hash(&object).as_bytes() == content.as_bytes()).then_some(object),
        MediaKind::Thumbnail => {
            let Some((rest, crc)) = object.split_last_chunk::<4>() else {
                return Some(object);
            };
            let is_whole = |content: &[u8]| crc32fast::hash(content) == u32::from_le_bytes(*crc);
            if let Some(filled) = rest.strip_suffix(&FILLED_MAGIC) {
                let (_, length) = filled.split_last_chunk::<4>()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                return (is_whole(filled) && length + 4 <= filled.len()).then(|| object.slice(..length));
            }
            let Some(jpeg) = rest.strip_suffix(&TRAILER_MAGIC) else {
                return Some(object);
            };
            let length = jpeg.len();
            is_whole(jpeg).then(|| object.slice(..length))
        }
    }
}

/// Tells whether an image that lives in some collection needs an object.
pub type References<'a> = &'a (dyn Fn(MediaKind, &ContentHash) -> bool + Sync);

/// Locks; contents that share one wait for each other now and then.
const STRIPES: usize = 256;

/// The thumbnails and originals of all collections.
pub struct Media {
    blobs: Arc<dyn BlobStore>,
    stripes: Vec<Arc<RwLock<()>>>,
}

/// Keeps an image's objects from being removed; held until its record is durable.
pub struct Hold {
    content: ContentHash,
    _guard: OwnedRwLockReadGuard<()>,
}

impl Media {
    /// Objects in this store.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>) -> Self {
        Self {
            blobs,
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
        }
    }

    fn stripe(&self, content: &ContentHash) -> &Arc<RwLock<()>> {
        &self.stripes[usize::from(content.as_bytes()[0]) % STRIPES]
    }

    /// Keeps the objects of a content in place while the hold lives.
    pub async fn hold(&self, content: ContentHash) -> Hold {
        Hold {
            content,
            _guard: self.stripe(&content).clone().read_owned().await,
        }
    }

    /// Stores an object of the content held; durable when it returns. One that is there stays as it is.
    ///
    /// # Errors
    /// [`ShardError::Blob`].
    pub async fn put(&self, hold: &Hold, kind: MediaKind, object: Bytes) -> Result<(), ShardError> {
        let object = match kind {
            MediaKind::Thumbnail => with_checksum(&object, self.blobs.block()),
            MediaKind::Original => object,
        };
        self.blobs.create(&kind.name(&hold.content), object).await?;
        Ok(())
    }

    /// An object; `None` when there is none.
    ///
    /// # Errors
    /// [`ShardError::Corrupt`] when it fails its check; [`ShardError::Blob`].
    pub async fn get(&self, kind: MediaKind, content: &ContentHash) -> Result<Option<Bytes>, ShardError> {
        let name = kind.name(content);
        match self.blobs.get(&name).await {
            Ok(object) => match checked(kind, content, object) {
                Some(object) => Ok(Some(object)),
                None => Err(ShardError::Corrupt {
                    name,
                    what: "its checksum is wrong".to_owned(),
                }),
            },
            Err(BlobError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes the objects of a content that nothing refers to; called after an image was deleted. Waits for uploads of
    /// the same content.
    ///
    /// # Errors
    /// [`ShardError::Blob`]; what is left then goes at the next [`Self::sweep`].
    pub async fn release(&self, content: &ContentHash, needed: References<'_>) -> Result<(), ShardError> {
        let _exclusive = self.stripe(content).write().await;
        for kind in MediaKind::ALL {
            if !needed(kind, content) {
                self.blobs.delete(&kind.name(content)).await?;
            }
        }
        Ok(())
    }

    /// Removes all objects that nothing refers to and that are at least `age` old: what uploads left that never got a
    /// record, and what releases left that were cut short. Returns how many went.
    ///
    /// # Errors
    /// [`ShardError::Blob`].
    pub async fn sweep(&self, age: Duration, needed: References<'_>) -> Result<usize, ShardError> {
        let mut orphans = BTreeSet::new();
        for kind in MediaKind::ALL {
            let listed = self.blobs.list(kind.folder()).await?;
            let newest = listed.iter().map(|object| object.modified).max();
            for object in listed {
                let content = object
                    .name
                    .rsplit('/')
                    .next()
                    .and_then(|name| name.parse::<ContentHash>().ok());
                // By the store's clock: ours may jump.
                let old = newest
                    .and_then(|newest| (newest - object.modified).to_std().ok())
                    .is_some_and(|elapsed| elapsed >= age);
                if let Some(content) = content
                    && old
                    && !needed(kind, &content)
                {
                    orphans.insert((kind, content));
                }
            }
        }
        let mut removed = 0;
        for (kind, content) in orphans {
            let _exclusive = self.stripe(&content).write().await;
            if !needed(kind, &content) {
                self.blobs.delete(&kind.name(&content)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::segment::fixtures::content;
    use crate::store::blob::ObjectBlobStore;

    #[test]
    fn thumbnails_of_any_length_come_back_and_damage_is_seen() {
        let hash = content(0);
        for block in [1, 64] {
            for length in 0..200 {
                let jpeg: Vec<u8> = (0..length).map(|i| (i % 3) as u8).collect();
                let object = with_checksum(&jpeg, block);
                assert!(object.len().is_multiple_of(block));
                let back = checked(MediaKind::Thumbnail, &hash, object.clone());
                assert_eq!(back, Some(Bytes::from(jpeg)));
                for at in 0..object.len() - 8 {
                    let mut damaged = object.to_vec();
                    damaged[at] ^= 1;
                    assert_eq!(
                        checked(MediaKind::Thumbnail, &hash, damaged.into()),
                        None,
                        "at {at}"
                    );
                }
            }
        }
        // What earlier versions wrote is taken as it is.
        let bare = Bytes::from_static(b"jpeg");
        assert_eq!(checked(MediaKind::Thumbnail, &hash, bare.clone()), Some(bare));
    }

    #[tokio::test]
    async fn objects_live_as_long_as_any_image_needs_them() {
        let media = Media::new(Arc::new(ObjectBlobStore::memory()));
        for n in 0..3 {
            let hold = media.hold(content(n)).await;
            for kind in MediaKind::ALL {
                let file = Bytes::from(n.to_le_bytes().to_vec());
                media.put(&hold, kind, file).await.expect("stored");
                media
                    .put(&hold, kind, Bytes::from_static(b"y"))
                    .await
                    .expect("there already");
            }
        }
        let kept = media.get(MediaKind::Thumbnail, &content(0)).await.expect("read");
        assert_eq!(kept, Some(Bytes::from(0_u64.to_le_bytes().to_vec())));
        // Another collection still has the image, without its original.
        media
            .release(&content(0), &|kind, _| kind == MediaKind::Thumbnail)
            .await
            .expect("released");
        assert!(
            media
                .get(MediaKind::Thumbnail, &content(0))
                .await
                .expect("read")
                .is_some()
        );
        assert!(
            media
                .get(MediaKind::Original, &content(0))
                .await
                .expect("read")
                .is_none()
        );
        media.release(&content(0), &|_, _| false).await.expect("released");
        assert!(
            media
                .get(MediaKind::Thumbnail, &content(0))
                .await
                .expect("read")
                .is_none()
        );

        let young = media
            .sweep(Duration::from_secs(3600), &|_, _| false)
            .await
            .expect("swept");
        assert_eq!(young, 0);
        let one = content(1);
        let swept = media
            .sweep(Duration::ZERO, &|_, hash| *hash == one)
            .await
            .expect("swept");
        assert_eq!(swept, 2);
        assert!(
            media
                .get(MediaKind::Original, &one)
                .await
                .expect("read")
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_removal_waits_for_uploads_of_the_same_content() {
        let media = Arc::new(Media::new(Arc::new(ObjectBlobStore::memory())));
        let recorded = Arc::new(AtomicBool::new(false));
        let hold = media.hold(content(1)).await;
        let removal = {
            let (media, recorded) = (media.clone(), recorded.clone());
            tokio::spawn(async move {
                media
                    .release(&content(1), &|_, _| recorded.load(Ordering::SeqCst))
                    .await
            })
        };
        tokio::task::yield_now().await;
        media
            .put(&hold, MediaKind::Thumbnail, Bytes::from_static(b"x"))
            .await
            .expect("stored");
        recorded.store(true, Ordering::SeqCst);
        drop(hold);
        removal.await.expect("no panic").expect("released");
        assert!(
            media
                .get(MediaKind::Thumbnail, &content(1))
                .await
                .expect("read")
                .is_some()
        );
    }
}
