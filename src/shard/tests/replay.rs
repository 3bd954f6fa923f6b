//! Replay reads so much ahead and no more, and says how far it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Bench, append};
use crate::shard::recovery::{self, PROGRESS, READ_AHEAD, WalPlace};
use crate::shard::state::{EpochState, Head};
use crate::store::blob::faults::{Fault, Operation, Plan};
use crate::types::{CollectionName, Epoch, ShardId};

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_slow_replay_holds_few_objects_and_tells_its_progress() {
    const OBJECTS: u64 = 240;
    const READ: Duration = Duration::from_millis(300);
    let (slow, started) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (is_slow, reads) = (slow.clone(), started.clone());
    let plan: Plan = Arc::new(move |operation, _: &str| {
        if operation == Operation::Get && is_slow.load(Ordering::SeqCst) {
            reads.fetch_add(1, Ordering::SeqCst);
            Fault::Delay(READ)
        } else {
            Fault::None
        }
    });
    let bench = Bench::with(plan).await;
    let shard = bench.open().await;
    for n in 0..OBJECTS {
        append(&shard, n..n + 1).await;
    }
    let epoch = shard.epoch();
    shard.close().await;

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    // While there is only one, the threads of other tests decide for it what is not worth logging.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let place = WalPlace {
        stores: bench.stores.clone(),
        collection: CollectionName::default_collection(),
        shard: ShardId::new(0),
    };
    let mut head = Head::new();
    head.floor_epoch = epoch.get();
    head.epochs.push(EpochState {
        id: epoch.get(),
        end: Some(OBJECTS),
    });
    slow.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let (mut applied, mut ahead, mut damage) = (0, 0, Vec::new());
    let apply = |_, _| {
        ahead = ahead.max(started.load(Ordering::SeqCst) - applied);
        applied += 1;
    };
    let ours = Epoch::new(epoch.get() + 1);
    recovery::replay(&place, &head, ours, &mut damage, apply)
        .await
        .expect("replayed");
    assert_eq!((applied as u64, damage), (OBJECTS, vec![]));
    assert!(ahead > 1 && ahead <= READ_AHEAD, "{ahead} objects in memory");

    let log = String::from_utf8(log.0.lock().clone()).expect("UTF-8");
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("replaying the WAL"))
        .collect();
    let expected = begin.elapsed().as_secs_f64() / (PROGRESS + READ).as_secs_f64();
    assert!(told.len() >= 2 && told.len() as f64 >= expected.floor(), "{log}");
    let objects = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once(" objects=")?;
        rest.split(' ').next()?.parse().ok()
    };
    let progress: Vec<Option<u64>> = told.iter().map(|line| objects(line)).collect();
    assert!(progress.is_sorted() && progress[0] > Some(0), "{progress:?}");
    assert!(
        told.iter().all(|line| line.contains(&format!("of={OBJECTS}"))),
        "{log}"
    );
    assert!(
        log.lines()
            .any(|line| line.contains("replayed the WAL") && objects(line) == Some(OBJECTS)),
        "{log}"
    );
}
