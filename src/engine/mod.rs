//! Floor 4: the façade that both doors share. Data goes one way: bytes → analysis → candidates → judgement → shard → answer.
//! No matching logic stands above this floor, and none of it here: what is a match is decided in `dedup`.

pub mod accuracy;
mod analysis;
mod closer;
mod collections;
mod edges;
mod error;
mod features;
#[cfg(test)]
pub(crate) mod fixtures;
mod groups;
mod ingest;
mod jobs;
mod model;
mod network;
mod objects;
pub mod scan;
mod search;
mod waves;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::cluster::Seat;
use crate::cluster::catalogue::Catalogue;
use crate::cluster::registry::NodeInfo;
use crate::config::Config;
use crate::dedup::Cascade;
use crate::shard::media::Media;
use crate::shard::{StoreLocation, Stores};
use crate::telemetry::names;
use crate::types::{CollectionName, ImageId, ImageRecord, ModelHash, NodeId};
use crate::vision::{self, Analyser, DecodeLimits};
use analysis::AnalysisPool;
use collections::{Closed, Collection};
use features::FeatureCache;
use jobs::Jobs;
use workers::Workers;

pub use error::EngineError;
pub use groups::{Group, GroupPage, Resolution, Resolved};
pub use ingest::{Ingest, IngestOptions};
pub use jobs::{JobInfo, JobKind, JobState};
pub use model::{
    Answer, CollectionInfo, CollectionOptions, Cursor, Found, OnDuplicate, Outcome, Page, Probe,
    SearchOptions, Upload, Uploaded,
};
pub use network::network;

/// Everything doppel does with stored images.
pub struct Engine {
    config: Config,
    stores: Stores,
    media: Media,
    catalogue: Catalogue,
    node: NodeId,
    model: ModelHash,
    dim: usize,
    analysis: AnalysisPool,
    analyser: Arc<Analyser>,
    limits: DecodeLimits,
    cascade: Cascade,
    features: FeatureCache,
    /// Place in the cluster; none on a single node.
    seat: Mutex<Option<Seat>>,
    open: RwLock<HashMap<CollectionName, Arc<Collection>>>,
    /// Collections that could not be opened.
    closed: RwLock<HashMap<CollectionName, Closed>>,
    /// One permit: collections are opened and removed one at a time, or a shard would fence itself.
    opening: Semaphore,
    jobs: Jobs,
    workers: Arc<Workers>,
}

impl Engine {
    /// Opens the stores that `config` names, and every collection in them; `default` is made if it is missing. Collections
    /// that cannot be opened are closed, and told so to whoever asks for them.
    ///
    /// # Errors
    /// [`EngineError::Metadata`] when another process has the data folder; any failure of a store.
    pub async fn open(config: Config) -> Result<Arc<Self>, EngineError> {
        let stores = store_location(&config).open().await?;
        let analyser: Arc<dyn vision::Embedder> = network::network(&config)?;
        let (model, dim) = (analyser.model_hash(), analyser.dim());
        let limits = DecodeLimits {
            max_pixels: config.limits.max_pixels,
            max_side: config.limits.max_side_pixels,
            max_file_bytes: config.limits.max_file_bytes,
        };
        let node = config
            .node
            .parse()
            .map_err(|error: crate::types::InvalidId| EngineError::BadSetting {
                key: "node",
                reason: error.to_string(),
            })?;
        let seat = take_seat(&config, &stores, &node).await?;
        let cascade = Cascade::default().with_background(analyser.bank());
        let analyser = Arc::new(Analyser::new(analyser, limits));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = Arc::new(Workers::start(cores).map_err(EngineError::Threads)?);
        let engine = Arc::new(Self {
            catalogue: Catalogue::new(Arc::clone(&stores.metadata), &config.cluster),
            media: Media::new(Arc::clone(&stores.blobs)),
            stores,
            node,
            model,
            dim,
            analysis: AnalysisPool::new(Arc::clone(&analyser), &config.ingest, Arc::clone(&workers)),
            analyser,
            limits,
            cascade,
            features: FeatureCache::new(config.search.feature_cache_bytes),
            seat: Mutex::new(seat),
            open: RwLock::default(),
            closed: RwLock::default(),
            opening: Semaphore::new(1),
            jobs: Jobs::new(),
            workers,
            config,
        });
        engine.list_default().await?;
        engine.open_listed().await?;
        engine.sweep_copies().await;
        engine.stores.blobs.tidy().await;
        engine.tidy_regularly();
        engine.sweep_regularly();
        Ok(engine)
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How distinctive an image is, 0 to 1; `None` where the network has no background bank.
    #[must_use]
    pub fn distinctiveness(&self, image: &ImageRecord) -> Option<f32> {
        self.cascade.distinctiveness(&image.fingerprint)
    }

    /// Returns when another node may have taken over: this one must stop. Never on a single node.
    pub fn deposed(&self) -> impl Future<Output = ()> + Send + use<> {
        let lost = self.seat.lock().as_ref().map(Seat::lost);
        async move {
            match lost {
                Some(lost) => lost.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops jobs and closes all shards; what was acknowledged is durable without it.
    pub async fn close(&self) {
        self.jobs.stop();
        let open: Vec<_> = self
            .open
            .write()
            .drain()
            .map(|(_, collection)| collection)
            .collect();
        for collection in open {
            for shard in collection.shards() {
                shard.close().await;
            }
        }
        let seat = self.seat.lock().take();
        if let Some(seat) = seat
            && let Err(error) = seat.leave().await
        {
            tracing::warn!(%error, "leaving the cluster failed; the leases will run out");
        }
    }

    /// An image's record.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`], [`EngineError::NoImage`].
    pub fn get(&self, collection: &CollectionName, id: ImageId) -> Result<Arc<ImageRecord>, EngineError> {
        let open = self.opened(collection)?;
        open.get(id).ok_or_else(|| EngineError::NoImage {
            id,
            collection: collection.clone(),
        })
    }

    /// Images of a collection after `cursor`, newest first.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub fn list(
        &self,
        collection: &CollectionName,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, EngineError> {
        // One more than asked for tells whether there is a next part.
        let mut images = self.opened(collection)?.list(cursor, limit.saturating_add(1));
        let more = images.len() > limit;
        images.truncate(limit);
        let next = images.last().filter(|_| more).map(|last| Cursor {
            created: last.created,
            id: last.id,
        });
        Ok(Page { images, next })
    }

    /// Removes an image, durably.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`], [`EngineError::NoImage`].
    pub async fn delete(&self, collection: &CollectionName, id: ImageId) -> Result<(), EngineError> {
        let open = self.opened(collection)?;
        if self.remove(&open, id).await? {
            Ok(())
        } else {
            Err(EngineError::NoImage {
                id,
                collection: collection.clone(),
            })
        }
    }

    /// Jobs of this process, latest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.jobs.list()
    }

    /// Follows a job: the receiver holds its present state and wakes at every change.
    ///
    /// # Errors
    /// [`EngineError::NoJob`].
    pub fn follow_job(&self, id: &str) -> Result<watch::Receiver<JobInfo>, EngineError> {
        self.jobs.follow(id)
    }

    /// Asks a job to stop; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`EngineError::NoJob`].
    pub fn cancel_job(&self, id: &str) -> Result<JobInfo, EngineError> {
        self.jobs.cancel(id)
    }

    /// Sets the gauges that are read off rather than counted.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn measure(&self) {
        metrics::gauge!(names::QUEUE_IMAGES).set(self.analysis.waiting() as f64);
        for (name, collection) in &*self.open.read() {
            metrics::gauge!(names::STORED_IMAGES, "collection" => name.to_string())
                .set(collection.len() as f64);
        }
    }

    async fn remove(&self, collection: &Collection, id: ImageId) -> Result<bool, EngineError> {
        let record = collection.get(id);
        let removed = collection.owner(id).delete(id).await?;
        collection.edges.lock().remove(id);
        if let Some(record) = record.filter(|_| removed) {
            self.release(record.fingerprint.content_hash).await;
        }
        Ok(removed)
    }

    /// The open collection of that name.
    fn opened(&self, name: &CollectionName) -> Result<Arc<Collection>, EngineError> {
        if let Some(open) = self.open.read().get(name) {
            return Ok(Arc::clone(open));
        }
        Err(match self.closed.read().get(name) {
            Some(closed) => closed.error(),
            None => EngineError::NoCollection { name: name.clone() },
        })
    }

    /// Runs work that computes on one of as many threads as there are cores.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        self.workers.run(work).await
    }
}

/// Where `config` says the stores are.
fn store_location(config: &Config) -> StoreLocation {
    StoreLocation {
        data_dir: config.data_dir.clone(),
        etcd: config.etcd.clone(),
        storage: config.storage.clone(),
    }
}

/// In a cluster, waits until this node may open the shards.
async fn take_seat(config: &Config, stores: &Stores, node: &NodeId) -> Result<Option<Seat>, EngineError> {
    if config.etcd.is_empty() {
        return Ok(None);
    }
    let info = NodeInfo {
        id: node.clone(),
        address: config.listen.to_string(),
        zone: String::new(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let metadata = Arc::clone(&stores.metadata);
    Ok(Some(Seat::take(metadata, &config.cluster, info).await?))
}
