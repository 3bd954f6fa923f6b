//! What every method says of a query: its best candidates, and whether the original is the first of them.

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;

use super::making::{Made, Maker};
use super::plan::Query;
use super::whole::{Judged, Whole, WholeResult};
use super::{AccuracyError, AccuracyOptions, Bootstrap, Kind, Method};
use crate::dedup::Cascade;
use crate::dedup::normalisation::{Background, Nearness};
use crate::types::{Embedding, PdqHash, Similarity};
use crate::vector::distance::Kernels;
use crate::vision::{Analysis, CnnEmbedder, Embedder, NetworkSpec, RgbImage, fingerprint};

/// Candidates of a query that enter the ranking.
const TOP: usize = 20;
/// PDQ distance from which on the hash says nothing more.
const PDQ_REACH: f32 = 90.0;

/// What one method says of one query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    /// The best candidates: score, and whether it is the original. Greater is better.
    pub(super) top: Vec<(f32, bool)>,
    /// The original is better than all others.
    pub(super) first: bool,
}

/// What all methods say of one query.
pub(super) struct Answer {
    pub(super) kind: Kind,
    /// The file that the query was made of.
    pub(super) image: usize,
    /// The reference that it matches, as in the plan.
    pub(super) truth: Option<usize>,
    pub(super) scores: BTreeMap<Method, Scores>,
    pub(super) judged: Option<Judged>,
}

impl Answer {
    pub(super) fn has_match(&self) -> bool {
        self.truth.is_some()
    }
}

/// A picture that is searched.
pub(super) struct Reference {
    /// Position in the plan.
    pub(super) number: usize,
    pub(super) analysis: Analysis,
    phash: PdqHash,
    /// Embedding of the network with random weights; standardised once all are known.
    random: Vec<f32>,
}

/// Scores queries against references.
pub(super) struct Scorer<'a> {
    references: Vec<Reference>,
    background: Option<Background>,
    /// Of every reference, where there is a background.
    nearnesses: Vec<Nearness>,
    random: CnnEmbedder,
    /// Mean and deviation of the random embeddings, by component.
    standard: Vec<(f32, f32)>,
    cascade: &'a Cascade,
    whole: Option<Whole<'a>>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        options: &AccuracyOptions,
        embedder: &dyn Embedder,
        spec: &NetworkSpec,
        (cascade, maker): (&'a Cascade, &'a Maker<'a>),
    ) -> Result<Self, AccuracyError> {
        Ok(Self {
            references: Vec::new(),
            background: embedder.bank().map(Background::new),
            nearnesses: Vec::new(),
            random: CnnEmbedder::random(spec, options.seed)?,
            standard: Vec::new(),
            cascade,
            whole: options.cascade.map(|how| Whole::new(how, cascade, maker)),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.references.len()
    }

    /// The methods that are measured.
    pub(super) fn methods(&self) -> Vec<Method> {
        let mut methods = vec![
            Method::Raw,
            Method::FusedRaw,
            Method::Pdq,
            Method::Phash,
            Method::Random,
            Method::Retrieval,
        ];
        if self.background.is_some() {
            methods.extend([Method::Normalised, Method::FusedNormalised]);
        }
        if self.whole.is_some() {
            methods.push(Method::Cascade);
        }
        methods
    }

    /// Takes references; `first` is the position of the first in the plan.
    pub(super) fn add(&mut self, first: usize, made: Vec<Made>) -> Result<(), AccuracyError> {
        let present: Vec<(usize, Analysis)> = (first..)
            .zip(made)
            .filter_map(|(number, made)| Some((number, made?.0)))
            .collect();
        let random = self.random(present.iter().map(|(_, a)| a))?;
        for ((number, analysis), random) in present.into_iter().zip(random) {
            self.references.push(Reference {
                number,
                phash: fingerprint::phash(&analysis.preview),
                analysis,
                random,
            });
        }
        Ok(())
    }

    /// All references are there: gets ready for queries.
    pub(super) fn freeze(&mut self) {
        let count = self.references.len() as f32;
        let dim = self.references.first().map_or(0, |r| r.random.len());
        self.standard = (0..dim)
            .map(|i| {
                let values = || self.references.iter().map(|r| r.random[i]);
                let mean = values().sum::<f32>() / count;
                let variance = values().map(|v| (v - mean).powi(2)).sum::<f32>() / count;
                (mean, variance.sqrt().max(1e-12))
            })
            .collect();
        let standard = std::mem::take(&mut self.standard);
        for reference in &mut self.references {
            standardise(&mut reference.random, &standard);
        }
        self.standard = standard;
        if let Some(background) = &self.background {
            let embeddings = self.references.iter().map(|r| &r.analysis.fingerprint.embedding);
            self.nearnesses = embeddings
                .filter_map(|embedding| background.nearness(embedding))
                .collect();
        }
        if let Some(whole) = &mut self.whole {
            whole.prepare(&self.references);
        }
    }

    /// Scores queries; those that could not be made, or whose original could not be read, are left out.
    pub(super) fn answer(&self, queries: &[Query], made: Vec<Made>) -> Result<Vec<Answer>, AccuracyError> {
        let present: Vec<_> = queries
            .iter()
            .zip(made)
            .filter_map(|(query, made)| {
                let truth = match query.truth {
                    // Positions among the references that could be read.
                    Some(truth) => Some(self.references.binary_search_by_key(&truth, |r| r.number).ok()?),
                    None => None,
                };
                Some((query, truth, made?))
            })
            .collect();
        let random = self.random(present.iter().map(|(_, _, (analysis, _))| analysis))?;
        Ok(present
            .into_par_iter()
            .zip(random)
            .map(|((query, truth, (analysis, file)), mut random)| {
                standardise(&mut random, &self.standard);
                let mut scores = self.scores(&analysis, &random, truth);
                let judged = self.whole.as_ref().map(|whole| {
                    let started = Instant::now();
                    let judged = whole.judge(&self.references, query, truth, &analysis, &file);
                    whole.took(started.elapsed());
                    judged
                });
                if let Some(judged) = &judged {
                    scores.insert(Method::Cascade, judged.scores.clone());
                }
                Answer {
                    kind: query.kind,
                    image: query.source.file,
                    truth,
                    scores,
                    judged,
                }
            })
            .collect())
    }

    /// What the cascade decided, where it was asked.
    pub(super) fn whole(&self, answers: &[Answer], bootstrap: &Bootstrap<'_>) -> Option<WholeResult> {
        Some(self.whole.as_ref()?.result(answers, &self.references, bootstrap))
    }

    fn scores(&self, query: &Analysis, random: &[f32], truth: Option<usize>) -> BTreeMap<Method, Scores> {
        let print = &query.fingerprint;
        let kernels = Kernels::active();
        let each =
            |score: &dyn Fn(&Reference) -> f32| -> Vec<f32> { self.references.iter().map(score).collect() };
        let raw = each(&|r| {
            kernels.dot_f32(
                print.embedding.as_slice(),
                r.analysis.fingerprint.embedding.as_slice(),
            )
        });
        let pdq = each(&|r| {
            let theirs = &r.analysis.fingerprint.pdq;
            let nearest = query.pdq_variants.iter().map(|v| v.hamming(theirs)).min();
            -(nearest.unwrap_or(256) as f32)
        });
        let looks = fingerprint::phash(&query.preview);
        let phash = each(&|r| -(looks.hamming(&r.phash) as f32));
        let random = each(&|r| kernels.dot_f32(random, &r.random));
        let bonus = |distance: f32| ((PDQ_REACH + distance) / PDQ_REACH).clamp(0.0, 1.0);
        let fuse =
            |scores: &[f32]| -> Vec<f32> { scores.iter().zip(&pdq).map(|(s, p)| s + bonus(*p)).collect() };
        let mut scores = BTreeMap::new();
        if let Some((background, asked)) = self
            .background
            .as_ref()
            .and_then(|background| Some((background, background.nearness(&print.embedding)?)))
        {
            let normalised: Vec<f32> = raw
                .iter()
                .zip(&self.nearnesses)
                .map(|(&cosine, &other)| background.normalised(Similarity::clamped(cosine), [asked, other]))
                .collect();
            scores.insert(Method::FusedNormalised, top(&fuse(&normalised), truth));
            scores.insert(Method::Normalised, top(&normalised, truth));
        }
        scores.insert(Method::Retrieval, self.retrieval(query, truth));
        scores.insert(Method::FusedRaw, top(&fuse(&raw), truth));
        scores.insert(Method::Raw, top(&raw, truth));
        scores.insert(Method::Pdq, top(&pdq, truth));
        scores.insert(Method::Phash, top(&phash, truth));
        scores.insert(Method::Random, top(&random, truth));
        scores
    }

    /// What the cascade says of all candidates before it verifies any.
    fn retrieval(&self, query: &Analysis, truth: Option<usize>) -> Scores {
        let print = &query.fingerprint;
        let mut place = None;
        let mut probabilities = Vec::new();
        for (at, reference) in self.references.iter().enumerate() {
            let theirs = &reference.analysis.fingerprint;
            let wanted = self
                .cascade
                .wants_verification(print, &query.pdq_variants, theirs);
            let found = wanted.then(|| self.cascade.judge(print, &query.pdq_variants, theirs, None));
            if let Some(found) = found.flatten() {
                if Some(at) == truth {
                    place = Some(probabilities.len());
                }
                probabilities.push(found.probability);
            }
        }
        top(&probabilities, place)
    }

    fn random<'b>(
        &self,
        analyses: impl Iterator<Item = &'b Analysis>,
    ) -> Result<Vec<Vec<f32>>, AccuracyError> {
        let previews: Vec<&RgbImage> = analyses.map(|a| &a.preview).collect();
        let embedded: Vec<Vec<Embedding>> = previews
            .par_chunks(8)
            .map(|previews| {
                let previews: Vec<RgbImage> = previews.iter().map(|&p| p.clone()).collect();
                self.random.embed(&previews)
            })
            .collect::<Result<_, _>>()?;
        Ok(embedded
            .into_iter()
            .flatten()
            .map(|embedding| embedding.as_slice().to_vec())
            .collect())
    }
}

/// To mean 0 and deviation 1 in every component, then to unit length.
fn standardise(vector: &mut [f32], standard: &[(f32, f32)]) {
    for (x, (mean, deviation)) in vector.iter_mut().zip(standard) {
        *x = (*x - mean) / deviation;
    }
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// The best candidates by score.
pub(super) fn top(scores: &[f32], truth: Option<usize>) -> Scores {
    let right = |at: usize| Some(at) == truth;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Among equals the wrong ones come first: no credit for ties.
    let better = |&a: &usize, &b: &usize| {
        scores[b]
            .total_cmp(&scores[a])
            .then(right(a).cmp(&right(b)))
            .then(a.cmp(&b))
    };
    if order.len() > TOP {
        order.select_nth_unstable_by(TOP - 1, better);
        order.truncate(TOP);
    }
    order.sort_unstable_by(better);
    Scores {
        first: order.first().is_some_and(|&at| right(at)),
        top: order.into_iter().map(|at| (scores[at], right(at))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_go_to_the_wrong_ones() {
        let mut scores: Vec<f32> = (0..100).map(|i| (i % 10) as f32).collect();
        scores[3] = 50.0;
        let best = top(&scores, Some(3));
        assert!(best.first && best.top.len() == TOP && best.top[0] == (50.0, true));
        let tied = top(&[0.5, 0.5, 0.1], Some(0));
        assert!(!tied.first);
        assert_eq!(tied.top, [(0.5, false), (0.5, true), (0.1, false)]);
        assert!(!top(&scores, None).first);
    }
}
