//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::super::super::matching::MatchJson;
use crate::dedup::Gate;
use crate::engine::accuracy::{
    Accuracy, Decided, Estimate, Group, GroupResult, Method, MethodResult, Mistake, VerifiedPair, WholeResult,
};
use crate::types::MatchClass;
use crate::vision::attack::Edit;

/// Mistakes shown in the table, of each sort.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct AccuracyJson<'a> {
    references: u64,
    queries_with_match: u64,
    queries_without_match: u64,
    unreadable: u64,
    seconds: f64,
    images_per_second: f64,
    methods: BTreeMap<&'static str, MethodJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cascade: Option<CascadeJson<'a>>,
}

#[derive(Serialize)]
struct EstimateJson {
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct MethodJson {
    average_precision: EstimateJson,
    recall_at_precision_90: EstimateJson,
    recall_at_precision_99: EstimateJson,
    recall_at_1: EstimateJson,
    trained_recall_at_1: EstimateJson,
    held_out_recall_at_1: EstimateJson,
    mild_recall_at_1: EstimateJson,
    mild_average_precision: EstimateJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brier_score: Option<f64>,
    false_at_precision_90: FalseJson,
    families: BTreeMap<String, FamilyJson>,
}

#[derive(Serialize)]
struct FalseJson {
    wrong_reference: u64,
    no_match: u64,
    unrelated: u64,
    other_half: u64,
}

#[derive(Serialize)]
struct FamilyJson {
    held_out: bool,
    queries: u64,
    recall_at_1: EstimateJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_strength: Option<[f64; 3]>,
}

#[derive(Serialize)]
struct CascadeJson<'a> {
    found: EstimateJson,
    families: BTreeMap<String, DecidedJson>,
    pairs_verified: u64,
    milliseconds_per_pair: f64,
    milliseconds_per_extraction: f64,
    milliseconds_per_query: f64,
    false_pairs: Vec<MistakeJson<'a>>,
    missed: Vec<MistakeJson<'a>>,
}

#[derive(Serialize)]
struct DecidedJson {
    retrieved: EstimateJson,
    found: EstimateJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_strength: Option<[EstimateJson; 3]>,
}

#[derive(Serialize)]
struct MistakeJson<'a> {
    edits: Vec<String>,
    seed: u64,
    query: &'a str,
    reference: &'a str,
    #[serde(rename = "match")]
    found: Option<MatchJson>,
}

impl From<Estimate> for EstimateJson {
    fn from(estimate: Estimate) -> Self {
        let Estimate { value, low, high } = estimate;
        Self { value, low, high }
    }
}

impl MethodJson {
    fn of(result: &MethodResult) -> Self {
        let [wrong_reference, no_match, unrelated, other_half] = result.false_at_90;
        let family = |(group, result): (&Group, &GroupResult)| {
            let json = FamilyJson {
                held_out: group.is_held_out(),
                queries: result.queries,
                recall_at_1: result.recall_at_1.into(),
                by_strength: result.by_strength,
            };
            (group.name(), json)
        };
        Self {
            average_precision: result.average_precision.into(),
            recall_at_precision_90: result.recall_at_90.into(),
            recall_at_precision_99: result.recall_at_99.into(),
            recall_at_1: result.recall_at_1.into(),
            trained_recall_at_1: result.trained.into(),
            held_out_recall_at_1: result.held_out.into(),
            mild_recall_at_1: result.mild.into(),
            mild_average_precision: result.mild_average_precision.into(),
            calibration_error: result.calibration.map(|(error, _)| error),
            brier_score: result.calibration.map(|(_, brier)| brier),
            false_at_precision_90: FalseJson {
                wrong_reference,
                no_match,
                unrelated,
                other_half,
            },
            families: result.groups.iter().map(family).collect(),
        }
    }
}

impl<'a> CascadeJson<'a> {
    fn of(whole: &'a WholeResult, queries: u64) -> Self {
        let decided = |(group, decided): (&Group, &Decided)| {
            let json = DecidedJson {
                retrieved: decided.retrieved.into(),
                found: decided.found.into(),
                by_strength: decided.by_strength.map(|three| three.map(EstimateJson::from)),
            };
            (group.name(), json)
        };
        Self {
            found: whole.found.into(),
            families: whole.groups.iter().map(decided).collect(),
            pairs_verified: whole.verified.0,
            milliseconds_per_pair: each(whole.verified.1, whole.verified.0),
            milliseconds_per_extraction: each(whole.extracted.1, whole.extracted.0),
            milliseconds_per_query: each(whole.judging, queries),
            false_pairs: whole.false_pairs.iter().map(MistakeJson::of).collect(),
            missed: whole.missed.iter().map(MistakeJson::of).collect(),
        }
    }
}

impl<'a> MistakeJson<'a> {
    fn of(mistake: &'a Mistake) -> Self {
        Self {
            edits: mistake.edits.iter().map(edit).collect(),
            seed: mistake.seed,
            query: &mistake.query,
            reference: &mistake.reference,
            found: mistake.found.as_ref().map(MatchJson::of),
        }
    }
}

/// "crop/strong".
fn edit(edit: &Edit) -> String {
    format!("{}/{}", edit.family.name(), edit.strength.name())
}

/// Milliseconds each.
fn each(time: Duration, count: u64) -> f64 {
    1e3 * time.as_secs_f64() / count.max(1) as f64
}

fn per_second((time, count): (Duration, u64)) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// One object.
///
/// # Errors
/// serde's, never for these types.
pub(super) fn json(accuracy: &Accuracy) -> serde_json::Result<String> {
    let queries = accuracy.with_match + accuracy.without_match;
    let json = AccuracyJson {
        references: accuracy.references,
        queries_with_match: accuracy.with_match,
        queries_without_match: accuracy.without_match,
        unreadable: accuracy.unreadable,
        seconds: accuracy.total.as_secs_f64(),
        images_per_second: per_second(accuracy.analysing),
        methods: accuracy
            .methods
            .iter()
            .map(|(method, result)| (method.describe(), MethodJson::of(result)))
            .collect(),
        cascade: accuracy
            .whole
            .as_ref()
            .map(|whole| CascadeJson::of(whole, queries)),
    };
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

/// A line a pair: edits, whether one of them is held out, query, reference, whether it is a copy, the class, why it is no more,
/// the probability, and the features.
pub(super) fn pairs(pairs: &[VerifiedPair]) -> String {
    let mut text = String::new();
    for pair in pairs {
        let edits: Vec<String> = pair.edits.iter().map(edit).collect();
        let held_out = pair.edits.iter().any(|edit| edit.family.is_held_out());
        let features: Vec<String> = pair.features.iter().map(|value| format!("{value:.5}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.6}\t{}",
            edits.join("+"),
            u8::from(held_out),
            pair.query,
            pair.reference,
            u8::from(pair.is_copy),
            pair.class.map_or("none", MatchClass::as_str),
            pair.held_back.map_or("", Gate::as_str),
            pair.probability,
            features.join("\t"),
        );
    }
    text
}

/// For people.
pub(super) fn table(accuracy: &Accuracy) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} references, {} queries with a match, {} without; {} files unreadable\n",
        accuracy.references, accuracy.with_match, accuracy.without_match, accuracy.unreadable
    );
    let _ = writeln!(
        text,
        "{:<17} {:<19} {:<19} {:<19} {:<19} {:>7} {:>8} {:>8} {:>8}",
        "",
        "muAP",
        "recall at P .90",
        "recall at P .99",
        "recall@1",
        "trained",
        "held out",
        "mild R@1",
        "mild AP"
    );
    for (method, result) in &accuracy.methods {
        let _ = writeln!(
            text,
            "{:<17} {:<19} {:<19} {:<19} {:<19} {:>7.3} {:>8.3} {:>8.3} {:>8.3}",
            method.describe(),
            interval(result.average_precision),
            interval(result.recall_at_90),
            interval(result.recall_at_99),
            interval(result.recall_at_1),
            result.trained.value,
            result.held_out.value,
            result.mild.value,
            result.mild_average_precision.value,
        );
    }
    for (method, result) in &accuracy.methods {
        if let Some((error, brier)) = result.calibration {
            let _ = writeln!(
                text,
                "{}: expected calibration error {error:.3}, Brier score {brier:.3}",
                method.describe()
            );
        }
    }
    families(&mut text, accuracy);
    for method in [Method::Raw, Method::FusedNormalised, Method::Cascade] {
        if let Some(result) = accuracy.methods.get(&method) {
            let [wrong, none, unrelated, half] = result.false_at_90;
            let _ = writeln!(
                text,
                "false above the threshold of precision .90, {}: {wrong} wrong references, {none} without match, \
                 {unrelated} unrelated, {half} other halves",
                method.describe()
            );
        }
    }
    if let Some(whole) = &accuracy.whole {
        decisions(&mut text, whole, accuracy);
    }
    let _ = writeln!(
        text,
        "\n{:.0} s in all; {:.1} images a second attacked, decoded, hashed and embedded",
        accuracy.total.as_secs_f64(),
        per_second(accuracy.analysing)
    );
    text
}

/// "0.412 0.391-0.436": the figure and its 95 % interval.
fn interval(estimate: Estimate) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{value:.3} {low:.3}-{high:.3}")
}

fn families(text: &mut String, accuracy: &Accuracy) {
    let Some(raw) = accuracy.methods.get(&Method::Raw) else {
        return;
    };
    let fused = accuracy.methods.get(&Method::FusedRaw);
    let pdq = accuracy.methods.get(&Method::Pdq);
    let _ = write!(
        text,
        "\nrecall@1 by family\n{:<16} {:>7} {:<19} {:<18} {:<12} {:<12}",
        "", "queries", "raw", "by strength", "fused", "PDQ-8"
    );
    if accuracy.whole.is_some() {
        let _ = write!(
            text,
            " {:<12} {:<10} {:<19} {:<18}",
            "cascade", "candidate", "decided a copy", "by strength"
        );
    }
    text.push('\n');
    for (group, result) in &raw.groups {
        let mark = if group.is_held_out() { " *" } else { "" };
        let other = |method: Option<&MethodResult>| {
            method
                .and_then(|m| m.groups.get(group))
                .map_or_else(String::new, |g| format!("{:.3}", g.recall_at_1.value))
        };
        let strengths = result
            .by_strength
            .map_or_else(String::new, |[a, b, c]| format!("{a:.2} / {b:.2} / {c:.2}"));
        let _ = write!(
            text,
            "{:<16} {:>7} {:<19} {strengths:<18} {:<12} {:<12}",
            format!("{}{mark}", group.name()),
            result.queries,
            interval(result.recall_at_1),
            other(fused),
            other(pdq),
        );
        if let Some(decided) = accuracy.whole.as_ref().and_then(|w| w.groups.get(group)) {
            let strengths = decided.by_strength.map_or_else(String::new, |three| {
                let [a, b, c] = three.map(|estimate| estimate.value);
                format!("{a:.2} / {b:.2} / {c:.2}")
            });
            let _ = write!(
                text,
                " {:<12} {:<10.3} {:<19} {strengths:<18}",
                other(accuracy.methods.get(&Method::Cascade)),
                decided.retrieved.value,
                interval(decided.found)
            );
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push_str("* never trained on\n\n");
}

fn decisions(text: &mut String, whole: &WholeResult, accuracy: &Accuracy) {
    let _ = writeln!(
        text,
        "\nthe cascade decided: {} of the originals found, {} pairs wrongly taken for copies\n\
         {} pairs verified, {:.2} ms each; {} images' features, {:.2} ms each; {:.1} ms a query",
        interval(whole.found),
        whole.false_pairs.len(),
        whole.verified.0,
        each(whole.verified.1, whole.verified.0),
        whole.extracted.0,
        each(whole.extracted.1, whole.extracted.0),
        each(whole.judging, accuracy.with_match + accuracy.without_match),
    );
    for mistake in whole.false_pairs.iter().take(SHOWN) {
        let edits: Vec<String> = mistake.edits.iter().map(edit).collect();
        let probability = mistake.found.as_ref().map_or(0.0, |m| m.probability);
        let _ = writeln!(
            text,
            "false: {} ({}) with {}, probability {probability:.3}",
            mistake.query,
            if edits.is_empty() {
                "as it is".to_owned()
            } else {
                edits.join(", ")
            },
            mistake.reference
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_measurement_can_be_shown() {
        let accuracy = Accuracy {
            references: 3,
            with_match: 0,
            without_match: 0,
            unreadable: 1,
            methods: BTreeMap::new(),
            whole: None,
            analysing: (Duration::ZERO, 0),
            total: Duration::ZERO,
        };
        assert!(table(&accuracy).starts_with("3 references"));
        assert!(json(&accuracy).is_ok_and(|text| text.contains("\"unreadable\": 1")));
        let estimate = Estimate {
            value: 0.5,
            low: 0.25,
            high: 0.75,
        };
        assert_eq!(interval(estimate), "0.500 0.250-0.750");
    }
}
