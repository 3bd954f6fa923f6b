//! `doppel compare`: one pair of images, with everything that was found out about it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use serde::Serialize;

use super::matching::MatchJson;
use super::{Context, Exit, print};
use crate::dedup::originality::Clue;
use crate::dedup::{Calibration, Cascade, Gate, Match};
use crate::engine::network;
use crate::types::MatchClass;
use crate::vision::sketch::{Overlay, png, side_by_side};
use crate::vision::verify::{Features, close_up};
use crate::vision::{self, Analyser, Analysis, DecodeLimits, RgbImage};

/// Compare two images: class, probability, evidence, and the transform that leads from the first to the second
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel compare holiday.jpg holiday-cropped.jpg
  doppel compare a.png b.webp -f json
  doppel compare a.jpg b.jpg --image both.png     draw what they share and where they differ

Exit code 11 says that one is a copy of the other (class near_identical or edited, or stronger).")]
pub(super) struct Args {
    /// An image
    a: PathBuf,
    /// Another
    b: PathBuf,
    /// Draw both into this PNG file: what they share outlined in green, what differs hatched in red
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object
    Json,
}

#[derive(Serialize)]
struct ComparisonJson<'a> {
    a: &'a str,
    b: &'a str,
    #[serde(rename = "match")]
    found: Option<MatchJson>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let limits = &context.config.limits;
    let limits = DecodeLimits {
        max_pixels: limits.max_pixels,
        max_side: limits.max_side_pixels,
        max_file_bytes: limits.max_file_bytes,
    };
    let analyser = Analyser::new(network(&context.config)?, limits);
    let (a, b) = (read(&args.a, &analyser)?, read(&args.b, &analyser)?);
    let cascade = Cascade::new(Calibration::default()).with_background(analyser.embedder().bank());
    let judge = |previews: Option<(&RgbImage, &RgbImage)>| {
        let (print, variants, other) = (&a.fingerprint, &a.pdq_variants, &b.fingerprint);
        match previews {
            Some((x, y)) => {
                let (x, y) = (Features::extract(x), Features::extract(y));
                cascade.judge_features(print, variants, other, [&x, &y])
            }
            None => cascade.judge(print, variants, other, None),
        }
    };
    let mut found = judge(
        cascade
            .is_verifiable(&a.fingerprint, &b.fingerprint)
            .then_some((&a.preview, &b.preview)),
    );
    let pixels = |path: &Path| anyhow::Ok(vision::decode(&fs::read(path)?, &limits)?.pixels);
    if found.as_ref().is_some_and(Match::wants_close_up) {
        found = judge(Some((&close_up(&pixels(&args.a)?), &close_up(&pixels(&args.b)?))));
    }
    if let Some(path) = &args.image {
        let overlay = found.as_ref().and_then(|m| {
            Some(Overlay {
                transform: m
                    .transform
                    .as_ref()
                    .filter(|_| m.evidence.held_back != Some(Gate::NoWarp))?,
                changed: &m.evidence.changed,
            })
        });
        let drawing = side_by_side(&pixels(&args.a)?, &pixels(&args.b)?, overlay);
        fs::write(path, png(&drawing)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&match args.format {
        Format::Text => text(found.as_ref()),
        Format::Json => {
            let comparison = ComparisonJson {
                a: &args.a.to_string_lossy(),
                b: &args.b.to_string_lossy(),
                found: found.as_ref().map(MatchJson::of),
            };
            format!("{}\n", serde_json::to_string_pretty(&comparison)?)
        }
    })?;
    let is_copy = found.is_some_and(|m| m.class > MatchClass::Similar);
    Ok(if is_copy { Exit::Found } else { Exit::Done })
}

fn read(path: &Path, analyser: &Analyser) -> anyhow::Result<Analysis> {
    let bytes = Bytes::from(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    analyser
        .analyse(&bytes)
        .with_context(|| format!("cannot use {}", path.display()))
}

fn text(found: Option<&Match>) -> String {
    let Some(found) = found else {
        return "no match\n".to_owned();
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("class", found.class.to_string());
    line("probability", format!("{:.4}", found.probability));
    line("similarity", format!("{:.4}", found.similarity.get()));
    line("stage", found.stage.to_string());
    if let Some(gate) = found.evidence.held_back {
        line("held back", gate.as_str().to_owned());
    }
    if let Some(distance) = found.evidence.pdq_distance {
        line("pdq", format!("{distance} bits of 256 differ"));
    }
    if let Some(t) = found.transform {
        let mirrored = if t.mirrored { ", mirrored" } else { "" };
        line(
            "transform",
            format!("turned by {:.1}°, scaled by {:.3}{mirrored}", t.rotation, t.scale),
        );
    }
    let percent = |share: f32| format!("{:.0} %", share * 100.0);
    if let (Some(a), Some(b)) = (found.evidence.overlap_a, found.evidence.overlap_b) {
        line(
            "overlap",
            format!("{} of the first, {} of the second", percent(a), percent(b)),
        );
    }
    if let (Some(yes), Some(no)) = (found.evidence.tiles_agreeing, found.evidence.tiles_disagreeing) {
        line("tiles", format!("{yes} agree, {no} differ"));
    }
    let altered = match found.clue() {
        Clue::First | Clue::LikelyFirst => Some("the first, it seems"),
        Clue::Second | Clue::LikelySecond => Some("the second, it seems"),
        Clue::Either => Some("one of them"),
        Clue::Alike => None,
    };
    if let Some(altered) = altered {
        line("altered", altered.to_owned());
    }
    for region in found.evidence.changed.iter().take(5) {
        line(
            "changed",
            format!(
                "{} × {} of the first image at {}, {}",
                percent(region.width),
                percent(region.height),
                percent(region.x),
                percent(region.y)
            ),
        );
    }
    text
}
