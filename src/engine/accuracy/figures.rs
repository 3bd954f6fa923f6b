//! Figures over ranked candidates, with bootstrap intervals.
//!
//! Images are drawn anew, not queries: the queries of one image rise and fall together, and intervals that take them for
//! independent are too narrow.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::scores::Answer;
use super::{Edit, Group, GroupResult, Kind, Method, MethodResult, Strength};
use crate::vision::attack::Dice;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Over all queries.
    pub value: f64,
    /// 2.5th percentile of the bootstrap.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// Draws of the bootstrap.
const ROUNDS: usize = 200;
/// A precision counts once so many were found: the first few of a ranking say little.
const LEAST_HITS: f64 = 20.0;

/// Answers, and how often each is counted in every draw; the first "draw" counts each once.
pub(super) struct Bootstrap<'a> {
    answers: &'a [Answer],
    /// By round, then by answer.
    weights: Vec<Vec<f64>>,
}

/// A candidate in the ranking of all queries.
struct Ranked {
    score: f32,
    right: bool,
    answer: usize,
}

/// Average precision, recall at precision .90 and .99, and the score at the first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranking {
    average_precision: f64,
    recall_at: [f64; 2],
    score_at_90: Option<f32>,
}

impl<'a> Bootstrap<'a> {
    pub(super) fn new(answers: &'a [Answer], seed: u64) -> Self {
        let mut images = HashMap::new();
        for answer in answers {
            let next = images.len();
            images.entry(answer.image).or_insert(next);
        }
        let mut dice = Dice::new(seed ^ 0xb0);
        let draws = (0..ROUNDS).map(|_| {
            let mut drawn = vec![0.0; images.len()];
            for _ in 0..images.len() {
                drawn[dice.index(images.len())] += 1.0;
            }
            answers
                .iter()
                .map(|answer| drawn[images[&answer.image]])
                .collect()
        });
        let weights = std::iter::once(vec![1.0; answers.len()]).chain(draws).collect();
        Self { answers, weights }
    }

    /// All figures of a method.
    pub(super) fn figures(&self, method: Method) -> MethodResult {
        let ranked = |kind: Kind| kind.is_ranked();
        let is_mild = |kind: Kind| matches!(kind, Kind::Edited(edit) if edit.family.is_mild());
        let all = self.ranking(method, ranked);
        let mild = self.ranking(method, |kind| is_mild(kind) || kind.group().is_none());
        let of = |pick: fn(&Ranking) -> f64, from: &[Ranking]| estimate(from.iter().map(pick).collect());
        let single = |held_out: bool| {
            move |kind: Kind| {
                matches!(kind, Kind::Edited(edit)
                    if edit.family.is_held_out() == held_out && !edit.family.is_everyday())
            }
        };
        MethodResult {
            average_precision: of(|r| r.average_precision, &all),
            recall_at_90: of(|r| r.recall_at[0], &all),
            recall_at_99: of(|r| r.recall_at[1], &all),
            recall_at_1: self.first(method, ranked),
            trained: self.first(method, single(false)),
            held_out: self.first(method, single(true)),
            mild: self.first(method, is_mild),
            mild_average_precision: of(|r| r.average_precision, &mild),
            calibration: matches!(method, Method::Retrieval | Method::Cascade)
                .then(|| self.calibration(method)),
            groups: self.groups(method),
            false_at_90: self.false_above(method, all[0].score_at_90),
        }
    }

    /// The share of the chosen queries with a match for which `hit` holds.
    pub(super) fn share(&self, chosen: impl Fn(Kind) -> bool, hit: impl Fn(&Answer) -> bool) -> Estimate {
        let chosen: Vec<(usize, f64)> = self
            .answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.has_match() && chosen(answer.kind))
            .map(|(i, answer)| (i, f64::from(u8::from(hit(answer)))))
            .collect();
        let rounds = self.weights.iter().map(|weights| {
            let total: f64 = chosen.iter().map(|(i, _)| weights[*i]).sum();
            let hits: f64 = chosen.iter().map(|(i, hit)| weights[*i] * hit).sum();
            // A draw without any of them says nothing: not a number, left out.
            hits / total
        });
        estimate(rounds.collect())
    }

    fn first(&self, method: Method, chosen: impl Fn(Kind) -> bool) -> Estimate {
        self.share(chosen, |answer| answer.scores[&method].first)
    }

    fn groups(&self, method: Method) -> BTreeMap<Group, GroupResult> {
        let mut counts: BTreeMap<Group, u64> = BTreeMap::new();
        for group in self.answers.iter().filter_map(|answer| answer.kind.group()) {
            *counts.entry(group).or_default() += 1;
        }
        let of = |(group, queries): (Group, u64)| {
            let by_strength = match group {
                Group::Chain(_) => None,
                Group::Family(family) => Some(Strength::ALL.map(|strength| {
                    let edit = Edit { family, strength };
                    let mine = || self.answers.iter().filter(|a| a.kind == Kind::Edited(edit));
                    let hits = mine().filter(|a| a.scores[&method].first).count();
                    hits as f64 / mine().count().max(1) as f64
                })),
            };
            let result = GroupResult {
                queries,
                recall_at_1: self.first(method, |kind| kind.group() == Some(group)),
                by_strength,
            };
            (group, result)
        };
        counts.into_iter().map(of).collect()
    }

    /// The ranking of the chosen queries' candidates in every draw.
    fn ranking(&self, method: Method, chosen: impl Fn(Kind) -> bool) -> Vec<Ranking> {
        let mut candidates = Vec::new();
        let mut positives = Vec::new();
        for (i, answer) in self.answers.iter().enumerate().filter(|(_, a)| chosen(a.kind)) {
            if answer.has_match() {
                positives.push(i);
            }
            candidates.extend(answer.scores[&method].top.iter().map(|&(score, right)| Ranked {
                score,
                right,
                answer: i,
            }));
        }
        // Among equals the wrong ones come first: no credit for ties.
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.right.cmp(&b.right)));
        self.weights
            .par_iter()
            .map(|weights| {
                let total = positives.iter().map(|&i| weights[i]).sum();
                rank(&candidates, weights, total)
            })
            .collect()
    }

    /// Expected calibration error over ten bins, and Brier score, of the ranked queries' candidates.
    fn calibration(&self, method: Method) -> (f64, f64) {
        let mut bins = [[0.0; 3]; 10];
        let (mut squares, mut count) = (0.0, 0.0);
        for answer in self.answers.iter().filter(|a| a.kind.is_ranked()) {
            for &(score, right) in &answer.scores[&method].top {
                let (probability, truth) = (f64::from(score), f64::from(u8::from(right)));
                let bin = &mut bins[((probability * 10.0) as usize).min(9)];
                *bin = [bin[0] + 1.0, bin[1] + probability, bin[2] + truth];
                squares += (probability - truth).powi(2);
                count += 1.0;
            }
        }
        let gap: f64 = bins
            .iter()
            .map(|[_, predicted, observed]| (predicted - observed).abs())
            .sum();
        let count = f64::max(count, 1.0);
        (gap / count, squares / count)
    }

    fn false_above(&self, method: Method, threshold: Option<f32>) -> [u64; 4] {
        let mut counts = [0; 4];
        let Some(threshold) = threshold else {
            return counts;
        };
        for answer in self.answers.iter().filter(|a| a.kind.is_ranked()) {
            let is_false = |&(score, right): &(f32, bool)| !right && score >= threshold;
            if answer.scores[&method].top.iter().any(is_false) {
                let at = match answer.kind {
                    Kind::Edited(_) | Kind::Chain(_) => 0,
                    Kind::NoMatch => 1,
                    Kind::Unrelated => 2,
                    Kind::OtherHalf => 3,
                };
                counts[at] += 1;
            }
        }
        counts
    }
}

fn rank(candidates: &[Ranked], weights: &[f64], positives: f64) -> Ranking {
    let (mut hits, mut seen, mut area) = (0.0, 0.0, 0.0);
    let mut ranking = Ranking {
        average_precision: 0.0,
        recall_at: [0.0; 2],
        score_at_90: None,
    };
    let least = LEAST_HITS.min(positives / 10.0);
    for candidate in candidates {
        let weight = weights[candidate.answer];
        seen += weight;
        if !candidate.right || weight == 0.0 {
            continue;
        }
        hits += weight;
        let precision = hits / seen;
        area += weight * precision;
        if hits >= least && precision >= 0.9 {
            ranking.recall_at[0] = hits / positives;
            ranking.score_at_90 = Some(candidate.score);
        }
        if hits >= least && precision >= 0.99 {
            ranking.recall_at[1] = hits / positives;
        }
    }
    ranking.average_precision = area / positives;
    ranking
}

/// The first value is the figure, the others are its draws.
fn estimate(values: Vec<f64>) -> Estimate {
    let Some((&value, draws)) = values.split_first().filter(|(value, _)| value.is_finite()) else {
        return Estimate::default();
    };
    let mut draws: Vec<f64> = draws.iter().copied().filter(|v| v.is_finite()).collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let position = (share * draws.len().saturating_sub(1) as f64).round() as usize;
        draws.get(position).copied().unwrap_or(value)
    };
    Estimate {
        value,
        low: at(0.025),
        high: at(0.975),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scores::Scores;
    use super::*;
    use crate::vision::attack::Family;

    fn answer(image: usize, kind: Kind, top: &[(f32, bool)]) -> Answer {
        let scores = Scores {
            first: top.first().is_some_and(|t| t.1),
            top: top.to_vec(),
        };
        Answer {
            kind,
            image,
            truth: kind.group().map(|_| 0),
            scores: BTreeMap::from([(Method::Raw, scores)]),
            judged: None,
        }
    }

    #[test]
    fn a_small_ranking_has_known_figures() {
        let edited = Kind::Edited(Edit {
            family: Family::Crop,
            strength: Strength::Mild,
        });
        let answers = [
            answer(0, edited, &[(0.9, true), (0.5, false)]),
            answer(1, edited, &[(0.8, true)]),
            answer(2, Kind::NoMatch, &[(0.7, false)]),
            answer(3, edited, &[(0.65, false), (0.6, true)]),
            answer(4, edited, &[(0.1, false)]),
        ];
        let bootstrap = Bootstrap::new(&answers, 1);
        let figures = bootstrap.figures(Method::Raw);
        let expected = (1.0 + 1.0 + 3.0 / 5.0) / 4.0;
        assert!((figures.average_precision.value - expected).abs() < 1e-9);
        assert!((figures.recall_at_90.value - 0.5).abs() < 1e-9);
        assert!((figures.recall_at_1.value - 0.5).abs() < 1e-9);
        assert!(figures.recall_at_1.low <= 0.5 && figures.recall_at_1.high >= 0.5);
        assert!((figures.trained.value - 0.5).abs() < 1e-9);
        let crop = &figures.groups[&Group::Family(Family::Crop)];
        assert_eq!((crop.queries, crop.by_strength), (4, Some([0.5, 0.0, 0.0])));
        assert_eq!(figures.false_at_90, [0; 4]);
    }

    #[test]
    fn ties_give_no_credit() {
        let kind = Kind::Chain(1);
        let answers = [
            answer(0, kind, &[(0.5, true)]),
            answer(1, Kind::NoMatch, &[(0.5, false)]),
        ];
        let figures = Bootstrap::new(&answers, 1).figures(Method::Raw);
        assert!((figures.average_precision.value - 0.5).abs() < 1e-9);
    }
}
