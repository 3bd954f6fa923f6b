//! The process dies at every step: before or after every single operation on either store, once each. What was
//! acknowledged is there afterwards, what was deleted stays away, and a check finds nothing lost; also where the metadata is lost
//! with the process and made anew from the objects.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::shard::fsck::{Repair, Target, fsck};
use crate::store::metadata::{
    Compare, KeyValue, LeaseId, MetadataError, MetadataStore, Op, Snapshot, TxnOutcome, WatchStream,
};

/// When to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The operation does not happen.
    Before,
    /// It happens, and nobody hears of it.
    After,
}

/// What is there after the death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    BothStores,
    ObjectsOnly,
}

/// Counts the operations of both stores; from the chosen one on nothing works any more.
struct Death {
    steps: AtomicUsize,
    at: usize,
    moment: Moment,
    /// What it died of; nothing while it lives.
    of: Mutex<Option<&'static str>>,
}

impl Death {
    fn is_dead(&self) -> bool {
        self.of.lock().is_some()
    }

    fn fault(&self, step: &'static str) -> Fault {
        let mut of = self.of.lock();
        if of.is_some() {
            return Fault::Refuse;
        }
        if self.steps.fetch_add(1, Ordering::SeqCst) != self.at {
            return Fault::None;
        }
        *of = Some(step);
        match self.moment {
            Moment::Before => Fault::Refuse,
            Moment::After => Fault::LoseReply,
        }
    }
}

/// All kinds of steps there are; every one of them must have been died at.
const STEPS: [&str; 10] = [
    "claim",
    "fence or WAL put",
    "head",
    "merge",
    "publish",
    "segment removal",
    "tombstone removal",
    "tombstones",
    "upload",
    "WAL removal",
];

fn blob_step(operation: Operation, name: &str) -> &'static str {
    match (operation == Operation::Create, name) {
        (true, name) if name.starts_with("wal/") => "fence or WAL put",
        (true, name) if name.contains(".del.") => "tombstones",
        (true, _) => "upload",
        (false, name) if name.starts_with("wal/") => "WAL removal",
        (false, name) if name.contains(".del.") => "tombstone removal",
        (false, _) => "segment removal",
    }
}

fn txn_step(ops: &[Op]) -> &'static str {
    let any = |which: &dyn Fn(&Op) -> bool| ops.iter().any(which);
    if any(&|op| op.key().contains("/assign/")) {
        "claim"
    } else if any(&|op| matches!(op, Op::Delete { key } if key.contains("/seg/"))) {
        "merge"
    } else if any(&|op| op.key().contains("/seg/")) {
        "publish"
    } else {
        "head"
    }
}

/// A metadata store that dies with the blobs.
struct Mortal {
    inner: Arc<dyn MetadataStore>,
    death: Arc<Death>,
}

#[async_trait]
impl MetadataStore for Mortal {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        self.alive()?;
        self.inner.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        self.alive()?;
        self.inner.range(prefix).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError> {
        let unavailable = || MetadataError::Unavailable {
            reason: "dead".to_owned(),
        };
        match self.death.fault(txn_step(&ops)) {
            Fault::None => self.inner.txn(compares, ops).await,
            Fault::LoseReply => {
                self.inner.txn(compares, ops).await?;
                Err(unavailable())
            }
            _ => Err(unavailable()),
        }
    }

    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError> {
        self.inner.watch(prefix, revision).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError> {
        self.inner.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.inner.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.inner.revoke_lease(lease).await
    }
}

impl Mortal {
    fn alive(&self) -> Result<(), MetadataError> {
        if self.death.is_dead() {
            return Err(MetadataError::Unavailable {
                reason: "dead".to_owned(),
            });
        }
        Ok(())
    }
}

/// What a caller knows of an image: there, gone, or not told.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<u64, Option<bool>>);

impl Known {
    async fn append(&mut self, shard: &Shard, n: u64) {
        let mut record = record(n);
        if self.0.contains_key(&n) {
            record.created += chrono::TimeDelta::microseconds(1);
        }
        let told = shard.append(record).await.is_ok();
        self.0.insert(n, told.then_some(true));
    }

    async fn delete(&mut self, shard: &Shard, n: u64) {
        let told = shard.delete(record(n).id).await.is_ok();
        self.0.insert(n, told.then_some(false));
    }

    /// The images that were told to be there.
    pub(super) fn there(&self) -> impl Iterator<Item = u64> {
        let there = |(&n, &told): (&u64, &Option<bool>)| (told == Some(true)).then_some(n);
        self.0.iter().filter_map(there)
    }
}

/// A day in the life of a shard, every kind of step in it. Stops where it dies.
pub(super) async fn live(shard: &Shard, known: &mut Known) -> Result<(), ShardError> {
    for n in 0..6 {
        known.append(shard, n).await;
    }
    known.delete(shard, 0).await;
    shard.seal().await?;
    known.append(shard, 6).await;
    known.delete(shard, 1).await;
    known.delete(shard, 6).await;
    known.append(shard, 7).await;
    shard.seal().await?;
    known.append(shard, 1).await;
    known.delete(shard, 2).await;
    shard.compact().await?;
    known.delete(shard, 3).await;
    known.append(shard, 8).await;
    shard.seal().await?;
    shard.compact().await?;
    shard.collect_garbage().await?;
    known.append(shard, 9).await;
    Ok(())
}

/// A check of the store finds nothing wrong, but for the thumbnails that these images never had.
pub(super) async fn assert_clean(stores: &Stores, cluster: &str) {
    let target = Target {
        collection: CollectionName::default_collection(),
        shards: 1,
        spec: options().spec,
        keep_originals: false,
    };
    let report = fsck(stores, cluster, &[target], Repair::No)
        .await
        .expect("checked");
    let wrong: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| !finding.object.starts_with("thumb/"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// One life that ends at a step; answers what it died of, if it lived so long.
async fn die(at: usize, moment: Moment, left: Left) -> Option<&'static str> {
    let death = Arc::new(Death {
        steps: AtomicUsize::new(0),
        at,
        moment,
        of: Mutex::new(None),
    });
    let fate = death.clone();
    let mut bench = Bench::with(Arc::new(move |operation, name: &str| match operation {
        Operation::Create | Operation::Delete => fate.fault(blob_step(operation, name)),
        Operation::Get | Operation::List if fate.is_dead() => Fault::Refuse,
        _ => Fault::None,
    }))
    .await;
    let after = bench.stores.clone();
    bench.stores.metadata = Arc::new(Mortal {
        inner: after.metadata.clone(),
        death: death.clone(),
    });
    let mut known = Known::default();
    // Two owners, one after the other: the second fences the first. An error is the death.
    if let Ok(first) = bench.open_with("a", options()).await {
        let _ = live(&first, &mut known).await;
    }
    if let Ok(second) = bench.open_with("b", options()).await {
        known.append(&second, 10).await;
        known.delete(&second, 4).await;
        let _ = second.seal().await;
    }
    let died = *death.of.lock();

    // The next life, on stores that work: twice, because the first one also leaves traces.
    bench.stores = Stores {
        metadata: after.metadata,
        blobs: bench.memory.clone(),
    };
    if left == Left::ObjectsOnly {
        bench.lose_metadata().await;
        super::rebuild::rebuilt(&bench.stores).await;
    }
    for round in 0..2 {
        let shard = bench.open().await;
        let place = format!("{moment:?} {died:?}, {left:?}, step {at}, round {round}");
        assert_eq!(shard.damage(), [], "{place}");
        for (&n, &told) in &known.0 {
            let there = shard.get(&record(n).id).is_some();
            assert!(
                told.is_none_or(|told| told == there),
                "{place}: image {n}, told {told:?}, there {there}"
            );
        }
        let now: Vec<u64> = (0..11).filter(|&n| shard.get(&record(n).id).is_some()).collect();
        check(&shard, now.iter().copied(), (0..11).filter(|n| !now.contains(n)));
        shard.append(record(20 + round)).await.expect("it goes on");
        shard.delete(record(20 + round).id).await.expect("it goes on");
        shard.seal().await.expect("it goes on");
        shard.collect_garbage().await.expect("it goes on");
        shard.close().await;
    }
    assert_clean(&bench.stores, "local").await;
    died
}

async fn death_at_any_step(left: Left) {
    for moment in [Moment::Before, Moment::After] {
        let mut seen = BTreeSet::new();
        let mut at = 0;
        while let Some(step) = die(at, moment, left).await {
            seen.insert(step);
            at += 1;
        }
        assert_eq!(seen, BTreeSet::from(STEPS), "{moment:?}: {at} steps");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_any_step_loses_nothing() {
    death_at_any_step(Left::BothStores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_the_loss_of_the_metadata_after_it() {
    death_at_any_step(Left::ObjectsOnly).await;
}
