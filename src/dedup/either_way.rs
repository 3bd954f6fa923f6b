//! A pair looked at from both of its images.

use super::cascade::CHANCE_INLIERS;
use super::{Cascade, Gate, Match};
use crate::types::{Fingerprint, MatchClass, PdqHash};
use crate::vision::verify::{Features, Verification, traces, verify, verify_under};

/// Probability from which a pair that no single warp explains is looked at from the other image, too.
const LIKELY: f32 = 0.6;

impl Cascade {
    /// Verifies a pair by its features and judges it; an edited pair carries its traces. The transform of the answer leads
    /// from `a` to `b`; `variants` are the eight PDQ hashes of `a`.
    ///
    /// Verification samples the second image where the first one has pixels. Of a picture pasted into a larger one that
    /// compares other pixels from here than from there, and near a threshold one way sees a copy where the other does not: a
    /// pair without a warp that is likely all the same gets the better of both.
    #[must_use]
    pub fn judge_features(
        &self,
        a: &Fingerprint,
        variants: &[PdqHash; 8],
        b: &Fingerprint,
        [x, y]: [&Features; 2],
    ) -> Option<Match> {
        let found = self.judge_from_first(a, variants, b, [x, y])?;
        Some(self.or_from_second(found, [a, b], [x, y]))
    }

    /// The better of what a pair looks like from its first image, `found`, and from its second, where the first leaves it open.
    #[must_use]
    pub fn or_from_second(&self, found: Match, [a, b]: [&Fingerprint; 2], [x, y]: [&Features; 2]) -> Match {
        if found.evidence.held_back != Some(Gate::NoWarp) || found.probability < LIKELY {
            return found;
        }
        let warp = found.transform.and_then(|there| there.inverse());
        let inliers = found.evidence.inliers.unwrap_or(0);
        let seen = match warp.filter(|_| !(1..CHANCE_INLIERS).contains(&inliers)) {
            // What was found from the first image lies there from the second too: only the pixels are others. Of 36 copies that
            // were found from the second 35 had 15 keypoints or more, or lay on each other as whole frames; squares of two
            // boards had six.
            Some(back) => verify_under(&back, inliers, y, x),
            None => verify(y, x),
        };
        let back = self
            .judge_seen(b, &[b.pdq; 8], a, [y, x], &seen)
            .filter(|back| back.class > MatchClass::Similar);
        match back {
            None => found,
            Some(mut back) => {
                // That of all eight ways to turn the picture.
                back.evidence.pdq_distance = found.evidence.pdq_distance;
                back.reversed()
            }
        }
    }

    fn judge_from_first(
        &self,
        a: &Fingerprint,
        variants: &[PdqHash; 8],
        b: &Fingerprint,
        [x, y]: [&Features; 2],
    ) -> Option<Match> {
        self.judge_seen(a, variants, b, [x, y], &verify(x, y))
    }

    fn judge_seen(
        &self,
        a: &Fingerprint,
        variants: &[PdqHash; 8],
        b: &Fingerprint,
        [x, y]: [&Features; 2],
        seen: &Verification,
    ) -> Option<Match> {
        let mut found = self.judge(a, variants, b, Some(seen))?;
        if let Some(transform) = found.transform.filter(|_| found.class == MatchClass::Edited) {
            found.evidence.traces = Some(traces(x, y, &transform, &found.evidence.changed));
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentHash, Embedding, ExifSummary, PixelHash};
    use crate::vision::RgbImage;
    use crate::vision::attack::{Dice, Edit, Family, Strength, attack};

    /// Squares of all sizes and colours over each other.
    fn picture(seed: u64) -> RgbImage {
        let mut dice = Dice::new(seed);
        let mut pixels = vec![[128_u8, 120, 110]; 400 * 300];
        for i in 0..400 {
            let side = 12 + 600 / (i + 8);
            let (left, top) = (dice.index(400), dice.index(300));
            let colour = [(); 3].map(|()| u8::try_from(dice.index(256)).expect("below 256"));
            for row in pixels.chunks_exact_mut(400).skip(top).take(side) {
                row.iter_mut()
                    .skip(left)
                    .take(side)
                    .for_each(|pixel| *pixel = colour);
            }
        }
        RgbImage::from_raw(400, 300, pixels.concat()).expect("as many pixels")
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint {
            content_hash: ContentHash::from_bytes([number; 32]),
            pixel_hash: PixelHash::from_bytes([number; 32]),
            pdq: PdqHash::from_bytes([0x55; 32]),
            pdq_quality: 100,
            embedding: Embedding::normalised(&[1.0, f32::from(number) / 10.0]).expect("a direction"),
            width: 400,
            height: 300,
            exif: ExifSummary::default(),
        }
    }

    #[test]
    fn a_copy_that_one_image_shows_and_the_other_hides_is_found_from_both() {
        let cascade = Cascade::default();
        let (a, b) = (print(1), print(2));
        let other = [picture(99)];
        let mut hidden = 0;
        for seed in 0..8 {
            let original = picture(seed);
            let mut edited = original.clone();
            for (family, strength) in [
                (Family::Screenshot, Strength::Mild),
                (Family::Recompress, Strength::Strong),
            ] {
                edited = attack(&edited, &other, Edit { family, strength }, &mut Dice::new(seed));
            }
            let [x, y] = [&original, &edited].map(Features::extract);
            let from_first = cascade.judge_from_first(&a, &[a.pdq; 8], &b, [&x, &y]);
            let from_second = cascade.judge_from_first(&b, &[b.pdq; 8], &a, [&y, &x]);
            let (Some(from_first), Some(from_second)) = (from_first, from_second) else {
                continue;
            };
            let is_hidden = from_first.evidence.held_back == Some(Gate::NoWarp)
                && from_first.probability >= LIKELY
                && from_second.class > MatchClass::Similar;
            if !is_hidden {
                continue;
            }
            hidden += 1;
            let found = cascade
                .judge_features(&a, &[a.pdq; 8], &b, [&x, &y])
                .expect("a match");
            assert_eq!(found.class, from_second.class, "{seed}");
            let there = found.transform.expect("a warp");
            let back = from_second.transform.expect("a warp");
            let corner = back.apply(there.apply([0.3, 0.4]));
            let gap = (corner[0] - 0.3).abs() + (corner[1] - 0.4).abs();
            assert!(gap < 1e-3, "the answer leads from the first to the second: {gap}");
        }
        assert!(hidden > 0, "some copy is seen from one side only");
    }
}
