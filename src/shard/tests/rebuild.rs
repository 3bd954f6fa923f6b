//! The metadata is lost and made anew from the objects.

use super::steps::assert_clean;
use super::*;
use crate::segment::SegmentSpec;
use crate::shard::rebuild::{Rebuilt, rebuild};

impl Bench {
    /// Goes on with a metadata store that is empty.
    pub(super) async fn lose_metadata(&mut self) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let metadata = EmbeddedStore::open(dir.path()).await.expect("opened");
        self.stores.metadata = Arc::new(metadata);
        self.dir = dir;
    }
}

async fn delete(shard: &Shard, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert!(shard.delete(record(n).id).await.expect("deleted"), "image {n}");
    }
}

/// Made anew; nothing is damaged.
pub(super) async fn rebuilt(stores: &Stores) -> Vec<Rebuilt> {
    let found = rebuild(stores, "local", options().spec).await.expect("rebuilt");
    assert!(found.iter().all(|found| found.damaged.is_empty()), "{found:?}");
    found
}

#[tokio::test]
async fn everything_acknowledged_is_back_and_nothing_deleted() {
    let mut bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..30).await;
    delete(&shard, 0..5).await;
    shard.judge(judgement(10, 11)).await.expect("judged");
    shard.seal().await.expect("sealed");
    delete(&shard, 5..8).await;
    append(&shard, 30..40).await;
    shard.seal().await.expect("sealed");
    append(&shard, 40..50).await;
    delete(&shard, 8..10).await;
    shard.judge(judgement(12, 13)).await.expect("judged");
    let judged: BTreeSet<_> = shard.verdicts().into_iter().map(|j| j.pair).collect();
    shard.close().await;
    drop(shard);

    bench.lose_metadata().await;
    let found = rebuilt(&bench.stores).await;
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(one.target.collection, CollectionName::default_collection());
    assert_eq!((one.target.shards, one.target.spec), (1, options().spec));
    assert!(!one.target.keep_originals);
    assert_eq!(one.segments, 2);
    assert_eq!(rebuilt(&bench.stores).await, found, "it can be done again");
    assert_clean(&bench.stores, "local").await;

    let shard = bench.open().await;
    assert_eq!(shard.damage(), []);
    check(&shard, 10..50, 0..10);
    let again: BTreeSet<_> = shard.verdicts().into_iter().map(|j| j.pair).collect();
    assert_eq!((again.len(), &again), (2, &judged));
    append(&shard, 50..60).await;
    shard.seal().await.expect("sealed");
    shard.compact().await.expect("compacted");
    check(&shard, 10..60, 0..10);
    shard.close().await;
    assert_clean(&bench.stores, "local").await;
}

#[tokio::test]
async fn what_was_merged_does_not_bring_the_dead_back() {
    let mut bench = Bench::new().await;
    let shard = bench.open().await;
    for start in (0..30).step_by(5) {
        append(&shard, start..start + 5).await;
        shard.seal().await.expect("sealed");
    }
    let inputs = bench.names("seg").await;
    let mut copies = Vec::new();
    for name in &inputs {
        copies.push(bench.memory.get(name).await.expect("there"));
    }
    // Dead in the merged segment by its absence, by its tombstones, and in the log.
    delete(&shard, 0..3).await;
    assert!(shard.compact().await.expect("merged"));
    delete(&shard, 7..9).await;
    append(&shard, 30..31).await;
    shard.seal().await.expect("sealed");
    delete(&shard, 11..12).await;
    shard.close().await;
    drop(shard);
    // As a crash leaves them that comes before they are removed.
    for (name, copy) in inputs.iter().zip(copies) {
        bench.memory.create(name, copy).await.expect("stored");
    }

    bench.lose_metadata().await;
    assert_eq!(rebuilt(&bench.stores).await[0].segments, 2);
    let shard = bench.open().await;
    let dead = [0, 1, 2, 7, 8, 11];
    check(&shard, (0..31).filter(|n| !dead.contains(n)), dead.into_iter());
    shard.collect_garbage().await.expect("collected");
    shard.close().await;
    assert_clean(&bench.stores, "local").await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_is_back() {
    let mut bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..5).await;
    shard.seal().await.expect("sealed");
    let lost = bench.names("seg").await.remove(0);
    append(&shard, 5..10).await;
    shard.seal().await.expect("sealed");
    shard.close().await;
    drop(shard);
    bench.damage(&lost, |object| object[100] ^= 1).await;

    bench.lose_metadata().await;
    let found = rebuild(&bench.stores, "local", options().spec)
        .await
        .expect("rebuilt");
    assert_eq!(
        (found[0].segments, &found[0].damaged[..]),
        (1, &[lost.clone()][..])
    );
    assert_eq!(bench.names("damaged").await, [format!("damaged/{lost}")]);
    let shard = bench.open().await;
    check(&shard, 5..10, 0..5);
}

#[tokio::test]
async fn the_log_alone_is_enough_and_an_owner_is_followed_by_a_later_one() {
    let mut bench = Bench::new().await;
    for (owner, start) in [("a", 0), ("b", 5), ("c", 10)] {
        let shard = bench.open_with(owner, options()).await.expect("opened");
        append(&shard, start..start + 5).await;
        shard.close().await;
    }
    let other = SegmentSpec {
        dim: DIM,
        model: ModelHash::from_bytes([9; 32]),
    };
    bench.lose_metadata().await;
    let found = rebuild(&bench.stores, "local", other).await.expect("rebuilt");
    assert_eq!(found[0].target.spec, other, "no segment tells");
    let shard = bench.open().await;
    check(&shard, 0..15, 15..16);
    append(&shard, 15..16).await;
    shard.seal().await.expect("sealed");
    shard.close().await;
    drop(shard);
    // All of the log is in the segment now: no epoch is opened a second time.
    bench.lose_metadata().await;
    rebuilt(&bench.stores).await;
    let shard = bench.open().await;
    append(&shard, 16..17).await;
    check(&shard, 0..17, 17..18);
    shard.close().await;
    assert_clean(&bench.stores, "local").await;
}
