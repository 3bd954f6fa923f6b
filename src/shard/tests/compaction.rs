//! Segments merge, what is dead goes, and deletes meanwhile are not forgotten.

use std::sync::Arc;

use super::*;

#[tokio::test]
async fn small_segments_merge_and_the_dead_are_gone() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    for part in 0..6 {
        append(&shard, part * 10..part * 10 + 10).await;
        shard.judge(judgement(part, part + 100)).await.expect("noted");
        shard.seal().await.expect("sealed");
    }
    for n in [0, 11, 12, 39] {
        assert!(shard.delete(record(n).id).await.expect("deleted"));
    }
    let gone = [0, 11, 12, 39];
    let living = || (0..60).filter(|n| !gone.contains(n));
    assert!(shard.compact().await.expect("compacted"));
    assert!(!shard.compact().await.expect("nothing left to do"));
    let segments = shard.segments();
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].1, segments[0].2), (56, 0));
    check(&shard, living(), gone);
    assert_eq!(bench.names("seg").await.len(), 1, "the inputs are gone");
    let shard = bench.open().await;
    check(&shard, living(), gone);
    assert_eq!(shard.verdicts().len(), 6);
    assert_eq!(shard.damage(), []);
}

/// As many as come while a long merge runs: more than one transaction of a metadata store can name.
#[tokio::test]
async fn many_small_segments_merge_in_several_steps() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let count = crate::store::metadata::MAX_TXN_OPS as u64 + 2;
    for n in 0..count {
        append(&shard, n..n + 1).await;
        shard.seal().await.expect("sealed");
    }
    assert!(shard.delete(record(3).id).await.expect("deleted"));
    while shard.compact().await.expect("compacted") {}
    assert!(shard.segments().len() < 6, "{:?}", shard.segments());
    let living = || (0..count).filter(|&n| n != 3);
    check(&shard, living(), [3]);
    check(&bench.open().await, living(), [3]);
}

#[tokio::test]
async fn a_segment_worn_by_deletes_is_rewritten_and_an_empty_one_goes() {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    append(&shard, 0..10).await;
    shard.seal().await.expect("sealed");
    shard.delete(record(0).id).await.expect("deleted");
    assert!(!shard.compact().await.expect("a tenth is not enough"));
    shard.delete(record(1).id).await.expect("deleted");
    assert!(shard.compact().await.expect("compacted"));
    check(&shard, 2..10, [0, 1]);
    for n in 2..10 {
        shard.delete(record(n).id).await.expect("deleted");
    }
    assert!(shard.compact().await.expect("compacted"));
    assert_eq!(shard.segments(), []);
    check(&shard, [], 0..10);
    let shard = bench.open().await;
    check(&shard, [], 0..10);
    append(&shard, 0..3).await;
    check(&bench.open().await, 0..3, 3..10);
}

/// A store on which segment uploads wait until the test lets them go.
fn gated() -> (Plan, Arc<AtomicUsize>) {
    let held = Arc::new(AtomicUsize::new(0));
    let gate = held.clone();
    let plan = move |operation, name: &str| {
        let waits = operation == Operation::Create && name.ends_with(".seg");
        if waits && gate.load(Ordering::SeqCst) > 0 {
            Fault::Delay(Duration::from_millis(60))
        } else {
            Fault::None
        }
    };
    (Arc::new(plan), held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_and_seals_while_a_compaction_runs_are_kept() {
    let (plan, held) = gated();
    let bench = Bench::with(plan).await;
    let shard = bench.open().await;
    for part in 0..6 {
        append(&shard, part * 10..part * 10 + 10).await;
        shard.seal().await.expect("sealed");
    }
    held.store(1, Ordering::SeqCst);
    let compaction = {
        let shard = shard.clone();
        tokio::spawn(async move { shard.compact().await })
    };
    // While it uploads: deletes in its inputs, a record that comes back, and a seal that raises the floor over all of it.
    tokio::time::sleep(Duration::from_millis(20)).await;
    for n in [3, 14, 25] {
        assert!(shard.delete(record(n).id).await.expect("deleted"));
    }
    assert_eq!(shard.append(record(14)).await.expect("stored"), Appended::New);
    append(&shard, 70..75).await;
    let seal = {
        let shard = shard.clone();
        tokio::spawn(async move { shard.seal().await })
    };
    assert!(compaction.await.expect("no panic").expect("compacted"));
    assert!(shard.delete(record(36).id).await.expect("deleted"));
    assert!(seal.await.expect("no panic").expect("sealed"));
    let gone = [3, 25, 36];
    let living = || (0..60).chain(70..75).filter(|n| !gone.contains(n));
    check(&shard, living(), gone);
    check(&bench.open().await, living(), gone);
    shard.close().await;
    let shard = bench.open().await;
    shard.seal().await.expect("sealed");
    check(&bench.open().await, living(), gone);
}
