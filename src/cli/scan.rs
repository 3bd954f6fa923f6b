//! `doppel scan`: finds the duplicates in folders.

mod html;
mod output;

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use globset::{Glob, GlobSet, GlobSetBuilder};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Exit, judge, print};
use crate::dedup::{Calibration, KeepPolicy};
use crate::engine::network;
use crate::engine::scan::{self, Phase, Progress, ScanOptions, Verdicts};
use crate::types::MatchClass;

/// Find duplicate images in folders: copies that were resized, recompressed, cropped, turned, mirrored or overlaid
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel scan ~/Pictures                                  groups of duplicates, as a table
  doppel scan ~/Pictures -f json -o found.json            for scripts
  doppel scan ~/Pictures -f html -o found.html            to look at in a browser
  doppel scan ~/Inbox -r ~/Archive                        what of the inbox is in the archive already
  doppel scan ~/Pictures --plan plan.json -W && doppel apply plan.json --dry-run

Nothing is changed on disk by a scan. Exit code 11 says that duplicates were found.")]
pub(super) struct Args {
    /// Files and folders to scan
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder whose images are always kept; may be given several times
    #[arg(short, long = "reference", value_name = "DIR")]
    references: Vec<PathBuf>,
    /// Leave out paths or names that match, like '*.gif' or '**/thumbs/**'; may be given several times
    #[arg(short = 'x', long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Weakest kind of match that makes a group
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Edited)]
    level: Level,
    /// Compare the parts of every image too, for small copies in large pictures: collages, screenshots, strong crops. Takes as
    /// long as reading two or three times as many images
    #[arg(long)]
    deep: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write the answer to; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which image of a group to keep: one or more of unedited, original, largest-resolution, largest-file,
    /// smallest-file, oldest, newest, path, shortest-path, separated by commas
    #[arg(long, value_name = "POLICY", default_value_t)]
    keep: KeepPolicy,
    /// Write what should be done to this file, for `doppel apply`
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
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
    /// Folder of the cache that makes the next scan fast
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Keep nothing for the next scan
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
    /// File of what `doppel judge` was told; verdicts.jsonl in the cache's folder without it
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
}

/// Levels as people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Whole images: resized, recompressed, converted, turned by 90°, mirrored
    NearIdentical,
    /// Also parts and alterations: crop, overlay, border, filter, collage
    Edited,
    /// Also what merely looks alike; never selected for removal
    Similar,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object
    Json,
    /// One object a group
    Jsonl,
    /// One line an image of a group
    Csv,
    /// A page with pictures
    Html,
}

impl From<Level> for MatchClass {
    fn from(level: Level) -> Self {
        match level {
            Level::NearIdentical => Self::NearIdentical,
            Level::Edited => Self::Edited,
            Level::Similar => Self::Similar,
        }
    }
}

pub(super) fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let exclude = match exclude(&args.exclude) {
        Ok(set) => set,
        Err(error) => return usage(&error.to_string()),
    };
    for path in args.paths.iter().chain(&args.references) {
        if !path.exists() {
            return usage(&format!("{} does not exist", path.display()));
        }
    }
    let verdicts = match args
        .verdicts
        .or_else(|| judge::beside_cache(args.cache.as_deref()))
    {
        Some(path) => Verdicts::read(&path)?,
        None => Verdicts::default(),
    };
    let options = ScanOptions {
        paths: args.paths,
        references: args.references,
        exclude,
        level: args.level.into(),
        keep: args.keep,
        threads: args.threads,
        cache: if args.no_cache {
            None
        } else {
            args.cache.or_else(default_cache)
        },
        verdicts,
        limits: context.decode_limits(),
        deep: args.deep,
        calibration: Calibration::default(),
    };
    let embedder = network(&context.config)?;
    let bar = Bar::new();
    let report = scan::scan(&options, embedder, &|progress| bar.show(progress));
    bar.clear();
    let report = report?;

    if let Some(path) = &args.plan {
        let mut text = serde_json::to_string_pretty(&report.plan())?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write the plan to {}", path.display()))?;
    }
    let text = match args.format {
        Format::Table => output::table(&report),
        Format::Json => output::json(&report)?,
        Format::Jsonl => output::jsonl(&report)?,
        Format::Csv => output::csv(&report),
        Format::Html => html::page(&report),
    };
    match &args.output {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => print(&text)?,
    }
    Ok(if report.groups.is_empty() {
        Exit::Done
    } else {
        Exit::Found
    })
}

fn usage(problem: &str) -> anyhow::Result<Exit> {
    writeln!(std::io::stderr(), "doppel: {problem}")?;
    Ok(Exit::Usage)
}

fn exclude(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob)?);
    }
    set.build()
}

/// The user's folder for caches, where the system has such a notion.
pub(super) fn default_cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("doppel"))
}

/// Progress on standard error, on a terminal only.
struct Bar {
    bar: ProgressBar,
    phase: parking_lot::Mutex<Option<Phase>>,
}

impl Bar {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            phase: parking_lot::Mutex::new(None),
        }
    }

    fn show(&self, progress: Progress) {
        let mut phase = self.phase.lock();
        if *phase != Some(progress.phase) {
            *phase = Some(progress.phase);
            let (name, unit) = match progress.phase {
                Phase::Reading => ("Reading  ", "files"),
                Phase::Comparing => ("Comparing", "pairs"),
                Phase::Parts => ("Embedding", "images in parts"),
                Phase::Verifying => ("Verifying", "pairs"),
            };
            let template =
                format!("{name} {{bar:32}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left");
            let style =
                ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar.reset();
            self.bar.set_style(style);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
