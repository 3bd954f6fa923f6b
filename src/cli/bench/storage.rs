//! `doppel bench storage`: how fast images become durable on a disk, how fast a shard is back after a restart, and how
//! much is written for each byte stored. Vectors are made up: nothing is decoded or embedded.

mod counting;
mod load;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use self::counting::{Bytesum, Written, counted};
use self::load::{Until, fsyncs, record, write};
use crate::cli::{Context, Exit, print, progress};
use crate::shard::{Maintenance, Shard, ShardOptions, StoreLocation, Stores, record_bytes};
use crate::types::{CollectionName, ModelHash, ShardId};

/// Flags of `doppel bench storage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench storage --dir /srv
  doppel bench storage --dir /srv --rows 1000000 -f json > storage.json

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
    /// Dimension of the vectors
    #[arg(long, value_name = "N", default_value_t = 256)]
    dim: usize,
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

/// The disk by itself: 4 KiB appended and synced, one after the other.
#[derive(Debug, Serialize)]
struct Disk {
    fsyncs_per_second: f64,
    median_ms: f64,
    p99_ms: f64,
}

#[derive(Debug, Serialize)]
struct Acknowledged {
    writers: u16,
    per_second: f64,
    /// Against the disk's own rate.
    times_fsync_rate: f64,
    median_ms: f64,
    p99_ms: f64,
    /// Three median fsyncs and the group window: what the p99 is held against.
    bound_ms: f64,
    records_per_object: f64,
}

/// How long opening took, until the first search was answered.
#[derive(Debug, Serialize)]
struct Recovered {
    images: usize,
    objects: usize,
    bytes: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Amplification {
    images: u64,
    record_bytes: u64,
    written: Bytesum,
    /// Bytes of objects and metadata for each byte of a record.
    factor: f64,
    /// The same by what the kernel sent to the disk for this process; none where it does not tell.
    disk_factor: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    dim: usize,
    disk: Disk,
    acknowledged: Acknowledged,
    wal: Recovered,
    sealed: Recovered,
    amplification: Amplification,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("making {}", args.dir.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("doppel-bench-")
        .tempdir_in(&args.dir)
        .with_context(|| format!("writing to {}", args.dir.display()))?;
    let report = context.runtime()?.block_on(measure(args, folder.path()))?;
    if args.json || args.format == Format::Json {
        print(&format!("{:#}\n", serde_json::to_value(&report)?))?;
    } else {
        print(&text(&report)?)?;
    }
    Ok(Exit::Done)
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

fn options(args: &Args) -> ShardOptions {
    ShardOptions::new(args.dim, ModelHash::from_bytes([1; 32]))
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
        "bench",
        &collection,
        ShardId::new(0),
        &owner,
        options,
    )
    .await?)
}

/// Acknowledgements, between two measurements of the disk.
async fn acknowledge(args: &Args, folder: &Path) -> anyhow::Result<(Disk, Acknowledged)> {
    let own = Duration::from_secs(args.seconds.div_ceil(4).max(1));
    let sync = |folder: PathBuf| tokio::task::spawn_blocking(move || fsyncs(&folder, own));
    let mut disk = sync(folder.to_owned()).await??;
    let place = folder.join("acknowledged");
    let (stores, written) = open_stores(&place).await?;
    let shard = open(&stores, options(args)).await?;
    let until = Until::Time(Duration::from_secs(args.seconds));
    let (mut times, seconds) = write(&shard, args.writers.into(), until, args.dim, || {}).await?;
    let objects = written.now().wal_objects;
    shard.close().await;
    drop((shard, stores));
    disk.merge(sync(folder.to_owned()).await??);
    std::fs::remove_dir_all(place)?;

    let per_second = times.count() as f64 / seconds;
    let fsync = disk.quantile(0.5);
    let window = options(args).group_window.as_secs_f64();
    let acknowledged = Acknowledged {
        writers: args.writers,
        per_second,
        times_fsync_rate: per_second / disk.rate(),
        median_ms: times.quantile(0.5) * 1e3,
        p99_ms: times.quantile(0.99) * 1e3,
        bound_ms: (3.0 * fsync + window) * 1e3,
        records_per_object: times.count() as f64 / objects.max(1) as f64,
    };
    let disk = Disk {
        fsyncs_per_second: disk.rate(),
        median_ms: fsync * 1e3,
        p99_ms: disk.quantile(0.99) * 1e3,
    };
    Ok((disk, acknowledged))
}

/// Opens the stores and the shard of a folder anew, and searches once.
async fn reopen(args: &Args, folder: &Path, images: u64) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (stores, _) = open_stores(folder).await?;
    let quiet = ShardOptions {
        maintenance: Maintenance::Manual,
        ..options(args)
    };
    let shard = open(&stores, quiet).await?;
    let query = record(0, args.dim);
    let hits = shard.search(&query.fingerprint.embedding, 1)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(shard.damage().is_empty(), "damaged: {:?}", shard.damage());
    ensure!(
        shard.len() as u64 == images,
        "{} images are back of {images}",
        shard.len()
    );
    ensure!(
        hits.first().is_some_and(|hit| hit.id == query.id),
        "an image does not find itself"
    );
    shard.close().await;
    Ok(seconds)
}

async fn recover_wal(args: &Args, folder: &Path) -> anyhow::Result<Recovered> {
    let place = folder.join("wal");
    let (stores, written) = open_stores(&place).await?;
    let unsealed = ShardOptions {
        maintenance: Maintenance::Manual,
        backlog_bytes: u64::MAX,
        ..options(args)
    };
    let shard = open(&stores, unsealed).await?;
    write(
        &shard,
        args.writers.into(),
        Until::Records(args.wal),
        args.dim,
        || {},
    )
    .await?;
    shard.close().await;
    drop((shard, stores));
    let written = written.now();
    let seconds = reopen(args, &place, args.wal).await?;
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
    let place = folder.join("sealed");
    let (stores, written) = open_stores(&place).await?;
    let shard = open(&stores, options(args)).await?;
    let (before, before_disk) = (written.now(), disk_bytes());
    let bar = progress(args.rows, "images");
    let tick = {
        let bar = bar.clone();
        move || bar.inc(1)
    };
    write(
        &shard,
        args.writers.into(),
        Until::Records(args.rows),
        args.dim,
        tick,
    )
    .await?;
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
        record_bytes,
        written,
        factor: written.total() as f64 / stored,
        disk_factor: before_disk
            .zip(after_disk)
            .map(|(before, after)| after.saturating_sub(before) as f64 / stored),
    };
    let bytes = walkdir::WalkDir::new(place.join("objects").join("seg"))
        .into_iter()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum();
    let seconds = reopen(args, &place, args.rows).await?;
    let recovered = Recovered {
        images: usize::try_from(args.rows)?,
        objects: segments,
        bytes,
        seconds,
    };
    Ok((recovered, amplification))
}

/// Bytes that this process caused to be sent to the disk, where the kernel tells.
fn disk_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.trim().parse().ok()
}

fn text(report: &Report) -> anyhow::Result<String> {
    let mut out = String::new();
    let (disk, acks) = (&report.disk, &report.acknowledged);
    writeln!(
        out,
        "disk              {:.0} fsyncs/s, one after the other, 4 KiB each; median {:.2} ms, p99 {:.2} ms",
        disk.fsyncs_per_second, disk.median_ms, disk.p99_ms
    )?;
    writeln!(
        out,
        "acknowledgements  {:.0}/s by {} writers = {:.1} × the fsync rate; median {:.2} ms, p99 {:.2} ms \
         (3 fsyncs + window: {:.2} ms); {:.1} records an object",
        acks.per_second,
        acks.writers,
        acks.times_fsync_rate,
        acks.median_ms,
        acks.p99_ms,
        acks.bound_ms,
        acks.records_per_object
    )?;
    for (what, recovered) in [("log", &report.wal), ("sealed", &report.sealed)] {
        writeln!(
            out,
            "recovery, {what:7} {} images of dimension {} in {} objects, {:.1} MB: {:.2} s",
            recovered.images,
            report.dim,
            recovered.objects,
            recovered.bytes as f64 / 1e6,
            recovered.seconds
        )?;
    }
    let (amp, stored) = (
        &report.amplification,
        (report.amplification.images * report.amplification.record_bytes) as f64,
    );
    write!(
        out,
        "written           {:.2} bytes for each byte of {} records of {} bytes: log {:.2}, segments {:.2}, tombstones {:.3}, \
         metadata {:.3}",
        amp.factor,
        amp.images,
        amp.record_bytes,
        amp.written.wal as f64 / stored,
        amp.written.segments as f64 / stored,
        amp.written.tombstones as f64 / stored,
        amp.written.metadata as f64 / stored
    )?;
    match amp.disk_factor {
        Some(factor) => writeln!(out, "; to the disk {factor:.2}")?,
        None => writeln!(out)?,
    }
    Ok(out)
}
