//! `doppel judge`: a person's word on images that a scan took for duplicates.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::Utc;
use clap::ValueEnum;

use super::{Exit, print, scan};
use crate::engine::scan::Verdicts;
use crate::types::{ContentHash, ImagePair, Judgement, Verdict};

/// Say that images are no duplicates, or that all of them stay; every later scan respects it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel judge a.jpg b.jpg                      no duplicates: never group them again
  doppel judge a.jpg b.jpg --as keep-both       duplicates, and both stay
  doppel judge a.jpg b.jpg --as withdrawn       forget what was said

What is said is remembered by content: files may be moved, renamed and copied.")]
pub(super) struct Args {
    /// Two images or more; the word is about every pair of them
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is said
    #[arg(long = "as", value_enum, default_value_t = Word::NotDuplicate)]
    word: Word,
    /// Folder of the cache that `doppel scan` uses
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// File to remember it in; verdicts.jsonl in the cache's folder without it
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
}

/// Verdicts as people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// They are not duplicates
    NotDuplicate,
    /// They are duplicates, and all of them stay
    KeepBoth,
    /// What was said before no longer holds
    Withdrawn,
}

impl From<Word> for Verdict {
    fn from(word: Word) -> Self {
        match word {
            Word::NotDuplicate => Self::NotDuplicate,
            Word::KeepBoth => Self::KeepBoth,
            Word::Withdrawn => Self::Withdrawn,
        }
    }
}

/// The file of verdicts that belongs to a cache, the user's own without one.
pub(super) fn beside_cache(cache: Option<&Path>) -> Option<PathBuf> {
    let folder = cache.map(Path::to_owned).or_else(scan::default_cache)?;
    Some(folder.join("verdicts.jsonl"))
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = args
        .verdicts
        .clone()
        .or_else(|| beside_cache(args.cache.as_deref()))
        .context("this system has no folder for caches: say where with --verdicts")?;
    let contents: Vec<ContentHash> = args
        .files
        .iter()
        .map(|file| content(file))
        .collect::<anyhow::Result<_>>()?;
    let mut judgements = Vec::new();
    for (place, &one) in contents.iter().enumerate() {
        for (other_place, &other) in contents.iter().enumerate().skip(place + 1) {
            let pair = ImagePair::new(one, other).with_context(|| {
                format!(
                    "{} and {} have the same bytes: nothing can tell them apart",
                    args.files[place].display(),
                    args.files[other_place].display()
                )
            })?;
            judgements.push(Judgement {
                pair,
                verdict: args.word.into(),
                at: Utc::now(),
            });
        }
    }
    Verdicts::record(&path, &judgements)?;
    let pairs = if judgements.len() == 1 { "pair" } else { "pairs" };
    print(&format!(
        "{} {pairs} noted in {}\n",
        judgements.len(),
        path.display()
    ))?;
    Ok(Exit::Done)
}

fn content(path: &Path) -> anyhow::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    std::fs::File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}
