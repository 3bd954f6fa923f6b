//! The process dies at every step: before or after every single operation on either store, once each. What was
//! acknowledged is there afterwards, what was deleted stays away, and a check finds nothing lost.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;

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

/// Counts the operations of both stores; from the chosen one on nothing works any more.
struct Death {
    steps: AtomicUsize,
    at: usize,
    moment: Moment,
    dead: AtomicBool,
}

impl Death {
    fn fault(&self) -> Fault {
        if self.dead.load(Ordering::SeqCst) {
            return Fault::Refuse;
        }
        if self.steps.fetch_add(1, Ordering::SeqCst) != self.at {
            return Fault::None;
        }
        self.dead.store(true, Ordering::SeqCst);
        match self.moment {
            Moment::Before => Fault::Refuse,
            Moment::After => Fault::LoseReply,
        }
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
        match self.death.fault() {
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
        if self.death.dead.load(Ordering::SeqCst) {
            return Err(MetadataError::Unavailable {
                reason: "dead".to_owned(),
            });
        }
        Ok(())
    }
}

/// What a caller knows of an image: there, gone, or not told.
#[derive(Debug, Default)]
struct Known(BTreeMap<u64, Option<bool>>);

impl Known {
    async fn append(&mut self, shard: &Shard, n: u64) {
        let told = shard.append(record(n)).await.is_ok();
        self.0.insert(n, told.then_some(true));
    }

    async fn delete(&mut self, shard: &Shard, n: u64) {
        let told = shard.delete(record(n).id).await.is_ok();
        self.0.insert(n, told.then_some(false));
    }
}

/// A day in the life of a shard, every kind of step in it. Stops where it dies.
async fn live(shard: &Shard, known: &mut Known) -> Result<(), ShardError> {
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

/// One life that ends at a step; answers whether it reached that step.
async fn die(at: usize, moment: Moment) -> bool {
    let death = Arc::new(Death {
        steps: AtomicUsize::new(0),
        at,
        moment,
        dead: AtomicBool::new(false),
    });
    let fate = death.clone();
    let mut bench = Bench::with(Arc::new(move |operation, _: &str| match operation {
        Operation::Create | Operation::Delete => fate.fault(),
        Operation::Get | Operation::List if fate.dead.load(Ordering::SeqCst) => Fault::Refuse,
        _ => Fault::None,
    }))
    .await;
    let after = bench.stores.clone();
    bench.stores.metadata = Arc::new(Mortal {
        inner: after.metadata.clone(),
        death: death.clone(),
    });
    let mut known = Known::default();
    let opened = bench.open_with("a", options()).await;
    if let Ok(shard) = &opened {
        // An error is the death.
        let _ = live(shard, &mut known).await;
    }
    drop(opened);
    let died = death.dead.load(Ordering::SeqCst);

    // The next life, on stores that work: twice, because the first one also leaves traces.
    bench.stores = Stores {
        metadata: after.metadata,
        blobs: bench.memory.clone(),
    };
    for round in 0..2 {
        let shard = bench.open().await;
        let place = format!("step {at} {moment:?}, round {round}");
        assert_eq!(shard.damage(), [], "{place}");
        for (&n, &told) in &known.0 {
            let there = shard.get(&record(n).id).is_some();
            assert!(
                told.is_none_or(|told| told == there),
                "{place}: image {n}, told {told:?}, there {there}"
            );
        }
        let now: Vec<u64> = (0..10).filter(|&n| shard.get(&record(n).id).is_some()).collect();
        check(&shard, now.iter().copied(), (0..10).filter(|n| !now.contains(n)));
        shard.append(record(20 + round)).await.expect("it goes on");
        shard.delete(record(20 + round).id).await.expect("it goes on");
        shard.seal().await.expect("it goes on");
        shard.collect_garbage().await.expect("it goes on");
        shard.close().await;
    }
    let target = Target {
        collection: CollectionName::default_collection(),
        shards: 1,
        spec: options().spec,
        keep_originals: false,
    };
    let report = fsck(&bench.stores, "local", &[target], Repair::No)
        .await
        .expect("checked");
    let thumbs = |object: &str| object.starts_with("thumb/");
    let wrong: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| !thumbs(&finding.object))
        .collect();
    assert!(wrong.is_empty(), "step {at} {moment:?}: {wrong:?}");
    died
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_any_step_loses_nothing() {
    for moment in [Moment::Before, Moment::After] {
        let mut at = 0;
        while die(at, moment).await {
            at += 1;
        }
        assert!(
            at > 30,
            "only {at} steps: the life is too short to prove anything"
        );
    }
}
