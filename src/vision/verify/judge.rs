//! From two sets of features to a verification.

use super::affine::Affine;
use super::candidate::{Candidate, Contender};
use super::{Features, Verification, contest, texture};
use crate::types::Transform;

/// Compares two images; the transform found leads from `a` to `b`. About 1 to 5 ms.
#[must_use]
pub fn verify(a: &Features, b: &Features) -> Verification {
    verification(a, b, contest::best(a, b))
}

/// Compares two images under a map from `a` to `b` that is known but for its last pixels, in relative units, and nothing else:
/// `inliers` keypoints obey it. One warp is settled where [`verify`] settles up to four.
#[must_use]
pub fn verify_under(map: &Transform, inliers: u32, a: &Features, b: &Features) -> Verification {
    let [width, height] = [a.width, a.height].map(|side| 1.0 / f64::from(side));
    let map = Affine::scaling(width, height)
        .then(&Affine(map.matrix))
        .then(&Affine::scaling(f64::from(b.width), f64::from(b.height)));
    let contender = Contender::new(a, b, map, inliers as usize);
    verification(a, b, contender.and_then(|warp| Candidate::settle(a, b, &warp)))
}

fn verification(a: &Features, b: &Features, best: Option<Candidate>) -> Verification {
    let text_like = texture::shares_text(a, b, best.as_ref().map(|best| &best.map));
    Verification {
        repeating: text_like && best.is_some() && a.repeats() && b.repeats(),
        alignment: best.map(|candidate| candidate.alignment(a, b, text_like)),
        text_like,
        featureless: a.texture().is_featureless() || b.texture().is_featureless(),
        side: a.width.max(a.height).min(b.width.max(b.height)),
    }
}
