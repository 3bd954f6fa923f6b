//! From what was measured to a probability. Coefficients are data; [`Calibration::default`] says where they come from.

use crate::types::Similarity;
use crate::vision::verify::Alignment;

/// Coefficients of two logistic models and the thresholds of the cascade.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Pairs below this cosine are not looked at, unless PDQ brings them up.
    pub min_similarity: f32,
    /// Pairs within this PDQ distance, over the dihedral variants, are looked at.
    pub pdq_radius: u32,
    /// Pairs that are copies with less than this probability, by their descriptors, are not verified by a scan.
    pub min_promise: f32,
    /// PDQ hashes of a quality below this mean nothing, 0 to 100.
    pub min_pdq_quality: u8,
    /// Images whose shorter side is below this pass only by bytes or pixels.
    pub min_side: u32,
    /// A verified pair counts as a copy from this probability on.
    pub min_probability: f32,
    /// Logistic model of a verified pair: one coefficient for each of [`alignment_features`].
    pub alignment: [f32; ALIGNMENT_FEATURES],
    /// Logistic model of a pair that no single warp explains: one coefficient for each of [`unwarped_features`].
    pub unwarped: [f32; UNWARPED_FEATURES],
    /// Logistic model of an unverified pair: constant, cosine, PDQ closeness (0 to 1).
    pub retrieval: [f32; 3],
}

/// Number of features of a verified pair.
pub const ALIGNMENT_FEATURES: usize = 8;
/// Number of features of a pair without a warp.
pub const UNWARPED_FEATURES: usize = 14;

impl Default for Calibration {
    /// The model of a verified pair was fitted (logistic, L2 of 1 on standardised features) to 510 attacked copies of 17
    /// kinds and 9,165 pairs of different photographs, 6,665 of them of one product each, of which a warp was found for
    /// 995. At a probability of 0.8 it keeps 505 of the copies and none of the others; the most probable wrong pair has
    /// 0.61. The model of a pair without a warp was fitted by `models/calibrate_unwarped.py` to 2,300 such pairs of attacked
    /// development images (half A); of those of half B its average precision is .92, where the descriptors alone have .81.
    /// (Pairs of training images mislead it: what the network was trained on promises more than it does elsewhere.) The thresholds of retrieval and the model of an unverified
    /// pair were set by hand.
    fn default() -> Self {
        Self {
            min_similarity: 0.37,
            pdq_radius: 62,
            min_promise: 0.01,
            min_pdq_quality: 50,
            min_side: 32,
            min_probability: 0.8,
            alignment: [-5.346, 0.457, 6.298, 1.541, 3.139, -9.779, 0.0, 0.0],
            unwarped: [
                -3.335, 0.513, -3.85, -0.151, 0.426, 1.755, -3.61, 0.214, -1.041, -1.98, 10.228, -0.83,
                -0.871, -0.968,
            ],
            retrieval: [-7.0, 6.0, 4.0],
        }
    }
}

impl Calibration {
    /// Probability that a verified pair is a copy, 0 to 1.
    #[must_use]
    pub fn verified(&self, alignment: &Alignment) -> f32 {
        let features = alignment_features(alignment);
        logistic(self.alignment.iter().zip(features).map(|(w, x)| w * x).sum())
    }

    /// Probability that a pair is a copy although no single warp explains it, 0 to 1: `promise` is what its descriptors say.
    #[must_use]
    pub fn unwarped(&self, promise: f32, alignment: Option<&Alignment>) -> f32 {
        let features = unwarped_features(promise, alignment);
        logistic(self.unwarped.iter().zip(features).map(|(w, x)| w * x).sum())
    }

    /// Probability that a pair is a copy when only descriptors were compared, 0 to 1.
    #[must_use]
    pub fn unverified(&self, similarity: Similarity, pdq_distance: Option<u32>) -> f32 {
        let closeness = pdq_distance.map_or(0.0, |d| (1.0 - d as f32 / 90.0).max(0.0));
        let [constant, cosine, pdq] = self.retrieval;
        logistic(constant + cosine * similarity.get() + pdq * closeness)
    }
}

/// What the model of a verified pair looks at: 1, the logarithm of the agreeing tiles, the agreement, the
/// correlation of agreeing tiles, that of their fine detail, the displacement left (at most 2 pixels), the
/// logarithm of the grain, and the 95th percentile of the displacement (at most 3 pixels).
#[must_use]
pub fn alignment_features(alignment: &Alignment) -> [f32; ALIGNMENT_FEATURES] {
    [
        1.0,
        (1.0 + alignment.agreeing as f32).ln(),
        alignment.agreement(),
        alignment.correlation,
        alignment.fine_correlation,
        alignment.displacement.min(2.0),
        alignment.grain.ln(),
        alignment.displacement_high.min(3.0),
    ]
}

/// What the model of a pair without a warp looks at: 1, the log-odds of `promise` (within ±9), whether a warp was found that
/// explains a part; and of that the logarithms of the inliers and of the agreeing tiles, the agreement, the displacement left in
/// pixels of the planes compared (at most 2), the correlation of agreeing tiles and of their fine detail, the lesser and the
/// greater overlap, the share of the tiles that contradict, and the logarithms of the grain and of the distortion.
#[must_use]
pub fn unwarped_features(promise: f32, alignment: Option<&Alignment>) -> [f32; UNWARPED_FEATURES] {
    let odds = (promise / (1.0 - promise)).ln().clamp(-9.0, 9.0);
    let Some(found) = alignment else {
        let mut features = [0.0; UNWARPED_FEATURES];
        features[..2].copy_from_slice(&[1.0, odds]);
        return features;
    };
    [
        1.0,
        odds,
        1.0,
        (1.0 + found.inliers as f32).ln(),
        (1.0 + found.agreeing as f32).ln(),
        found.agreement(),
        (found.displacement / found.grain).min(2.0),
        found.correlation,
        found.fine_correlation,
        found.overlap_a.min(found.overlap_b),
        found.overlap_a.max(found.overlap_b),
        found.contradicting as f32 / (found.agreeing + found.disagreeing).max(1) as f32,
        found.grain.ln(),
        found.distortion.ln(),
    ]
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
