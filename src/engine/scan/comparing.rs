//! From contents to matches: candidates, verification, and the further pairs that groups need.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rayon::prelude::*;

use super::cache::Cache;
use super::intake::Known;
use super::{Phase, Progress, ScanError};
use crate::dedup::groups::Apart;
use crate::dedup::retrieval::{Candidates, Limits, PdqSet, pdq_join};
use crate::dedup::{self, Cascade, Edge, Match, originality};
use crate::types::{Embedding, MatchClass, Similarity};
use crate::vector::join;
use crate::vision::verify::{Features, close_up};
use crate::vision::{DecodeLimits, decode, thumbnail};

/// Nearest images of each that are verified, by either measure, if they are similar at all.
const NEIGHBOURS: usize = 16;
/// Nearest images of each that are verified in any case.
const NEAREST: usize = 4;
/// Similarity below which not even the nearest image is looked at: two photographs picked by chance are as close.
const DISTANT: f32 = 0.2;
/// Probability from which a pair that is merely similar is worth showing.
const LIKELY_SIMILAR: f32 = 0.3;
/// Features kept in memory, about 200 kB each.
const FEATURES: usize = 1024;
/// Rounds of further verification around the hubs of groups.
const ROUNDS: usize = 4;

/// Pairs that were judged; `a < b` are positions among the contents.
pub(super) type Matches = BTreeMap<(u32, u32), Match>;

/// A content, and a file that has it.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) known: &'a Known,
    pub(super) path: &'a Path,
}

/// Compares contents of different pixels.
pub(super) struct Comparer<'a> {
    pub(super) contents: &'a [Content<'a>],
    pub(super) cascade: &'a Cascade,
    pub(super) cache: &'a Cache,
    pub(super) limits: &'a DecodeLimits,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
    features: Mutex<Recent>,
    verified: AtomicU64,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(
        contents: &'a [Content<'a>],
        cascade: &'a Cascade,
        cache: &'a Cache,
        limits: &'a DecodeLimits,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Self {
        Self {
            contents,
            cascade,
            cache,
            limits,
            progress,
            features: Mutex::default(),
            verified: AtomicU64::new(0),
        }
    }

    /// Pairs that were verified so far.
    pub(super) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// All matches, and those that complete the groups of at least `level`.
    pub(super) fn matches(
        &self,
        candidates: &[dedup::Candidate],
        level: MatchClass,
        policy: &dedup::KeepPolicy,
        apart: &Apart,
    ) -> Result<Matches, ScanError> {
        let pairs = self.candidates()?;
        let mut tested: BTreeSet<(u32, u32)> = pairs.iter().copied().collect();
        let mut matches = self.judge(&pairs, level)?;
        for _ in 0..ROUNDS {
            // Members of a group have to match its keeper: verify what retrieval did not bring up.
            let missing = missing_pairs(
                &matches,
                &tested,
                &marked(candidates, &matches),
                level,
                policy,
                apart,
            );
            if missing.is_empty() {
                break;
            }
            tested.extend(&missing);
            matches.extend(self.judge(&missing, level)?);
        }
        Ok(matches)
    }

    fn candidates(&self) -> Result<Vec<(u32, u32)>, ScanError> {
        let calibration = self.cascade.calibration();
        let limits = Limits {
            neighbours: NEIGHBOURS,
            nearest: NEAREST,
            similar: Similarity::clamped(calibration.min_similarity),
        };
        let candidates = Candidates::new(self.contents.len(), limits);
        let embeddings: Vec<Embedding> = self
            .contents
            .iter()
            .map(|content| content.known.fingerprint.embedding.clone())
            .collect();
        join::self_join_each(
            &embeddings,
            Similarity::clamped(calibration.min_similarity.min(DISTANT)),
            |joined| {
                (self.progress)(Progress {
                    phase: Phase::Comparing,
                    done: joined.done,
                    total: joined.total,
                });
            },
            |pairs| {
                for pair in pairs {
                    candidates.similar(pair.a, pair.b, pair.similarity);
                }
            },
        )?;
        let hashes: Vec<PdqSet> = self
            .contents
            .iter()
            .map(|content| PdqSet {
                variants: content.known.variants,
                quality: content.known.fingerprint.pdq_quality,
            })
            .collect();
        pdq_join(
            &hashes,
            calibration.pdq_radius,
            calibration.min_pdq_quality,
            |a, b, distance| candidates.near(a, b, distance),
        );
        Ok(candidates.pairs())
    }

    /// Verifies and judges pairs, in parallel; the answer does not depend on the number of threads. Pairs that are
    /// merely similar are kept only when they are asked for, and likely.
    fn judge(&self, pairs: &[(u32, u32)], level: MatchClass) -> Result<Matches, ScanError> {
        let done = AtomicU64::new(0);
        let pairs = by_neighbourhood(pairs);
        let found: Vec<Option<((u32, u32), Match)>> = pairs
            .par_iter()
            .with_max_len(16)
            .map(|&(a, b)| {
                let found = self.judge_one(a, b)?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(64) || done == pairs.len() as u64 {
                    (self.progress)(Progress {
                        phase: Phase::Verifying,
                        done,
                        total: pairs.len() as u64,
                    });
                }
                let wanted = |m: &Match| {
                    m.class > MatchClass::Similar
                        || (level == MatchClass::Similar && m.probability >= LIKELY_SIMILAR)
                };
                Ok(found.filter(wanted).map(|m| ((a, b), m)))
            })
            .collect::<Result<_, ScanError>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    fn judge_one(&self, a: u32, b: u32) -> Result<Option<Match>, ScanError> {
        let (x, y) = (self.contents[a as usize].known, self.contents[b as usize].known);
        if !self.cascade.is_verifiable(&x.fingerprint, &y.fingerprint) {
            return Ok(self
                .cascade
                .judge(&x.fingerprint, &x.variants, &y.fingerprint, None));
        }
        self.verified.fetch_add(1, Ordering::Relaxed);
        let found = self.judge_by(a, b, &*self.features(a)?, &*self.features(b)?);
        if found.as_ref().is_some_and(Match::wants_close_up)
            && let (Some(x), Some(y)) = (self.closer(a), self.closer(b))
        {
            // A thumbnail cannot tell a 3 from an 8: the files can.
            return Ok(self.judge_by(a, b, &x, &y));
        }
        Ok(found)
    }

    fn judge_by(&self, a: u32, b: u32, features_a: &Features, features_b: &Features) -> Option<Match> {
        let (x, y) = (self.contents[a as usize].known, self.contents[b as usize].known);
        self.cascade.judge_features(
            &x.fingerprint,
            &x.variants,
            &y.fingerprint,
            [features_a, features_b],
        )
    }

    /// Features of the file itself; `None` when it cannot be read again.
    fn closer(&self, index: u32) -> Option<Features> {
        let bytes = std::fs::read(self.contents[index as usize].path).ok()?;
        let decoded = decode(&bytes, self.limits).ok()?;
        Some(Features::extract(&close_up(&decoded.pixels)))
    }

    /// Features from the thumbnail, or from memory.
    fn features(&self, index: u32) -> Result<Arc<Features>, ScanError> {
        if let Some(features) = self.features.lock().get(index) {
            return Ok(features);
        }
        let content = self.contents[index as usize].known.fingerprint.content_hash;
        let missing = || ScanError::Thumbnail {
            content: content.to_string(),
        };
        let bytes = self.cache.thumbnail(&content)?.ok_or_else(missing)?;
        let preview = thumbnail::decode(&bytes).map_err(|_| missing())?;
        let features = Arc::new(Features::extract(&preview));
        self.features.lock().put(index, features.clone());
        Ok(features)
    }
}

/// Pairs of a hub and the images connected with it that were not tested yet.
fn missing_pairs(
    matches: &Matches,
    tested: &BTreeSet<(u32, u32)>,
    candidates: &[dedup::Candidate],
    level: MatchClass,
    policy: &dedup::KeepPolicy,
    apart: &Apart,
) -> Vec<(u32, u32)> {
    let edges = edges(matches);
    let mut neighbours: HashMap<usize, Vec<usize>> = HashMap::new();
    for edge in edges.iter().filter(|e| e.class >= level) {
        neighbours.entry(edge.a).or_default().push(edge.b);
        neighbours.entry(edge.b).or_default().push(edge.a);
    }
    let mut missing = BTreeSet::new();
    for group in dedup::group(candidates, &edges, level, policy, apart) {
        let members: Vec<usize> = group.members.iter().copied().chain([group.keeper]).collect();
        let inside: BTreeSet<usize> = members.iter().copied().collect();
        // Whoever matches a member should be tried against the keeper.
        for member in &members {
            for &other in &neighbours[member] {
                if !inside.contains(&other) {
                    missing.insert(ordered(group.keeper, other));
                }
            }
        }
        // The policy's favourite becomes keeper only if it matches everyone: try it.
        let favourite = members
            .iter()
            .copied()
            .min_by(|&x, &y| policy.compare(&candidates[x], &candidates[y]));
        if let Some(favourite) = favourite {
            missing.extend(
                members
                    .iter()
                    .filter(|&&m| m != favourite)
                    .map(|&m| ordered(favourite, m)),
            );
        }
    }
    missing
        .into_iter()
        .filter(|pair| !tested.contains(pair))
        .collect()
}

fn ordered(a: usize, b: usize) -> (u32, u32) {
    let position = |i: usize| u32::try_from(i).expect("contents are numbered in 32 bits");
    (position(a.min(b)), position(a.max(b)))
}

/// The candidates with what the matches say about them.
pub(super) fn marked(candidates: &[dedup::Candidate], matches: &Matches) -> Vec<dedup::Candidate> {
    let mut marked = candidates.to_vec();
    let pairs = matches
        .iter()
        .map(|(&(a, b), found)| (a as usize, b as usize, found));
    originality::mark(&mut marked, pairs);
    marked
}

/// The matches as edges.
pub(super) fn edges(matches: &Matches) -> Vec<Edge> {
    matches
        .iter()
        .map(|(&(a, b), found)| Edge {
            a: a as usize,
            b: b as usize,
            class: found.class,
            probability: found.probability,
        })
        .collect()
}

/// The pairs in an order that comes back to an image soon: images are numbered as a breadth-first walk along the pairs
/// meets them, so that the features of a neighbourhood are still in memory when they are needed again.
fn by_neighbourhood(pairs: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut neighbours: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &(a, b) in pairs {
        neighbours.entry(a).or_default().push(b);
        neighbours.entry(b).or_default().push(a);
    }
    let mut rank: HashMap<u32, usize> = HashMap::with_capacity(neighbours.len());
    let mut queue = VecDeque::new();
    for &start in neighbours.keys() {
        queue.push_back(start);
        while let Some(image) = queue.pop_front() {
            let next = rank.len();
            if let Entry::Vacant(slot) = rank.entry(image) {
                slot.insert(next);
                queue.extend(
                    neighbours[&image]
                        .iter()
                        .filter(|other| !rank.contains_key(other)),
                );
            }
        }
    }
    let mut ordered = pairs.to_vec();
    ordered.sort_by_cached_key(|(a, b)| {
        let (x, y) = (rank[a], rank[b]);
        (x.max(y), x.min(y))
    });
    ordered
}

/// The features used last.
#[derive(Default)]
struct Recent {
    entries: HashMap<u32, (u64, Arc<Features>)>,
    by_age: BTreeMap<u64, u32>,
    clock: u64,
}

impl Recent {
    fn get(&mut self, index: u32) -> Option<Arc<Features>> {
        self.clock += 1;
        let (age, features) = self.entries.get_mut(&index)?;
        self.by_age.remove(age);
        *age = self.clock;
        self.by_age.insert(self.clock, index);
        Some(features.clone())
    }

    fn put(&mut self, index: u32, features: Arc<Features>) {
        self.clock += 1;
        if let Some((age, _)) = self.entries.insert(index, (self.clock, features)) {
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.clock, index);
        while self.entries.len() > FEATURES {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}
