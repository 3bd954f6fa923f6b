//! The whole cascade: candidates as a search finds them, verified in the same waves, judged by the same rules.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::figures::Bootstrap;
use super::making::Maker;
use super::plan::Query;
use super::scores::{Answer, Reference, Scores, top};
use super::{CascadeOptions, Edit, Estimate, Group, Kind, Strength};
use crate::dedup::calibration::{UNWARPED_FEATURES, unwarped_features};
use crate::dedup::cascade::Part;
use crate::dedup::{Cascade, Gate, Match};
use crate::engine::search::PART_NEIGHBOURS;
use crate::engine::waves::{TRIED, WAVE};
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
    /// Pairs that were verified.
    pairs: Vec<Facts>,
}

/// What verification found about one pair.
struct Facts {
    reference: usize,
    is_copy: bool,
    class: Option<MatchClass>,
    held_back: Option<Gate>,
    probability: f32,
    features: [f32; UNWARPED_FEATURES],
}

/// A pair that was verified, for those who fit models to many of them.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPair {
    /// What was done to the query; nothing for an image as it is.
    pub edits: Vec<Edit>,
    /// Path of the file that the query was made of.
    pub query: String,
    /// Path of the reference.
    pub reference: String,
    /// Whether one was made from the other.
    pub is_copy: bool,
    /// What the cascade said; `None` for no match at all.
    pub class: Option<MatchClass>,
    /// Why it said no more.
    pub held_back: Option<Gate>,
    /// What it is worth, 0 to 1; 0 for no match at all.
    pub probability: f32,
    /// See [`unwarped_features`].
    pub features: [f32; UNWARPED_FEATURES],
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

/// What the cascade decided about one group of queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decided {
    /// Share of originals among the candidates.
    pub retrieved: Estimate,
    /// Share of originals found as `edited` or stronger.
    pub found: Estimate,
    /// The same at the three strengths; `None` for chains.
    pub by_strength: Option<[Estimate; 3]>,
}

/// What the cascade decided.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeResult {
    /// By group.
    pub groups: BTreeMap<Group, Decided>,
    /// Share of originals found as `edited` or stronger, everyday edits apart.
    pub found: Estimate,
    /// Wrong references taken for copies.
    pub false_pairs: Vec<Mistake>,
    /// Originals that were not found.
    pub missed: Vec<Mistake>,
    /// Every pair that was verified.
    pub pairs: Vec<VerifiedPair>,
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

/// The references that are closest, as many as a deep search looks at.
fn nearest(references: usize, closeness: impl Fn(usize) -> Similarity) -> impl Iterator<Item = usize> {
    let mut ranked: Vec<(Reverse<Similarity>, usize)> =
        (0..references).map(|at| (Reverse(closeness(at)), at)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(PART_NEIGHBOURS).map(|(_, at)| at)
}

/// Asks the cascade.
pub(super) struct Whole<'a> {
    how: CascadeOptions,
    cascade: &'a Cascade,
    maker: &'a Maker<'a>,
    features: Vec<OnceLock<Features>>,
    /// Parts of every reference, where the search is deep.
    parts: Vec<Vec<Part>>,
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
            parts: Vec::new(),
            verifying: Clock::default(),
            extracting: Clock::default(),
            judging: Clock::default(),
        }
    }

    /// Makes ready for searches among these references.
    pub(super) fn prepare(&mut self, references: &[Reference]) {
        self.features = references.iter().map(|_| OnceLock::new()).collect();
        if self.how.deep {
            let parts = |reference: &Reference| self.parts(&reference.analysis);
            self.parts = references.par_iter().map(parts).collect();
        }
    }

    fn parts(&self, analysis: &Analysis) -> Vec<Part> {
        let embeddings = self.maker.parts(analysis);
        embeddings
            .into_iter()
            .map(|part| self.cascade.part(part))
            .collect()
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
        let mut pairs = Vec::new();
        let mut at_most = 1.0;
        while left > 0 {
            let wave: Vec<(f32, usize)> = queue.by_ref().take(WAVE.min(left)).collect();
            left -= wave.len();
            let features = features.get_or_insert_with(|| self.extract(analysis));
            let before = matches.len();
            for &(promise, at) in &wave {
                let (found, features) = self.verified(references, (promise, at), analysis, features, file);
                pairs.push(Facts {
                    reference: at,
                    is_copy: Some(at) == truth,
                    class: found.as_ref().map(|found| found.class),
                    held_back: found.as_ref().and_then(|found| found.evidence.held_back),
                    probability: found.as_ref().map_or(0.0, |found| found.probability),
                    features,
                });
                matches.extend(found.map(|found| (at, found)));
            }
            // As a search does: it goes on only while it finds copies, and the others are worth no more than the last.
            let of_wave = matches[before..].iter().map(|(_, found)| found);
            at_most = of_wave.clone().map(|found| found.probability).fold(0.0, f32::max);
            if wave.len() < WAVE || !of_wave.clone().any(|found| found.class > MatchClass::Similar) {
                break;
            }
        }
        matches.extend(queue.filter_map(|(_, at)| {
            let theirs = &references[at].analysis.fingerprint;
            let mut found =
                self.cascade
                    .judge(&analysis.fingerprint, &analysis.pdq_variants, theirs, None)?;
            found.probability = found.probability.min(at_most);
            Some((at, found))
        }));
        let probabilities: Vec<f32> = matches.iter().map(|(_, m)| m.probability).collect();
        let place = matches.iter().position(|(at, _)| Some(*at) == truth);
        let of_truth = place.map(|place| matches[place].1.clone());
        let is_copy = |m: &Match| m.class > MatchClass::Similar;
        Judged {
            scores: top(&probabilities, place),
            retrieved: candidates.iter().any(|(_, at)| Some(*at) == truth),
            found: of_truth.as_ref().is_some_and(is_copy),
            of_truth,
            wrong: matches
                .into_iter()
                .filter(|(at, m)| Some(*at) != truth && is_copy(m))
                .collect(),
            edits: query.edits.clone(),
            seed: query.seed,
            pairs,
        }
    }

    /// Of the nearest by similarity and all within the PDQ radius those that a search verifies, likeliest first, with their promise.
    fn candidates(&self, references: &[Reference], query: &Analysis) -> Vec<(f32, usize)> {
        let radius = self.cascade.calibration().pdq_radius;
        let mut ranked: Vec<(Reverse<Similarity>, usize)> = references
            .iter()
            .enumerate()
            .map(|(at, reference)| {
                let print = &reference.analysis.fingerprint;
                (
                    Reverse(query.fingerprint.embedding.similarity(&print.embedding)),
                    at,
                )
            })
            .collect();
        ranked.sort_unstable();
        let asked = self.cascade.prospect(&query.fingerprint);
        let mut promised: Vec<(f32, usize)> = ranked
            .iter()
            .enumerate()
            .filter(|(rank, (_, at))| {
                let pdq = &references[*at].analysis.fingerprint.pdq;
                *rank < self.how.candidates || query.pdq_variants.iter().any(|v| v.hamming(pdq) <= radius)
            })
            .filter_map(|(_, (_, at))| {
                let other = &references[*at].analysis.fingerprint;
                let promise = self
                    .cascade
                    .promise(asked, &query.pdq_variants, self.cascade.prospect(other));
                self.cascade
                    .is_verifiable(asked.print, other)
                    .then_some((promise, *at))
            })
            .collect();
        if self.how.deep {
            promised.extend(self.by_parts(references, query));
        }
        promised.sort_by(|(p, x), (q, y)| q.total_cmp(p).then(x.cmp(y)));
        let mut seen = BTreeSet::new();
        promised.retain(|(_, at)| seen.insert(*at));
        let is_wanted = |rank: usize| rank < TRIED || self.cascade.is_promising(promised[rank].0);
        let wanted = (0..promised.len()).take_while(|&rank| is_wanted(rank)).count();
        promised.truncate(wanted);
        promised
    }

    /// The references nearest to a part of the query, and those with a part nearest to the query, with their promise.
    fn by_parts(&self, references: &[Reference], query: &Analysis) -> Vec<(f32, usize)> {
        let asked = self.cascade.prospect(&query.fingerprint);
        let other = |at: usize| self.cascade.prospect(&references[at].analysis.fingerprint);
        let mut promised = Vec::new();
        for part in self.parts(query) {
            let closeness = |at: usize| {
                let print = &references[at].analysis.fingerprint;
                part.embedding.similarity(&print.embedding)
            };
            promised.extend(nearest(references.len(), closeness).map(|at| {
                let promise = self
                    .cascade
                    .promise_of_part(asked, &part, &query.pdq_variants, other(at));
                (promise, at)
            }));
        }
        let best = |at: usize| {
            let similarity = |part: &&Part| part.embedding.similarity(&query.fingerprint.embedding);
            self.parts[at].iter().max_by_key(similarity)
        };
        let closeness = |at: usize| {
            best(at).map_or(Similarity::clamped(-1.0), |part| {
                part.embedding.similarity(&query.fingerprint.embedding)
            })
        };
        promised.extend(nearest(references.len(), closeness).filter_map(|at| {
            let variants = &references[at].analysis.pdq_variants;
            let promise = self
                .cascade
                .promise_of_part(other(at), best(at)?, variants, asked);
            Some((promise, at))
        }));
        promised.retain(|(promise, _)| self.cascade.is_promising(*promise));
        promised
    }

    fn verified(
        &self,
        references: &[Reference],
        (promise, at): (f32, usize),
        query: &Analysis,
        features: &Features,
        file: &[u8],
    ) -> (Option<Match>, [f32; UNWARPED_FEATURES]) {
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
        let found = judge(&verification).map(|found| {
            // As a search does.
            let prints = [&query.fingerprint, &reference.analysis.fingerprint];
            self.cascade.or_from_second(found, prints, [features, theirs])
        });
        let facts = unwarped_features(promise, verification.alignment.as_ref());
        if found.as_ref().is_some_and(Match::wants_close_up)
            && let Some(mine) = self.maker.close_up(file)
            && let Some(other) = self.maker.reference_close_up(reference.number)
        {
            // As a scan does: text is compared at a readable size.
            let closer = verify(&Features::extract(&mine), &Features::extract(&other));
            return (judge(&closer), facts);
        }
        (found, facts)
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
        let share = |chosen: &dyn Fn(Kind) -> bool, of: fn(&Judged) -> bool| {
            bootstrap.share(chosen, |answer| judged(answer, of))
        };
        let mut groups = BTreeMap::new();
        for group in answers.iter().filter_map(|answer| answer.kind.group()) {
            let decided = || {
                let within = |kind: Kind| kind.group() == Some(group);
                let at = |strength| {
                    let edited = |kind| matches!(kind, Kind::Edited(edit) if edit.strength == strength);
                    share(&|kind| within(kind) && edited(kind), |j| j.found)
                };
                Decided {
                    retrieved: share(&within, |j| j.retrieved),
                    found: share(&within, |j| j.found),
                    by_strength: matches!(group, Group::Family(_)).then(|| Strength::ALL.map(at)),
                }
            };
            groups.entry(group).or_insert_with(decided);
        }
        let mut result = WholeResult {
            groups,
            found: share(&Kind::is_ranked, |j| j.found),
            false_pairs: Vec::new(),
            missed: Vec::new(),
            pairs: Vec::new(),
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
            result.pairs.extend(judged.pairs.iter().map(|pair| VerifiedPair {
                edits: judged.edits.clone(),
                query: self.maker.name(answer.image),
                reference: self.maker.reference_name(references[pair.reference].number),
                is_copy: pair.is_copy,
                class: pair.class,
                held_back: pair.held_back,
                probability: pair.probability,
                features: pair.features,
            }));
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
