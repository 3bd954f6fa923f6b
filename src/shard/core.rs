//! State that the writer, the readers and the maintenance of one shard share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::growing::Growing;
use super::recovery::WalPlace;
use super::view::View;
use super::wal::{Entry, Position};
use super::{Damage, ShardError, ShardOptions, background};
use crate::store::metadata::keys::Keys;
use crate::types::{Epoch, ImagePair, Judgement, SegmentId, Seq};

pub(crate) struct Core {
    pub(crate) place: WalPlace,
    pub(crate) keys: Keys,
    pub(crate) epoch: Epoch,
    pub(crate) options: ShardOptions,
    /// Changing what a view holds needs the read lock, replacing it the write lock: a delete never falls between two.
    view: RwLock<Arc<View>>,
    judgements: RwLock<HashMap<ImagePair, Judgement>>,
    /// Bytes of WAL that are not sealed.
    backlog: AtomicU64,
    /// WAL objects of this epoch that are applied.
    applied: AtomicU64,
    status: AtomicU8,
    pub(crate) damage: Mutex<Vec<Damage>>,
    /// Segments being uploaded: not orphans.
    pub(crate) uploading: Mutex<Vec<SegmentId>>,
    /// Wakes the seals.
    pub(crate) wake: Notify,
    /// Wakes the compactions.
    pub(crate) sealed_one: Notify,
}

const OPEN: u8 = 0;
const FENCED: u8 = 1;
const CLOSED: u8 = 2;

impl Core {
    pub(crate) fn new(place: WalPlace, keys: Keys, epoch: Epoch, options: ShardOptions) -> Self {
        let view = View {
            growing: Arc::new(Growing::new(options.spec.dim)),
            sealing: None,
            segments: Vec::new(),
        };
        Self {
            place,
            keys,
            epoch,
            options,
            view: RwLock::new(Arc::new(view)),
            judgements: RwLock::default(),
            backlog: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            status: AtomicU8::new(OPEN),
            damage: Mutex::default(),
            uploading: Mutex::default(),
            wake: Notify::new(),
            sealed_one: Notify::new(),
        }
    }

    /// The parts of the shard as they are now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// Replaces the view; no change happens meanwhile.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut View)) {
        let mut slot = self.view.write();
        let mut view = View::clone(&slot);
        change(&mut view);
        *slot = Arc::new(view);
    }

    /// Applies a durable group of this epoch; the writer has seen that what it appends is new.
    pub(crate) fn apply(&self, entries: Vec<Entry>, bytes: u64) {
        let growing = {
            let view = self.view.read();
            for entry in entries {
                self.apply_one(&view, entry);
            }
            self.count(&view, bytes);
            view.growing.clone()
        };
        self.applied.fetch_add(1, Ordering::AcqRel);
        if growing.wants_indexing() {
            background::spawn(move || growing.index());
        }
        if self.seal_due() {
            self.wake.notify_one();
        }
    }

    /// Applies what another epoch wrote.
    pub(crate) fn replay(&self, entry: Entry, bytes: u64) {
        let view = self.view.read();
        match &entry {
            Entry::Append(record) if view.contains(&record.id) => {
                tracing::warn!(id = %record.id, "the WAL appends an image that is there already");
            }
            _ => self.apply_one(&view, entry),
        }
        self.count(&view, bytes);
    }

    fn count(&self, view: &View, bytes: u64) {
        view.growing.add_wal_bytes(bytes);
        let backlog = self.backlog.fetch_add(bytes, Ordering::AcqRel) + bytes;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("doppel_wal_backlog_bytes").set(backlog as f64);
    }

    fn apply_one(&self, view: &View, entry: Entry) {
        match entry {
            Entry::Append(record) => {
                let id = record.id;
                if let Err(error) = view.growing.insert(record) {
                    tracing::error!(%id, %error, "an acknowledged image is not searchable");
                }
            }
            Entry::Delete(id) => {
                view.delete(&id);
            }
            Entry::Judge(judgement) => {
                view.growing.judge(judgement);
                self.learn(judgement);
            }
        }
    }

    /// Lets what was replayed into the graph, in the background.
    pub(crate) fn index_replayed(&self) {
        let growing = self.view().growing.clone();
        if growing.wants_indexing() {
            background::spawn(move || growing.index());
        }
    }

    /// Takes note of a judgement, unless a later one on the pair is known.
    pub(crate) fn learn(&self, judgement: Judgement) {
        let mut known = self.judgements.write();
        let entry = known.entry(judgement.pair).or_insert(judgement);
        if judgement.at >= entry.at {
            *entry = judgement;
        }
    }

    pub(crate) fn judgement(&self, pair: &ImagePair) -> Option<Judgement> {
        self.judgements.read().get(pair).copied()
    }

    pub(crate) fn judgements(&self) -> Vec<Judgement> {
        self.judgements.read().values().copied().collect()
    }

    /// Freezes the growing segment and starts another. The writer calls it between two groups.
    pub(crate) fn rotate(&self) {
        self.replace(|view| {
            debug_assert!(view.sealing.is_none(), "one seal at a time");
            view.growing.stop_indexing();
            let fresh = Arc::new(Growing::new(self.options.spec.dim));
            view.sealing = Some(std::mem::replace(&mut view.growing, fresh));
        });
    }

    /// Bytes of WAL that stand in no segment yet.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Acquire)
    }

    pub(crate) fn sealed(&self, bytes: u64) {
        self.backlog.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Last WAL object of this epoch that is applied, `None` before the first.
    pub(crate) fn applied(&self) -> Option<Position> {
        let count = self.applied.load(Ordering::Acquire);
        Some(Position {
            epoch: self.epoch,
            seq: Seq::new(count.checked_sub(1)?),
        })
    }

    /// Whether the growing segment has reached its rows, bytes or age.
    pub(crate) fn seal_due(&self) -> bool {
        let view = self.view.read();
        let growing = &view.growing;
        growing.rows() >= self.options.seal_rows
            // Long before appends are refused.
            || growing.wal_bytes() >= self.options.backlog_bytes / 2
            || growing.wal_bytes() >= self.options.seal_bytes
            || growing
                .first_change()
                .is_some_and(|first| first.elapsed() >= self.options.seal_age)
    }

    pub(crate) fn fence(&self) {
        self.status.store(FENCED, Ordering::Release);
        self.view().growing.stop_indexing();
    }

    pub(crate) fn close(&self) {
        // A fenced shard stays fenced: its callers must look for the new owner.
        let _ = self
            .status
            .compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        self.view().growing.stop_indexing();
    }

    /// Whether writes are taken.
    pub(crate) fn check_open(&self) -> Result<(), ShardError> {
        match self.status.load(Ordering::Acquire) {
            OPEN => Ok(()),
            FENCED => Err(ShardError::Fenced {
                epoch: self.epoch.get(),
            }),
            _ => Err(ShardError::Closed),
        }
    }
}
