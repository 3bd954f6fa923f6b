//! `doppel bench embed`: how fast this machine takes images in, and where the time goes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use cpu_time::{ProcessTime, ThreadTime};
use rayon::prelude::*;
use serde::Serialize;

use super::super::{Context, Exit, files, print, progress, warn};
use crate::engine::network;
use crate::vision::Analyser;
use crate::vision::profile::Part;

/// Files read and analysed at a time.
const CHUNK: usize = 64;

/// Flags of `doppel bench embed`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench embed ~/Pictures
  doppel bench embed ~/Pictures --threads 1 --json > embed.json

Each file is read once and analysed as scan and upload do it: decoded, resized, hashed and embedded. Nothing is compared
or stored. The shares are of the whole process's CPU time, so that other work on the machine does not show in them.")]
pub(super) struct Args {
    /// Files and folders with images
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Threads; all cores when absent
    #[arg(short = 'j', long, value_name = "N", value_parser = crate::cli::workers())]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    images: u64,
    /// Files that are no images or cannot be read.
    left_out: u64,
    megapixels: f64,
    bytes: u64,
    threads: usize,
    wall_seconds: f64,
    cpu_seconds: f64,
    images_per_second: f64,
    images_per_cpu_second: f64,
    /// Multiplications and additions of the network over its CPU time, in thousands of millions a second; absent for a
    /// network that people brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    network_gflops: Option<f64>,
    stages: Vec<Share>,
}

#[derive(Serialize)]
struct Share {
    stage: &'static str,
    cpu_seconds: f64,
    milliseconds_per_image: f64,
    /// Of all CPU time, 0 to 1.
    share: f64,
}

/// What was added up while the files went through.
#[derive(Default)]
struct Sums {
    images: u64,
    left_out: u64,
    pixels: u64,
    bytes: u64,
    read: Duration,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build()
        .context("starting threads")?;
    let embedder = network(&context.config)?;
    let multiplications = embedder.multiplications();
    let analyser = Analyser::new(embedder, context.decode_limits());
    let (found, unreadable) = files::find(&args.paths);
    let before = Part::ALL.map(Part::total);
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let mut sums = Sums {
        left_out: unreadable.len() as u64,
        ..Sums::default()
    };
    let bar = progress(found.len() as u64, "images");
    for chunk in found.chunks(CHUNK) {
        pool.install(|| sums.take(chunk, &analyser, context.config.limits.max_file_bytes));
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let (wall, cpu) = (wall.elapsed(), cpu.elapsed());
    if sums.images == 0 {
        warn(format_args!("no image could be read"));
        return Ok(Exit::Failed);
    }
    let parts: Vec<(&'static str, Duration)> = std::iter::once(("read", sums.read))
        .chain(
            Part::ALL
                .iter()
                .zip(before)
                .map(|(part, before)| (part.name(), part.total() - before)),
        )
        .collect();
    let network = (Part::Network.total() - before[Part::Network as usize]).as_secs_f64();
    let report = Report {
        images: sums.images,
        left_out: sums.left_out,
        megapixels: sums.pixels as f64 / 1e6,
        bytes: sums.bytes,
        threads: pool.current_num_threads(),
        wall_seconds: wall.as_secs_f64(),
        cpu_seconds: cpu.as_secs_f64(),
        images_per_second: sums.images as f64 / wall.as_secs_f64(),
        images_per_cpu_second: sums.images as f64 / cpu.as_secs_f64(),
        network_gflops: multiplications.map(|count| (2 * count * sums.images) as f64 / network / 1e9),
        stages: shares(&parts, cpu, sums.images),
    };
    print(&if args.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        table(&report)
    })?;
    Ok(Exit::Done)
}

impl Sums {
    /// Reads and analyses files on the current pool.
    fn take(&mut self, files: &[files::Named], analyser: &Analyser, max_bytes: u64) {
        let read: Vec<(Option<Bytes>, Duration)> = files
            .par_iter()
            .map(|file| {
                let started = ThreadTime::now();
                let bytes = super::super::read(&file.path, max_bytes).ok();
                (bytes, started.elapsed())
            })
            .collect();
        self.read += read.iter().map(|(_, time)| *time).sum::<Duration>();
        let bytes: Vec<Bytes> = read.into_iter().filter_map(|(bytes, _)| bytes).collect();
        self.left_out += (files.len() - bytes.len()) as u64;
        for analysis in analyser.analyse_batch(&bytes) {
            match analysis {
                Ok(analysis) => {
                    let print = &analysis.fingerprint;
                    self.images += 1;
                    self.pixels += u64::from(print.width) * u64::from(print.height);
                    self.bytes += analysis.size;
                }
                Err(_) => self.left_out += 1,
            }
        }
    }
}

/// Each stage's part of `all`, and last what none of them counted.
fn shares(parts: &[(&'static str, Duration)], all: Duration, images: u64) -> Vec<Share> {
    let counted: Duration = parts.iter().map(|(_, time)| *time).sum();
    parts
        .iter()
        .copied()
        .chain([("other", all.saturating_sub(counted))])
        .map(|(stage, time)| Share {
            stage,
            cpu_seconds: time.as_secs_f64(),
            milliseconds_per_image: 1e3 * time.as_secs_f64() / images as f64,
            share: time.as_secs_f64() / all.as_secs_f64(),
        })
        .collect()
}

fn table(report: &Report) -> String {
    let mut text = format!("{:<10} {:>9} {:>9}\n", "stage", "ms/image", "share");
    for share in &report.stages {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<10} {:>9.3} {:>7.1} %",
            share.stage,
            share.milliseconds_per_image,
            100.0 * share.share
        );
    }
    // As above.
    let _ = write!(
        text,
        "\n{} images of {:.2} megapixels on average, {} files left out\n\
         {:.1} images a second on {} threads, {:.1} per CPU-second\n",
        report.images,
        report.megapixels / report.images as f64,
        report.left_out,
        report.images_per_second,
        report.threads,
        report.images_per_cpu_second,
    );
    if let Some(gflops) = report.network_gflops {
        // As above.
        let _ = writeln!(text, "network: {gflops:.0} GFLOP/s a core");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let second = Duration::from_secs(1);
        let shares = shares(&[("read", second), ("decode", 2 * second)], 4 * second, 100);
        assert_eq!(shares.len(), 3);
        assert!((shares.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(
            (shares[2].stage, shares[1].milliseconds_per_image),
            ("other", 20.0)
        );
    }
}
