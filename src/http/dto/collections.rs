//! The documents of collections.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine;

/// A collection and what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CollectionDto {
    #[schema(example = "default")]
    name: String,
    /// Number of images.
    images: u64,
    /// Number of shards.
    shards: u16,
    /// Dimension of its embeddings.
    dim: usize,
    /// Model of its embeddings: BLAKE3 of the weights.
    model: String,
    /// Whether `file` serves the uploaded bytes, or only thumbnails are kept.
    keep_originals: bool,
    /// Why it could not be opened, as it was made with another model or is damaged; its images are not counted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
    /// Stored objects that were missing or damaged when it was opened; searches are partial while there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamageDto>,
}

/// A stored object that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
struct DamageDto {
    /// Its name.
    object: String,
    /// What is wrong with it.
    what: String,
}

impl From<engine::CollectionInfo> for CollectionDto {
    fn from(info: engine::CollectionInfo) -> Self {
        Self {
            name: info.name.to_string(),
            images: info.images,
            shards: info.shards,
            dim: info.dim,
            model: info.model,
            keep_originals: info.keep_originals,
            closed: info.closed,
            damaged: info
                .damage
                .into_iter()
                .map(|damage| DamageDto {
                    object: damage.object,
                    what: damage.what,
                })
                .collect(),
        }
    }
}

/// All collections, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CollectionsDto {
    pub(in crate::http) collections: Vec<CollectionDto>,
}

/// Options of a new collection; what is absent is as the service is configured.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewCollectionDto {
    /// Number of shards, 1 to 1024. Cannot be changed later.
    #[serde(default)]
    pub(in crate::http) shards: Option<u16>,
    /// Whether uploaded files are kept, not only their thumbnails.
    #[serde(default)]
    pub(in crate::http) keep_originals: Option<bool>,
}
