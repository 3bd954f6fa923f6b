//! The metadata store of a single machine: one redb file, owned by one process.
//!
//! Revisions, compares, history and leases behave as in etcd, so that one contract test serves both. Leases live in
//! memory: when the file is opened, their holders are dead by definition (the file is locked), so what they left is
//! removed.

mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::table::{Change, Changes, Tables};
use super::{
    Compare, KeyValue, LeaseId, MetadataError, MetadataStore, Op, Snapshot, TxnOutcome, WatchEvent,
    WatchStream, check_txn,
};

/// Source of time for leases; tests move it by hand.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Settings of an [`EmbeddedStore`].
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Source of time for leases.
    pub clock: Clock,
    /// Revisions kept for watches to resume from; a watch from further back starts with [`WatchEvent::Reset`].
    pub history: i64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(Instant::now),
            history: 10_000,
        }
    }
}

/// A [`MetadataStore`] in one file.
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    tables: Tables,
    clock: Clock,
    leases: Mutex<HashMap<LeaseId, Lease>>,
    /// The store's revision after each change; watches wait on it. Sent while `commits` is held.
    revision: watch::Sender<i64>,
    commits: Mutex<()>,
}

struct Lease {
    ttl: Duration,
    deadline: Instant,
}

/// How often leases are looked at when nobody calls.
const LEASE_TICK: Duration = Duration::from_millis(200);

/// How long an owner that is on its way out may take.
const LEAVING: Duration = Duration::from_millis(500);

/// Events that a watch may be ahead of its receiver.
const WATCH_BUFFER: usize = 256;

impl EmbeddedStore {
    /// Opens `folder/metadata.redb`, made if it is missing, with default options.
    ///
    /// # Errors
    /// [`MetadataError::Locked`] when another process has it open; [`MetadataError::Corrupt`] when it fails its checks;
    /// [`MetadataError::Unavailable`] when it cannot be read or made.
    pub async fn open(folder: &Path) -> Result<Self, MetadataError> {
        Self::open_with(folder, EmbeddedOptions::default()).await
    }

    /// As [`Self::open`], with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(folder: &Path, options: EmbeddedOptions) -> Result<Self, MetadataError> {
        let folder: PathBuf = folder.to_owned();
        let history = options.history;
        let (tables, revision) = blocking(move || {
            let tables = open_patiently(&folder, history)?;
            let revision = tables.remove_leased(|_| true)?;
            Ok((tables, revision))
        })
        .await?;
        let inner = Arc::new(Inner {
            tables,
            clock: options.clock,
            leases: Mutex::default(),
            revision: watch::Sender::new(revision),
            commits: Mutex::default(),
        });
        tokio::spawn(expire_leases(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Inner) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, MetadataError> {
        let inner = self.inner.clone();
        blocking(move || {
            inner.expire()?;
            call(&inner)
        })
        .await
    }
}

/// Opens the file, giving an owner that is just leaving a moment to do so.
fn open_patiently(folder: &Path, history: i64) -> Result<Tables, MetadataError> {
    let patience = Instant::now() + LEAVING;
    loop {
        match Tables::open(folder, history) {
            Err(MetadataError::Locked { .. }) if Instant::now() < patience => {
                std::thread::sleep(LEAVING / 10);
            }
            opened => return opened,
        }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, MetadataError> + Send + 'static,
) -> Result<T, MetadataError> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|e| {
        Err(MetadataError::OutcomeUnknown {
            reason: e.to_string(),
        })
    })
}

impl Inner {
    /// Removes the keys of leases that have run out.
    fn expire(&self) -> Result<(), MetadataError> {
        let now = (self.clock)();
        let due: Vec<LeaseId> = {
            let leases = self.leases.lock();
            let due = leases.iter().filter(|(_, lease)| lease.deadline <= now);
            due.map(|(id, _)| *id).collect()
        };
        if due.is_empty() { Ok(()) } else { self.end(&due) }
    }

    /// Ends leases: their keys first, so that a failure leaves the lease to be ended again.
    fn end(&self, ended: &[LeaseId]) -> Result<(), MetadataError> {
        let _order = self.commits.lock();
        let revision = self.tables.remove_leased(|lease| ended.contains(&lease))?;
        self.leases.lock().retain(|id, _| !ended.contains(id));
        self.publish(revision);
        Ok(())
    }

    fn commit(&self, compares: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetadataError> {
        check_txn(compares, ops)?;
        let _order = self.commits.lock();
        for op in ops {
            if let Op::Put {
                lease: Some(lease), ..
            } = op
                && !self.leases.lock().contains_key(lease)
            {
                return Err(MetadataError::LeaseLost { lease: lease.0 });
            }
        }
        let outcome = self.tables.commit(compares, ops)?;
        if let TxnOutcome::Committed { revision } = outcome {
            self.publish(revision);
        }
        Ok(outcome)
    }

    fn publish(&self, revision: i64) {
        self.revision.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
    }
}

async fn expire_leases(store: Weak<Inner>) {
    let mut tick = tokio::time::interval(LEASE_TICK);
    loop {
        tick.tick().await;
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = blocking(move || inner.expire()).await {
            tracing::warn!(%error, "removing the keys of ended leases failed, will try again");
        }
    }
}

/// Feeds one watch: reads the history as fast as its receiver takes it.
async fn feed(
    store: Weak<Inner>,
    mut revisions: watch::Receiver<i64>,
    prefix: String,
    mut seen: i64,
    events: mpsc::Sender<WatchEvent>,
) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        let wanted = prefix.clone();
        let changes = blocking(move || inner.tables.changes(&wanted, seen)).await;
        match changes {
            Ok(Changes::Complete { revision, changes }) => {
                for change in changes {
                    let event = match change {
                        Change::Put(entry) => WatchEvent::Put(entry),
                        Change::Delete { key, revision } => WatchEvent::Delete { key, revision },
                    };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                seen = revision;
            }
            Ok(Changes::Forgotten(snapshot)) => {
                seen = snapshot.revision;
                if events.send(WatchEvent::Reset(snapshot)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "reading the metadata history failed, will try again");
                tokio::time::sleep(LEASE_TICK).await;
                continue;
            }
        }
        tokio::select! {
            newer = revisions.wait_for(|&revision| revision > seen) => {
                if newer.is_err() {
                    return;
                }
            }
            () = events.closed() => return,
        }
    }
}

#[async_trait]
impl MetadataStore for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        let key = key.to_owned();
        self.run(move |inner| inner.tables.get(&key)).await
    }

    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        let prefix = prefix.to_owned();
        self.run(move |inner| inner.tables.range(&prefix)).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError> {
        self.run(move |inner| inner.commit(&compares, &ops)).await
    }

    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError> {
        let (events, stream) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(feed(
            Arc::downgrade(&self.inner),
            self.inner.revision.subscribe(),
            prefix.to_owned(),
            revision,
            events,
        ));
        Ok(stream)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError> {
        let ttl = ttl.max(Duration::from_secs(1));
        let id = LeaseId(i64::from_le_bytes(rand::random::<[u8; 8]>()) & i64::MAX | 1);
        let deadline = (self.inner.clock)() + ttl;
        self.inner.leases.lock().insert(id, Lease { ttl, deadline });
        Ok(id)
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        let now = (self.inner.clock)();
        match self.inner.leases.lock().get_mut(&lease) {
            Some(held) if held.deadline > now => {
                held.deadline = now + held.ttl;
                Ok(())
            }
            _ => Err(MetadataError::LeaseLost { lease: lease.0 }),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.run(move |inner| inner.end(&[lease])).await
    }
}
