//! The whole cascade: candidates as a search finds them, verified in the same waves, judged by the same rules.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::figures::Bootstrap;
use super::making::Maker;
use super::plan::Query;
use super::scores::{Answer, Reference, Scores, top};
use super::{CascadeOptions, Edit, Estimate, Group};
use crate::dedup::{Cascade, Match};
use crate::engine::search::{NEAREST, WAVE};
use crate::types::{MatchClass, Similarity};
use crate::vision::Analysis;
use crate::vision::verify::{Features, Verification, verify};

/// What the cascade said of one query.
pub(super) struct Judged {
    pub(super) scores: Scores,
    /// The original was among the candidates.
    retrieved: bool,
    /// The original was found, as `edited` or stronger.
    found: bool,
    /// What was said of the original, if anything.
    of_truth: Option<Match>,
    /// Wrong references taken for copies: positions among the references.
    wrong: Vec<(usize, Match)>,
    edits: Vec<Edit>,
    seed: u64,
}

/// A pair that was wrongly taken for copies, or one that was missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// What was done to the query; nothing for an image as it is.
    pub edits: Vec<Edit>,
    /// Seed of these edits.
    pub seed: u64,
    /// Path of the file that the query was made of.
    pub query: String,
    /// Path of the reference.
    pub reference: String,
    /// What was found, if anything.
    pub found: Option<Match>,
}

/// What the cascade decided.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeResult {
    /// By group: the share of originals among the candidates, and the share found as `edited` or stronger.
    pub groups: BTreeMap<Group, (Estimate, Estimate)>,
    /// Share of originals found as `edited` or stronger, everyday edits apart.
    pub found: Estimate,
    /// Wrong references taken for copies.
    pub false_pairs: Vec<Mistake>,
    /// Originals that were not found.
    pub missed: Vec<Mistake>,
    /// Pairs verified, and the time that took on all threads together.
    pub verified: (u64, Duration),
    /// Images whose features were extracted, and the time that took.
    pub extracted: (u64, Duration),
    /// Time spent judging, all threads together.
    pub judging: Duration,
}

/// A count and a time, from many threads.
#[derive(Default)]
struct Clock(AtomicU64, AtomicU64);

impl Clock {
    fn add(&self, time: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.1.fetch_add(nanos, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, Duration) {
        let nanos = self.1.load(Ordering::Relaxed);
        (self.0.load(Ordering::Relaxed), Duration::from_nanos(nanos))
    }
}

/// Asks the cascade.
pub(super) struct Whole<'a> {
    how: CascadeOptions,
    cascade: &'a Cascade,
    maker: &'a Maker<'a>,
    features: Vec<OnceLock<Features>>,
    verifying: Clock,
    extracting: Clock,
    judging: Clock,
}

impl<'a> Whole<'a> {
    pub(super) fn new(how: CascadeOptions, cascade: &'a Cascade, maker: &'a Maker<'a>) -> Self {
        Self {
            how,
            cascade,
            maker,
            features: Vec::new(),
            verifying: Clock::default(),
            extracting: Clock::default(),
            judging: Clock::default(),
        }
    }

    /// Makes room for the features of so many references.
    pub(super) fn prepare(&mut self, references: usize) {
        self.features = (0..references).map(|_| OnceLock::new()).collect();
    }

    pub(super) fn took(&self, time: Duration) {
        self.judging.add(time);
    }

    /// What the cascade says of a query; `file` is the query as it was stored.
    pub(super) fn judge(
        &self,
        references: &[Reference],
        query: &Query,
        truth: Option<usize>,
        analysis: &Analysis,
        file: &[u8],
    ) -> Judged {
        let candidates = self.candidates(references, analysis);
        let mut matches: Vec<(usize, Match)> = Vec::new();
        let mut features = None;
        let mut left = candidates.len().min(self.how.verified);
        let mut queue = candidates.iter().copied();
        while left > 0 {
            let wave: Vec<usize> = queue.by_ref().take(WAVE.min(left)).collect();
            left -= wave.len();
            let features = features.get_or_insert_with(|| self.extract(analysis));
            let before = matches.len();
            matches.extend(
                wave.iter()
                    .filter_map(|&at| Some((at, self.verified(references, at, analysis, features, file)?))),
            );
            // As a search does: it goes on only while it finds copies.
            if wave.len() < WAVE
                || !matches[before..]
                    .iter()
                    .any(|(_, m)| m.class > MatchClass::Similar)
            {
                break;
            }
        }
        matches.extend(queue.filter_map(|at| {
            let theirs = &references[at].analysis.fingerprint;
            let found = self
                .cascade
                .judge(&analysis.fingerprint, &analysis.pdq_variants, theirs, None);
            Some((at, found?))
        }));
        let probabilities: Vec<f32> = matches.iter().map(|(_, m)| m.probability).collect();
        let place = matches.iter().position(|(at, _)| Some(*at) == truth);
        let of_truth = place.map(|place| matches[place].1.clone());
        let is_copy = |m: &Match| m.class > MatchClass::Similar;
        Judged {
            scores: top(&probabilities, place),
            retrieved: truth.is_some_and(|truth| candidates.contains(&truth)),
            found: of_truth.as_ref().is_some_and(is_copy),
            of_truth,
            wrong: matches
                .into_iter()
                .filter(|(at, m)| Some(*at) != truth && is_copy(m))
                .collect(),
            edits: query.edits.clone(),
            seed: query.seed,
        }
    }

    /// The nearest by similarity and all within the PDQ radius; those near by PDQ first, then by similarity.
    fn candidates(&self, references: &[Reference], query: &Analysis) -> Vec<usize> {
        let calibration = self.cascade.calibration();
        let mut ranked: Vec<(bool, Reverse<Similarity>, usize)> = references
            .iter()
            .enumerate()
            .map(|(at, reference)| {
                let print = &reference.analysis.fingerprint;
                let nearest = query.pdq_variants.iter().map(|v| v.hamming(&print.pdq)).min();
                let far = nearest.is_none_or(|d| d > calibration.pdq_radius);
                let similarity = query.fingerprint.embedding.similarity(&print.embedding);
                (far, Reverse(similarity), at)
            })
            .collect();
        ranked.sort_unstable_by_key(|&(_, similarity, at)| (similarity, at));
        let mut chosen: Vec<_> = ranked
            .iter()
            .enumerate()
            .filter(|(rank, (far, ..))| *rank < self.how.candidates || !far)
            .filter(|(rank, (_, _, at))| {
                let print = &references[*at].analysis.fingerprint;
                // The nearest few are looked at whatever their similarity.
                let nearest = *rank < NEAREST && self.cascade.is_verifiable(&query.fingerprint, print);
                nearest
                    || self
                        .cascade
                        .wants_verification(&query.fingerprint, &query.pdq_variants, print)
            })
            .map(|(_, candidate)| *candidate)
            .collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|(_, _, at)| at).collect()
    }

    fn verified(
        &self,
        references: &[Reference],
        at: usize,
        query: &Analysis,
        features: &Features,
        file: &[u8],
    ) -> Option<Match> {
        let reference = &references[at];
        let theirs = self.features[at].get_or_init(|| self.extract(&reference.analysis));
        let started = Instant::now();
        let verification = verify(features, theirs);
        self.verifying.add(started.elapsed());
        let judge = |verification: &Verification| {
            let print = &reference.analysis.fingerprint;
            self.cascade
                .judge(&query.fingerprint, &query.pdq_variants, print, Some(verification))
        };
        let found = judge(&verification);
        if found.as_ref().is_some_and(Match::wants_close_up)
            && let Some(mine) = self.maker.close_up(file)
            && let Some(other) = self.maker.reference_close_up(reference.number)
        {
            // As a scan does: text is compared at a readable size.
            return judge(&verify(&Features::extract(&mine), &Features::extract(&other)));
        }
        found
    }

    fn extract(&self, analysis: &Analysis) -> Features {
        let started = Instant::now();
        let features = Features::extract(&analysis.preview);
        self.extracting.add(started.elapsed());
        features
    }

    /// All decisions together.
    pub(super) fn result(
        &self,
        answers: &[Answer],
        references: &[Reference],
        bootstrap: &Bootstrap<'_>,
    ) -> WholeResult {
        let judged = |answer: &Answer, of: fn(&Judged) -> bool| answer.judged.as_ref().is_some_and(of);
        let share = |group: Option<Group>, of: fn(&Judged) -> bool| {
            bootstrap.share(
                |kind| group.map_or_else(|| kind.is_ranked(), |group| kind.group() == Some(group)),
                |answer| judged(answer, of),
            )
        };
        let mut groups = BTreeMap::new();
        for group in answers.iter().filter_map(|answer| answer.kind.group()) {
            groups.entry(group).or_insert_with(|| {
                (
                    share(Some(group), |j| j.retrieved),
                    share(Some(group), |j| j.found),
                )
            });
        }
        let mut result = WholeResult {
            groups,
            found: share(None, |j| j.found),
            false_pairs: Vec::new(),
            missed: Vec::new(),
            verified: self.verifying.read(),
            extracted: self.extracting.read(),
            judging: self.judging.read().1,
        };
        for answer in answers {
            let Some(judged) = &answer.judged else {
                continue;
            };
            let mistake = |reference: usize, found: Option<Match>| Mistake {
                edits: judged.edits.clone(),
                seed: judged.seed,
                query: self.maker.name(answer.image),
                reference: self.maker.reference_name(references[reference].number),
                found,
            };
            for (at, found) in &judged.wrong {
                result.false_pairs.push(mistake(*at, Some(found.clone())));
            }
            if let Some(truth) = answer.truth.filter(|_| !judged.found) {
                result.missed.push(mistake(truth, judged.of_truth.clone()));
            }
        }
        result.false_pairs.sort_by(|a, b| {
            let probability = |m: &Mistake| m.found.as_ref().map_or(0.0, |f| f.probability);
            probability(b).total_cmp(&probability(a))
        });
        result
    }
}
