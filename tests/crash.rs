//! A process is killed with SIGKILL at random moments while it writes, seals and compacts; every image it acknowledged is
//! there afterwards, none that it deleted is back, and a check of the store is clean.
//!
//! A few rounds by default; `DOPPEL_TEST_CRASH_ROUNDS=200` for the long run. The process that is killed is this test program
//! itself, started again with [`CHILD`] set: then [`writes_until_it_is_killed`] does the writing, else it does nothing.

#![expect(clippy::print_stdout, reason = "the long run tells how far it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use doppel::segment::compaction::Policy;
use doppel::shard::fsck::{Repair, Severity, Target, fsck};
use doppel::shard::{Appended, Shard, ShardOptions, StoreLocation, Stores};
use doppel::types::{
    CollectionName, ContentHash, Embedding, ExifSummary, Fingerprint, ImageFormat, ImageId, ImageRecord,
    ModelHash, PdqHash, PixelHash, ShardId,
};

const CHILD: &str = "DOPPEL_TEST_CRASH_CHILD";
const DIM: usize = 16;
const WRITERS: u64 = 16;

fn record(n: u64) -> ImageRecord {
    let hash = blake3::hash(&n.to_le_bytes());
    let content_hash = ContentHash::from_bytes(*hash.as_bytes());
    let components: [f32; DIM] = std::array::from_fn(|i| f32::from(hash.as_bytes()[i]) - 127.5);
    ImageRecord {
        id: ImageId::from(content_hash),
        name: format!("{n}.jpg"),
        size: n,
        format: ImageFormat::Jpeg,
        created: chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        tags: Vec::new(),
        fingerprint: Fingerprint {
            content_hash,
            pixel_hash: PixelHash::from_bytes(*blake3::hash(hash.as_bytes()).as_bytes()),
            pdq: PdqHash::from_bytes(*hash.as_bytes()),
            pdq_quality: 80,
            embedding: Embedding::normalised(&components).expect("has a direction"),
            width: 1,
            height: 1,
            exif: ExifSummary::default(),
        },
    }
}

fn model() -> ModelHash {
    ModelHash::from_bytes([9; 32])
}

async fn open(dir: &Path) -> (Stores, Arc<Shard>) {
    let location = StoreLocation {
        data_dir: dir.to_owned(),
        ..StoreLocation::default()
    };
    let stores = location.open().await.expect("the stores open");
    // Small enough that seals and compactions never cease.
    let options = ShardOptions {
        seal_rows: 150,
        orphan_age: Duration::ZERO,
        compaction: Policy {
            most_small: 6,
            most_scanned: 5000,
            ..Policy::default()
        },
        ..ShardOptions::new(DIM, model())
    };
    let collection = CollectionName::default_collection();
    let owner = "crash".parse().expect("a name");
    let shard = Shard::open(
        stores.clone(),
        "local",
        &collection,
        ShardId::new(0),
        &owner,
        options,
    )
    .await;
    (stores, shard.expect("the shard opens"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn say(line: &str) {
    // One write a line: it is whole in the pipe, or not there.
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// The child: each writer stores images of its own numbers, deletes some, and says what was acknowledged. `+n` stored,
/// `?n` about to be deleted, `-n` deleted, `!` never happens: a new number was there already.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let start: u64 = std::env::var("DOPPEL_TEST_CRASH_START")
        .expect("set")
        .parse()
        .expect("a number");
    runtime().block_on(async {
        let (_stores, shard) = open(Path::new(&dir)).await;
        say("ready\n");
        let writers = (0..WRITERS).map(|writer| {
            let shard = shard.clone();
            tokio::spawn(async move {
                for step in 0.. {
                    let n = start + step * WRITERS + writer;
                    match shard.append(record(n)).await.expect("stored") {
                        Appended::New => say(&format!("+{n}\n")),
                        Appended::Existing(_) => say(&format!("!{n}\n")),
                    }
                    if n % 4 == 1 {
                        let victim = n - (n % 64).min(step * WRITERS) / WRITERS * WRITERS;
                        say(&format!("?{victim}\n"));
                        if shard.delete(record(victim).id).await.expect("deleted") {
                            say(&format!("-{victim}\n"));
                        }
                    }
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

/// What the children said over all rounds.
#[derive(Default)]
struct Told {
    stored: BTreeSet<u64>,
    deleting: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    highest: u64,
    /// First number of the last child: it may have stored some and been killed before it said so.
    start: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let (kind, number) = line.split_at(1);
        let Ok(n) = number.parse::<u64>() else { return };
        self.highest = self.highest.max(n);
        match kind {
            "+" => drop(self.stored.insert(n)),
            "?" => drop(self.deleting.insert(n)),
            "-" => drop(self.deleted.insert(n)),
            _ => panic!("image {n} was there before it was stored"),
        }
    }
}

fn round(dir: &Path, told: &mut Told, kill_after: Duration) {
    told.start = told.highest.max(told.start) + 1000;
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "writes_until_it_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, dir)
        .env("DOPPEL_TEST_CRASH_START", told.start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.ends_with("ready"));
    assert!(ready, "the child opens the store it was killed in");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(kill_after);
        child.kill().expect("killed");
        child.wait().expect("reaped");
    });
    for line in lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with(['+', '?', '-', '!']))
    {
        told.hear(&line);
    }
    killer.join().expect("killed");
}

async fn verify(dir: &Path, told: &Told) {
    let (stores, shard) = open(dir).await;
    assert_eq!(shard.damage(), []);
    for &n in &told.stored {
        let there = shard.get(&record(n).id).is_some();
        if told.deleted.contains(&n) {
            assert!(!there, "image {n} was deleted and is back");
        } else if !told.deleting.contains(&n) {
            assert!(there, "image {n} was acknowledged and is lost");
        }
    }
    let mut seen = BTreeMap::new();
    for image in shard.list(None, usize::MAX) {
        *seen.entry(image.id).or_insert(0) += 1;
    }
    assert!(seen.values().all(|&count| count == 1), "an image stands twice");
    assert_eq!(seen.len(), shard.len());
    shard.close().await;
    let target = Target {
        collection: CollectionName::default_collection(),
        shards: 1,
        spec: ShardOptions::new(DIM, model()).spec,
        keep_originals: false,
    };
    let report = fsck(&stores, "local", &[target], Repair::No)
        .await
        .expect("checked");
    let wrong: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Waste && !f.object.starts_with("thumb/"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let rounds =
        std::env::var("DOPPEL_TEST_CRASH_ROUNDS").map_or(5, |text| text.parse().expect("a number of rounds"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut told = Told::default();
    let mut random = u64::from(std::process::id()) | 1;
    let begin = Instant::now();
    for number in 0..rounds {
        // xorshift: any moment will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let before = told.stored.len();
        round(dir.path(), &mut told, Duration::from_millis(20 + random % 700));
        runtime().block_on(verify(dir.path(), &told));
        println!(
            "round {number}: {} acknowledged, {} deleted, {} new, {:?}",
            told.stored.len(),
            told.deleted.len(),
            told.stored.len() - before,
            begin.elapsed()
        );
    }
    assert!(told.stored.len() > 50, "too little was written to prove anything");
}
