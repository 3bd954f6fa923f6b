//! `doppel bench accuracy`: attacks the user's own images and reports how well the copies are found.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::super::matching::MatchJson;
use super::super::{Context, Exit, print, progress};
use crate::dedup::{Calibration, Cascade};
use crate::engine::accuracy::{Accuracy, AccuracyOptions, FamilyResult, Mistake, measure};
use crate::vision::{self, Analyser, DecodeLimits};

/// Flags of `doppel bench accuracy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench accuracy ~/Pictures
  doppel bench accuracy ~/Pictures --attacked 50 -f json > accuracy.json

The images should be no copies of each other: pairs of them that are taken for copies count as false.")]
pub(super) struct Args {
    /// Files and folders with images
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Images that are attacked, once by every kind of edit; all others serve as references
    #[arg(long, value_name = "N", default_value_t = 40)]
    attacked: usize,
    /// References at most
    #[arg(long, value_name = "N", default_value_t = 5000)]
    limit: usize,
    /// Nearest references that are verified
    #[arg(long, value_name = "N", default_value_t = 24)]
    candidates: usize,
    /// Seed of the edits
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object, with every mistake
    Json,
}

#[derive(Serialize)]
struct AccuracyJson<'a> {
    references: u64,
    families: Vec<FamilyJson>,
    average_precision: f64,
    recall_at_precision_90: f64,
    recall_at_precision_99: f64,
    milliseconds_per_pair: f64,
    milliseconds_per_extraction: f64,
    false_pairs: Vec<MistakeJson<'a>>,
    missed: Vec<MistakeJson<'a>>,
}

#[derive(Serialize)]
struct FamilyJson {
    family: &'static str,
    held_out: bool,
    attacks: u64,
    retrieved: u64,
    found: u64,
    first: u64,
}

#[derive(Serialize)]
struct MistakeJson<'a> {
    family: Option<&'static str>,
    query: &'a str,
    reference: &'a str,
    #[serde(rename = "match")]
    found: Option<MatchJson>,
}

impl<'a> MistakeJson<'a> {
    fn of(mistake: &'a Mistake) -> Self {
        Self {
            family: mistake.family.map(|f| f.describe()),
            query: &mistake.query,
            reference: &mistake.reference,
            found: mistake.found.as_ref().map(MatchJson::of),
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let limits = &context.config.limits;
    let options = AccuracyOptions {
        paths: args.paths.clone(),
        attacked: args.attacked,
        limit: args.limit,
        candidates: args.candidates,
        seed: args.seed,
        limits: DecodeLimits {
            max_pixels: limits.max_pixels,
            max_side: limits.max_side_pixels,
            max_file_bytes: limits.max_file_bytes,
        },
    };
    let analyser = Analyser::new(vision::builtin()?, options.limits);
    let cascade = Cascade::new(Calibration::default());
    let bar = std::io::stderr().is_terminal().then(|| progress(0, "queries"));
    let accuracy = measure(&options, &analyser, &cascade, &|done, total| {
        if let Some(bar) = &bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    print(&match args.format {
        Format::Table => table(&accuracy),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&json(&accuracy))?),
    })?;
    Ok(Exit::Done)
}

fn json(accuracy: &Accuracy) -> AccuracyJson<'_> {
    AccuracyJson {
        references: accuracy.references,
        families: accuracy
            .families
            .iter()
            .map(|(family, result)| FamilyJson {
                family: family.describe(),
                held_out: family.is_held_out(),
                attacks: result.attacks,
                retrieved: result.retrieved,
                found: result.found,
                first: result.first,
            })
            .collect(),
        average_precision: accuracy.average_precision,
        recall_at_precision_90: accuracy.recall_at[0],
        recall_at_precision_99: accuracy.recall_at[1],
        milliseconds_per_pair: each(accuracy.verifying.as_secs_f64(), accuracy.verified),
        milliseconds_per_extraction: each(accuracy.extracting.as_secs_f64(), accuracy.extracted),
        false_pairs: accuracy.false_pairs.iter().map(MistakeJson::of).collect(),
        missed: accuracy.missed.iter().map(MistakeJson::of).collect(),
    }
}

/// Milliseconds each.
fn each(seconds: f64, count: u64) -> f64 {
    1e3 * seconds / count.max(1) as f64
}

fn table(accuracy: &Accuracy) -> String {
    let mut text = format!(
        "{:<26} {:>7} {:>10} {:>7}  {:<16} {:>8}\n",
        "kind of edit", "attacks", "candidate", "found", "95 % interval", "recall@1"
    );
    let mut all = FamilyResult::default();
    for (family, result) in &accuracy.families {
        let mark = if family.is_held_out() { " *" } else { "" };
        row(&mut text, &format!("{}{mark}", family.describe()), result);
        all.attacks += result.attacks;
        all.retrieved += result.retrieved;
        all.found += result.found;
        all.first += result.first;
    }
    row(&mut text, "all", &all);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "* held out: nothing was tuned on it\n\n\
         {} references, {} pairs wrongly taken for copies\n\
         average precision {:.3}, recall at precision .90 {:.3}, at .99 {:.3}\n\
         {} pairs verified, {:.2} ms each; {} features extracted, {:.2} ms each\n",
        accuracy.references,
        accuracy.false_pairs.len(),
        accuracy.average_precision,
        accuracy.recall_at[0],
        accuracy.recall_at[1],
        accuracy.verified,
        each(accuracy.verifying.as_secs_f64(), accuracy.verified),
        accuracy.extracted,
        each(accuracy.extracting.as_secs_f64(), accuracy.extracted),
    );
    for mistake in accuracy.false_pairs.iter().take(20) {
        let edit = mistake
            .family
            .map(|f| format!(" ({})", f.describe()))
            .unwrap_or_default();
        let probability = mistake.found.as_ref().map_or(0.0, |m| m.probability);
        let _ = writeln!(
            text,
            "false: {}{edit} with {}, probability {probability:.3}",
            mistake.query, mistake.reference
        );
    }
    text
}

fn row(text: &mut String, name: &str, result: &FamilyResult) {
    let share = |n: u64| n as f64 / result.attacks.max(1) as f64;
    let (low, high) = wilson(result.found, result.attacks);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{name:<26} {:>7} {:>10.3} {:>7.3}  {:<16} {:>8.3}",
        result.attacks,
        share(result.retrieved),
        share(result.found),
        format!("{low:.3} to {high:.3}"),
        share(result.first)
    );
}

/// Wilson's interval of 95 % for a share.
fn wilson(hits: u64, of: u64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (of as f64, 1.96f64);
    let p = hits as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (
        ((centre - reach) / scale).max(0.0),
        ((centre + reach) / scale).min(1.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_known_ones() {
        let (low, high) = wilson(50, 100);
        assert!((low - 0.404).abs() < 1e-3 && (high - 0.596).abs() < 1e-3);
        let (low, high) = wilson(40, 40);
        assert!((low - 0.912).abs() < 1e-3 && high == 1.0);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
