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
use super::recent::Recent;
use super::{Phase, Progress, ScanError};
use crate::dedup::agenda::{Agenda, Promising, worth_it};
use crate::dedup::cascade::Prospect;
use crate::dedup::groups::Apart;
use crate::dedup::retrieval::{Candidates, PdqSet, pdq_join};
use crate::dedup::{self, Cascade, Edge, Match, originality};
use crate::types::{Embedding, ImageFormat, MatchClass, Similarity};
use crate::vector::nearest::nearest_each;
use crate::vision::verify::{Features, Keypoints, close_up};
use crate::vision::{Analyser, DecodeLimits, RgbImage, decode, thumbnail};

/// Nearest images of each that are candidates, by either measure.
const NEIGHBOURS: usize = 16;
/// Similarity below which not even the nearest image is looked at: two photographs picked by chance are as close.
const DISTANT: f32 = 0.2;
/// Promise from which a pair that is merely similar is worth showing.
const LIKELY_SIMILAR: f32 = 0.3;
/// Promise from which two images are expected to be copies, until verification says more.
const EXPECTED: f32 = 0.9;
/// Bytes of features kept in memory: at 400 pixels those of about 300 images, at 200 of four times as many.
const FEATURES: usize = 64 << 20;
/// Bytes of keypoints kept in memory, those of about 2,000 images: they cost three times what the rest of the features does, and
/// take a sixth of the memory.
const KEYPOINTS: usize = 48 << 20;
/// Bytes of features of whole pages kept in memory, about 4 MB each.
const CLOSE_UPS: usize = 128 << 20;
/// Rounds of further verification around the hubs of groups.
const ROUNDS: usize = 8;

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
    /// Embeds the parts of images, where they are compared too.
    pub(super) deep: Option<&'a Analyser>,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
    features: Mutex<Recent<Arc<Features>>>,
    keypoints: Mutex<Recent<Keypoints>>,
    close_ups: Mutex<Recent<Arc<Features>>>,
    verified: AtomicU64,
    /// Pairs that are settled, by verification or otherwise, and pairs in all; for the progress.
    settled: AtomicU64,
    planned: AtomicU64,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(
        contents: &'a [Content<'a>],
        cascade: &'a Cascade,
        cache: &'a Cache,
        limits: &'a DecodeLimits,
        deep: Option<&'a Analyser>,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Self {
        Self {
            contents,
            cascade,
            cache,
            limits,
            deep,
            progress,
            features: Mutex::new(Recent::new(FEATURES)),
            keypoints: Mutex::new(Recent::new(KEYPOINTS)),
            close_ups: Mutex::new(Recent::new(CLOSE_UPS)),
            verified: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            planned: AtomicU64::new(0),
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
        let promising = self.candidates()?;
        let expected = self.expected(candidates, &promising);
        let order = |x: u32, y: u32| policy.compare(&expected[x as usize], &expected[y as usize]);
        let mut agenda = Agenda::new(self.contents.len(), promising, order);
        self.planned.store(agenda.planned() as u64, Ordering::Relaxed);
        let (mut tested, mut matches) = (BTreeSet::new(), Matches::new());
        loop {
            let pairs = agenda.next_round();
            if pairs.is_empty() {
                break;
            }
            let found = self.judge(&pairs, level)?;
            let copies = found.iter().filter(|(_, m)| m.class > MatchClass::Similar);
            agenda.found(copies.map(|(pair, m)| (*pair, m.class)));
            tested.extend(pairs);
            matches.extend(found);
        }
        for _ in 0..ROUNDS {
            // Members of a group have to match its keeper: verify what retrieval did not bring up.
            let marked = self.marked(candidates, &matches);
            let missing = missing_pairs(&matches, &tested, &marked, level, policy, apart);
            if missing.is_empty() {
                break;
            }
            tested.extend(&missing);
            matches.extend(self.judge(&missing, level)?);
        }
        Ok(matches)
    }

    /// The candidates with what the matches say about them.
    pub(super) fn marked(&self, candidates: &[dedup::Candidate], matches: &Matches) -> Vec<dedup::Candidate> {
        let mut marked = candidates.to_vec();
        let pairs = matches
            .iter()
            .map(|(&(a, b), found)| (a as usize, b as usize, found));
        originality::mark(&mut marked, pairs, |a, b| self.similarity(a, b));
        marked
    }

    /// The nearest few of every image, by either measure, that are likely enough to be copies.
    fn candidates(&self) -> Result<Vec<Promising>, ScanError> {
        let calibration = self.cascade.calibration();
        let candidates = Candidates::new(self.contents.len(), NEIGHBOURS);
        let embeddings: Vec<Embedding> = self
            .contents
            .iter()
            .map(|content| content.known.fingerprint.embedding.clone())
            .collect();
        nearest_each(
            &embeddings,
            NEIGHBOURS,
            Similarity::clamped(DISTANT),
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
        let prospects: Vec<Prospect<'_>> = self
            .contents
            .par_iter()
            .map(|content| Prospect {
                palette: Some(&content.known.palette),
                ..self.cascade.prospect(&content.known.fingerprint)
            })
            .collect();
        let promising = |(a, b): (u32, u32)| {
            let variants = &self.contents[a as usize].known.variants;
            let promise = self
                .cascade
                .promise(prospects[a as usize], variants, prospects[b as usize]);
            Promising { a, b, promise }
        };
        let pairs = candidates.pairs().into_par_iter().map(promising).collect();
        let mut found = worth_it(pairs, self.contents.len(), calibration.min_promise);
        if let Some(analyser) = self.deep {
            found.extend(self.by_parts(analyser, &embeddings, &prospects)?);
        }
        // A camera raw file and the picture developed from it belong together: neither is to go because the other is there.
        let is_raw = |content: u32| self.contents[content as usize].known.format == ImageFormat::Raw;
        found.retain(|pair| !is_raw(pair.a) && !is_raw(pair.b));
        Ok(found)
    }

    /// The candidates as their likely copies let expect them: who agrees with them best, and which of them was turned.
    fn expected(&self, candidates: &[dedup::Candidate], promising: &[Promising]) -> Vec<dedup::Candidate> {
        let mut expected = candidates.to_vec();
        let pairs = promising
            .iter()
            .filter(|pair| pair.promise >= EXPECTED)
            .map(|pair| (pair.a as usize, pair.b as usize));
        let aspect = |place: usize| {
            let print = &self.contents[place].known.fingerprint;
            print.width.max(print.height) as f32 / print.width.min(print.height).max(1) as f32
        };
        originality::expect(&mut expected, pairs, |a, b| self.similarity(a, b), aspect);
        expected
    }

    fn similarity(&self, a: usize, b: usize) -> Similarity {
        let embedding = |place: usize| &self.contents[place].known.fingerprint.embedding;
        embedding(a).similarity(embedding(b))
    }

    /// Verifies and judges pairs, in parallel; the answer does not depend on the number of threads. Pairs that are
    /// merely similar are kept only when they are asked for, and likely.
    fn judge(&self, pairs: &[(u32, u32)], level: MatchClass) -> Result<Matches, ScanError> {
        let pairs = by_neighbourhood(pairs);
        let found: Vec<Option<((u32, u32), Match)>> = pairs
            .par_iter()
            .with_max_len(4)
            .map(|&(a, b)| {
                let found = self.judge_one(a, b)?;
                let done = self.settled.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(64) {
                    let total = self.planned.load(Ordering::Relaxed).max(done);
                    let phase = Phase::Verifying;
                    (self.progress)(Progress { phase, done, total });
                }
                let wanted = |m: &Match| {
                    m.class > MatchClass::Similar || (level == MatchClass::Similar && self.looks_alike(a, b))
                };
                Ok(found.filter(wanted).map(|m| ((a, b), m)))
            })
            .collect::<Result<_, ScanError>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Whether a pair that is no copy is worth showing to those who ask for what is similar.
    fn looks_alike(&self, a: u32, b: u32) -> bool {
        let known = |image: u32| self.contents[image as usize].known;
        let prospect = |image: u32| self.cascade.prospect(&known(image).fingerprint);
        self.cascade.promise(prospect(a), &known(a).variants, prospect(b)) >= LIKELY_SIMILAR
    }

    fn judge_one(&self, a: u32, b: u32) -> Result<Option<Match>, ScanError> {
        let (x, y) = (self.contents[a as usize].known, self.contents[b as usize].known);
        if !self.cascade.is_verifiable(&x.fingerprint, &y.fingerprint) {
            return Ok(self
                .cascade
                .judge(&x.fingerprint, &x.variants, &y.fingerprint, None));
        }
        self.verified.fetch_add(1, Ordering::Relaxed);
        let (features_a, features_b) = (self.features(a)?, self.features(b)?);
        let found = self.judge_by(a, b, &features_a, &features_b);
        self.keep_keypoints([(a, &features_a), (b, &features_b)]);
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

    /// Features of the file itself, or from memory; `None` when it cannot be read again.
    fn closer(&self, index: u32) -> Option<Arc<Features>> {
        if let Some(features) = self.close_ups.lock().get(index) {
            return Some(features);
        }
        let bytes = std::fs::read(self.contents[index as usize].path).ok()?;
        let decoded = decode(&bytes, self.limits).ok()?;
        let features = Arc::new(Features::extract(&close_up(&decoded.pixels)));
        self.close_ups.lock().put(index, features.clone());
        Some(features)
    }

    /// Features from the thumbnail, or from memory.
    fn features(&self, index: u32) -> Result<Arc<Features>, ScanError> {
        if let Some(features) = self.features.lock().get(index) {
            return Ok(features);
        }
        let mut features =
            Features::of_thumbnail(&self.thumbnail(index)?).map_err(|_| self.missing(index))?;
        if let Some(keypoints) = self.keypoints.lock().get(index) {
            features = features.with_keypoints(keypoints);
        }
        let features = Arc::new(features);
        self.features.lock().put(index, features.clone());
        Ok(features)
    }

    /// Remembers the keypoints of some images, where they were asked for.
    fn keep_keypoints(&self, used: [(u32, &Features); 2]) {
        let mut kept = self.keypoints.lock();
        for (index, features) in used {
            if let Some(keypoints) = features.known_keypoints()
                && kept.get(index).is_none()
            {
                kept.put(index, keypoints.clone());
            }
        }
    }

    /// The image at thumbnail size.
    pub(super) fn preview(&self, index: u32) -> Result<RgbImage, ScanError> {
        thumbnail::decode(&self.thumbnail(index)?).map_err(|_| self.missing(index))
    }

    fn thumbnail(&self, index: u32) -> Result<Vec<u8>, ScanError> {
        let content = &self.contents[index as usize].known.fingerprint.content_hash;
        self.cache.thumbnail(content)?.ok_or_else(|| self.missing(index))
    }

    fn missing(&self, index: u32) -> ScanError {
        ScanError::Thumbnail {
            content: self.contents[index as usize]
                .known
                .fingerprint
                .content_hash
                .to_string(),
        }
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
