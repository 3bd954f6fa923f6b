//! `doppel bench accuracy`: attacks the user's own images and reports how well the copies are found.

mod output;

use std::fs;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;

use super::super::{Context, Exit, print, progress};
use crate::dedup::{Calibration, Cascade};
use crate::engine::accuracy::{AccuracyOptions, CascadeOptions, measure};
use crate::engine::network;
use crate::vision::{self, Embedder};

/// Flags of `doppel bench accuracy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench accuracy ~/Pictures
  doppel bench accuracy ~/Pictures --without-match ~/Other --cascade
  doppel bench accuracy ~/Pictures --queries 12 -f json -o accuracy.json

The images should be no copies of each other: a pair of them that is found counts as false.
Every family of edits is drawn at three strengths; families marked * were never trained on, and nothing is tuned on them.
Everyday edits (resize, jpeg, crop_slight, border, logo) are listed and stand in no ranking.")]
pub(super) struct Args {
    /// Files and folders with images
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder with images that match none of these, and each other neither: they make it harder; may be given several times
    #[arg(long, value_name = "PATH")]
    without_match: Vec<PathBuf>,
    /// Sample: attacked images for each family and strength
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    queries: u16,
    /// Sample: images of either kind at most
    #[arg(long, value_name = "N", default_value_t = 5000)]
    limit: usize,
    /// Measure the whole cascade too: candidates, verification, probability
    #[arg(long)]
    cascade: bool,
    /// Ask about the parts of every image too, as scan --deep and search --deep do
    #[arg(long, requires = "cascade")]
    deep: bool,
    /// File to write every verified pair to, for models/calibrate_unwarped.py
    #[arg(long, value_name = "FILE", requires = "cascade")]
    pairs: Option<PathBuf>,
    /// Seed of the choice of images and of the edits
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads; one a core without it
    #[arg(
        short = 'j',
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        value_parser = crate::cli::workers()
    )]
    threads: usize,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write the answer to; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object, with every mistake of the cascade
    Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let search = &context.config.search;
    let options = AccuracyOptions {
        paths: args.paths.clone(),
        without_match: args.without_match.clone(),
        queries: usize::from(args.queries),
        limit: args.limit,
        cascade: args.cascade.then_some(CascadeOptions {
            candidates: search.candidates,
            verified: search.verified,
            deep: args.deep,
        }),
        seed: args.seed,
        limits: context.decode_limits(),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .context("starting threads")?;
    let spec = vision::builtin_spec()?;
    let embedder: Arc<dyn Embedder> = network(&context.config)?;
    let cascade = Cascade::new(Calibration::default()).with_background(embedder.bank());
    let bar = std::io::stderr().is_terminal().then(|| progress(0, "images"));
    let accuracy = pool.install(|| {
        measure(&options, &embedder, &spec, &cascade, &|done, total| {
            if let Some(bar) = &bar {
                bar.set_length(total);
                bar.set_position(done);
            }
        })
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let accuracy = accuracy?;
    if let (Some(path), Some(whole)) = (&args.pairs, &accuracy.whole) {
        let rows = output::pairs(&whole.pairs);
        fs::write(path, rows).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = match args.format {
        Format::Table => output::table(&accuracy),
        Format::Json => output::json(&accuracy)?,
    };
    match &args.output {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => print(&text)?,
    }
    Ok(Exit::Done)
}
