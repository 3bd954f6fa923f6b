//! Floor 2: one shard of a collection: the place where an image becomes durable and is found again.
//!
//! **Write path.** Requests wait in a queue; one writer gathers them into groups, puts each group as one WAL object with
//! create-if-absent, applies it to the growing segment and only then answers. **Ownership.** A shard is opened by one
//! transaction that names the owner and opens an epoch; then every earlier epoch is ended by a fence object at its first
//! free place, so that a former owner's next write fails whatever its clock says. **Seal.** A growing segment that is
//! large or old becomes a file; one transaction publishes it and raises the WAL floor. **Deletes** are WAL records, then
//! bits beside the segments, then gone at compaction.

mod background;
mod cache;
mod codec;
mod compact;
mod core;
mod erase;
mod error;
pub mod fsck;
mod gc;
mod growing;
mod ledger;
mod maintenance;
pub mod media;
mod objects;
mod options;
pub mod rebuild;
mod recovery;
mod staged;
mod state;
mod stores;
mod tail;
#[cfg(test)]
mod tests;
mod view;
mod wal;
mod writer;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::core::Core;
use self::ledger::Ledger;
use self::maintenance::Maintenance as Keeper;
use self::recovery::WalPlace;
use self::state::{SegmentState, from_json};
use self::writer::{Reply, Request, Writer, checked};
use crate::store::metadata::keys::Keys;
use crate::types::{
    CollectionName, Embedding, Epoch, ImageId, ImagePair, ImageRecord, Judgement, NodeId, PdqHash, PixelHash,
    SegmentId, Seq, ShardId, Similarity, Verdict,
};

pub use cache::sweep_copies;
pub use codec::record_bytes;
pub use erase::erase;
pub use error::ShardError;
pub use objects::EVIDENCE;
pub use options::{Grouping, Maintenance, ShardOptions};
pub use state::Assignment;
pub use stores::{StoreLocation, Stores};
pub use wal::Position;

/// Outcome of [`Shard::append`]; either way the image is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Appended {
    /// It was not there before.
    New,
    /// The same content was there; this is its record, unchanged.
    Existing(Arc<ImageRecord>),
}

/// One answer of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHit {
    /// The image found.
    pub id: ImageId,
    /// Cosine similarity of its embedding with the query.
    pub similarity: Similarity,
}

/// Place in the list of images, newest first, ids falling where times are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    /// Creation time of the last image seen.
    pub created: DateTime<Utc>,
    /// Its id.
    pub id: ImageId,
}

/// Something stored that is missing or fails its checks. The rest of the shard is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the object.
    pub object: String,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    fn new(object: String, what: &str) -> Self {
        tracing::error!(object, what, "stored data is damaged");
        Self {
            object,
            what: what.to_owned(),
        }
    }
}

/// Segments opened at the same time.
const OPEN_AHEAD: usize = 4;

/// An open shard, owned by this node.
pub struct Shard {
    core: Arc<Core>,
    requests: mpsc::Sender<Request>,
    keeper: Arc<Keeper>,
    /// The maintenance that runs by itself.
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Shard {
    /// Takes a shard over: claims it, fences earlier owners, opens its segments, replays its WAL, and serves.
    ///
    /// # Errors
    /// [`ShardError`] when a store fails. Objects that fail their checks do not prevent opening: see [`Self::damage`].
    pub async fn open(
        stores: Stores,
        cluster: &str,
        collection: &CollectionName,
        shard: ShardId,
        owner: &NodeId,
        options: ShardOptions,
    ) -> Result<Arc<Self>, ShardError> {
        let keys = Keys::new(cluster);
        let mut ledger = Ledger::claim(&stores, &keys, collection, shard, owner).await?;
        let place = WalPlace {
            stores,
            collection: collection.clone(),
            shard,
        };
        let epoch = ledger.epoch();
        let fenced = recovery::fence(&place, ledger.head(), epoch).await?;
        if fenced != *ledger.head() && ledger.commit(fenced, Vec::new(), Vec::new()).await?.is_none() {
            return Err(ledger.fenced());
        }
        let core = Arc::new(Core::new(place, keys, epoch, options));
        open_segments(&core).await?;
        let mut damage = Vec::new();
        let place = core.place.clone();
        recovery::replay(&place, ledger.head(), epoch, &mut damage, |entry, bytes| {
            core.replay(entry, bytes)
        })
        .await?;
        core.damage.lock().extend(damage);
        core.index_replayed();

        let (requests, queue) = mpsc::channel(core.options.queue);
        let writer = Writer {
            core: core.clone(),
            requests: queue,
            next: Seq::new(0),
            last_calls: 0,
        };
        tokio::spawn(writer.run());
        let keeper = Arc::new(Keeper::new(core.clone(), ledger, requests.downgrade()));
        let running = (core.options.maintenance == Maintenance::Automatic).then(|| {
            core.wake.notify_one();
            tokio::spawn(keeper.clone().run())
        });
        Ok(Arc::new(Self {
            core,
            requests,
            keeper,
            running: Mutex::new(running),
        }))
    }

    /// Stores an image. Durable when it returns; the same content is stored once, however many calls race.
    ///
    /// # Errors
    /// [`ShardError`]; nothing was stored, except after [`ShardError::OutcomeUnknown`].
    pub async fn append(&self, record: ImageRecord) -> Result<Appended, ShardError> {
        let record = checked(record, self.core.options.spec.dim)?;
        let backlog = self.core.backlog();
        if backlog >= self.core.options.backlog_bytes {
            self.core.wake.notify_one();
            return Err(ShardError::Overloaded {
                waiting: format!("{backlog} bytes of WAL"),
            });
        }
        self.ask(|reply| Request::Append(Arc::new(record), reply)).await
    }

    /// Removes an image; tells whether it was there. Durable when it returns.
    ///
    /// # Errors
    /// [`ShardError`]; nothing changed, except after [`ShardError::OutcomeUnknown`].
    pub async fn delete(&self, id: ImageId) -> Result<bool, ShardError> {
        self.ask(|reply| Request::Delete(id, reply)).await
    }

    /// Notes a person's verdict on a pair; the last one counts. Durable when it returns. It belongs to the shard of the
    /// pair's lower hash, and neither image has to be there.
    ///
    /// # Errors
    /// [`ShardError`]; nothing changed, except after [`ShardError::OutcomeUnknown`].
    pub async fn judge(&self, judgement: Judgement) -> Result<(), ShardError> {
        self.ask(|reply| Request::Judge(judgement, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ShardError> {
        self.core.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ShardError::Overloaded {
                waiting: format!("{} calls", self.core.options.queue),
            },
            mpsc::error::TrySendError::Closed(_) => {
                self.core.check_open().err().unwrap_or(ShardError::Closed)
            }
        })?;
        match answer.await {
            Ok(result) => result,
            // The writer is gone with the request: it may have been put.
            Err(_) => Err(ShardError::OutcomeUnknown {
                reason: "the shard stopped meanwhile".to_owned(),
            }),
        }
    }

    /// One image.
    #[must_use]
    pub fn get(&self, id: &ImageId) -> Option<Arc<ImageRecord>> {
        self.core.view().get(id)
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.view().len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` images, newest first, of those after the cursor.
    #[must_use]
    pub fn list(&self, before: Option<ListCursor>, limit: usize) -> Vec<Arc<ImageRecord>> {
        self.core.view().list(before, limit)
    }

    /// The `k` images nearest to `query`, nearest first. Takes CPU time: call it off the event loop.
    ///
    /// # Errors
    /// [`ShardError::Vector`] for a query of another dimension.
    pub fn search(&self, query: &Embedding, k: usize) -> Result<Vec<ShardHit>, ShardError> {
        self.core.view().search(query, k)
    }

    /// All images with at least this similarity to `query`, nearest first. Takes CPU time: call it off the event loop.
    ///
    /// # Errors
    /// [`ShardError::Vector`] for a query of another dimension.
    pub fn range(&self, query: &Embedding, min: Similarity) -> Result<Vec<ShardHit>, ShardError> {
        self.core.view().range(query, min)
    }

    /// Images with the same pixels.
    #[must_use]
    pub fn by_pixel_hash(&self, hash: &PixelHash) -> Vec<ImageId> {
        self.core.view().by_pixel_hash(hash)
    }

    /// Images whose PDQ hash is within `radius` bits of one of the query's eight variants, nearest first, with the
    /// distance. Images of PDQ quality below 50 are not found: their hashes mean nothing. Takes CPU time, about 10 ns for
    /// each image: call it off the event loop.
    #[must_use]
    pub fn pdq_within(&self, variants: &[PdqHash; 8], radius: u32) -> Vec<(ImageId, u32)> {
        self.core.view().pdq_within(variants, radius)
    }

    /// What people said, the last word on each pair; withdrawn ones are left out.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Judgement> {
        let mut all = self.core.judgements();
        all.retain(|j| j.verdict != Verdict::Withdrawn);
        all.sort_unstable_by_key(|j| j.pair);
        all
    }

    /// What people said about one pair.
    #[must_use]
    pub fn verdict(&self, pair: &ImagePair) -> Option<Verdict> {
        let verdict = self.core.judgement(pair)?.verdict;
        (verdict != Verdict::Withdrawn).then_some(verdict)
    }

    /// Token for session reads: the last group that is visible here. A caller's write stands at or before it.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.core.applied()
    }

    /// Fencing number under which this node owns the shard.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.core.epoch
    }

    /// Whether the shard takes writes: not closed, not taken over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core.check_open().is_ok()
    }

    /// Bytes of WAL that stand in no segment yet.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.core.backlog()
    }

    /// What was found missing or damaged when the shard was opened.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.core.damage.lock().clone()
    }

    /// Published segments: images in each, dead ones included, and how many of them are dead.
    #[must_use]
    pub fn segments(&self) -> Vec<(SegmentId, usize, usize)> {
        let view = self.core.view();
        view.segments
            .iter()
            .map(|s| (s.id, s.segment.len(), s.dead.dead()))
            .collect()
    }

    /// Makes the growing segment a sealed one now; tells whether there was anything to seal.
    ///
    /// # Errors
    /// [`ShardError`]; nothing is lost, and the next call goes on where this one stopped.
    pub async fn seal(&self) -> Result<bool, ShardError> {
        self.core.check_open()?;
        self.keeper.seal().await
    }

    /// Merges segments as the policy says; tells whether there was anything to merge.
    ///
    /// # Errors
    /// [`ShardError`]; nothing is lost or changed then.
    pub async fn compact(&self) -> Result<bool, ShardError> {
        self.core.check_open()?;
        self.keeper.compact().await
    }

    /// Removes objects that nothing needs any more; returns how many.
    ///
    /// # Errors
    /// [`ShardError`] as the stores fail.
    pub async fn collect_garbage(&self) -> Result<usize, ShardError> {
        self.keeper.collect_garbage().await
    }

    /// Takes no more writes; returns when those that wait are answered and the maintenance has stopped.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            // An error says that the writer is gone already.
            let _ = closed.await;
        }
        self.core.close();
        let running = self.running.lock().take();
        if let Some(running) = running {
            // Wherever it is: what it does survives worse.
            running.abort();
            let _ = running.await;
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("collection", &self.core.place.collection)
            .field("shard", &self.core.place.shard)
            .field("epoch", &self.core.epoch)
            .finish_non_exhaustive()
    }
}

/// Opens all published segments; those that fail their checks become damage.
async fn open_segments(core: &Arc<Core>) -> Result<(), ShardError> {
    let place = &core.place;
    let prefix = core.keys.segments(&place.collection, place.shard);
    let entries = place.stores.metadata.range(&prefix).await?.entries;
    let mut opening = futures::stream::iter(entries)
        .map(|entry| {
            let prefix = prefix.clone();
            async move {
                let id: SegmentId = entry
                    .key
                    .strip_prefix(&prefix)
                    .and_then(|id| id.parse().ok())
                    .ok_or_else(|| (entry.key.clone(), corrupt_key(&entry.key)))?;
                let name = objects::segment_name(&place.collection, place.shard, id);
                let open = async {
                    let state: SegmentState = from_json(&entry)?;
                    let state = (&state, entry.mod_revision);
                    objects::open(
                        &place.stores,
                        &core.options,
                        (&place.collection, place.shard),
                        id,
                        state,
                    )
                    .await
                };
                open.await.map_err(|e| (name, e))
            }
        })
        .buffer_unordered(OPEN_AHEAD);
    while let Some(opened) = opening.next().await {
        match opened {
            Ok(live) => {
                for judgement in live.segment.judgements().map_err(|source| ShardError::Segment {
                    name: live.id.to_string(),
                    source,
                })? {
                    core.learn(judgement);
                }
                core.replace(|view| view.segments.push(Arc::new(live)));
            }
            Err((name, error)) if is_damage(&error) => {
                core.damage.lock().push(Damage::new(name, &error.to_string()));
            }
            Err((_, error)) => return Err(error),
        }
    }
    Ok(())
}

fn corrupt_key(key: &str) -> ShardError {
    ShardError::Corrupt {
        name: key.to_owned(),
        what: "not the key of a segment".to_owned(),
    }
}

/// Whether the stored data is at fault, not the store that was asked for it.
fn is_damage(error: &ShardError) -> bool {
    use crate::error::ErrorKind;
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}
