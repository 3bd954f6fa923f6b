//! How well copies are found among a user's own images: each is attacked, and the whole cascade is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use globset::GlobSet;
use rayon::prelude::*;

use super::scan::{ScanError, walk};
use crate::dedup::{Cascade, Match};
use crate::types::MatchClass;
use crate::vision::attack::{Dice, Family, attack};
use crate::vision::verify::{Features, verify};
use crate::vision::{Analyser, Analysis, DecodeLimits, decode, thumbnail};

/// What to measure.
#[derive(Debug, Clone)]
pub struct AccuracyOptions {
    /// Files and folders with images, no two of which are copies.
    pub paths: Vec<PathBuf>,
    /// Images that are attacked; all others only serve as references.
    pub attacked: usize,
    /// References at most.
    pub limit: usize,
    /// Candidates by similarity that are verified.
    pub candidates: usize,
    /// Seed of the attacks.
    pub seed: u64,
    /// Limits on what is read.
    pub limits: DecodeLimits,
}

/// Figures of one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyResult {
    /// Attacked images.
    pub attacks: u64,
    /// The original was among the candidates.
    pub retrieved: u64,
    /// The original was found, as `edited` or stronger.
    pub found: u64,
    /// The original was the most probable of all references.
    pub first: u64,
}

/// A pair that was wrongly taken for copies, or one that was missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// The attacked image's family; `None` for two references.
    pub family: Option<Family>,
    /// Path of the attacked image's original, or of the first reference.
    pub query: String,
    /// Path of the reference.
    pub reference: String,
    /// What was found, if anything.
    pub found: Option<Match>,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accuracy {
    /// References.
    pub references: u64,
    /// By family.
    pub families: BTreeMap<Family, FamilyResult>,
    /// Attacked images found as copies of the wrong reference, and references of each other.
    pub false_pairs: Vec<Mistake>,
    /// Attacked images whose original was not found.
    pub missed: Vec<Mistake>,
    /// Micro-average precision: area under precision over recall, all pairs ranked by probability.
    pub average_precision: f64,
    /// Recall at precision .90 and .99 in the same ranking.
    pub recall_at: [f64; 2],
    /// Pairs verified.
    pub verified: u64,
    /// Time spent in verification, all threads together.
    pub verifying: Duration,
    /// Images whose features were extracted.
    pub extracted: u64,
    /// Time spent in extraction, all threads together.
    pub extracting: Duration,
}

struct Reference {
    path: String,
    analysis: Analysis,
    features: OnceLock<Features>,
}

#[derive(Default)]
struct Clock {
    verified: AtomicU64,
    verifying: AtomicU64,
    extracted: AtomicU64,
    extracting: AtomicU64,
}

/// Measures. `progress` hears how many of how many queries are done.
///
/// # Errors
/// As a scan. Files that are no images are left out.
pub fn measure(
    options: &AccuracyOptions,
    analyser: &Analyser,
    cascade: &Cascade,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Accuracy, ScanError> {
    let walk = walk::walk(&options.paths, &[], &GlobSet::empty())?;
    let references: Vec<Reference> = walk
        .files
        .par_iter()
        .take(options.limit)
        .filter_map(|file| {
            let bytes = std::fs::read(&file.path).ok()?;
            Some(Reference {
                path: file.name.clone(),
                analysis: analyser.analyse(&bytes).ok()?,
                features: OnceLock::new(),
            })
        })
        .collect();
    let jobs: Vec<(usize, Family)> = (0..references.len().min(options.attacked))
        .flat_map(|i| Family::ALL.map(|family| (i, family)))
        .collect();
    let bench = Bench {
        references: &references,
        cascade,
        candidates: options.candidates,
        clock: Clock::default(),
    };
    let done = AtomicU64::new(0);
    let answers: Vec<Answer> = jobs
        .par_iter()
        .filter_map(|&(original, family)| {
            let answer = bench.attacked(original, family, options, analyser);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len() as u64);
            answer
        })
        .collect();
    let among = bench.references_among_themselves();
    Ok(bench.report(answers, among))
}

struct Answer {
    original: usize,
    family: Family,
    retrieved: bool,
    /// Matches by reference, most probable first.
    matches: Vec<(usize, Match)>,
}

struct Bench<'a> {
    references: &'a [Reference],
    cascade: &'a Cascade,
    candidates: usize,
    clock: Clock,
}

impl Bench<'_> {
    fn attacked(
        &self,
        original: usize,
        family: Family,
        options: &AccuracyOptions,
        analyser: &Analyser,
    ) -> Option<Answer> {
        let bytes = std::fs::read(&self.references[original].path).ok()?;
        let image = decode(&bytes, &options.limits).ok()?.pixels;
        let other = (original + self.references.len() / 2 + 1) % self.references.len();
        let mut dice = Dice::new(options.seed ^ (original as u64) << 8 ^ family as u64);
        let edited = attack(
            &image,
            &self.references[other].analysis.preview,
            family,
            &mut dice,
        );
        let file = thumbnail::encode(&edited).ok()?;
        let query = analyser.analyse(&file).ok()?;
        let features = self.timed_features(&query);
        let nearest = self.nearest(&query, usize::MAX);
        let mut matches: Vec<(usize, Match)> = nearest
            .iter()
            // Pastes and collages show a part of the lender too: that is no mistake.
            .filter(|&&r| r != other)
            .filter_map(|&r| Some((r, self.judge(&query, &features, r)?)))
            .collect();
        matches.sort_by(|x, y| {
            let key = |m: &Match| (m.class > MatchClass::Similar, m.probability);
            let ((cx, px), (cy, py)) = (key(&x.1), key(&y.1));
            cy.cmp(&cx)
                .then(py.total_cmp(&px))
                .then(y.1.similarity.cmp(&x.1.similarity))
                .then(x.0.cmp(&y.0))
        });
        Some(Answer {
            original,
            family,
            retrieved: nearest.contains(&original),
            matches,
        })
    }

    /// References worth verifying: the nearest by similarity, and all within the PDQ radius. `myself` is left out.
    fn nearest(&self, query: &Analysis, myself: usize) -> Vec<usize> {
        let calibration = self.cascade.calibration();
        let mut ranked: Vec<(std::cmp::Reverse<crate::types::Similarity>, usize)> = Vec::new();
        let mut near = Vec::new();
        for (i, reference) in self.references.iter().enumerate().filter(|(i, _)| *i != myself) {
            let print = &reference.analysis.fingerprint;
            let similarity = query.fingerprint.embedding.similarity(&print.embedding);
            if similarity.get() >= calibration.min_similarity {
                ranked.push((std::cmp::Reverse(similarity), i));
            }
            let quality = query.fingerprint.pdq_quality.min(print.pdq_quality);
            let distance = query.pdq_variants.iter().map(|v| v.hamming(&print.pdq)).min();
            if quality >= calibration.min_pdq_quality && distance.is_some_and(|d| d <= calibration.pdq_radius)
            {
                near.push(i);
            }
        }
        ranked.sort_unstable();
        near.extend(ranked.into_iter().take(self.candidates).map(|(_, i)| i));
        near.sort_unstable();
        near.dedup();
        near
    }

    fn judge(&self, query: &Analysis, features: &Features, reference: usize) -> Option<Match> {
        let reference = &self.references[reference];
        let (a, b) = (&query.fingerprint, &reference.analysis.fingerprint);
        let verification = self.cascade.is_verifiable(a, b).then(|| {
            let theirs = reference
                .features
                .get_or_init(|| self.timed_features(&reference.analysis));
            let started = Instant::now();
            let verification = verify(features, theirs);
            count(&self.clock.verified, &self.clock.verifying, started);
            verification
        });
        self.cascade
            .judge(a, &query.pdq_variants, b, verification.as_ref())
    }

    fn timed_features(&self, analysis: &Analysis) -> Features {
        let started = Instant::now();
        let features = Features::extract(&analysis.preview);
        count(&self.clock.extracted, &self.clock.extracting, started);
        features
    }

    /// Pairs of references that are taken for copies.
    fn references_among_themselves(&self) -> Vec<Mistake> {
        (0..self.references.len())
            .into_par_iter()
            .flat_map_iter(|i| {
                let query = &self.references[i];
                let nearest = self.nearest(&query.analysis, i);
                let found: Vec<Mistake> = nearest
                    .into_iter()
                    // Of two that are near each other, the first asks.
                    .filter(|&r| r > i || !self.nearest(&self.references[r].analysis, r).contains(&i))
                    .filter_map(|r| {
                        let features = query
                            .features
                            .get_or_init(|| self.timed_features(&query.analysis));
                        let found = self.judge(&query.analysis, features, r)?;
                        (found.class > MatchClass::Similar).then(|| Mistake {
                            family: None,
                            query: query.path.clone(),
                            reference: self.references[r].path.clone(),
                            found: Some(found),
                        })
                    })
                    .collect();
                found
            })
            .collect()
    }

    fn report(&self, answers: Vec<Answer>, among: Vec<Mistake>) -> Accuracy {
        let mut accuracy = Accuracy {
            references: self.references.len() as u64,
            false_pairs: among,
            verified: self.clock.verified.load(Ordering::Relaxed),
            verifying: Duration::from_nanos(self.clock.verifying.load(Ordering::Relaxed)),
            extracted: self.clock.extracted.load(Ordering::Relaxed),
            extracting: Duration::from_nanos(self.clock.extracting.load(Ordering::Relaxed)),
            ..Accuracy::default()
        };
        let mut ranking: Vec<(f32, bool)> = Vec::new();
        for answer in &answers {
            let result = accuracy.families.entry(answer.family).or_default();
            let mine = answer.matches.iter().find(|(r, _)| *r == answer.original);
            let found = mine.is_some_and(|(_, m)| m.class > MatchClass::Similar);
            result.attacks += 1;
            result.retrieved += u64::from(answer.retrieved);
            result.found += u64::from(found);
            result.first += u64::from(answer.matches.first().is_some_and(|(r, _)| *r == answer.original));
            let mistake = |reference: usize, found: Option<Match>| Mistake {
                family: Some(answer.family),
                query: self.references[answer.original].path.clone(),
                reference: self.references[reference].path.clone(),
                found,
            };
            if !found {
                let found = mine.map(|(_, m)| m.clone());
                accuracy.missed.push(mistake(answer.original, found));
            }
            for (r, m) in &answer.matches {
                ranking.push((m.probability, *r == answer.original));
                if *r != answer.original && m.class > MatchClass::Similar {
                    accuracy.false_pairs.push(mistake(*r, Some(m.clone())));
                }
            }
        }
        (accuracy.average_precision, accuracy.recall_at) = precision_recall(ranking, answers.len());
        accuracy
    }
}

fn count(number: &AtomicU64, time: &AtomicU64, started: Instant) {
    number.fetch_add(1, Ordering::Relaxed);
    let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    time.fetch_add(nanos, Ordering::Relaxed);
}

/// Average precision over all queries, and recall at precision .90 and .99.
fn precision_recall(mut ranking: Vec<(f32, bool)>, positives: usize) -> (f64, [f64; 2]) {
    // Among equals the wrong ones come first: no credit for ties.
    ranking.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    let (mut hits, mut area, mut recall_at) = (0usize, 0.0, [0.0; 2]);
    for (seen, (_, right)) in ranking.iter().enumerate() {
        if *right {
            hits += 1;
            let precision = hits as f64 / (seen + 1) as f64;
            area += precision;
            for (recall, wanted) in recall_at.iter_mut().zip([0.9, 0.99]) {
                if precision >= wanted {
                    *recall = hits as f64 / positives.max(1) as f64;
                }
            }
        }
    }
    (area / positives.max(1) as f64, recall_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_of_a_small_ranking() {
        let ranking = vec![(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.5, false)];
        let (area, [at_90, at_99]) = precision_recall(ranking, 4);
        assert!((area - (1.0 + 1.0 + 0.75) / 4.0).abs() < 1e-9);
        assert_eq!((at_90, at_99), (0.5, 0.5));
        assert_eq!(precision_recall(vec![(0.5, true), (0.5, false)], 1).0, 0.5);
    }
}
