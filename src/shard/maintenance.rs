//! The background work of a shard, and its first part, the seal: the growing segment becomes a file. Publishing is one
//! transaction that also raises the WAL floor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc, oneshot};

use super::core::Core;
use super::growing::Growing;
use super::ledger::Ledger;
use super::staged::Staged;
use super::state::{Head, SegmentState, to_json};
use super::view::{LiveSegment, Stored};
use super::wal::Position;
use super::writer::Request;
use super::{ShardError, background, objects};
use crate::segment::{self, Made, Segment, SegmentError, Tombstones};
use crate::store::metadata::{Compare, Op};
use crate::types::{ImageRecord, Judgement, SegmentId};

/// Between two looks at what is due when nothing wakes the maintenance.
const TICK: Duration = Duration::from_secs(15);
/// After a failure.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
/// Most segment keys changed by one transaction, beside the head and the new segment.
const KEYS_PER_COMMIT: usize = 100;

/// Sealing, compaction and garbage collection of one shard.
pub(crate) struct Maintenance {
    pub(crate) core: Arc<Core>,
    /// Held while something is published, so that what is dead and what is stored go together.
    pub(crate) ledger: Mutex<Ledger>,
    requests: mpsc::WeakSender<Request>,
    /// Held during a seal; the floor of a rotation that is not published yet.
    sealing: Mutex<Option<Position>>,
    /// Held during a compaction.
    pub(crate) compacting: Mutex<()>,
    /// Segments begun.
    begun: AtomicU64,
}

/// Tombstones that were stored and wait for the transaction that makes them count.
struct Flushed {
    live: Arc<LiveSegment>,
    version: u32,
    dead: usize,
    state: SegmentState,
}

impl Maintenance {
    pub(crate) fn new(core: Arc<Core>, ledger: Ledger, requests: mpsc::WeakSender<Request>) -> Self {
        Self {
            core,
            ledger: Mutex::new(ledger),
            requests,
            sealing: Mutex::new(None),
            compacting: Mutex::new(()),
            begun: AtomicU64::new(0),
        }
    }

    /// Begins a segment: to be called before its rows are taken.
    pub(crate) fn begin(&self) -> Made {
        Made {
            epoch: self.core.epoch,
            step: self.begun.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Does what is due until the shard is closed or taken over. A compaction, which may take minutes, holds no seal up.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.seal_when_due(), self.compact_when_due());
    }

    async fn seal_when_due(&self) {
        while self.is_woken(&self.core.wake).await {
            if self.core.seal_due() || self.core.view().sealing.is_some() {
                let outcome = self.seal().await;
                self.take_note(outcome).await;
            }
        }
    }

    async fn compact_when_due(&self) {
        while self.is_woken(&self.core.sealed_one).await {
            let mut outcome = self.compact().await;
            while matches!(outcome, Ok(true)) {
                outcome = self.compact().await;
            }
            self.take_note(outcome).await;
        }
    }

    /// Waits until somebody wakes it, or for a while; then whether the shard is still to be maintained.
    async fn is_woken(&self, wake: &Notify) -> bool {
        let pause = TICK.min(self.core.options.seal_age);
        // Woken or not, it is time to look.
        let _ = tokio::time::timeout(pause, wake.notified()).await;
        self.core.check_open().is_ok()
    }

    async fn take_note(&self, outcome: Result<bool, ShardError>) {
        match outcome {
            Ok(_) | Err(ShardError::Closed) => {}
            Err(error @ ShardError::Fenced { .. }) => {
                tracing::warn!(%error, "the maintenance steps down");
                self.core.fence();
            }
            Err(error) => {
                tracing::warn!(%error, collection = %self.core.place.collection, shard = %self.core.place.shard, "maintenance failed, will try again");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// Seals the growing segment; tells whether there was anything to seal.
    pub(crate) async fn seal(&self) -> Result<bool, ShardError> {
        let mut pending = self.sealing.lock().await;
        let floor = match *pending {
            Some(floor) => floor,
            None => {
                if self.core.view().growing.wal_bytes() == 0 {
                    return Ok(false);
                }
                let floor = self.rotate().await?;
                *pending = Some(floor);
                floor
            }
        };
        let Some(frozen) = self.core.view().sealing.clone() else {
            return Err(ShardError::Closed);
        };
        let made = self.begin();
        let mut records = frozen.records();
        let judgements = frozen.judgements();
        let sealed = if records.is_empty() && judgements.is_empty() {
            None
        } else {
            records.sort_unstable_by_key(|record| record.id);
            let rows = records.into_iter().map(Ok);
            Some(self.build_and_upload(rows, judgements, made).await?)
        };
        self.publish_seal(&frozen, sealed, floor).await?;
        *pending = None;
        drop(pending);
        self.collect_garbage().await?;
        Ok(true)
    }

    async fn rotate(&self) -> Result<Position, ShardError> {
        let requests = self.requests.upgrade().ok_or(ShardError::Closed)?;
        let (reply, answer) = oneshot::channel();
        requests
            .send(Request::Rotate(reply))
            .await
            .map_err(|_| ShardError::Closed)?;
        answer.await.map_err(|_| ShardError::Closed)?
    }

    /// Builds a segment of rows by rising id, stores it under a fresh name and opens it from there.
    pub(crate) async fn build_and_upload(
        &self,
        rows: impl Iterator<Item = Result<Arc<ImageRecord>, SegmentError>> + Send + 'static,
        judgements: Vec<Judgement>,
        made: Made,
    ) -> Result<Uploaded, ShardError> {
        let core = &self.core;
        let stores = &core.place.stores;
        let id = SegmentId::random();
        let name = objects::segment_name(&core.place.collection, core.place.shard, id);
        let failed = |source: SegmentError| ShardError::Segment {
            name: name.clone(),
            source,
        };
        let mut file = Staged::new(stores, &core.options, id).map_err(|e| failed(e.into()))?;
        let spec = core.options.spec;
        let (built, file) = background::run(move || {
            let built = segment::build(rows, &judgements, made, spec, &mut file);
            (built, file)
        })
        .await?;
        let built = built.map_err(failed)?;
        core.uploading.lock().push(id);
        let upload = async {
            file.upload(stores, &name).await?;
            let file = objects::fetch(stores, &core.options, &name).await?;
            objects::open_file(&name, file, &core.options).await
        };
        match upload.await {
            Ok(segment) => Ok(Uploaded {
                id,
                state: SegmentState::new(built.rows, built.bytes, built.crc),
                segment,
            }),
            Err(error) => {
                self.forget_upload(id);
                Err(error)
            }
        }
    }

    pub(crate) fn forget_upload(&self, id: SegmentId) {
        self.core.uploading.lock().retain(|other| *other != id);
    }

    async fn publish_seal(
        &self,
        frozen: &Arc<Growing>,
        sealed: Option<Uploaded>,
        floor: Position,
    ) -> Result<(), ShardError> {
        let core = &self.core;
        let mut ledger = self.ledger.lock().await;
        // Deletes below the new floor will not be replayed: they must stand beside the segments first.
        let mut flushed = Vec::new();
        for live in &core.view().segments {
            flushed.extend(self.flush_tombstones(live).await?);
        }
        while flushed.len() > KEYS_PER_COMMIT {
            let part = flushed.split_off(flushed.len() - KEYS_PER_COMMIT);
            let head = ledger.head().clone();
            self.commit(&mut ledger, head, part, Vec::new(), Vec::new())
                .await?;
        }
        let mut head = ledger.head().clone();
        head.raise_floor(floor);
        let ops = sealed
            .as_ref()
            .map(|new| self.put_segment(new))
            .into_iter()
            .collect();
        let revision = self.commit(&mut ledger, head, flushed, Vec::new(), ops).await?;
        let wal_bytes = frozen.wal_bytes();
        core.replace(|view| {
            view.sealing = None;
            if let Some(new) = sealed {
                let live = new.into_live(revision, |id| frozen.contains(id));
                self.forget_upload(live.id);
                view.segments.push(Arc::new(live));
            }
        });
        core.sealed(wal_bytes);
        core.sealed_one.notify_one();
        tracing::info!(
            collection = %core.place.collection, shard = %core.place.shard, rows = frozen.len(), wal_bytes, "sealed a segment"
        );
        Ok(())
    }

    pub(crate) fn put_segment(&self, new: &Uploaded) -> Op {
        let place = &self.core.place;
        let key = self.core.keys.segment(&place.collection, place.shard, new.id);
        Op::put(key, to_json(&new.state))
    }

    /// Stores the dead rows of a segment, if more are dead than are stored.
    async fn flush_tombstones(&self, live: &Arc<LiveSegment>) -> Result<Option<Flushed>, ShardError> {
        let stored = *live.stored.lock();
        if live.dead.dead() <= stored.dead {
            return Ok(None);
        }
        let place = &self.core.place;
        let (object, dead) = live.dead.encode(live.id);
        let mut version = stored.tombstones;
        loop {
            version += 1;
            let name = objects::tombstones_name(&place.collection, place.shard, live.id, version);
            match objects::upload(&place.stores, &name, object.clone()).await {
                Ok(()) => break,
                // Left by a publication that failed: that version never counted.
                Err(ShardError::Corrupt { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        let mut state = SegmentState::new(
            live.segment.len() as u64,
            live.segment.bytes() as u64,
            live.segment.crc(),
        );
        state.tombstones = version;
        state.dead = dead as u64;
        Ok(Some(Flushed {
            live: live.clone(),
            version,
            dead,
            state,
        }))
    }

    /// One transaction: the head, flushed tombstones, and what else is to be published.
    async fn commit(
        &self,
        ledger: &mut Ledger,
        head: Head,
        flushed: Vec<Flushed>,
        mut compares: Vec<Compare>,
        mut ops: Vec<Op>,
    ) -> Result<i64, ShardError> {
        let place = &self.core.place;
        for f in &flushed {
            let key = self.core.keys.segment(&place.collection, place.shard, f.live.id);
            ops.push(Op::put(&key, to_json(&f.state)));
            let revision = f.live.stored.lock().revision;
            compares.push(Compare::ModRevision { key, revision });
        }
        let revision = self.publish(ledger, head, compares, ops).await?;
        for f in flushed {
            *f.live.stored.lock() = Stored {
                revision,
                tombstones: f.version,
                dead: f.dead,
            };
        }
        Ok(revision)
    }

    pub(crate) async fn publish(
        &self,
        ledger: &mut Ledger,
        head: Head,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> Result<i64, ShardError> {
        ledger
            .commit(head, compares, ops)
            .await?
            .ok_or_else(|| ShardError::Corrupt {
                name: "segment metadata".to_owned(),
                what: "a segment's key changed without its owner".to_owned(),
            })
    }
}

/// A segment that is stored and not published.
pub(crate) struct Uploaded {
    pub(crate) id: SegmentId,
    pub(crate) state: SegmentState,
    pub(crate) segment: Segment,
}

impl Uploaded {
    /// The published segment; rows that died while it was built are dead in it.
    pub(crate) fn into_live(
        self,
        revision: i64,
        lives: impl Fn(&crate::types::ImageId) -> bool,
    ) -> LiveSegment {
        let dead = Tombstones::new(self.segment.len());
        for row in 0..u32::try_from(self.segment.len()).unwrap_or(u32::MAX) {
            if !lives(&self.segment.id(row)) {
                dead.kill(row);
            }
        }
        LiveSegment {
            id: self.id,
            segment: self.segment,
            dead,
            stored: Stored {
                revision,
                tombstones: self.state.tombstones,
                dead: usize::try_from(self.state.dead).unwrap_or(usize::MAX),
            }
            .into(),
        }
    }
}
