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
    /// Logistic model of an unverified pair: constant, cosine, PDQ closeness (0 to 1).
    pub retrieval: [f32; 3],
}

/// Number of features of a verified pair.
pub const ALIGNMENT_FEATURES: usize = 8;

impl Default for Calibration {
    /// The model of a verified pair was fitted (logistic, L2 of 1 on standardised features) to 510 attacked copies of 17
    /// kinds and 9,165 pairs of different photographs, 6,665 of them of one product each, of which a warp was found for
    /// 995. At a probability of 0.8 it keeps 505 of the copies and none of the others; the most probable wrong pair has
    /// 0.61. The thresholds of retrieval and the model of an unverified pair were set by hand.
    fn default() -> Self {
        Self {
            min_similarity: 0.45,
            pdq_radius: 62,
            min_promise: 0.01,
            min_pdq_quality: 50,
            min_side: 32,
            min_probability: 0.8,
            alignment: [-5.346, 0.457, 6.298, 1.541, 3.139, -9.779, 0.0, 0.0],
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

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
