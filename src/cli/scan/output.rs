//! The forms of a scan's answer: table, JSON, JSON lines, CSV.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::matching::MatchJson;
use super::super::shown;
use crate::dedup::Lineage;
use crate::engine::scan::{Member, ScanGroup, ScanReport, ScannedImage, Skipped};
use crate::types::MatchClass;
use crate::vision::lineage::Side;

#[derive(Serialize)]
struct ReportJson<'a> {
    images: Vec<ImageJson<'a>>,
    groups: Vec<GroupJson<'a>>,
    edges: Vec<EdgeJson<'a>>,
    skipped: Vec<SkippedJson<'a>>,
    stats: StatsJson,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    path: &'a str,
    size: u64,
    width: u32,
    height: u32,
    format: &'static str,
    modified: Option<String>,
    blake3: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    distinctiveness: Option<f32>,
}

#[derive(Serialize)]
struct GroupJson<'a> {
    keeper: &'a str,
    members: Vec<MemberJson<'a>>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    path: &'a str,
    #[serde(flatten)]
    found: MatchJson,
}

#[derive(Serialize)]
struct EdgeJson<'a> {
    a: &'a str,
    b: &'a str,
    class: &'static str,
    probability: f32,
}

#[derive(Serialize)]
struct SkippedJson<'a> {
    path: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct StatsJson {
    files: u64,
    images: u64,
    skipped: u64,
    ignored: u64,
    read: u64,
    analysed: u64,
    pairs_verified: u64,
    groups: u64,
    duplicates: u64,
    duplicate_bytes: u64,
    reading_seconds: f64,
    comparing_seconds: f64,
}

impl<'a> ReportJson<'a> {
    fn of(report: &'a ScanReport) -> Self {
        let path = |image: usize| report.images[image].path.as_str();
        Self {
            images: report.images.iter().map(ImageJson::of).collect(),
            groups: report.groups.iter().map(|g| GroupJson::of(report, g)).collect(),
            edges: report
                .edges
                .iter()
                .map(|e| EdgeJson {
                    a: path(e.a),
                    b: path(e.b),
                    class: e.class.as_str(),
                    probability: e.probability,
                })
                .collect(),
            skipped: report
                .skipped
                .iter()
                .map(|Skipped { path, reason }| SkippedJson { path, reason })
                .collect(),
            stats: StatsJson::of(report),
        }
    }
}

impl<'a> ImageJson<'a> {
    fn of(image: &'a ScannedImage) -> Self {
        Self {
            path: &image.path,
            size: image.size,
            width: image.width,
            height: image.height,
            format: image.format.as_str(),
            modified: modified(image),
            blake3: image.content.to_string(),
            distinctiveness: image.distinctiveness,
        }
    }
}

impl<'a> GroupJson<'a> {
    fn of(report: &'a ScanReport, group: &'a ScanGroup) -> Self {
        Self {
            keeper: &report.images[group.keeper].path,
            members: group
                .members
                .iter()
                .map(|Member { image, found }| MemberJson {
                    path: &report.images[*image].path,
                    found: MatchJson::of(found),
                })
                .collect(),
        }
    }
}

impl StatsJson {
    fn of(report: &ScanReport) -> Self {
        let stats = &report.stats;
        Self {
            files: stats.files,
            images: stats.images,
            skipped: report.skipped.len() as u64,
            ignored: stats.ignored,
            read: stats.read,
            analysed: stats.analysed,
            pairs_verified: stats.verified,
            groups: report.groups.len() as u64,
            duplicates: stats.duplicates,
            duplicate_bytes: stats.duplicate_bytes,
            reading_seconds: stats.reading.as_secs_f64(),
            comparing_seconds: stats.comparing.as_secs_f64(),
        }
    }
}

/// RFC 3339, in UTC.
fn modified(image: &ScannedImage) -> Option<String> {
    (image.modified != 0).then(|| {
        chrono::DateTime::from_timestamp_nanos(image.modified)
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    })
}

/// The whole report as one object.
pub(super) fn json(report: &ScanReport) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&ReportJson::of(report))?;
    text.push('\n');
    Ok(text)
}

/// One object a group.
pub(super) fn jsonl(report: &ScanReport) -> serde_json::Result<String> {
    let mut text = String::new();
    for group in &report.groups {
        text.push_str(&serde_json::to_string(&GroupJson::of(report, group))?);
        text.push('\n');
    }
    Ok(text)
}

/// One line an image of a group: the keeper first, with the class `keeper`.
pub(super) fn csv(report: &ScanReport) -> String {
    let mut text =
        "group,role,path,size,width,height,format,blake3,class,probability,similarity,stage,overlap\r\n"
            .to_owned();
    for (number, group) in report.groups.iter().enumerate() {
        csv_line(&mut text, number, "keeper", &report.images[group.keeper], "");
        for member in &group.members {
            let found = &member.found;
            let overlap = found.overlap.map(|o| format!("{o:.3}")).unwrap_or_default();
            let rest = format!(
                "{},{:.4},{:.4},{},{overlap}",
                found.class,
                found.probability,
                found.similarity.get(),
                found.stage
            );
            csv_line(&mut text, number, "member", &report.images[member.image], &rest);
        }
    }
    text
}

fn csv_line(text: &mut String, group: usize, role: &str, image: &ScannedImage, rest: &str) {
    let rest = if rest.is_empty() { ",,,," } else { rest };
    let path = if image.path.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", image.path.replace('"', "\"\""))
    } else {
        image.path.clone()
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{},{role},{path},{},{},{},{},{},{rest}\r\n",
        group + 1,
        image.size,
        image.width,
        image.height,
        image.format,
        image.content
    );
}

/// Groups for people, with a summary.
pub(super) fn table(report: &ScanReport) -> String {
    let mut text = String::new();
    for (number, group) in report.groups.iter().enumerate() {
        let keeper = &report.images[group.keeper];
        let _ = writeln!(
            text,
            "Group {}: {} duplicate{} of\n  keep            {}  {}",
            number + 1,
            group.members.len(),
            plural(group.members.len()),
            facts(keeper),
            shown(&keeper.path)
        );
        for member in &group.members {
            let image = &report.images[member.image];
            let _ = writeln!(
                text,
                "  {:<14}  {}  {}{}",
                member.found.class,
                facts(image),
                shown(&image.path),
                remark(keeper, image, member)
            );
        }
        text.push('\n');
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(text, "Left out:");
        for Skipped { path, reason } in &report.skipped {
            let _ = writeln!(text, "  {}: {reason}", shown(path));
        }
        text.push('\n');
    }
    let stats = &report.stats;
    let _ = writeln!(
        text,
        "{} image{}, {} group{}, {} duplicate{} ({}){}.",
        stats.images,
        plural(report.images.len()),
        report.groups.len(),
        plural(report.groups.len()),
        stats.duplicates,
        if stats.duplicates == 1 { "" } else { "s" },
        bytes(stats.duplicate_bytes),
        match report.skipped.len() {
            0 => String::new(),
            n => format!(", {n} left out"),
        }
    );
    text
}

fn facts(image: &ScannedImage) -> String {
    let size = format!("{}×{}", image.width, image.height);
    format!("{size:>11} {:<5} {:>9}", image.format, bytes(image.size))
}

/// Why a member is one, where there is something to say.
pub(super) fn remark(keeper: &ScannedImage, image: &ScannedImage, member: &Member) -> String {
    let found = &member.found;
    let mut notes = Vec::new();
    if found.class != MatchClass::Identical && image.beyond.frames {
        notes.push("has more frames or pages".to_owned());
    }
    if image.beyond.transparency && !keeper.beyond.transparency {
        notes.push("is transparent in places".to_owned());
    }
    if let Some(transform) = found.transform {
        if transform.mirrored {
            notes.push("mirrored".to_owned());
        }
        if transform.rotation.abs() > 1.0 {
            notes.push(format!("turned by {:.0}°", transform.rotation));
        }
    }
    match found.evidence.lineage {
        Some(Lineage::Known(later)) if later.side == Side::Second => {
            notes.push(format!("made from the kept image: {}", later.sign.clause()));
        }
        Some(Lineage::Open) => {
            notes.push("one of the two was edited, nothing tells which: both stay".to_owned())
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (found.evidence.overlap_a, found.evidence.overlap_b) {
        if a < 0.97 {
            notes.push(format!("shows {:.0} % of the kept image", a * 100.0));
        }
        if b < 0.97 {
            notes.push(format!("{:.0} % of it is the kept image", b * 100.0));
        }
    }
    if found.probability < 0.999 {
        notes.push(format!("probability {:.3}", found.probability));
    }
    if notes.is_empty() {
        String::new()
    } else {
        format!("  ({})", notes.join(", "))
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A size for people, in powers of 1000.
pub(super) fn bytes(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" {
                format!("{size} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}
