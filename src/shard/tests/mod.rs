//! A shard against its promises: nothing acknowledged is lost, nothing deleted comes back, one writer at a time.

mod caching;
mod compaction;
mod faults;
mod flips;
mod interleaving;
mod packs;
mod real;
mod rebuild;
mod repair;
mod replay;
mod sealing;
mod steps;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::{Appended, ListCursor, Maintenance, Shard, ShardError, ShardOptions, Stores};
use crate::error::ErrorKind;
use crate::segment::compaction::Policy;
use crate::segment::fixtures::{DIM, judgement, record};
use crate::store::blob::faults::{Fault, Faulty, Operation, Plan};
use crate::store::blob::{BlobStore, ObjectBlobStore, RetryPolicy, Retrying};
use crate::store::metadata::embedded::EmbeddedStore;
use crate::types::{CollectionName, Judgement, ModelHash, NodeId, PdqHash, ShardId, Similarity, Verdict};

/// Stores that outlive shards opened on them.
struct Bench {
    stores: Stores,
    memory: Arc<ObjectBlobStore>,
    dir: tempfile::TempDir,
}

fn options() -> ShardOptions {
    ShardOptions {
        group_window: Duration::from_millis(1),
        maintenance: Maintenance::Manual,
        orphan_age: Duration::ZERO,
        // Six small segments are merged, so that few make a compaction.
        compaction: Policy {
            most_small: 6,
            ..Policy::default()
        },
        ..ShardOptions::new(DIM, ModelHash::from_bytes([1; 32]))
    }
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

impl Bench {
    async fn new() -> Self {
        Self::with(Arc::new(|_, _: &str| Fault::None)).await
    }

    async fn with(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let metadata = EmbeddedStore::open(dir.path()).await.expect("opened");
        let memory = Arc::new(ObjectBlobStore::memory());
        let policy = RetryPolicy {
            attempts: 3,
            first_pause: Duration::from_millis(1),
            max_pause: Duration::from_millis(1),
            timeout: Duration::from_millis(100),
        };
        let blobs = Retrying::new(Faulty::new(memory.clone(), plan), policy);
        Self {
            stores: Stores {
                metadata: Arc::new(metadata),
                blobs: Arc::new(blobs),
            },
            memory,
            dir,
        }
    }

    async fn open_with(&self, owner: &str, options: ShardOptions) -> Result<Arc<Shard>, ShardError> {
        let collection = CollectionName::default_collection();
        Shard::open(
            self.stores.clone(),
            "local",
            &collection,
            ShardId::new(0),
            &node(owner),
            options,
        )
        .await
    }

    async fn open(&self) -> Arc<Shard> {
        self.open_with("a", options()).await.expect("opened")
    }

    async fn names(&self, folder: &str) -> Vec<String> {
        let listed = self.memory.list(folder).await.expect("listed").into_iter();
        listed.map(|object| object.name).collect()
    }

    /// Puts other bytes in an object's place.
    async fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut object = self.memory.get(name).await.expect("there").to_vec();
        change(&mut object);
        self.memory.delete(name).await.expect("removed");
        self.memory
            .create(name, Bytes::from(object))
            .await
            .expect("stored");
    }
}

/// The stores of a local data folder.
async fn stores(folder: &std::path::Path) -> Result<Stores, ShardError> {
    let location = super::StoreLocation {
        data_dir: folder.to_owned(),
        ..super::StoreLocation::default()
    };
    location.open().await
}

/// The first shard of the default collection, owned by node a.
async fn opened(stores: &Stores) -> Result<Arc<Shard>, ShardError> {
    let collection = CollectionName::default_collection();
    Shard::open(
        stores.clone(),
        "local",
        &collection,
        ShardId::new(0),
        &node("a"),
        options(),
    )
    .await
}

async fn append(shard: &Shard, numbers: std::ops::Range<u64>) {
    let calls = numbers.map(|n| shard.append(record(n)));
    for outcome in join_all(calls).await {
        assert_eq!(outcome.expect("stored"), Appended::New);
    }
}

/// Everything a shard answers, by every way in, agrees with the numbers that should be there.
fn check(shard: &Arc<Shard>, expected: impl IntoIterator<Item = u64>, gone: impl IntoIterator<Item = u64>) {
    let expected: Vec<u64> = expected.into_iter().collect();
    assert_eq!(shard.len(), expected.len());
    let listed: Vec<_> = shard.list(None, usize::MAX).iter().map(|r| r.id).collect();
    let mut newest_first = expected.clone();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    let wanted: Vec<_> = newest_first.iter().map(|&n| record(n).id).collect();
    assert_eq!(listed, wanted);
    for &n in &expected {
        let mut wanted = record(n);
        let found = shard.get(&wanted.id).unwrap_or_else(|| panic!("image {n}"));
        // Stored a second time it is a little younger.
        wanted.created = found.created.min(wanted.created + Duration::from_millis(1));
        assert_eq!(*found, wanted, "image {n}");
        assert_eq!(shard.by_pixel_hash(&wanted.fingerprint.pixel_hash), [wanted.id]);
        let variants: [PdqHash; 8] = [wanted.fingerprint.pdq; 8];
        assert_eq!(shard.pdq_within(&variants, 0), [(wanted.id, 0)]);
        let hits = shard.search(&wanted.fingerprint.embedding, 3).expect("searched");
        assert_eq!(hits[0].id, wanted.id);
        assert!(hits[0].similarity.get() > 0.999);
    }
    for n in gone {
        let wanted = record(n);
        assert_eq!(shard.get(&wanted.id), None, "image {n} is back");
        assert!(shard.by_pixel_hash(&wanted.fingerprint.pixel_hash).is_empty());
        assert!(shard.pdq_within(&[wanted.fingerprint.pdq; 8], 0).is_empty());
        let hits = shard
            .search(&wanted.fingerprint.embedding, 1000)
            .expect("searched");
        assert!(hits.iter().all(|hit| hit.id != wanted.id));
        assert_eq!(hits.len(), expected.len());
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    check(&shard, [], [0]);
    append(&shard, 0..40).await;
    for n in [3, 5] {
        assert!(shard.delete(record(n).id).await.expect("deleted"));
        assert!(!shard.delete(record(n).id).await.expect("deleted"), "only once");
    }
    let living = || (0..40).filter(|n| ![3, 5].contains(n));
    check(&shard, living(), [3, 5]);
    drop(shard);
    for _ in 0..3 {
        let shard = bench.open().await;
        check(&shard, living(), [3, 5]);
        assert_eq!(shard.damage(), []);
    }
}

#[tokio::test]
async fn sealed_and_growing_parts_answer_as_one() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..30).await;
    assert!(shard.seal().await.expect("sealed"));
    assert!(!shard.seal().await.expect("nothing to seal"));
    append(&shard, 30..50).await;
    for n in [1, 31] {
        assert!(shard.delete(record(n).id).await.expect("deleted"));
    }
    let living = || (0..50).filter(|n| ![1, 31].contains(n));
    check(&shard, living(), [1, 31]);
    assert!(shard.seal().await.expect("sealed"));
    check(&shard, living(), [1, 31]);
    assert_eq!(shard.segments().len(), 2);
    assert_eq!(shard.backlog_bytes(), 0);
    // Nothing is left to replay, and the dead row of the first segment is noted beside it.
    assert_eq!(bench.names("wal").await, Vec::<String>::new());
    let tombstones = bench.names("seg").await;
    let tombstones = tombstones.iter().filter(|name| name.contains(".del."));
    assert_eq!(tombstones.count(), 1);

    // A deleted image that comes back is one image, new.
    assert_eq!(shard.append(record(1)).await.expect("stored"), Appended::New);
    drop(shard);
    let shard = bench.open().await;
    check(&shard, (0..50).filter(|&n| n != 31), [31]);
    let existing = shard.append(record(7)).await.expect("answered");
    assert_eq!(existing, Appended::Existing(Arc::new(record(7))));
}

#[tokio::test]
async fn pages_of_the_list_join_without_gaps() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    for start in [0, 20, 40] {
        append(&shard, start..start + 20).await;
        shard.seal().await.expect("sealed");
    }
    append(&shard, 60..70).await;
    shard.delete(record(33).id).await.expect("deleted");
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = shard.list(cursor, 7);
        let Some(last) = page.last() else { break };
        cursor = Some(ListCursor {
            created: last.created,
            id: last.id,
        });
        seen.extend(page.iter().map(|r| r.id));
    }
    let expected: Vec<_> = (0..70).rev().filter(|&n| n != 33).map(|n| record(n).id).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_uploads_of_the_same_bytes_make_one_image() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let calls = (0..1000).map(|_| {
        let shard = shard.clone();
        tokio::spawn(async move { shard.append(record(1)).await.expect("answered") })
    });
    let outcomes: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(|o| o.expect("no panic"))
        .collect();
    assert_eq!(outcomes.iter().filter(|o| **o == Appended::New).count(), 1);
    check(&shard, [1], []);
}

#[tokio::test]
async fn order_within_a_group_counts() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let id = record(1).id;
    let (first, again, deleted, back, gone) = tokio::join!(
        shard.append(record(1)),
        shard.append(record(1)),
        shard.delete(id),
        shard.append(record(1)),
        shard.delete(record(2).id),
    );
    assert_eq!(first.expect("stored"), Appended::New);
    assert!(matches!(again.expect("answered"), Appended::Existing(_)));
    assert!(deleted.expect("deleted"));
    assert_eq!(back.expect("stored"), Appended::New);
    assert!(!gone.expect("answered"));
    check(&bench.open().await, [1], []);
}

#[tokio::test]
async fn a_former_owner_writes_nothing_any_more() {
    let bench = Bench::new().await;
    let old = bench.open_with("old", options()).await.expect("opened");
    append(&old, 0..5).await;
    let new = bench.open_with("new", options()).await.expect("opened");
    assert!(new.epoch() > old.epoch());
    append(&new, 5..10).await;
    let refused = old.append(record(100)).await.expect_err("refused");
    assert!(matches!(refused, ShardError::Fenced { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(!old.is_open());
    assert!(old.seal().await.is_err());
    check(&new, 0..10, [100]);
    check(&bench.open().await, 0..10, [100]);
    // Fences stay, so even a writer that slept through it all is stopped.
    new.close().await;
    let last = bench.open().await;
    append(&last, 10..12).await;
    last.seal().await.expect("sealed");
    assert_eq!(
        bench.names("wal").await.len(),
        3,
        "one fence for each earlier epoch"
    );
}

#[tokio::test]
async fn a_former_owner_publishes_nothing_any_more() {
    let bench = Bench::new().await;
    let old = bench.open_with("old", options()).await.expect("opened");
    append(&old, 0..5).await;
    // The old owner has not written since, so only the metadata can stop it.
    let new = bench.open_with("new", options()).await.expect("opened");
    assert!(matches!(old.seal().await, Err(ShardError::Fenced { .. })));
    append(&new, 5..10).await;
    new.seal().await.expect("sealed");
    assert_eq!(new.segments().len(), 1);
    check(&bench.open().await, 0..10, []);
}

#[tokio::test]
async fn verdicts_survive_seals_and_restarts_and_the_last_one_counts() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..2).await;
    let first = judgement(1, 2);
    shard.judge(first).await.expect("noted");
    shard.judge(judgement(3, 4)).await.expect("noted");
    shard.seal().await.expect("sealed");
    let shard = bench.open().await;
    assert_eq!(shard.verdicts().len(), 2);
    // The clock went backwards; the last word counts all the same.
    let withdrawn = Judgement {
        verdict: Verdict::Withdrawn,
        at: first.at - chrono::TimeDelta::days(1),
        ..first
    };
    shard.judge(withdrawn).await.expect("noted");
    assert_eq!(shard.verdict(&first.pair), None);
    let shard = bench.open().await;
    assert_eq!(shard.verdict(&first.pair), None);
    shard.seal().await.expect("sealed");
    let shard = bench.open().await;
    assert_eq!(shard.verdict(&first.pair), None);
    assert_eq!(shard.verdict(&judgement(4, 3).pair), Some(Verdict::NotDuplicate));
    assert_eq!(shard.verdicts(), [judgement(3, 4)]);
}

#[tokio::test]
async fn damaged_objects_are_named_and_the_rest_is_served() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..5).await;
    shard.seal().await.expect("sealed");
    append(&shard, 5..10).await;
    shard.seal().await.expect("sealed");
    for n in 10..14 {
        append(&shard, n..n + 1).await;
    }
    drop(shard);
    // One of the segments; a WAL object in the middle; the last one cut short.
    let wal = bench.names("wal").await;
    assert_eq!(wal.len(), 4);
    bench.damage(&wal[1], |object| object[100] ^= 1).await;
    bench.damage(&wal[3], |object| object.truncate(70)).await;
    let segments = bench.names("seg").await;
    let sealed_first = {
        let object = bench.memory.get(&segments[0]).await.expect("there");
        let spec = options().spec;
        crate::segment::Segment::open(object, spec)
            .expect("whole")
            .find(&record(0).id)
            .is_some()
    };
    bench.damage(&segments[0], |object| object[500] ^= 1).await;
    let shard = bench.open().await;
    let damaged: BTreeSet<_> = shard.damage().into_iter().map(|d| d.object).collect();
    assert_eq!(
        damaged,
        BTreeSet::from([wal[1].clone(), wal[3].clone(), segments[0].clone()])
    );
    let rest = if sealed_first { 5..10 } else { 0..5 };
    check(&shard, rest.chain([10, 12]), [11, 13]);
    // The evidence is kept when the floor passes.
    shard.seal().await.expect("sealed");
    assert_eq!(bench.names("damaged").await.len(), 2);
}

#[tokio::test]
async fn range_search_finds_all_above_the_bound() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..40).await;
    shard.seal().await.expect("sealed");
    append(&shard, 40..80).await;
    let query = record(11).fingerprint.embedding;
    let min = Similarity::clamped(0.3);
    let expected: BTreeSet<_> = (0..80)
        .map(record)
        .filter(|r| query.similarity(&r.fingerprint.embedding) >= min)
        .map(|r| r.id)
        .collect();
    let found = shard.range(&query, min).expect("searched");
    assert!(found.is_sorted_by(|a, b| a.similarity >= b.similarity));
    assert_eq!(found.iter().map(|hit| hit.id).collect::<BTreeSet<_>>(), expected);
    let narrow = crate::types::Embedding::normalised(&[1.0]).expect("a vector");
    assert_eq!(
        shard.search(&narrow, 1).expect_err("refused").kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn records_that_cannot_be_kept_are_refused() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let mut wrong = record(1);
    wrong.id = record(2).id;
    assert_eq!(
        shard.append(wrong).await.expect_err("refused").kind(),
        ErrorKind::Invalid
    );
    let mut long = record(1);
    long.name = "x".repeat(100_000);
    assert_eq!(
        shard.append(long).await.expect_err("refused").kind(),
        ErrorKind::Invalid
    );
    check(&shard, [], [1]);
}

#[tokio::test]
async fn a_closed_shard_answers_what_waits_and_takes_no_more() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let waiting = shard.append(record(1));
    let (stored, ()) = tokio::join!(waiting, shard.close());
    assert_eq!(stored.expect("stored"), Appended::New);
    assert!(matches!(shard.append(record(2)).await, Err(ShardError::Closed)));
    check(&shard, [1], [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seals_by_itself_under_load_and_loses_nothing() {
    let bench = Bench::new().await;
    let automatic = ShardOptions {
        seal_rows: 50,
        maintenance: Maintenance::Automatic,
        ..options()
    };
    let shard = bench.open_with("a", automatic).await.expect("opened");
    let writers = (0..8_u64).map(|w| {
        let shard = shard.clone();
        tokio::spawn(async move {
            for n in (w * 50)..(w * 50 + 50) {
                shard.append(record(n)).await.expect("stored");
                if n % 10 == 3 {
                    assert!(shard.delete(record(n).id).await.expect("deleted"));
                }
            }
        })
    });
    for writer in join_all(writers).await {
        writer.expect("no panic");
    }
    let living = || (0..400).filter(|n| n % 10 != 3);
    let gone = || (0..400).filter(|n| n % 10 == 3);
    check(&shard, living(), gone());
    for _ in 0..200 {
        if !shard.segments().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!shard.segments().is_empty(), "it sealed meanwhile");
    shard.close().await;
    check(&bench.open().await, living(), gone());
}
