//! Collections and their open shards.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use parking_lot::Mutex;

use super::edges::Edges;
use super::{CollectionInfo, CollectionOptions, Cursor, Engine, EngineError};
use crate::cluster::catalogue::CollectionSpec;
use crate::error::ErrorKind;
use crate::shard::rebuild::has_objects;
use crate::shard::{ListCursor, Shard, ShardOptions, sweep_copies};
use crate::types::{CollectionName, ImageId, ImagePair, ImageRecord, Judgement, ModelHash, ShardId, Verdict};

/// An open collection.
pub(super) struct Collection {
    pub(super) spec: CollectionSpec,
    shards: Vec<Arc<Shard>>,
    /// Matches found between its images so far.
    pub(super) edges: Mutex<Edges>,
    /// The one option that can change.
    keep_originals: AtomicBool,
}

impl Collection {
    pub(super) fn name(&self) -> &CollectionName {
        &self.spec.name
    }

    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The shard that owns an image.
    pub(super) fn owner(&self, id: ImageId) -> &Arc<Shard> {
        let count = u16::try_from(self.shards.len()).expect("a collection has at most u16::MAX shards");
        &self.shards[usize::from(id.shard(count).get())]
    }

    pub(super) fn get(&self, id: ImageId) -> Option<Arc<ImageRecord>> {
        self.owner(id).get(&id)
    }

    pub(super) fn len(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    /// Images older than `before`, newest first.
    pub(super) fn list(&self, before: Option<Cursor>, limit: usize) -> Vec<Arc<ImageRecord>> {
        let before = || before.map(|Cursor { created, id }| ListCursor { created, id });
        let mut images: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.list(before(), limit))
            .collect();
        images.sort_by_key(|image| Reverse((image.created, image.id)));
        images.truncate(limit);
        images
    }

    /// What people said of a pair.
    pub(super) fn verdict(&self, pair: &ImagePair) -> Option<Verdict> {
        self.owner(ImageId::from(pair.low())).verdict(pair)
    }

    /// Verdicts that stand, on all pairs.
    pub(super) fn verdicts(&self) -> Vec<Judgement> {
        self.shards().iter().flat_map(|shard| shard.verdicts()).collect()
    }

    /// Keeps what a person said of a pair, durably.
    pub(super) async fn judge(&self, pair: ImagePair, verdict: Verdict) -> Result<(), EngineError> {
        let judgement = Judgement {
            pair,
            verdict,
            at: Utc::now(),
        };
        Ok(self.owner(ImageId::from(pair.low())).judge(judgement).await?)
    }

    /// Whether uploaded files are kept.
    pub(super) fn keeps_originals(&self) -> bool {
        self.keep_originals.load(Ordering::Relaxed)
    }

    fn info(&self) -> CollectionInfo {
        CollectionInfo {
            name: self.spec.name.clone(),
            images: self.len(),
            shards: self.spec.shards,
            dim: self.spec.dim,
            model: self.spec.model_hash.to_string(),
            keep_originals: self.keeps_originals(),
            closed: None,
            damage: self.shards.iter().flat_map(|shard| shard.damage()).collect(),
        }
    }

    /// Whether something stored in it cannot be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.shards.iter().any(|shard| !shard.damage().is_empty())
    }
}

/// A collection that is listed and could not be opened.
pub(super) struct Closed {
    spec: CollectionSpec,
    reason: String,
    kind: ErrorKind,
}

impl Closed {
    pub(super) fn error(&self) -> EngineError {
        EngineError::Closed {
            name: self.spec.name.clone(),
            reason: self.reason.clone(),
            kind: self.kind,
        }
    }

    fn info(&self) -> CollectionInfo {
        CollectionInfo {
            name: self.spec.name.clone(),
            images: 0,
            shards: self.spec.shards,
            dim: self.spec.dim,
            model: self.spec.model_hash.to_string(),
            keep_originals: self.spec.keep_originals,
            closed: Some(self.reason.clone()),
            damage: Vec::new(),
        }
    }
}

impl Engine {
    /// All collections, by name.
    ///
    /// # Errors
    /// When the catalogue does not answer.
    pub async fn collections(&self) -> Result<Vec<CollectionInfo>, EngineError> {
        let mut infos: Vec<_> = self
            .open
            .read()
            .values()
            .map(|collection| collection.info())
            .collect();
        infos.extend(self.closed.read().values().map(Closed::info));
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// One collection.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub async fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, EngineError> {
        if let Some(closed) = self.closed.read().get(name) {
            return Ok(closed.info());
        }
        Ok(self.opened(name)?.info())
    }

    /// Creates a collection; tells whether it is new. One that is there keeps originals from now on as asked.
    ///
    /// # Errors
    /// [`EngineError::Catalogue`] when it is there with another number of shards; [`EngineError::Closed`].
    pub async fn create_collection(
        &self,
        name: &CollectionName,
        options: CollectionOptions,
    ) -> Result<(CollectionInfo, bool), EngineError> {
        let _turn = self.opening.acquire().await.map_err(|_| EngineError::Stopping)?;
        let there = match self.opened(name) {
            Ok(collection) => Some(collection),
            Err(EngineError::NoCollection { .. }) => None,
            Err(closed) => return Err(closed),
        };
        let mut spec = self.new_spec(name);
        if let Some(collection) = &there {
            spec.shards = collection.spec.shards;
            spec.keep_originals = collection.keeps_originals();
        }
        spec.shards = options.shards.unwrap_or(spec.shards);
        spec.keep_originals = options.keep_originals.unwrap_or(spec.keep_originals);
        let spec = self.catalogue.create(spec).await?.spec;
        let keep = spec.keep_originals;
        let collection = self.open_collection(spec).await?;
        collection.keep_originals.store(keep, Ordering::Relaxed);
        Ok((collection.info(), there.is_none()))
    }

    /// Removes a collection with all that is in it. `default` comes back empty.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub async fn delete_collection(self: &Arc<Self>, name: &CollectionName) -> Result<(), EngineError> {
        {
            let _turn = self.opening.acquire().await.map_err(|_| EngineError::Stopping)?;
            let closing = self.open.write().remove(name);
            for shard in closing.iter().flat_map(|collection| collection.shards()) {
                shard.close().await;
            }
            // One whose removal was cut short is not open, and listed still: the removal goes on.
            let delete = || self.catalogue.delete(&self.stores, &self.node, name);
            let was_listed = match delete().await {
                // Keys that go are written first, and so are the fences: what is put by is for that.
                Err(error)
                    if error.kind() == ErrorKind::StorageFull && self.stores.blobs.give_reserve().await =>
                {
                    tracing::info!(collection = %name, "the disk is full: using all space put by");
                    let deleted = delete().await;
                    self.stores.blobs.tidy().await;
                    deleted?
                }
                deleted => deleted?,
            };
            self.closed.write().remove(name);
            if closing.is_none() && !was_listed {
                return Err(EngineError::NoCollection { name: name.clone() });
            }
        }
        if *name == CollectionName::default_collection() {
            self.create_collection(name, CollectionOptions::default()).await?;
        }
        self.sweep_soon();
        Ok(())
    }

    /// A collection of that name as the settings and this process's network have it.
    fn new_spec(&self, name: &CollectionName) -> CollectionSpec {
        CollectionSpec {
            name: name.clone(),
            dim: self.dim,
            shards: self.config.collections.shards,
            model_hash: self.model,
            keep_originals: self.config.collections.keep_originals,
        }
    }

    /// Lists `default`, which is there from the start.
    pub(super) async fn list_default(&self) -> Result<(), EngineError> {
        let default = CollectionName::default_collection();
        let mut listed = self.catalogue.list().await?;
        if listed.is_empty() && has_objects(&self.stores).await? {
            // Another node may have begun meanwhile.
            listed = self.catalogue.list().await?;
            if listed.is_empty() {
                return Err(EngineError::MetadataLost);
            }
        }
        if listed.iter().all(|collection| collection.spec.name != default) {
            self.catalogue.create(self.new_spec(&default)).await?;
        }
        Ok(())
    }

    /// Opens every collection that is listed. One that holds another model's vectors or a newer doppel's data, or whose
    /// metadata makes no sense, is closed: the others are served.
    pub(super) async fn open_listed(&self) -> Result<(), EngineError> {
        for collection in self.catalogue.list().await? {
            let spec = collection.spec;
            let (reason, kind) = if spec.model_hash == self.model {
                match self.open_collection(spec.clone()).await {
                    Ok(_) => continue,
                    Err(error) => match error.kind() {
                        kind @ (ErrorKind::Corrupt | ErrorKind::Conflict | ErrorKind::Invalid) => {
                            (error.to_string(), kind)
                        }
                        _ => return Err(error),
                    },
                }
            } else {
                let short = |hash: ModelHash| hash.to_string().chars().take(12).collect::<String>();
                let reason = format!(
                    "it was made with model {}, this doppel has {}, and their vectors cannot be compared: import its \
                     images into another collection, or start doppel with the model that made it (--model)",
                    short(spec.model_hash),
                    short(self.model)
                );
                (reason, ErrorKind::Conflict)
            };
            tracing::error!(collection = %spec.name, reason, "a collection stays closed; the others are served");
            let closed = Closed { reason, kind, spec };
            self.closed.write().insert(closed.spec.name.clone(), closed);
        }
        Ok(())
    }

    /// Opens the shards of a collection, unless it is open. One call at a time: once the engine is shared, the caller holds
    /// the permit of `opening`.
    pub(super) async fn open_collection(&self, spec: CollectionSpec) -> Result<Arc<Collection>, EngineError> {
        if let Ok(open) = self.opened(&spec.name) {
            return Ok(open);
        }
        let open = (0..spec.shards).map(|number| {
            let stores = self.stores.clone();
            let options = self.shard_options();
            let (cluster, name) = (&self.config.cluster, &spec.name);
            Shard::open(stores, cluster, name, ShardId::new(number), &self.node, options)
        });
        let shards = futures::future::try_join_all(open).await?;
        let collection = Arc::new(Collection {
            shards,
            edges: Mutex::default(),
            keep_originals: AtomicBool::new(spec.keep_originals),
            spec,
        });
        self.open
            .write()
            .insert(collection.name().clone(), Arc::clone(&collection));
        Ok(collection)
    }

    /// Folder of the copies of a remote store's segments.
    fn cache_dir(&self) -> PathBuf {
        self.config.data_dir.join("cache")
    }

    /// Removes the copies of segments of collections that are no more.
    pub(super) async fn sweep_copies(&self) {
        if self.config.storage.is_none() {
            return;
        }
        let mut listed: HashSet<CollectionName> = self.open.read().keys().cloned().collect();
        listed.extend(self.closed.read().keys().cloned());
        let cache = self.cache_dir();
        match tokio::task::spawn_blocking(move || sweep_copies(&cache, &listed)).await {
            Ok(0) | Err(_) => {}
            Ok(removed) => tracing::info!(removed, "removed copies of segments that nothing needs"),
        }
    }

    fn shard_options(&self) -> ShardOptions {
        let options = ShardOptions {
            backlog_bytes: self.config.limits.max_unsealed_bytes,
            ..ShardOptions::new(self.dim, self.model)
        };
        if self.config.storage.is_some() {
            ShardOptions {
                cache_dir: Some(self.cache_dir()),
                ..options.remote()
            }
        } else {
            options
        }
    }
}
