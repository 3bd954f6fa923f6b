//! The decision about one pair: bytes, pixels, descriptors, verification, class, probability.

mod gates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::calibration::Calibration;
use super::normalisation::{Background, Nearness, Retrieved};
use super::{Evidence, Gate, Match, Tone, colours};
use crate::types::{Embedding, Fingerprint, MatchClass, PdqHash, Similarity, Stage};
use crate::vision::verify::{Alignment, Verification};
use crate::vision::{Bank, Palette};

pub(super) use gates::CHANCE_INLIERS;

/// Decides about pairs. Plain data; cheap to make and to clone.
#[derive(Debug, Clone, Default)]
pub struct Cascade {
    calibration: Calibration,
    background: Option<Arc<Background>>,
}

/// An image as far as retrieval knows it.
#[derive(Debug, Clone, Copy)]
pub struct Prospect<'a> {
    /// Its hashes and its embedding.
    pub print: &'a Fingerprint,
    /// How ordinary it is, by [`Cascade::nearness`].
    pub nearness: Option<Nearness>,
    /// Its colours, where they are known.
    pub palette: Option<&'a Palette>,
}

/// A part of an image as far as retrieval knows it, for a deep search.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its embedding.
    pub embedding: Embedding,
    nearness: Option<Nearness>,
}

impl Cascade {
    /// A cascade with the given calibration.
    #[must_use]
    pub fn new(calibration: Calibration) -> Self {
        Self {
            calibration,
            background: None,
        }
    }

    /// The same cascade with the background bank of the network in use, where it has one: what was not verified, or could
    /// not be, then gets a fitted probability.
    #[must_use]
    pub fn with_background(self, bank: Option<&Bank>) -> Self {
        Self {
            background: bank.map(|bank| Arc::new(Background::new(bank))),
            ..self
        }
    }

    /// The calibration in use.
    #[must_use]
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Whether the images are worth verifying: not settled by bytes or pixels, not featureless, and close by
    /// embedding or by PDQ. `variants` are the eight PDQ hashes of `a`.
    #[must_use]
    pub fn wants_verification(&self, a: &Fingerprint, variants: &[PdqHash; 8], b: &Fingerprint) -> bool {
        self.is_verifiable(a, b) && self.is_candidate(a, variants, b)
    }

    /// How ordinary an image is; `None` without a background bank of its network.
    #[must_use]
    pub fn nearness(&self, embedding: &Embedding) -> Option<Nearness> {
        self.background.as_ref()?.nearness(embedding)
    }

    /// An image with what retrieval knows of it.
    #[must_use]
    pub fn prospect<'a>(&self, print: &'a Fingerprint) -> Prospect<'a> {
        Prospect {
            print,
            nearness: self.nearness(&print.embedding),
            palette: None,
        }
    }

    /// A part of an image with what retrieval knows of it.
    #[must_use]
    pub fn part(&self, embedding: Embedding) -> Part {
        Part {
            nearness: self.nearness(&embedding),
            embedding,
        }
    }

    /// Probability that `other` shows what a part of `whole` shows, by the descriptors alone; as [`Cascade::promise`] for the
    /// rest. `variants` are the eight PDQ hashes of `whole`.
    #[must_use]
    pub fn promise_of_part(
        &self,
        whole: Prospect<'_>,
        part: &Part,
        variants: &[PdqHash; 8],
        other: Prospect<'_>,
    ) -> f32 {
        if !self.is_verifiable(whole.print, other.print) {
            return 0.0;
        }
        self.either_way(
            part.embedding.similarity(&other.print.embedding),
            least_distance(variants, other.print),
            [whole, other].map(|image| image.print.pdq_quality),
            [part.nearness, other.nearness],
        )
    }

    /// Probability that one of two images was made from the other, by their descriptors alone: what the likelier of
    /// both ways to ask says, and by their colours where these are known. 0 for a pair that verification can tell nothing about, 1 for one that it need not.
    /// `variants` are the eight PDQ hashes of `a`.
    #[must_use]
    pub fn promise(&self, a: Prospect<'_>, variants: &[PdqHash; 8], b: Prospect<'_>) -> f32 {
        if a.print.content_hash == b.print.content_hash || a.print.pixel_hash == b.print.pixel_hash {
            return 1.0;
        }
        if !self.is_verifiable(a.print, b.print) {
            return 0.0;
        }
        let promise = self.either_way(
            a.print.embedding.similarity(&b.print.embedding),
            least_distance(variants, b.print),
            [a, b].map(|image| image.print.pdq_quality),
            [a, b].map(|image| image.nearness),
        );
        match (a.palette, b.palette) {
            (Some(one), Some(other)) => colours::heard(promise, one.shared(other)),
            _ => promise,
        }
    }

    /// Whether a pair of this promise is worth verifying.
    #[must_use]
    pub fn is_promising(&self, promise: f32) -> bool {
        promise >= self.calibration.min_promise
    }

    /// Whether verification can tell anything: the pair is not settled by bytes or pixels, and neither image is tiny.
    #[must_use]
    pub fn is_verifiable(&self, a: &Fingerprint, b: &Fingerprint) -> bool {
        a.content_hash != b.content_hash
            && a.pixel_hash != b.pixel_hash
            && !self.is_tiny(a)
            && !self.is_tiny(b)
    }

    /// Judges a pair; `None` when it is no match at all. The transform of the answer leads from `a` to `b`.
    #[must_use]
    pub fn judge(
        &self,
        a: &Fingerprint,
        variants: &[PdqHash; 8],
        b: &Fingerprint,
        verification: Option<&Verification>,
    ) -> Option<Match> {
        let similarity = a.embedding.similarity(&b.embedding);
        if a.content_hash == b.content_hash {
            return Some(Match::exact(MatchClass::Identical, Stage::Bytes));
        }
        if a.pixel_hash == b.pixel_hash {
            return Some(Match::exact(MatchClass::SamePixels, Stage::Pixels));
        }
        if self.is_tiny(a) || self.is_tiny(b) {
            return None;
        }
        let pdq_distance = self.pdq_distance(a, variants, b);
        let is_candidate = self.is_candidate(a, variants, b);
        match verification {
            None => is_candidate.then(|| self.unverified(a, variants, b, Gate::Unverified)),
            Some(v) if v.featureless => None,
            Some(v) => Some(match &v.alignment {
                None if !is_candidate => return None,
                None => self.unverified(a, variants, b, Gate::NoWarp),
                Some(alignment) => {
                    let mut found = self.verified(similarity, v, alignment);
                    if let Some(transform) = &mut found.transform {
                        // In pixels of the originals, whatever size verification saw them in.
                        let area = |image: &Fingerprint| f64::from(image.width) * f64::from(image.height);
                        transform.scale = transform.scale_between(area(a), area(b)) as f32;
                    }
                    found.evidence.pdq_distance = pdq_distance;
                    if found.evidence.held_back == Some(Gate::NoWarp) {
                        found.probability = self.unwarped(a, variants, b, Some(alignment));
                    }
                    if found.class > MatchClass::Similar && v.text_like && !gates::is_readable(a, b, v.side) {
                        found.hold_back(Gate::TooSmall);
                    }
                    if found.class > MatchClass::Similar && gates::is_blurred_text(v, alignment) {
                        found.hold_back(Gate::TextLike);
                    }
                    let is_later =
                        || gates::another_moment(&a.exif, &b.exif) && !gates::explains_every_tile(alignment);
                    if found.class > MatchClass::Similar && (gates::is_nudged(a, b, alignment) || is_later())
                    {
                        found.hold_back(Gate::Burst);
                    }
                    found
                }
            }),
        }
    }

    /// How distinctive an image is: 1 − its mean similarity to the nearest pictures of the background bank, 0 to 1. Low for
    /// what looks like many other pictures: a likeness to it proves little. `None` where the network has no bank.
    #[must_use]
    pub fn distinctiveness(&self, image: &Fingerprint) -> Option<f32> {
        let nearness = self.background.as_ref()?.nearness(&image.embedding)?;
        Some(nearness.distinctiveness())
    }

    fn is_tiny(&self, image: &Fingerprint) -> bool {
        image.width.min(image.height) < self.calibration.min_side
    }

    fn is_candidate(&self, a: &Fingerprint, variants: &[PdqHash; 8], b: &Fingerprint) -> bool {
        let near = self
            .pdq_distance(a, variants, b)
            .is_some_and(|d| d <= self.calibration.pdq_radius);
        near || a.embedding.similarity(&b.embedding).get() >= self.calibration.min_similarity
    }

    /// Least distance over the variants; `None` where a hash is of too low a quality to mean anything.
    fn pdq_distance(&self, a: &Fingerprint, variants: &[PdqHash; 8], b: &Fingerprint) -> Option<u32> {
        if a.pdq_quality.min(b.pdq_quality) < self.calibration.min_pdq_quality {
            return None;
        }
        Some(least_distance(variants, b))
    }

    /// [`Self::likelihood`] of the likelier of both ways to ask.
    fn either_way(
        &self,
        similarity: Similarity,
        distance: u32,
        [a, b]: [u8; 2],
        [near_a, near_b]: [Option<Nearness>; 2],
    ) -> f32 {
        self.likelihood(similarity, distance, [a, b], [near_a, near_b])
            .max(self.likelihood(similarity, distance, [b, a], [near_b, near_a]))
    }

    /// What a cosine and a PDQ distance are worth, between an image asked about and another one of these qualities and
    /// nearnesses.
    fn likelihood(
        &self,
        similarity: Similarity,
        distance: u32,
        qualities: [u8; 2],
        nearness: [Option<Nearness>; 2],
    ) -> f32 {
        let fitted = self.background.as_ref().and_then(|background| {
            let pair = Retrieved {
                similarity,
                pdq_distance: distance,
                qualities,
            };
            let [asked, other] = nearness;
            background.probability(pair, [asked?, other?])
        });
        fitted.unwrap_or_else(|| {
            let is_trusted = qualities.iter().all(|q| *q >= self.calibration.min_pdq_quality);
            self.calibration
                .unverified(similarity, is_trusted.then_some(distance))
        })
    }

    /// Probability that a pair is a copy that no single warp explains. What agrees in a frame and nowhere else speaks against it.
    fn unwarped(
        &self,
        a: &Fingerprint,
        variants: &[PdqHash; 8],
        b: &Fingerprint,
        found: Option<&Alignment>,
    ) -> f32 {
        let promise = self.promise(self.prospect(a), variants, self.prospect(b));
        let fitted = self.calibration.unwarped(promise, found);
        let is_a_frame = |found: &Alignment| {
            found.agreement() < gates::LEAST_AGREEMENT && found.inliers < gates::FEW_INLIERS
        };
        if found.is_some_and(is_a_frame) {
            fitted.min(promise / (2.0 - promise))
        } else {
            fitted
        }
    }

    fn unverified(&self, a: &Fingerprint, variants: &[PdqHash; 8], b: &Fingerprint, gate: Gate) -> Match {
        let similarity = a.embedding.similarity(&b.embedding);
        let pdq_distance = self.pdq_distance(a, variants, b);
        let probability = match gate {
            // Verification looked and found nothing: that is evidence too.
            Gate::NoWarp => self.unwarped(a, variants, b, None),
            _ => self.likelihood(
                similarity,
                least_distance(variants, b),
                [a, b].map(|image| image.pdq_quality),
                [a, b].map(|image| self.nearness(&image.embedding)),
            ),
        };
        let by_pdq = pdq_distance.is_some_and(|d| d <= self.calibration.pdq_radius);
        Match {
            class: MatchClass::Similar,
            probability,
            similarity,
            stage: if by_pdq { Stage::Pdq } else { Stage::Embedding },
            transform: None,
            overlap: None,
            evidence: Evidence {
                pdq_distance,
                held_back: Some(gate),
                ..Evidence::default()
            },
        }
    }

    fn verified(&self, similarity: Similarity, verification: &Verification, alignment: &Alignment) -> Match {
        let probability = self.calibration.verified(alignment);
        let class = if gates::is_whole_frame(alignment) {
            MatchClass::NearIdentical
        } else {
            MatchClass::Edited
        };
        let mut found = Match {
            class,
            probability,
            similarity,
            stage: Stage::Verification,
            transform: Some(alignment.transform),
            overlap: Some(alignment.overlap_a.max(alignment.overlap_b)),
            evidence: Evidence {
                pdq_distance: None,
                overlap_a: Some(alignment.overlap_a),
                overlap_b: Some(alignment.overlap_b),
                inliers: Some(alignment.inliers),
                tiles_agreeing: Some(alignment.agreeing),
                tiles_disagreeing: Some(alignment.disagreeing),
                correlation: Some(alignment.correlation),
                displacement: Some(alignment.displacement),
                changed: alignment.changed.clone(),
                tone: Some(Tone {
                    gain: alignment.gain,
                    offset: alignment.offset,
                    saturation: alignment.saturation,
                }),
                ..Evidence::default()
            },
        };
        if probability < self.calibration.min_probability {
            found.hold_back(Gate::NoWarp);
        } else if let Some(gate) = gates::held_back(verification, alignment) {
            found.hold_back(gate);
        }
        found
    }
}

impl Match {
    fn exact(class: MatchClass, stage: Stage) -> Self {
        Self {
            class,
            probability: 1.0,
            similarity: Similarity::ONE,
            stage,
            transform: Some(crate::types::Transform::IDENTITY),
            overlap: Some(1.0),
            evidence: Evidence::default(),
        }
    }

    /// Lowers the class to `similar`, with the reason; the probability says no more than the gate allows.
    fn hold_back(&mut self, gate: Gate) {
        self.class = MatchClass::Similar;
        self.evidence.held_back = Some(gate);
        if matches!(
            gate,
            Gate::TextLike | Gate::Colours | Gate::TooSmall | Gate::Burst | Gate::NoWarp
        ) {
            self.probability = self.probability.min(0.5);
        }
    }
}

/// Bits that differ between an image's PDQ hash and the nearest of the eight variants of another's, 0 to 256.
fn least_distance(variants: &[PdqHash; 8], image: &Fingerprint) -> u32 {
    let distances = variants.iter().map(|variant| variant.hamming(&image.pdq));
    distances.min().unwrap_or(256)
}
