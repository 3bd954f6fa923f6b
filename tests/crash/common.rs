//! What the processes that die and the one that looks afterwards have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doppel::shard::fsck::{Repair, Severity, Target, fsck};
use doppel::shard::{Shard, ShardOptions, StoreLocation, Stores};
use doppel::types::{
    Beyond, CollectionName, ContentHash, Embedding, ExifSummary, Fingerprint, ImageFormat, ImageId,
    ImageRecord, ModelHash, PdqHash, PixelHash, ShardId,
};

/// Set for a process that is to die: its data folder.
pub(crate) const CHILD: &str = "DOPPEL_TEST_CRASH_CHILD";
pub(crate) const DIM: usize = 16;

pub(crate) fn record(n: u64) -> ImageRecord {
    let hash = blake3::hash(&n.to_le_bytes());
    let content_hash = ContentHash::from_bytes(*hash.as_bytes());
    let components: [f32; DIM] = std::array::from_fn(|i| f32::from(hash.as_bytes()[i]) - 127.5);
    ImageRecord {
        id: ImageId::from(content_hash),
        name: format!("{n}.jpg"),
        size: n,
        format: ImageFormat::Jpeg,
        beyond: Beyond::NOTHING,
        created: chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        // So long that a group of sixteen is an object in a pack.
        tags: vec!["t".repeat(1000)],
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

pub(crate) fn model() -> ModelHash {
    ModelHash::from_bytes([9; 32])
}

/// The stores of a folder.
pub(crate) async fn stores(dir: &Path) -> Stores {
    let location = StoreLocation {
        data_dir: dir.to_owned(),
        ..StoreLocation::default()
    };
    location.open().await.expect("the stores open")
}

pub(crate) async fn open(stores: &Stores, options: ShardOptions) -> Arc<Shard> {
    let collection = CollectionName::default_collection();
    let owner = "crash".parse().expect("a name");
    let opened = Shard::open(
        stores.clone(),
        "local",
        &collection,
        ShardId::new(0),
        &owner,
        options,
    );
    opened.await.expect("the shard opens")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub(crate) fn say(line: &str) {
    // One write a line: it is whole in the pipe, or not there.
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// This program again, as the process that runs only the test `name` and is to die in `dir`.
pub(crate) fn child(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir);
    command
}

/// What the children said over all rounds.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) stored: BTreeSet<u64>,
    pub(crate) deleting: BTreeSet<u64>,
    pub(crate) deleted: BTreeSet<u64>,
    pub(crate) highest: u64,
}

impl Told {
    /// Listens to a child until it ends. `+n` stored, `?n` about to be deleted, `-n` deleted, `!n` was there before it was
    /// stored, which never happens.
    pub(crate) fn listen(&mut self, lines: impl BufRead) {
        for line in lines.lines().map_while(Result::ok) {
            if line.starts_with(['+', '?', '-', '!']) {
                self.hear(&line);
            }
        }
    }

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

/// Opens what is left: everything acknowledged is there, nothing deleted is back, each image stands once, a check is clean.
/// Returns how long it took to open the shard.
pub(crate) async fn verify(dir: &Path, told: &Told, options: ShardOptions) -> Duration {
    let stores = stores(dir).await;
    let start = Instant::now();
    let shard = open(&stores, options).await;
    let opened = start.elapsed();
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
    opened
}
