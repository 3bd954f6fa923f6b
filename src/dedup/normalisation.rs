//! Score normalisation: what a cosine is worth, given how ordinary an image is.
//!
//! An image that is near many pictures of a background bank is near everything; a cosine of 0.8 with it says little. The
//! mean similarity to the nearest few pictures of the bank measures that: the image's **nearness**. One minus nearness is
//! how *distinctive* it is. The normalised score of a pair takes the nearness off its cosine, in the way that the bank
//! says ([`Score`]).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::types::{Embedding, Similarity};
use crate::vector::distance::Kernels;
use crate::vision::{Bank, Score};

/// A bank made ready for the int8 kernels.
#[derive(Debug, Clone)]
pub struct Background {
    dim: usize,
    /// Row-major, 128 standing for zero.
    codes: Vec<u8>,
    rows: Vec<u32>,
    scales: Vec<f32>,
    top_k: usize,
    score: Score,
    retrieval: Option<RetrievalModel>,
    /// A stored image is the candidate of many uploads, and looked at more than once for each.
    recent: Arc<Mutex<Recent>>,
}

/// Nearnesses found lately: when the young ones are many they become the old ones, and what was only among these is
/// forgotten.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<Key, Nearness>,
    old: HashMap<Key, Nearness>,
}

/// So many are young, about 1 kB each.
const YOUNG: usize = 8192;

/// An embedding among others; a few of its components tell most of them apart.
#[derive(Debug, Clone, PartialEq)]
struct Key(Embedding);

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for component in self.0.as_slice().iter().step_by(16) {
            // 0 and −0 are equal
            state.write_u32((component + 0.0).to_bits());
        }
    }
}

impl Recent {
    fn get(&mut self, key: &Key) -> Option<Nearness> {
        if let Some(nearness) = self.young.get(key) {
            return Some(*nearness);
        }
        let (key, nearness) = self.old.remove_entry(key)?;
        self.put(key, nearness);
        Some(nearness)
    }

    fn put(&mut self, key: Key, nearness: Nearness) {
        if self.young.len() >= YOUNG {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, nearness);
    }
}

/// Probability that a pair is a copy, from what retrieval knows of it: logistic, fitted by `models/calibrate.py`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RetrievalModel {
    features: Vec<String>,
    coefficients: [f32; FEATURES.len()],
    intercept: f32,
    beta: f32,
    top_k: usize,
    /// These three where the score is logarithmic.
    gamma: Option<f32>,
    weight: Option<f32>,
    offset: Option<f32>,
    model_sha256: String,
}

/// Names of the features that are known here, in the order of their coefficients.
const FEATURES: [&str; 7] = [
    "cosine",
    "normalised_low",
    "normalised_high",
    "nearness_reference",
    "pdq_distance",
    "quality_query",
    "quality_reference",
];

/// Where the normalised score changes its weight; above the second nearly all are copies, and a tenth of it counts.
const KNOTS: [f32; 2] = [-0.1, 0.1];

/// The fits for the networks inside the binary.
const FITTED: [&str; 2] = [
    include_str!("../../models/calibration.json"),
    include_str!("../../models/doppel-s/calibration.json"),
];

/// What retrieval knows of a pair, beside the background.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retrieved {
    /// Cosine of the embeddings.
    pub similarity: Similarity,
    /// Least PDQ distance over the eight variants, 0 to 256.
    pub pdq_distance: u32,
    /// PDQ quality of the image asked about and of the other, 0 to 100.
    pub qualities: [u8; 2],
}

/// Nearness of an image to the background, about 0 to 1; greater is more ordinary.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Nearness(f32);

impl Nearness {
    /// The mean similarity to the nearest pictures of the bank.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }

    /// How distinctive the image is: 1 − nearness, within 0..=1.
    #[must_use]
    pub fn distinctiveness(self) -> f32 {
        (1.0 - self.0).clamp(0.0, 1.0)
    }
}

/// Largest level of a code.
const LIMIT: f32 = 127.0;

/// Images less far apart, by 1 − cosine, are as good as equal.
const LEAST_DISTANCE: f32 = 1e-3;

impl Background {
    /// Takes a bank as its file has it.
    #[must_use]
    pub fn new(bank: &Bank) -> Self {
        Self {
            dim: bank.dim,
            codes: bank
                .codes
                .iter()
                .map(|code| code.cast_unsigned() ^ 0x80)
                .collect(),
            rows: (0u32..).take(bank.scales.len()).collect(),
            scales: bank.scales.clone(),
            top_k: bank.top_k,
            score: bank.score,
            retrieval: RetrievalModel::of(bank),
            recent: Arc::default(),
        }
    }

    /// How near an image is to the bank. Off by less than 0.01 from the same in f32, for the query is rounded to 8 bits.
    /// `None` for an embedding of another dimension: that of another model.
    #[must_use]
    pub fn nearness(&self, embedding: &Embedding) -> Option<Nearness> {
        if embedding.dim() != self.dim {
            return None;
        }
        let key = Key(embedding.clone());
        if let Some(known) = self.recent.lock().get(&key) {
            return Some(known);
        }
        let nearness = self.measured(embedding);
        self.recent.lock().put(key, nearness);
        Some(nearness)
    }

    fn measured(&self, embedding: &Embedding) -> Nearness {
        let query = embedding.as_slice();
        let largest = query.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let step = largest / LIMIT;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "−127 to 127: no component exceeds the largest"
        )]
        let code: Vec<i8> = query.iter().map(|x| (x / step).round() as i8).collect();
        let mut products = vec![0; self.rows.len()];
        Kernels::active().dot_code_rows(&self.codes, &self.rows, &code, &mut products);
        let mut similarities: Vec<f32> = products
            .iter()
            .zip(&self.scales)
            .map(|(&product, scale)| product as f32 * scale * step)
            .collect();
        let (top, at, _) = similarities.select_nth_unstable_by(self.top_k - 1, |a, b| b.total_cmp(a));
        let sum = top.iter().sum::<f32>() + *at;
        Nearness(sum / self.top_k as f32)
    }

    /// Probability that a pair is a copy, before verification; `None` where no fit belongs to this bank. The nearnesses are
    /// those of the image asked about and of the other.
    #[must_use]
    pub fn probability(&self, pair: Retrieved, nearness: [Nearness; 2]) -> Option<f32> {
        let model = self.retrieval.as_ref()?;
        let [asked, other] = pair.qualities.map(|quality| f32::from(quality) / 100.0);
        let normalised = self.normalised(pair.similarity, nearness);
        let [low, high] = KNOTS;
        let features = [
            pair.similarity.get(),
            normalised.min(low),
            normalised.clamp(low, high) + 0.1 * (normalised - high).max(0.0),
            nearness[1].get(),
            pair.pdq_distance as f32 / 256.0,
            asked,
            other,
        ];
        let weighted = model.coefficients.iter().zip(features).map(|(w, x)| w * x);
        Some(1.0 / (1.0 + (-model.intercept - weighted.sum::<f32>()).exp()))
    }

    /// The normalised score of a pair; the nearnesses are those of the image asked about and of the other.
    #[must_use]
    pub fn normalised(&self, similarity: Similarity, [asked, other]: [Nearness; 2]) -> f32 {
        let cosine = similarity.get();
        match self.score {
            Score::Linear { beta } => cosine - beta * asked.0,
            Score::Logarithmic {
                beta,
                gamma,
                weight,
                offset,
            } => {
                let distance = (1.0 - cosine).max(LEAST_DISTANCE);
                offset + weight * (-distance.ln() - beta * asked.0 - gamma * other.0)
            }
        }
    }
}

impl RetrievalModel {
    /// The shipped fit that was made with this bank's network and normalisation.
    fn of(bank: &Bank) -> Option<Self> {
        let belongs = |fitted: &Self| {
            fitted.model_sha256 == bank.model_sha256
                && fitted.top_k == bank.top_k
                && fitted.score() == Some(bank.score)
                && fitted.features == FEATURES
        };
        let fits = FITTED.iter().filter_map(|fit| serde_json::from_str(fit).ok());
        fits.into_iter().find(belongs)
    }

    /// The normalised score that it was fitted with.
    fn score(&self) -> Option<Score> {
        let beta = self.beta;
        match (self.gamma, self.weight, self.offset) {
            (None, None, None) => Some(Score::Linear { beta }),
            (Some(gamma), Some(weight), Some(offset)) => Some(Score::Logarithmic {
                beta,
                gamma,
                weight,
                offset,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::{self, Embedder as _};

    fn embedding(seed: u64) -> Embedding {
        let mut state = seed;
        let components: Vec<f32> = (0..48)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
            })
            .collect();
        Embedding::normalised(&components).expect("a direction")
    }

    fn bank(rows: &[Embedding], top_k: usize) -> Bank {
        let scale = 1.0 / 127.0;
        Bank {
            dim: 48,
            codes: rows
                .iter()
                .flat_map(|row| row.as_slice().iter().map(|x| (x / scale).round() as i8))
                .collect(),
            scales: vec![scale; rows.len()],
            top_k,
            score: Score::Linear { beta: 2.0 },
            model_sha256: String::new(),
        }
    }

    #[test]
    fn nearness_is_the_mean_of_the_nearest_few() {
        let rows: Vec<Embedding> = (0..300).map(embedding).collect();
        let background = Background::new(&bank(&rows, 5));
        for seed in 1000..1020 {
            let query = embedding(seed);
            let mut exact: Vec<f32> = rows.iter().map(|row| query.similarity(row).get()).collect();
            exact.sort_by(|a, b| b.total_cmp(a));
            let exact = exact[..5].iter().sum::<f32>() / 5.0;
            let nearness = background.nearness(&query).expect("of the bank's dimension");
            assert!((nearness.get() - exact).abs() < 0.01, "{nearness:?} {exact}");
            assert_eq!(
                background.nearness(&query),
                Some(nearness),
                "as it was remembered"
            );
            let score = background.normalised(Similarity::clamped(0.9), [nearness, Nearness(0.7)]);
            assert!((score - (0.9 - 2.0 * nearness.get())).abs() < 1e-6);
        }
    }

    fn shipped(network: vision::Builtin) -> Background {
        let network = network.load().expect("a shipped network");
        Background::new(network.bank().expect("it has a bank"))
    }

    /// The numbers that models/test_models.py has for the same pairs, mixed from rows 0, 100, 200, 300 of the bank and the
    /// two after each.
    #[test]
    fn scores_are_those_of_the_training_code() {
        for (network, expected) in [
            (vision::Builtin::T, [2.1424, 1.5614, 0.228, -0.3516]),
            (vision::Builtin::S, [2.1339, 1.4816, 0.2352, -0.377]),
        ] {
            let network = network.load().expect("a shipped network");
            let bank = network.bank().expect("it has a bank");
            let background = Background::new(bank);
            let row = |i: usize| {
                let codes = &bank.codes[i * bank.dim..][..bank.dim];
                codes.iter().map(move |&code| f32::from(code) * bank.scales[i])
            };
            for ((first, other), expected) in [0, 100, 200, 300]
                .into_iter()
                .zip([0.0, 0.1, 0.5, 1.0])
                .zip(expected)
            {
                let mixed = |of_second: f32, of_third: f32| {
                    let three = row(first).zip(row(first + 1)).zip(row(first + 2));
                    let sum: Vec<f32> = three
                        .map(|((a, b), c)| a + of_second * b + of_third * c)
                        .collect();
                    Embedding::normalised(&sum).expect("a direction")
                };
                let (asked, other) = (mixed(1.0, 0.0), mixed(1.0 - other, other + 0.01));
                let nearness =
                    [&asked, &other].map(|image| background.nearness(image).expect("of its dimension"));
                let score = background.normalised(asked.similarity(&other), nearness);
                assert!((score - expected).abs() < 0.02, "{score} {expected}");
            }
        }
    }

    #[test]
    fn what_is_nearly_the_same_stays_first_by_the_logarithmic_score() {
        let mut bank = bank(&[embedding(1)], 1);
        let ordinary_copy = (Similarity::clamped(0.999), [Nearness(0.3), Nearness(0.25)]);
        let distinct_likeness = (Similarity::clamped(0.88), [Nearness(0.2), Nearness(0.25)]);
        let first = |bank: &Bank| {
            let background = Background::new(bank);
            let score = |(similarity, nearness)| background.normalised(similarity, nearness);
            score(ordinary_copy) > score(distinct_likeness)
        };
        assert!(!first(&bank), "subtracted from the cosine itself");
        bank.score = Score::Logarithmic {
            beta: 9.0,
            gamma: 3.0,
            weight: 0.35,
            offset: 0.5,
        };
        assert!(first(&bank));
    }

    #[test]
    fn the_shipped_fits_belong_to_the_shipped_banks() {
        fits(&shipped(vision::Builtin::T));
        fits(&shipped(vision::Builtin::S));
    }

    fn fits(background: &Background) {
        let probability = |cosine: f32, pdq_distance: u32, nearness: f32| {
            let pair = Retrieved {
                similarity: Similarity::clamped(cosine),
                pdq_distance,
                qualities: [100, 100],
            };
            let probability = background.probability(pair, [Nearness(nearness); 2]);
            probability.expect("calibration.json was fitted with these weights and this bank")
        };
        assert!(probability(0.95, 10, 0.3) > 0.9, "a copy by every measure");
        assert!(probability(0.3, 128, 0.3) < 0.05, "a stranger");
        assert!(
            probability(0.7, 110, 0.2) > probability(0.7, 110, 0.6),
            "a distinctive image's likeness says more"
        );
        for step in 0..190_u8 {
            let cosine = f32::from(step) / 100.0 - 0.9;
            assert!(
                probability(cosine, 128, 0.3) <= probability(cosine + 0.01, 128, 0.3),
                "a greater likeness never says less: {cosine}"
            );
        }
        let other = Background::new(&bank(&[embedding(1)], 1));
        let pair = Retrieved {
            similarity: Similarity::ONE,
            pdq_distance: 0,
            qualities: [100, 100],
        };
        assert_eq!(
            other.probability(pair, [Nearness(0.1); 2]),
            None,
            "no fit of another network"
        );
    }

    #[test]
    fn a_picture_of_the_bank_is_not_distinctive() {
        let rows: Vec<Embedding> = (0..50).map(embedding).collect();
        let background = Background::new(&bank(&rows, 1));
        let ordinary = background.nearness(&rows[7]).expect("of the bank's dimension");
        assert!(ordinary.distinctiveness() < 0.02);
        let other = background
            .nearness(&embedding(999))
            .expect("of the bank's dimension");
        assert!(other.distinctiveness() > 0.3);
        let flat = Embedding::normalised(&[1.0; 8]).expect("a direction");
        assert_eq!(background.nearness(&flat), None);
    }
}
