//! SIGKILL right before and right after each kind of step that changes a store, by the process itself: the wrappers that do it
//! stand here, around the stores of the child, and nowhere in doppel.

use std::io::BufReader;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doppel::segment::compaction::Policy;
use doppel::shard::{Appended, Maintenance, Shard, ShardOptions, Stores};
use doppel::store::blob::{BlobError, BlobMeta, BlobStore, Created};
use doppel::store::metadata::{
    Compare, KeyValue, LeaseId, MetadataError, MetadataStore, Op, Snapshot, TxnOutcome, WatchStream,
};

use super::common::{CHILD, DIM, Told, child, model, open, record, runtime, say, stores, verify};

/// `before STEP N` or `after STEP N`: when the child dies, N counted from 0.
const FATE: &str = "DOPPEL_TEST_CRASH_FATE";

/// All kinds of steps there are.
const STEPS: [&str; 11] = [
    "claim",
    "fence",
    "head",
    "merge",
    "publish",
    "segment-removal",
    "segment-upload",
    "tombstone-removal",
    "tombstone-upload",
    "wal-put",
    "wal-removal",
];

/// Of each kind, how many are died at: the first ones, so that a step meets stores with and without a history.
const OF_EACH: usize = 2;

fn options() -> ShardOptions {
    ShardOptions {
        maintenance: Maintenance::Manual,
        orphan_age: Duration::ZERO,
        compaction: Policy {
            most_small: 3,
            ..Policy::default()
        },
        ..ShardOptions::new(DIM, model())
    }
}

/// When this process dies.
struct Fate {
    before: bool,
    step: String,
    left: AtomicUsize,
}

impl Fate {
    fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        Self {
            before: words[0] == "before",
            step: words[1].to_owned(),
            left: AtomicUsize::new(words[2].parse().expect("a number")),
        }
    }

    /// Does a step, unless that is not to be, and goes on, unless that is not to be.
    async fn meet<T>(&self, step: &str, call: impl Future<Output = T>) -> T {
        let now = step == self.step
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| Some(n.wrapping_sub(1)))
                == Ok(0);
        if now && self.before {
            die();
        }
        let answer = call.await;
        if now {
            die();
        }
        answer
    }
}

/// SIGKILL: nothing is flushed, nobody is told.
fn die() -> ! {
    let me = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &me]).status();
    loop {
        std::thread::park();
    }
}

struct MortalBlobs(Arc<dyn BlobStore>, Arc<Fate>);

fn step_of_create(name: &str, data: &[u8]) -> &'static str {
    // Byte 6 of a log object: 1 data, 2 fence.
    match (name.starts_with("wal/"), data.get(6)) {
        (true, Some(2)) => "fence",
        (true, _) => "wal-put",
        (false, _) if name.contains(".del.") => "tombstone-upload",
        (false, _) => "segment-upload",
    }
}

fn step_of_removal(name: &str) -> &'static str {
    match name {
        name if name.starts_with("wal/") => "wal-removal",
        name if name.contains(".del.") => "tombstone-removal",
        _ => "segment-removal",
    }
}

#[async_trait]
impl BlobStore for MortalBlobs {
    async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
        let step = step_of_create(name, &data);
        self.1.meet(step, self.0.create(name, data)).await
    }

    async fn create_from(&self, name: &str, data: Bytes, file: &Path) -> Result<Created, BlobError> {
        let step = step_of_create(name, &data);
        self.1.meet(step, self.0.create_from(name, data, file)).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        self.0.get(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMeta>, BlobError> {
        self.0.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.1.meet(step_of_removal(name), self.0.delete(name)).await
    }

    async fn recycle(&self, name: &str) -> Result<(), BlobError> {
        self.1.meet(step_of_removal(name), self.0.recycle(name)).await
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.0.local_path(name)
    }
}

struct MortalMetadata(Arc<dyn MetadataStore>, Arc<Fate>);

fn step_of(ops: &[Op]) -> &'static str {
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

#[async_trait]
impl MetadataStore for MortalMetadata {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        self.0.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        self.0.range(prefix).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError> {
        let step = step_of(&ops);
        self.1.meet(step, self.0.txn(compares, ops)).await
    }

    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError> {
        self.0.watch(prefix, revision).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError> {
        self.0.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.0.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        self.0.revoke_lease(lease).await
    }
}

async fn append(shard: &Shard, numbers: std::ops::Range<u64>) {
    let append = async |n| match shard.append(record(n)).await.expect("stored") {
        Appended::New => say(&format!("+{n}\n")),
        Appended::Existing(_) => say(&format!("!{n}\n")),
    };
    futures::future::join_all(numbers.map(append)).await;
}

async fn delete(shard: &Shard, n: u64) {
    say(&format!("?{n}\n"));
    assert!(shard.delete(record(n).id).await.expect("deleted"), "image {n}");
    say(&format!("-{n}\n"));
}

/// Two owners, one after the other, with every kind of step in their lives, most of them more than once.
async fn live(stores: &Stores) {
    for owner in 0..2 {
        let shard = open(stores, options()).await;
        let first = owner * 100;
        for part in 0..6 {
            let start = first + part * 10;
            append(&shard, start..start + 6).await;
            // One in the log, and one in a segment.
            delete(&shard, start + 1).await;
            if part > 0 {
                delete(&shard, start - 7).await;
            }
            shard.seal().await.expect("sealed");
            if part % 3 == 2 {
                assert!(shard.compact().await.expect("compacted"), "nothing was merged");
                shard.collect_garbage().await.expect("collected");
            }
        }
        append(&shard, first + 90..first + 92).await;
        shard.close().await;
    }
}

#[test]
fn lives_until_its_fate() {
    let (Some(dir), Ok(fate)) = (std::env::var_os(CHILD), std::env::var(FATE)) else {
        return;
    };
    runtime().block_on(async {
        let fate = Arc::new(Fate::read(&fate));
        let whole = stores(Path::new(&dir)).await;
        let mortal = Stores {
            metadata: Arc::new(MortalMetadata(whole.metadata, Arc::clone(&fate))),
            blobs: Arc::new(MortalBlobs(whole.blobs, fate)),
        };
        live(&mortal).await;
    });
}

/// One life; whether it ended as it was to.
fn died(fate: &str) -> bool {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut told = Told::default();
    let mut child = child("steps::lives_until_its_fate", dir.path())
        .env(FATE, fate)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    told.listen(BufReader::new(child.stdout.take().expect("piped")));
    let status = child.wait().expect("reaped");
    let died = status.signal() == Some(9);
    assert!(died || status.success(), "{fate}: {status}");
    // Twice: the first look is an opening, and leaves traces as well.
    for _ in 0..2 {
        runtime().block_on(verify(dir.path(), &told, options()));
    }
    died
}

#[test]
fn nothing_is_lost_by_death_before_or_after_any_step() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    for step in STEPS {
        for moment in ["before", "after"] {
            let deaths = (0..OF_EACH)
                .take_while(|n| died(&format!("{moment} {step} {n}")))
                .count();
            println!("died {deaths} times {moment} {step}");
            assert!(deaths > 0, "nobody died {moment} {step}");
        }
    }
}
