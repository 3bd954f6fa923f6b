//! The collections of a cluster. Dimension, shard count and model are fixed when a collection is made: they decide where
//! an image lives and what its embedding means.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::shard::{ShardError, Stores, erase};
use crate::store::metadata::keys::Keys;
use crate::store::metadata::{Compare, KeyValue, MetadataError, MetadataStore, Op, TxnOutcome};
use crate::types::{CollectionName, ModelHash, NodeId, ShardId};

/// Version of the stored value.
const VERSION: u32 = 1;

/// What a collection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSpec {
    /// Its name.
    pub name: CollectionName,
    /// Components of an embedding.
    pub dim: usize,
    /// Number of shards, at least 1.
    pub shards: u16,
    /// Network that makes the embeddings.
    pub model_hash: ModelHash,
    /// Whether uploaded files are kept, not only their thumbnails.
    pub keep_originals: bool,
}

/// A collection that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// What it is.
    pub spec: CollectionSpec,
    /// Revision at which it was made: one that was deleted and made again is another.
    pub incarnation: i64,
}

/// Why the catalogue refuses.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The metadata store fails.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A shard cannot be removed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// No such collection.
    #[error("there is no collection {name}")]
    NotFound {
        /// The name asked for.
        name: CollectionName,
    },
    /// The collection exists and holds another model's embeddings.
    #[error("collection {name} holds embeddings of model {existing}; this doppel has model {wanted}")]
    OtherModel {
        /// The collection.
        name: CollectionName,
        /// Model of the collection.
        existing: ModelHash,
        /// Model asked for.
        wanted: ModelHash,
    },
    /// The collection exists and differs otherwise.
    #[error("collection {name} exists with another {what}, which cannot change")]
    Exists {
        /// The collection.
        name: CollectionName,
        /// What differs.
        what: &'static str,
    },
    /// The collection cannot be made as asked.
    #[error("a collection cannot have {what}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
    },
    /// The stored value makes no sense.
    #[error("{key} is damaged: {what}")]
    Corrupt {
        /// Its key.
        key: String,
        /// What was found.
        what: String,
    },
    /// Others change the same collection.
    #[error("collection {name} is being changed by others")]
    Busy {
        /// The collection.
        name: CollectionName,
    },
}

impl CatalogueError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Metadata(e) => e.kind(),
            Self::Shard(e) => e.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::OtherModel { .. } | Self::Exists { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Busy { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The stored value.
#[derive(Serialize, Deserialize)]
struct Value {
    v: u32,
    dim: usize,
    metric: String,
    shards: u16,
    model: String,
    keep_originals: bool,
}

/// The collections of a cluster.
#[derive(Clone)]
pub struct Catalogue {
    metadata: Arc<dyn MetadataStore>,
    keys: Keys,
}

/// Tries against others who change the same collection.
const TRIES: usize = 16;

impl Catalogue {
    /// The collections of the cluster of that name.
    #[must_use]
    pub fn new(metadata: Arc<dyn MetadataStore>, cluster: &str) -> Self {
        Self {
            metadata,
            keys: Keys::new(cluster),
        }
    }

    /// Makes a collection. One that exists already with the same dimension, shards and model is the answer too; whether it
    /// keeps originals is then set as asked.
    ///
    /// # Errors
    /// [`CatalogueError::OtherModel`], [`CatalogueError::Exists`], [`CatalogueError::Invalid`]; else as the store fails.
    pub async fn create(&self, spec: CollectionSpec) -> Result<Collection, CatalogueError> {
        if spec.shards == 0 || spec.dim == 0 {
            return Err(CatalogueError::Invalid {
                what: "no shards or no dimension",
            });
        }
        let key = self.keys.collection(&spec.name);
        for _ in 0..TRIES {
            let existing = self.metadata.get(&key).await?;
            if let Some(entry) = &existing {
                let found = decode(&spec.name, entry)?;
                check_same(&found.spec, &spec)?;
                if found.spec == spec {
                    return Ok(found);
                }
            }
            let compares = vec![Compare::unchanged(&key, existing.as_ref())];
            let ops = vec![Op::put(&key, encode(&spec))];
            match self.metadata.txn(compares, ops).await {
                Ok(TxnOutcome::Committed { revision }) => {
                    let incarnation = existing.map_or(revision, |entry| entry.create_revision);
                    return Ok(Collection { spec, incarnation });
                }
                // Read again: it may be ours.
                Ok(TxnOutcome::Refused) | Err(MetadataError::OutcomeUnknown { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(CatalogueError::Busy { name: spec.name })
    }

    /// One collection.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], [`CatalogueError::Corrupt`]; else as the store fails.
    pub async fn get(&self, name: &CollectionName) -> Result<Collection, CatalogueError> {
        match self.metadata.get(&self.keys.collection(name)).await? {
            Some(entry) => decode(name, &entry),
            None => Err(CatalogueError::NotFound { name: name.clone() }),
        }
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// [`CatalogueError::Corrupt`]; else as the store fails.
    pub async fn list(&self) -> Result<Vec<Collection>, CatalogueError> {
        let prefix = self.keys.collections();
        let entries = self.metadata.range(&prefix).await?.entries;
        let decoded = entries.iter().map(|entry| {
            let name = entry.key.strip_prefix(&prefix).and_then(|name| name.parse().ok());
            let name: CollectionName = name.ok_or_else(|| CatalogueError::Corrupt {
                key: entry.key.clone(),
                what: "not a collection's name".to_owned(),
            })?;
            decode(&name, entry)
        });
        decoded.collect()
    }

    /// Removes a collection with all data of its shards; tells whether it was there. Its owners are fenced. Thumbnails and
    /// originals stay until a sweep finds that nothing refers to them.
    ///
    /// # Errors
    /// As the stores fail. A removal cut short leaves the collection listed, and goes on with the next call.
    pub async fn delete(
        &self,
        stores: &Stores,
        owner: &NodeId,
        name: &CollectionName,
    ) -> Result<bool, CatalogueError> {
        let shards = match self.get(name).await {
            Ok(collection) => collection.spec.shards,
            Err(CatalogueError::NotFound { .. }) => return Ok(false),
            Err(e) => return Err(e),
        };
        for shard in 0..shards {
            erase(stores, self.keys.cluster(), name, ShardId::new(shard), owner).await?;
        }
        let key = self.keys.collection(name);
        self.metadata.txn(Vec::new(), vec![Op::delete(&key)]).await?;
        Ok(true)
    }
}

fn check_same(existing: &CollectionSpec, wanted: &CollectionSpec) -> Result<(), CatalogueError> {
    let name = wanted.name.clone();
    if existing.model_hash != wanted.model_hash {
        return Err(CatalogueError::OtherModel {
            name,
            existing: existing.model_hash,
            wanted: wanted.model_hash,
        });
    }
    let what = if existing.dim != wanted.dim {
        "dimension"
    } else if existing.shards != wanted.shards {
        "number of shards"
    } else {
        return Ok(());
    };
    Err(CatalogueError::Exists { name, what })
}

fn encode(spec: &CollectionSpec) -> Vec<u8> {
    let value = Value {
        v: VERSION,
        dim: spec.dim,
        metric: "cosine".to_owned(),
        shards: spec.shards,
        model: spec.model_hash.to_string(),
        keep_originals: spec.keep_originals,
    };
    serde_json::to_vec(&value).expect("plain values always serialise")
}

fn decode(name: &CollectionName, entry: &KeyValue) -> Result<Collection, CatalogueError> {
    let corrupt = |what: String| CatalogueError::Corrupt {
        key: entry.key.clone(),
        what,
    };
    let value: Value = serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
    if value.v > VERSION || value.shards == 0 || value.metric != "cosine" {
        return Err(corrupt("of a newer doppel, or without shards".to_owned()));
    }
    let spec = CollectionSpec {
        name: name.clone(),
        dim: value.dim,
        shards: value.shards,
        model_hash: value
            .model
            .parse()
            .map_err(|e| corrupt(format!("its model: {e}")))?,
        keep_originals: value.keep_originals,
    };
    Ok(Collection {
        spec,
        incarnation: entry.create_revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fixtures::{DIM, record};
    use crate::shard::{Shard, ShardOptions};
    use crate::store::blob::ObjectBlobStore;
    use crate::store::metadata::embedded::EmbeddedStore;

    fn spec(name: &str) -> CollectionSpec {
        CollectionSpec {
            name: name.parse().expect("a name"),
            dim: 256,
            shards: 4,
            model_hash: ModelHash::from_bytes([1; 32]),
            keep_originals: true,
        }
    }

    #[tokio::test]
    async fn collections_are_made_once_and_models_never_mix() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(EmbeddedStore::open(dir.path()).await.expect("opened"));
        let catalogue = Catalogue::new(store.clone(), "local");
        assert_eq!(catalogue.list().await.expect("listed"), []);
        let made = catalogue.create(spec("a")).await.expect("made");
        assert_eq!(catalogue.create(spec("a")).await.expect("the same"), made);
        assert_eq!(catalogue.get(&made.spec.name).await.expect("there"), made);

        let other = CollectionSpec {
            model_hash: ModelHash::from_bytes([2; 32]),
            ..spec("a")
        };
        let refused = catalogue.create(other).await.expect_err("refused");
        assert!(matches!(refused, CatalogueError::OtherModel { .. }));
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let resharded = CollectionSpec {
            shards: 5,
            ..spec("a")
        };
        assert!(matches!(
            catalogue.create(resharded).await,
            Err(CatalogueError::Exists {
                what: "number of shards",
                ..
            })
        ));

        let thumbnails_only = CollectionSpec {
            keep_originals: false,
            ..spec("a")
        };
        let changed = catalogue
            .create(thumbnails_only.clone())
            .await
            .expect("an option changes");
        assert_eq!(
            (changed.spec, changed.incarnation),
            (thumbnails_only, made.incarnation)
        );

        catalogue.create(spec("ab")).await.expect("made");
        let stores = Stores {
            metadata: store.clone(),
            blobs: Arc::new(ObjectBlobStore::memory()),
        };
        let owner: NodeId = "a".parse().expect("a name");
        let options = || ShardOptions::new(DIM, ModelHash::from_bytes([1; 32]));
        let open = async |name: &CollectionName| {
            let shard = ShardId::new(2);
            Shard::open(stores.clone(), "local", name, shard, &owner, options())
                .await
                .expect("opened")
        };
        let shard = open(&made.spec.name).await;
        shard.append(record(1)).await.expect("stored");
        shard.seal().await.expect("sealed");
        shard.append(record(2)).await.expect("stored");

        assert!(
            catalogue
                .delete(&stores, &owner, &made.spec.name)
                .await
                .expect("deleted")
        );
        assert!(
            !catalogue
                .delete(&stores, &owner, &made.spec.name)
                .await
                .expect("gone")
        );
        assert!(matches!(
            catalogue.get(&made.spec.name).await,
            Err(CatalogueError::NotFound { .. })
        ));
        let names: Vec<_> = catalogue
            .list()
            .await
            .expect("listed")
            .into_iter()
            .map(|c| c.spec.name.to_string())
            .collect();
        assert_eq!(names, ["ab"]);
        assert!(stores.blobs.list("seg").await.expect("listed").is_empty());

        // The owner of the deleted collection cannot write into the next one of that name.
        let again = catalogue.create(spec("a")).await.expect("made");
        assert!(again.incarnation > made.incarnation);
        assert!(matches!(
            shard.append(record(3)).await,
            Err(ShardError::Fenced { .. })
        ));
        let fresh = open(&made.spec.name).await;
        assert!(fresh.is_empty());
        assert!(fresh.epoch() > shard.epoch());
        assert_eq!(fresh.damage(), []);
    }
}
