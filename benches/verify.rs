//! What verification costs and what it finds, on photographs of one's own:
//!
//! `cargo bench --bench verify -- FOLDER [EVERY] [OUT.tsv] [OTHERS]`
//!
//! Every EVERYth image of FOLDER (8th by default) is attacked in all families, at one of three strengths, and verified against itself, and all
//! images are verified against the OTHERS (20 by default) that follow them in the order of names. The images are seen as in a scan, through
//! their thumbnails. Printed per family: attacked copies whose warp is accepted, with the interval of Wilson at 95 %;
//! for the others, how many are accepted, which they should not be. The rules for text and for bursts, which only hold
//! matches back, are left out, and so is retrieval. OUT.tsv takes what was measured, for
//! `models/calibrate_verification.py`. Times are CPU time of one thread.

#![allow(clippy::print_stdout, reason = "a report for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cpu_time::ThreadTime;
use doppel::dedup::calibration::{Calibration, alignment_features};
use doppel::vision::attack::{Dice, Edit, Family, Strength, attack, source};
use doppel::vision::verify::{Alignment, Features, Verification, verify};
use doppel::vision::{DecodeLimits, RgbImage, decode, thumbnail};
use rayon::prelude::*;

/// Images that follow, which each is compared with, if nothing else is asked for.
const OTHERS: usize = 20;
/// Agreement below which the cascade accepts no warp.
const LEAST_AGREEMENT: f32 = 0.35;

/// One pair: of what kind, from which source, and what was found.
struct Row {
    kind: String,
    is_held_out: bool,
    source: String,
    found: Verification,
    milliseconds: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(folder) = arguments.first() else {
        println!("usage: cargo bench --bench verify -- FOLDER [EVERY] [OUT.tsv] [OTHERS]");
        return Ok(());
    };
    let every: usize = arguments.get(1).map_or(Ok(8), |a| a.parse())?;
    let others: usize = arguments.get(3).map_or(Ok(OTHERS), |a| a.parse())?;
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    let images: Vec<(PathBuf, Features, f64)> = paths
        .par_iter()
        .filter_map(|path| {
            let (features, milliseconds) = see(&read(path)?)?;
            Some((path.clone(), features, milliseconds))
        })
        .collect();
    let mut rows: Vec<Row> = (0..images.len())
        .into_par_iter()
        .step_by(every.max(1))
        .flat_map_iter(|i| copies(&images, i))
        .collect();
    rows.par_extend((0..images.len()).into_par_iter().flat_map_iter(|i| {
        let (path, features, _) = &images[i];
        images[i + 1..].iter().take(others).map(|(_, other, _)| {
            let (found, milliseconds) = timed(|| verify(features, other));
            Row {
                kind: "different".into(),
                is_held_out: false,
                source: name(path),
                found,
                milliseconds,
            }
        })
    }));
    report(&images, &rows);
    if let Some(out) = arguments.get(2) {
        write(Path::new(out), &rows)?;
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path) -> Option<RgbImage> {
    let decoded = decode(&fs::read(path).ok()?, &DecodeLimits::default()).ok()?;
    Some(decoded.pixels)
}

/// Features as a scan has them: of the stored thumbnail.
fn see(image: &RgbImage) -> Option<(Features, f64)> {
    let stored = thumbnail::encode(&thumbnail::preview(image)).ok()?;
    let preview = thumbnail::decode(&stored).ok()?;
    Some(timed(|| Features::extract(&preview)))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = ThreadTime::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1000.0)
}

/// The image against its attacked copies, in either order.
fn copies(images: &[(PathBuf, Features, f64)], index: usize) -> Vec<Row> {
    let (path, features, _) = &images[index];
    let Some(image) = read(path).map(|image| source(&image)) else {
        return Vec::new();
    };
    let others: Vec<RgbImage> = (1..=3)
        .filter_map(|step| read(&images[(index + step * images.len() / 4) % images.len()].0))
        .map(|other| source(&other))
        .collect();
    if others.is_empty() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let strength = Strength::ALL[(index + number) % Strength::ALL.len()];
        let mut dice = Dice::new((index * Family::ALL.len() + number) as u64);
        let edited = attack(&image, &others, Edit { family, strength }, &mut dice);
        let Some((copy, _)) = see(&edited) else {
            continue;
        };
        let (found, milliseconds) = timed(|| {
            if number % 2 == 0 {
                verify(features, &copy)
            } else {
                verify(&copy, features)
            }
        });
        rows.push(Row {
            kind: family.name().into(),
            is_held_out: family.is_held_out(),
            source: name(path),
            found,
            milliseconds,
        });
    }
    rows
}

fn is_accepted(found: &Verification, calibration: &Calibration) -> bool {
    !found.featureless
        && found.alignment.as_ref().is_some_and(|alignment| {
            alignment.agreement() >= LEAST_AGREEMENT
                && !alignment.is_another_moment()
                && calibration.verified(alignment) >= calibration.min_probability
        })
}

fn report(images: &[(PathBuf, Features, f64)], rows: &[Row]) {
    let calibration = Calibration::default();
    let mut kinds: BTreeMap<&str, (usize, usize, f64)> = BTreeMap::new();
    for row in rows {
        let entry = kinds.entry(&row.kind).or_default();
        entry.0 += usize::from(is_accepted(&row.found, &calibration));
        entry.1 += 1;
        entry.2 += row.milliseconds;
    }
    let extraction = images.iter().map(|image| image.2).sum::<f64>() / images.len().max(1) as f64;
    println!("{} images, {extraction:.2} ms each to extract", images.len());
    println!("kind | accepted | share | interval | ms a pair");
    for (kind, (accepted, count, milliseconds)) in kinds {
        let (low, high) = wilson(accepted, count);
        let share = accepted as f64 / count as f64;
        let mean = milliseconds / count as f64;
        println!("{kind} | {accepted} of {count} | {share:.4} | {low:.4}-{high:.4} | {mean:.2}");
    }
}

/// The interval of Wilson at 95 %.
fn wilson(hits: usize, count: usize) -> (f64, f64) {
    let (n, z) = (count as f64, 1.96_f64);
    let p = hits as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (
        ((centre - reach) / scale).max(0.0),
        ((centre + reach) / scale).min(1.0),
    )
}

/// Kind, held out, source, text-like, and the features of the model; pairs without a warp have none.
fn write(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(fs::File::create(path)?);
    for row in rows {
        let (held_out, text) = (u8::from(row.is_held_out), u8::from(row.found.text_like));
        write!(out, "{}\t{held_out}\t{}\t{text}", row.kind, row.source)?;
        // What moved is held back before the model is asked.
        let asked = |alignment: &&Alignment| !alignment.is_another_moment();
        if let Some(alignment) = row.found.alignment.as_ref().filter(asked) {
            for value in alignment_features(alignment) {
                write!(out, "\t{value:.5}")?;
            }
        }
        writeln!(out)?;
    }
    out.flush()
}
