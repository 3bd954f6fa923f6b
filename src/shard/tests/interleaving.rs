//! What is read is what was written, whatever came between.

use proptest::prelude::*;

use super::*;

/// What a caller does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append(u64),
    Delete(u64),
    Seal,
}

/// Images that come and go.
const IMAGES: u64 = 20;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..IMAGES).prop_map(Step::Append),
        3 => (0..IMAGES).prop_map(Step::Delete),
        1 => Just(Step::Seal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written(
        rounds in prop::collection::vec(prop::collection::vec(step(), 1..16), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(interleaved(&rounds));
    }
}

/// The callers of a round come at the same time, and in this order.
async fn interleaved(rounds: &[Vec<Step>]) {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let mut there = BTreeSet::new();
    let agrees = |shard: &Arc<Shard>, there: &BTreeSet<u64>| {
        check(
            shard,
            there.iter().copied(),
            (0..IMAGES).filter(|n| !there.contains(n)),
        );
    };
    for round in rounds {
        let calls = round.iter().map(async |&step| match step {
            Step::Append(n) => shard
                .append(record(n))
                .await
                .map(|answer| answer == Appended::New),
            Step::Delete(n) => shard.delete(record(n).id).await,
            Step::Seal => shard.seal().await,
        });
        for (&step, answer) in round.iter().zip(join_all(calls).await) {
            let done = answer.expect("answered");
            match step {
                Step::Append(n) => assert_eq!(done, there.insert(n), "image {n} was new"),
                Step::Delete(n) => assert_eq!(done, there.remove(&n), "image {n} was there"),
                Step::Seal => {}
            }
        }
        agrees(&shard, &there);
    }
    drop(shard);
    agrees(&bench.open().await, &there);
}
