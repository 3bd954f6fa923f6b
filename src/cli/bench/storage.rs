//! `doppel bench storage`: how fast images become durable on a disk, how fast a shard is back after a restart, and how
//! much is written for each byte stored. Vectors are made up: nothing is decoded or embedded.

mod counting;
mod load;
mod remote;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use self::counting::{Bytesum, Written, counted};
use self::load::{Load, Times, Until, fsyncs, record};
use self::report::{Acknowledged, Amplification, Disk, Recovered, Report};
use crate::cli::{Context, Exit, print, progress, warn};
use crate::cluster::catalogue::{Catalogue, CollectionSpec};
use crate::shard::{Maintenance, Shard, ShardOptions, StoreLocation, Stores, record_bytes};
use crate::types::{CollectionName, ShardId};
use crate::vision::{Embedder as _, builtin};

/// Flags of `doppel bench storage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench storage --dir /srv
  doppel bench storage --dir /srv --rows 1000000 --keep -f json > storage.json
  doppel bench storage --reopen /srv/doppel-bench-x1y2z3     only the restart, in a process of its own
  doppel serve --data-dir /srv/doppel-bench-x1y2z3/sealed    the same images behind the service
  doppel bench storage --rows 200000 --seal-rows 5000 --deletes 10
  doppel bench storage --storage s3://images/doppel --seconds 20

Works in a folder of its own inside DIR and removes it. A million rows take about 4 GB there, and minutes of all cores.")]
pub(super) struct Args {
    /// Folder on the disk to measure
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Calls that wait for their acknowledgement at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    writers: u16,
    /// How long acknowledgements are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Images in the write-ahead log that is recovered
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    wal: u64,
    /// Images that are sealed, compacted and recovered
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    rows: u64,
    /// Images after which a segment is sealed
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    seal_rows: usize,
    /// Log in MB that waits for seals; writers beyond it wait. Below what a seal takes to be built, segments stay at --seal-rows
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    unsealed: u64,
    /// Percentage of the sealed images that are deleted again meanwhile
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    deletes: u8,
    /// Dimension of the vectors
    #[arg(long, value_name = "N", default_value_t = 256)]
    dim: usize,
    /// Leave the sealed images there and say where
    #[arg(long)]
    keep: bool,
    /// Open what an earlier run kept, and nothing else
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["dir", "keep"])]
    reopen: Option<PathBuf>,
    /// Measure acknowledgements on this object store instead; reached as by `doppel serve`
    #[arg(long, value_name = "URL", conflicts_with_all = ["keep", "reopen"])]
    storage: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as -f json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if let Some(kept) = &args.reopen {
        return again(args, kept, context);
    }
    std::fs::create_dir_all(&args.dir).with_context(|| format!("making {}", args.dir.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("doppel-bench-")
        .tempdir_in(&args.dir)
        .with_context(|| format!("writing to {}", args.dir.display()))?;
    let runtime = context.runtime()?;
    if let Some(url) = &args.storage {
        let report = runtime.block_on(remote::measure(args, url, folder.path()))?;
        args.answer(&report, report.text())?;
        return Ok(Exit::Done);
    }
    let report = runtime.block_on(measure(args, folder.path()))?;
    args.answer(&report, report.text()?)?;
    if args.keep {
        warn(format_args!("kept: {}", folder.keep().display()));
    }
    Ok(Exit::Done)
}

/// Opens what an earlier run kept.
fn again(args: &Args, kept: &Path, context: &Context) -> anyhow::Result<Exit> {
    let place = kept.join(SEALED);
    ensure!(place.is_dir(), "{} holds nothing that a run kept", kept.display());
    let (seconds, images) = context.runtime()?.block_on(reopen(args, &place, None))?;
    let recovered = Recovered {
        images,
        objects: files(&place).count(),
        bytes: files(&place).sum(),
        seconds,
    };
    args.answer(&recovered, recovered.text("sealed", args.dim)?)?;
    Ok(Exit::Done)
}

impl Args {
    fn answer(&self, report: &impl Serialize, text: String) -> anyhow::Result<()> {
        let json = self.json || self.format == Format::Json;
        print(&if json {
            format!("{:#}\n", serde_json::to_value(report)?)
        } else {
            text
        })?;
        Ok(())
    }
}

async fn measure(args: &Args, folder: &Path) -> anyhow::Result<Report> {
    let (disk, acknowledged) = acknowledge(args, folder).await?;
    let wal = recover_wal(args, folder).await?;
    let (sealed, amplification) = recover_sealed(args, folder).await?;
    Ok(Report {
        dim: args.dim,
        disk,
        acknowledged,
        wal,
        sealed,
        amplification,
    })
}

/// Where the sealed images stand in the run's folder.
const SEALED: &str = "sealed";

/// The cluster that a service without etcd is.
const CLUSTER: &str = "local";

/// As of a collection of the network that is shipped.
fn options(args: &Args) -> anyhow::Result<ShardOptions> {
    Ok(ShardOptions {
        seal_rows: args.seal_rows,
        backlog_bytes: args.unsealed << 20,
        ..ShardOptions::new(args.dim, builtin()?.model_hash())
    })
}

/// Stores in a folder, counted.
async fn open_stores(folder: &Path) -> anyhow::Result<(Stores, Arc<Written>)> {
    let location = StoreLocation {
        data_dir: folder.to_owned(),
        ..StoreLocation::default()
    };
    Ok(counted(location.open().await?))
}

async fn open(stores: &Stores, options: ShardOptions) -> anyhow::Result<Arc<Shard>> {
    let collection = CollectionName::default_collection();
    let owner = "bench".parse().context("a node's name")?;
    Ok(Shard::open(
        stores.clone(),
        CLUSTER,
        &collection,
        ShardId::new(0),
        &owner,
        options,
    )
    .await?)
}

/// Lists the collection, so that what is kept can be served.
async fn list(args: &Args, stores: &Stores) -> anyhow::Result<()> {
    let catalogue = Catalogue::new(Arc::clone(&stores.metadata), CLUSTER);
    let spec = CollectionSpec {
        name: CollectionName::default_collection(),
        dim: args.dim,
        shards: 1,
        model_hash: builtin()?.model_hash(),
        keep_originals: false,
    };
    catalogue.create(spec).await?;
    Ok(())
}

/// Acknowledgements and the disk by itself, in turns, so that both meet the same disk. What the shard does on its own goes
/// on beside the acknowledgements, and is over before the disk is measured.
async fn acknowledge(args: &Args, folder: &Path) -> anyhow::Result<(Disk, Acknowledged)> {
    const TURNS: u32 = 4;
    let turn = Duration::from_secs(args.seconds.max(1)) / TURNS;
    let sync = |bytes: usize| {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || fsyncs(&folder, bytes, turn / 2))
    };
    let group = usize::from(args.writers) * record_bytes(&record(0, args.dim));
    let place = folder.join("acknowledged");
    let (stores, written) = open_stores(&place).await?;
    let shard = open(&stores, options(args)?).await?;
    let load = Load::new(args.writers, args.dim, 0);
    let (mut disk, mut groups) = (Times::default(), Times::default());
    let (mut times, mut seconds) = (Times::default(), 0.0);
    for _ in 0..TURNS {
        disk.merge(sync(4096).await??);
        groups.merge(sync(group).await??);
        let (acknowledged, took) = load.write(&shard, Until::Time(turn), || {}).await?;
        times.merge(acknowledged);
        seconds += took;
        shard.seal().await?;
        while shard.compact().await? {}
    }
    let objects = written.now().wal_objects;
    shard.close().await;
    drop((shard, stores));
    std::fs::remove_dir_all(place)?;

    let per_second = times.count() as f64 / seconds;
    let three = disk.quantile_in_a_row(3, 0.99);
    let fsync = disk.quantile(0.5);
    let window = options(args)?.group_window.as_secs_f64();
    let acknowledged = Acknowledged {
        writers: args.writers,
        per_second,
        times_fsync_rate: per_second / disk.rate(),
        times_fsync_rate_of_groups: per_second / groups.rate(),
        median_ms: times.quantile(0.5) * 1e3,
        p99_ms: times.quantile(0.99) * 1e3,
        bound_ms: (3.0 * fsync + window) * 1e3,
        bound_p99_ms: (three + window) * 1e3,
        records_per_object: times.count() as f64 / objects.max(1) as f64,
    };
    let disk = Disk {
        fsyncs_per_second: disk.rate(),
        fsyncs_of_groups_per_second: groups.rate(),
        median_ms: fsync * 1e3,
        p99_ms: disk.quantile(0.99) * 1e3,
        three_p99_ms: three * 1e3,
    };
    Ok((disk, acknowledged))
}

/// Opens the stores and the shard of a folder anew, and searches once. `expected`: images that must be back, and one of them.
/// Returns the seconds it took and the images found.
async fn reopen(args: &Args, folder: &Path, expected: Option<(u64, u64)>) -> anyhow::Result<(f64, usize)> {
    let start = Instant::now();
    let (stores, _) = open_stores(folder).await?;
    let quiet = ShardOptions {
        maintenance: Maintenance::Manual,
        ..options(args)?
    };
    let shard = open(&stores, quiet).await?;
    let query = record(expected.map_or(0, |(_, one)| one), args.dim);
    let hits = shard.search(&query.fingerprint.embedding, 1)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(shard.damage().is_empty(), "damaged: {:?}", shard.damage());
    ensure!(!hits.is_empty(), "nothing is found");
    if let Some((images, _)) = expected {
        ensure!(
            shard.len() as u64 == images,
            "{} images are back of {images}",
            shard.len()
        );
        ensure!(hits[0].id == query.id, "an image does not find itself");
    }
    let images = shard.len();
    shard.close().await;
    Ok((seconds, images))
}

async fn recover_wal(args: &Args, folder: &Path) -> anyhow::Result<Recovered> {
    let place = folder.join("wal");
    let (stores, written) = open_stores(&place).await?;
    let unsealed = ShardOptions {
        maintenance: Maintenance::Manual,
        backlog_bytes: u64::MAX,
        ..options(args)?
    };
    let shard = open(&stores, unsealed).await?;
    let load = Load::new(args.writers, args.dim, 0);
    load.write(&shard, Until::Records(args.wal), || {}).await?;
    shard.close().await;
    drop((shard, stores));
    let written = written.now();
    let (seconds, _) = reopen(args, &place, Some((args.wal, 0))).await?;
    std::fs::remove_dir_all(place)?;
    Ok(Recovered {
        images: usize::try_from(args.wal)?,
        objects: usize::try_from(written.wal_objects)?,
        bytes: written.wal,
        seconds,
    })
}

/// Stores rows while the shard seals and compacts by itself, lets it finish, and opens it again.
async fn recover_sealed(args: &Args, folder: &Path) -> anyhow::Result<(Recovered, Amplification)> {
    let place = folder.join(SEALED);
    let (stores, written) = open_stores(&place).await?;
    list(args, &stores).await?;
    let shard = open(&stores, options(args)?).await?;
    let load = Load::new(args.writers, args.dim, args.deletes);
    let (before, before_disk) = (written.now(), disk_bytes());
    let bar = progress(args.rows, "images");
    let tick = {
        let bar = bar.clone();
        move || bar.inc(1)
    };
    load.write(&shard, Until::Records(args.rows), tick).await?;
    shard.seal().await?;
    while shard.compact().await? {}
    bar.finish_and_clear();
    let segments = shard.segments().len();
    shard.close().await;
    drop((shard, stores));

    let (after, after_disk) = (written.now(), disk_bytes());
    let record_bytes = (0..args.rows.min(1000))
        .map(|n| record_bytes(&record(n, args.dim)) as u64)
        .sum::<u64>()
        / args.rows.clamp(1, 1000);
    let stored = (record_bytes * args.rows) as f64;
    let written = Bytesum {
        wal: after.wal - before.wal,
        wal_objects: after.wal_objects - before.wal_objects,
        segments: after.segments - before.segments,
        tombstones: after.tombstones - before.tombstones,
        metadata: after.metadata - before.metadata,
    };
    let amplification = Amplification {
        images: args.rows,
        deleted: load.deleted(args.rows),
        seal_rows: args.seal_rows,
        record_bytes,
        written,
        factor: written.total() as f64 / stored,
        disk_factor: before_disk
            .zip(after_disk)
            .map(|(before, after)| after.saturating_sub(before) as f64 / stored),
    };
    let images = args.rows - amplification.deleted;
    let newest = args.rows.saturating_sub(1);
    let (seconds, images) = reopen(args, &place, Some((images, newest))).await?;
    let recovered = Recovered {
        images,
        objects: segments,
        bytes: files(&place).sum(),
        seconds,
    };
    Ok((recovered, amplification))
}

/// Sizes of the segments and tombstones in a folder.
fn files(place: &Path) -> impl Iterator<Item = u64> + use<> {
    walkdir::WalkDir::new(place.join("objects").join("seg"))
        .into_iter()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
}

/// Bytes that this process caused to be sent to the disk, where the kernel tells.
fn disk_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.trim().parse().ok()
}
