//! Why the engine refused or failed.

use crate::cluster::catalogue::CatalogueError;
use crate::cluster::registry::RegistryError;
use crate::error::ErrorKind;
use crate::shard::ShardError;
use crate::store::blob::BlobError;
use crate::store::metadata::MetadataError;
use crate::types::{CollectionName, ImageId};
use crate::vision::VisionError;

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No collection of that name.
    #[error("there is no collection {name}")]
    NoCollection {
        /// The name.
        name: CollectionName,
    },
    /// The collection is there and could not be opened; the others are served.
    #[error("collection {name} is closed: {reason}")]
    Closed {
        /// The collection.
        name: CollectionName,
        /// Why, and what can be done.
        reason: String,
        /// What the caller can do.
        kind: ErrorKind,
    },
    /// There are images in the object store that the metadata knows nothing of; serving would take their places.
    #[error(
        "the object store holds images and the metadata lists no collection: is it the right --data-dir or --etcd? If the \
         metadata is lost, run doppel fsck --rebuild-metadata"
    )]
    MetadataLost,
    /// No image of that id in the collection.
    #[error("there is no image {id} in collection {collection}")]
    NoImage {
        /// The id.
        id: ImageId,
        /// The collection.
        collection: CollectionName,
    },
    /// The thumbnail is gone from the object store.
    #[error("the thumbnail of image {id} is missing from the object store")]
    NoThumbnail {
        /// The image.
        id: ImageId,
    },
    /// The uploaded file was not kept.
    #[error(
        "the file of image {id} was not kept: collection {collection} stores, or stored then, thumbnails only"
    )]
    NoOriginal {
        /// The image.
        id: ImageId,
        /// The collection.
        collection: CollectionName,
    },
    /// No such group, or it has changed since it was read.
    #[error("group {id} of collection {collection} has changed, or was resolved: read the groups again")]
    NoGroup {
        /// The group.
        id: ImageId,
        /// The collection.
        collection: CollectionName,
    },
    /// A decision about a group names an image that is not in it, or contradicts itself.
    #[error("{reason}")]
    BadResolution {
        /// What is wrong.
        reason: String,
    },
    /// No job of that id.
    #[error("there is no job {id}")]
    NoJob {
        /// The id as given.
        id: String,
    },
    /// A cursor that no list gave out.
    #[error("{text:?} is not a cursor of this list")]
    BadCursor {
        /// The cursor, shortened.
        text: String,
    },
    /// A setting that cannot be used.
    #[error("the setting {key:?}: {reason}")]
    BadSetting {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The system gives no threads.
    #[error("no thread can be started: {0}")]
    Threads(#[source] std::io::Error),
    /// The network cannot be used.
    #[error("the model {path} cannot be used: {reason}")]
    Model {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: VisionError,
    },
    /// Too many images are waiting to be analysed.
    #[error("{waiting} images are waiting already: send this one again a little later")]
    Busy {
        /// Length of the queue.
        waiting: usize,
    },
    /// The service is going down.
    #[error("doppel is stopping")]
    Stopping,
    /// A part of doppel panicked.
    #[error("doppel failed on this image, which is a defect: {what}")]
    Panicked {
        /// The panic's message.
        what: String,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] VisionError),
    /// The catalogue of collections failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A shard failed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The object store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The node cannot take its place in the cluster.
    #[error(transparent)]
    Cluster(#[from] RegistryError),
    /// The metadata store failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl EngineError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCollection { .. }
            | Self::NoImage { .. }
            | Self::NoOriginal { .. }
            | Self::NoJob { .. } => ErrorKind::NotFound,
            Self::NoGroup { .. } | Self::MetadataLost => ErrorKind::Conflict,
            Self::Closed { kind, .. } => *kind,
            Self::BadResolution { .. } | Self::BadCursor { .. } | Self::BadSetting { .. } => {
                ErrorKind::Invalid
            }
            Self::Busy { .. } => ErrorKind::Overloaded,
            Self::Stopping | Self::Threads(_) => ErrorKind::Unavailable,
            Self::NoThumbnail { .. } => ErrorKind::Corrupt,
            Self::Panicked { .. } => ErrorKind::Internal,
            Self::Image(error) | Self::Model { reason: error, .. } => error.kind(),
            Self::Catalogue(error) => error.kind(),
            Self::Shard(error) => error.kind(),
            Self::Blob(error) => error.kind(),
            Self::Cluster(error) => error.kind(),
            Self::Metadata(error) => error.kind(),
        }
    }
}
