//! When a growing segment is sealed, and what happens to readers of segments that go.

use std::time::Instant;

use super::*;
use crate::shard::Grouping;

/// Waits until a shard has as many segments.
async fn sealed(shard: &Shard, segments: usize) {
    for _ in 0..500 {
        if shard.segments().len() == segments && shard.backlog_bytes() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "{:?} and {} bytes of WAL",
        shard.segments(),
        shard.backlog_bytes()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_sealed_by_rows_or_bytes() {
    let automatic = || ShardOptions {
        maintenance: Maintenance::Automatic,
        ..options()
    };
    let by_rows = ShardOptions {
        seal_rows: 3,
        ..automatic()
    };
    let by_bytes = ShardOptions {
        // Three records of 269 bytes, and not two: they may come in groups of their own.
        seal_bytes: 700,
        ..automatic()
    };
    for (reason, limits) in [("rows", by_rows), ("bytes", by_bytes)] {
        let bench = Bench::new().await;
        let shard = bench.open_with("a", limits).await.expect("opened");
        append(&shard, 0..1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(shard.segments(), [], "{reason}: too early");
        append(&shard, 1..3).await;
        sealed(&shard, 1).await;
        assert_eq!(shard.segments()[0].1, 3, "{reason}");
        shard.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_segment_is_sealed_though_nothing_more_is_written() {
    let bench = Bench::new().await;
    let aging = ShardOptions {
        maintenance: Maintenance::Automatic,
        seal_age: Duration::from_millis(300),
        ..options()
    };
    let shard = bench.open_with("a", aging).await.expect("opened");
    append(&shard, 0..2).await;
    sealed(&shard, 1).await;
    check(&shard, 0..2, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_segments_that_were_merged_read_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stores = stores(folder.path()).await.expect("opened");
    let shard = opened(&stores).await.expect("opened");
    for part in 0..6 {
        append(&shard, part * 10..part * 10 + 10).await;
        shard.seal().await.expect("sealed");
    }
    let before: BTreeSet<_> = stores
        .blobs
        .list("seg")
        .await
        .expect("listed")
        .into_iter()
        .map(|object| object.name)
        .collect();
    assert_eq!(before.len(), 6);
    // A reader in the middle of its work: it has its view of the six.
    let reader = shard.core.view();
    assert!(shard.delete(record(7).id).await.expect("deleted"));
    assert!(shard.compact().await.expect("compacted"));
    assert!(shard.delete(record(8).id).await.expect("deleted"));
    let after = stores.blobs.list("seg").await.expect("listed");
    assert!(after.iter().all(|object| !before.contains(&object.name)));
    assert_eq!(after.len(), 1);
    for n in (0..60).filter(|&n| n != 7) {
        let wanted = record(n);
        assert_eq!(reader.get(&wanted.id).as_deref(), Some(&wanted));
        let hits = reader.search(&wanted.fingerprint.embedding, 1).expect("searched");
        assert_eq!(hits[0].id, wanted.id);
    }
    let gone = [7, 8];
    check(&shard, (0..60).filter(|n| !gone.contains(n)), gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_end_with_their_window_or_their_bytes_or_as_large_as_the_last() {
    let window = Duration::from_millis(150);
    let whole = ShardOptions {
        group_window: window,
        grouping: Grouping::WholeWindow,
        ..options()
    };
    let bench = Bench::new().await;
    let shard = bench.open_with("a", whole.clone()).await.expect("opened");
    let start = Instant::now();
    append(&shard, 0..50).await;
    assert!(start.elapsed() >= window, "{:?}", start.elapsed());
    assert_eq!(bench.names("wal").await.len(), 1);

    let small = ShardOptions {
        group_bytes: 1000,
        ..whole
    };
    let bench = Bench::new().await;
    let shard = bench.open_with("a", small).await.expect("opened");
    append(&shard, 0..50).await;
    let objects = bench.names("wal").await.len();
    assert!((10..50).contains(&objects), "{objects}");

    // One that is alone does not wait for others.
    let patient = ShardOptions {
        group_window: Duration::from_secs(30),
        grouping: Grouping::LikeTheLast,
        ..options()
    };
    let bench = Bench::new().await;
    let shard = bench.open_with("a", patient).await.expect("opened");
    let start = Instant::now();
    for n in 0..5 {
        append(&shard, n..n + 1).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(bench.names("wal").await.len(), 5);
    check(&shard, 0..5, []);
}
