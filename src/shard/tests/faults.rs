//! Stores that lose replies, refuse, hang, are full; and a backlog that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Bench, append, check, options};
use crate::error::ErrorKind;
use crate::segment::fixtures::{judgement, record};
use crate::shard::{Appended, Maintenance, ShardOptions};
use crate::store::blob::faults::{Fault, Operation, Plan};

/// Fails operations on names that contain `part` while `left` is above zero.
fn failing(part: &'static str, fault: Fault, left: &Arc<AtomicUsize>) -> Plan {
    let left = left.clone();
    Arc::new(move |operation, name| {
        let hit = operation == Operation::Create && name.contains(part);
        if hit
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
        {
            fault
        } else {
            Fault::None
        }
    })
}

#[tokio::test]
async fn replies_lost_and_stores_that_refuse_lose_nothing() {
    for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::Refuse, Fault::Hang] {
        let left = Arc::new(AtomicUsize::new(0));
        let bench = Bench::with(failing("wal/", fault, &left)).await;
        let shard = bench.open().await;
        append(&shard, 0..3).await;
        // Two failures are hidden by the retries.
        left.store(2, Ordering::SeqCst);
        append(&shard, 3..5).await;
        // Ten are not: the caller hears what is known, and afterwards everything works.
        left.store(10, Ordering::SeqCst);
        let error = shard.append(record(50)).await.err();
        match fault {
            Fault::Refuse => assert_eq!(error.expect("refused").kind(), ErrorKind::Unavailable),
            _ => assert_eq!(error.expect("unknown").kind(), ErrorKind::OutcomeUnknown),
        }
        let stored = loop {
            match shard.append(record(50)).await {
                Ok(appended) => break appended,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{fault:?}: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let new = fault == Fault::Refuse;
        assert_eq!(
            stored == Appended::New,
            new,
            "{fault:?}: one image, however often it was sent"
        );
        append(&shard, 60..62).await;
        let expected = || (0..5).chain([50, 60, 61]);
        check(&shard, expected(), []);
        check(&bench.open().await, expected(), []);
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers() {
    let left = Arc::new(AtomicUsize::new(0));
    let bench = Bench::with(failing("", Fault::Full, &left)).await;
    let shard = bench.open().await;
    append(&shard, 0..3).await;
    left.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(
        shard.append(record(9)).await.expect_err("full").kind(),
        ErrorKind::StorageFull
    );
    assert!(shard.seal().await.is_err());
    check(&shard, 0..3, [9]);
    left.store(0, Ordering::SeqCst);
    append(&shard, 3..6).await;
    shard.seal().await.expect("sealed: where the failed one stopped");
    shard.seal().await.expect("sealed");
    check(&shard, 0..6, [9]);
    check(&bench.open().await, 0..6, [9]);
}

/// No space but what is put by; deletions, verdicts and what arrives with them make one group.
#[tokio::test]
async fn of_a_group_on_a_full_disk_all_but_the_images_is_done() {
    let full = Arc::new(AtomicUsize::new(0));
    let gate = full.clone();
    let plan: Plan = Arc::new(move |operation, _: &str| match operation {
        Operation::Create if gate.load(Ordering::SeqCst) > 0 => Fault::Full,
        _ => Fault::None,
    });
    let bench = Bench::with(plan).await;
    let shard = bench.open().await;
    append(&shard, 0..4).await;
    full.store(1, Ordering::SeqCst);
    let (one, new, said, other, again) = tokio::join!(
        shard.delete(record(0).id),
        shard.append(record(9)),
        shard.judge(judgement(1, 2)),
        shard.delete(record(1).id),
        shard.delete(record(7).id),
    );
    assert_eq!(
        (one.ok(), other.ok(), said.ok()),
        (Some(true), Some(true), Some(()))
    );
    assert_eq!(new.expect_err("full").kind(), ErrorKind::StorageFull);
    assert_eq!(again.ok(), Some(false), "it was never there");
    check(&shard, 2..4, [0, 1, 9]);
    shard.judge(judgement(2, 3)).await.expect("verdicts alone, too");
    full.store(0, Ordering::SeqCst);
    append(&shard, 4..5).await;
    let shard = bench.open().await;
    check(&shard, 2..5, [0, 1, 9]);
    assert_eq!(shard.verdicts().len(), 2);
}

#[tokio::test]
async fn too_much_unsealed_is_refused_until_it_is_sealed() {
    let bench = Bench::new().await;
    let small = ShardOptions {
        backlog_bytes: 4096,
        ..options()
    };
    let shard = bench.open_with("a", small).await.expect("opened");
    let mut stored = 0;
    let refused = loop {
        match shard.append(record(stored)).await {
            Ok(_) => stored += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    shard.delete(record(0).id).await.expect("deletes are taken");
    shard.seal().await.expect("sealed");
    append(&shard, stored..stored + 1).await;
    check(&shard, 1..=stored, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_backlog_stays_below_its_cap_until_the_store_recovers() {
    const CAP: u64 = 64 << 10;
    let stuck = Arc::new(AtomicUsize::new(1));
    let gate = stuck.clone();
    let plan: Plan = Arc::new(move |operation, name: &str| {
        let hit = operation == Operation::Create && name.ends_with(".seg");
        if hit && gate.load(Ordering::SeqCst) > 0 {
            Fault::Refuse
        } else {
            Fault::None
        }
    });
    let bench = Bench::with(plan).await;
    let capped = ShardOptions {
        backlog_bytes: CAP,
        maintenance: Maintenance::Automatic,
        ..options()
    };
    let shard = bench.open_with("a", capped).await.expect("opened");
    let writers = (0..32_u64).map(|writer| {
        let shard = shard.clone();
        tokio::spawn(async move {
            let (mut stored, mut refused) = (Vec::new(), 0);
            for n in writer * 40..writer * 40 + 40 {
                match shard.append(record(n)).await {
                    Ok(_) => stored.push(n),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
                        refused += 1;
                    }
                }
            }
            (stored, refused)
        })
    });
    let (mut stored, mut refused) = (Vec::new(), 0);
    for writer in futures::future::join_all(writers).await {
        let (theirs, turned_away) = writer.expect("no panic");
        stored.extend(theirs);
        refused += turned_away;
    }
    assert!(
        refused > 0 && !stored.is_empty(),
        "{refused} refused, {} stored",
        stored.len()
    );
    // A group that was let in just below the cap is at most one call of each writer.
    assert!(
        shard.backlog_bytes() < CAP + 32 * 1024,
        "{} bytes wait",
        shard.backlog_bytes()
    );
    stored.sort_unstable();
    check(&shard, stored.iter().copied(), []);
    stuck.store(0, Ordering::SeqCst);
    let mut patience = 600;
    while let Err(error) = shard.append(record(10_000)).await {
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        patience -= 1;
        assert!(patience > 0, "the backlog never went");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check(&bench.open().await, stored.into_iter().chain([10_000]), []);
}
