//! Floor 3: which images are copies of which, how sure that is, and what to do about it.
//!
//! Decisions, which read and write no file; what acts on files stands apart in [`apply`] and [`journal`].

pub mod agenda;
pub mod apply;
pub mod calibration;
pub mod cascade;
pub mod colours;
mod either_way;
pub mod groups;
pub mod journal;
pub mod normalisation;
pub mod originality;
pub mod plan;
pub mod policy;
pub mod retrieval;

use crate::types::{MatchClass, Region, Similarity, Stage, Transform};
use crate::vision::lineage::Later;
use crate::vision::verify::Traces;

pub use calibration::Calibration;
pub use cascade::Cascade;
pub use groups::{Edge, Group, group};
pub use policy::{Candidate, KeepPolicy};

/// Two images match: how, how surely, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// How strongly.
    pub class: MatchClass,
    /// Probability that one image was made from the other, or both from a third, 0 to 1.
    pub probability: f32,
    /// Cosine of the embeddings.
    pub similarity: Similarity,
    /// The stage that decided.
    pub stage: Stage,
    /// From the first image to the second, where verification found it.
    pub transform: Option<Transform>,
    /// Share of the smaller shown part: the larger of the two images' shares that the other shows, 0 to 1.
    pub overlap: Option<f32>,
    /// What the decision rests on.
    pub evidence: Evidence,
}

/// What a decision rests on. Fields are `None` where the stage that measures them did not run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Least Hamming distance of the PDQ hashes over the eight dihedral variants, 0 to 256.
    pub pdq_distance: Option<u32>,
    /// Share of the first image's area that the second shows.
    pub overlap_a: Option<f32>,
    /// Share of the second image's area that the first shows.
    pub overlap_b: Option<f32>,
    /// Keypoint pairs that obey the warp.
    pub inliers: Option<u32>,
    /// Textured tiles that agree under the warp.
    pub tiles_agreeing: Option<u32>,
    /// Tiles that disagree.
    pub tiles_disagreeing: Option<u32>,
    /// Mean correlation of the agreeing tiles.
    pub correlation: Option<f32>,
    /// Root mean square of the displacement that the warp leaves unexplained, pixels of the preview.
    pub displacement: Option<f32>,
    /// Where the images differ, boxes in the first image, largest first.
    pub changed: Vec<Region>,
    /// Which of the two bears traces of editing.
    pub traces: Option<Traces>,
    /// How the tones of the second image differ from those of the first.
    pub tone: Option<Tone>,
    /// What a closer look at both files says about which was made from the other; taken where nothing else tells.
    pub lineage: Option<Lineage>,
    /// Why the class is no stronger than it is, where a gate held it back.
    pub held_back: Option<Gate>,
}

/// What a closer look at two files says about which was made from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// Which one, and what shows it.
    Known(Later),
    /// One of them was edited, and nothing tells which: neither is to go unasked.
    Open,
}

impl Lineage {
    /// The same with the images in the other order.
    const fn reversed(self) -> Self {
        match self {
            Self::Known(later) => Self::Known(later.reversed()),
            Self::Open => Self::Open,
        }
    }
}

/// Tones of one image beside those of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// Contrast relative to the other's.
    pub gain: f32,
    /// What is added to the other's brightness after that, grey levels.
    pub offset: f32,
    /// Saturation relative to the other's.
    pub saturation: f32,
}

impl Tone {
    /// Contrast and saturation that differ by more were changed; recompression leaves less.
    const CHANGED: [f32; 2] = [1.08, 1.2];
    /// The same of the brightness of a middle grey, levels.
    const SHIFTED: f32 = 8.0;

    /// Whether somebody changed them: more than a recompression does.
    #[must_use]
    pub fn is_changed(self) -> bool {
        let differs = |ratio: f32, most: f32| !(1.0 / most..=most).contains(&ratio);
        differs(self.gain, Self::CHANGED[0])
            || differs(self.saturation, Self::CHANGED[1])
            || (self.offset + 128.0 * (self.gain - 1.0)).abs() > Self::SHIFTED
    }

    /// Those of the other image beside this one's.
    #[must_use]
    fn reversed(self) -> Self {
        let gain = 1.0 / self.gain;
        Self {
            gain,
            offset: -self.offset * gain,
            saturation: 1.0 / self.saturation,
        }
    }
}

/// A gate that held a match back, or refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Flat, tiny or featureless: only equal bytes or pixels count.
    Featureless,
    /// Text-like images have to agree in every tile: two fillings of one form are not copies.
    TextLike,
    /// The geometry is one, and no change of tone turns the colours of one image into those of the other.
    /// Or the geometry is that of a pattern that repeats, and it is drawn in another way.
    Colours,
    /// Text-like images were compared by thumbnails that are too small to read.
    TooSmall,
    /// Another moment: the same camera at another time, or something moved between the two pictures.
    Burst,
    /// Verification did not run.
    Unverified,
    /// No warp explains the pair well enough.
    NoWarp,
}

impl Gate {
    /// The gate as a clause for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Featureless => "too little in the image to tell copies by looks",
            Self::TextLike => "text differs in places: perhaps another filling of one form",
            Self::Colours => "one pattern, drawn in another way",
            Self::TooSmall => "text that is too small to compare in the thumbnails",
            Self::Burst => "the same scene at another moment",
            Self::Unverified => "not verified",
            Self::NoWarp => "no single warp explains both images",
        }
    }
}

impl Match {
    /// Whether thumbnails were too small to decide, so that the files themselves should be compared.
    #[must_use]
    pub fn wants_close_up(&self) -> bool {
        self.evidence.held_back == Some(Gate::TooSmall)
    }

    /// The same match with the images in the other order. Changed regions stay where they were seen, in the image
    /// that used to be first, carried over by the transform and cut at its frame.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let carried = |region: &Region| {
            let Some(transform) = self.transform else {
                return *region;
            };
            let (x, y) = (f64::from(region.x), f64::from(region.y));
            let (w, h) = (f64::from(region.width), f64::from(region.height));
            let corners = [[x, y], [x + w, y], [x, y + h], [x + w, y + h]]
                .map(|p| transform.apply(p).map(|v| v.clamp(0.0, 1.0)));
            let bounds = |axis: usize| {
                let low = corners.iter().map(|c| c[axis]).fold(f64::MAX, f64::min);
                let high = corners.iter().map(|c| c[axis]).fold(f64::MIN, f64::max);
                (low as f32, (high - low) as f32)
            };
            let ((x, width), (y, height)) = (bounds(0), bounds(1));
            Region { x, y, width, height }
        };
        Self {
            transform: self.transform.and_then(|t| t.inverse()),
            evidence: Evidence {
                overlap_a: self.evidence.overlap_b,
                overlap_b: self.evidence.overlap_a,
                changed: self.evidence.changed.iter().map(carried).collect(),
                traces: self.evidence.traces.map(Traces::reversed),
                tone: self.evidence.tone.map(Tone::reversed),
                lineage: self.evidence.lineage.map(Lineage::reversed),
                ..self.evidence.clone()
            },
            ..self.clone()
        }
    }
}
