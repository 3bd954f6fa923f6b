//! Geometric verification: does one warp carry one image onto the other, and what differs then?
//!
//! A descriptor can say that two images look alike; only this can say that one was made from the other. Two
//! previews are aligned, by keypoints ([`detect`], [`describe`], [`pairing`]) and as whole frames ([`frame`]); the
//! warp is refined to a fraction of a pixel and every tile of the overlap is compared ([`tiles`]). A copy obeys one
//! warp everywhere except where it was edited; a second exposure moves here and there, and its fine detail does
//! not correlate. Everything is deterministic; sums over pixels are whole numbers ([`lanes`]).

mod affine;
mod candidate;
mod contest;
mod describe;
mod detect;
mod frame;
mod harris;
mod ink;
mod judge;
mod keypoints;
mod lanes;
mod moved;
mod overlay;
mod pairing;
mod pattern;
mod places;
mod plane;
mod planes;
mod refine;
mod regions;
mod sampling;
mod sums;
mod texture;
mod tiles;
mod traces;
mod verdict;
mod wander;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use image::RgbImage;

use super::VisionError;
use super::thumbnail::{self, Samples};
use super::wide::{Kernel, roomy};
use crate::types::{Region, Transform};
use describe::{Bits, Keypoint, Mirror};
use plane::Plane;

pub use judge::{verify, verify_under};
pub use keypoints::Keypoints;
pub use texture::Texture;
pub use traces::{Trace, Traces, traces};

/// Longest side of a close-up, in pixels: letters of a page can be told apart.
pub const CLOSE_UP_SIDE: u32 = 1600;
/// Planes of a pyramid, at most.
const PLANES: usize = 6;
/// Planes stop halving below this side.
const SMALLEST_SIDE: usize = 16;

/// Share of the tiles that show something else after a second shot.
const CONTRADICTION: f32 = 0.15;
/// Correlation of fine detail below which the noise may be another's.
const OWN_NOISE: f32 = 0.85;
/// Correlation of fine detail below which it is.
const LOUD_NOISE: f32 = 0.8;
/// Displacement left beyond which a warp holds loosely, pixels of the planes compared.
const LOOSE: f32 = 0.15;
/// Displacement left beyond which no single warp holds the frame, pixels: of 2,400 planted copies three have noise of their
/// own and are left with more.
const WANDERING: f32 = 0.3;
/// The same of planes coarser than the finest, pixels of these: there a pair of bursts wanders by a quarter, a blurred copy by a sixth.
const COARSE_WANDERING: f32 = 0.2;
/// Displacement beyond which neighbouring tiles wander together, pixels of the planes compared, and what is left in all where
/// they do: of 5,511 copies of one frame two wander, and nine in ten pairs of frames of a film.
const TOGETHER: [f32; 2] = [0.05, 0.2];
/// Share of each frame that the other shows then.
const WHOLE_FRAME: f32 = 0.9;
/// Correlation of fine detail from which two images that do not lie on each other have one noise: they are cuts of one picture.
pub const SHARED_NOISE: f32 = 0.9;
/// Share of each frame that the other shows, from which the two may be shots of one burst. A crop is told by showing less.
const SAME_FRAME: f32 = 0.8;

/// What verification keeps of one image: keypoints and a pyramid of its preview, about 200 kB.
#[derive(Debug, Clone)]
pub struct Features {
    width: u32,
    height: u32,
    /// Found when they are first asked for: a pair that is the same frame needs none, and they cost more than all the rest.
    keypoints: OnceLock<Keypoints>,
    /// Their descriptors as seen in a mirror, likewise.
    mirrored: OnceLock<Vec<Bits>>,
    /// Luma, each plane half the size of the one before; never empty.
    luma: Vec<Plane>,
    /// Blue and red difference at a quarter of the size.
    chroma: [Plane; 2],
    views: Vec<frame::View>,
    texture: Texture,
    /// Whether it is a pattern that repeats, likewise: only pages and plain graphics are asked.
    repeats: OnceLock<bool>,
}

impl Features {
    /// Extracts the features of a preview; meant for a long side of 400 pixels at most. About a millisecond, and a few more
    /// when keypoints are needed.
    #[must_use]
    pub fn extract(preview: &RgbImage) -> Self {
        roomy(Look(preview))
    }

    /// The same of the JPEG of a thumbnail, by the luma and the colour differences that it holds.
    ///
    /// # Errors
    /// As [`thumbnail::decode`].
    pub fn of_thumbnail(jpeg: &[u8]) -> Result<Self, VisionError> {
        match thumbnail::samples(jpeg) {
            Some(samples) if samples.width.min(samples.height) >= plane::BLOCK => {
                Ok(roomy(LookAtSamples(samples)))
            }
            _ => Ok(Self::extract(&thumbnail::decode(jpeg)?)),
        }
    }

    /// Memory that they take, with keypoints, whether or not these were found yet; about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let planes = self.luma.iter().chain(&self.chroma);
        let keypoints = keypoints::MOST * (size_of::<Keypoint>() + size_of::<Bits>());
        planes.map(|plane| plane.data.len()).sum::<usize>() + keypoints
    }

    /// What kind of picture it is.
    #[must_use]
    pub fn texture(&self) -> Texture {
        self.texture
    }

    /// The same of a part of it: left, right, top, bottom, pixels of the preview.
    fn texture_within(&self, part: [usize; 4]) -> Texture {
        let luma = &self.luma[0];
        if part == [0, luma.width, 0, luma.height] {
            self.texture
        } else {
            texture::texture_within(luma, part)
        }
    }

    /// The corners of the preview, one after another around it, pixels.
    fn corners(&self) -> [[f64; 2]; 4] {
        let [width, height] = [self.width, self.height].map(f64::from);
        [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]
    }

    /// Number of keypoints found.
    #[must_use]
    pub fn keypoint_count(&self) -> usize {
        self.keypoints().all().len()
    }

    /// The keypoints, where they were asked for.
    #[must_use]
    pub fn known_keypoints(&self) -> Option<&Keypoints> {
        self.keypoints.get()
    }

    /// The same features with keypoints that were found earlier on the same preview.
    #[must_use]
    pub fn with_keypoints(mut self, keypoints: Keypoints) -> Self {
        self.keypoints = OnceLock::from(keypoints);
        self
    }

    fn keypoints(&self) -> &Keypoints {
        self.keypoints.get_or_init(|| Keypoints::of(&self.luma[0]))
    }

    /// Whether it is a pattern that repeats.
    fn repeats(&self) -> bool {
        *self.repeats.get_or_init(|| pattern::repeats(&self.luma))
    }

    /// Their descriptors, as they are or as seen in a mirror.
    fn descriptors(&self, mirrored: bool) -> Vec<Bits> {
        let keypoints = self.keypoints().all().iter();
        if !mirrored {
            return keypoints.map(|keypoint| keypoint.bits).collect();
        }
        let table = Mirror::table();
        let seen = || keypoints.map(|keypoint| table.apply(&keypoint.bits)).collect();
        self.mirrored.get_or_init(seen).clone()
    }
}

/// Looks at a preview: all but its keypoints.
struct Look<'a>(&'a RgbImage);

impl Kernel for Look<'_> {
    type Output = Features;

    #[inline(always)]
    fn call(self) -> Features {
        features(Plane::luma(self.0), Plane::chroma(self.0))
    }
}

/// The same of what a thumbnail holds.
struct LookAtSamples(Samples);

impl Kernel for LookAtSamples {
    type Output = Features;

    #[inline(always)]
    fn call(self) -> Features {
        let Samples {
            width,
            height,
            luma,
            chroma: [blue, red],
        } = self.0;
        let quarter = |halves: &[u8]| Plane::quarter(halves, (width, height));
        features(Plane::new(width, height, luma), [quarter(&blue), quarter(&red)])
    }
}

#[inline(always)]
fn features(luma: Plane, chroma: [Plane; 2]) -> Features {
    let (width, height) = (luma.width as u32, luma.height as u32);
    let texture = texture::texture(&luma);
    let views = frame::views(&luma);
    let mut pyramid = vec![luma];
    while pyramid.len() < PLANES {
        let last = &pyramid[pyramid.len() - 1];
        if last.width.min(last.height) < 2 * SMALLEST_SIDE {
            break;
        }
        let next = last.halved();
        pyramid.push(next);
    }
    Features {
        width,
        height,
        keypoints: OnceLock::new(),
        mirrored: OnceLock::new(),
        luma: pyramid,
        chroma,
        views,
        texture,
        repeats: OnceLock::new(),
    }
}

/// A preview of up to [`CLOSE_UP_SIDE`] a side, for text-like images: there the fillings of a form can be told apart.
#[must_use]
pub fn close_up(image: &RgbImage) -> RgbImage {
    super::resize::fit(image, CLOSE_UP_SIDE)
}

/// Share that either image shows of the other where a camera moved a little between two shots.
const SHIFTED: std::ops::Range<f32> = 0.75..0.97;
/// Scales that differ by less are one.
const ONE_SCALE: f32 = 1.03;
/// Share of the tiles with something to say that show another thing after a second shot of a scene in motion.
const OTHER_THINGS: f32 = 0.15;

/// What verification found out about a pair. Facts and one score; what they amount to is decided in `dedup`.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// The best map from A to B; `None` when no warp was found that any part of the images obeys.
    pub alignment: Option<Alignment>,
    /// What they share is text-like in one image and nearly so in the other.
    pub text_like: bool,
    /// Either image has nothing to align by.
    pub featureless: bool,
    /// Text-like, and a pattern that repeats: any other of its geometry agrees with it, whatever it is drawn in.
    pub repeating: bool,
    /// Longer side of the smaller of the two previews, in pixels: how much could be seen at all.
    pub side: u32,
}

/// One warp and how well it explains the pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    /// From A to B, relative units.
    pub transform: Transform,
    /// Ratio of the longest to the shortest stretch, 1 for a similarity.
    pub distortion: f32,
    /// Share of A's area that B shows, 0 to 1.
    pub overlap_a: f32,
    /// Share of B's area that A shows, 0 to 1.
    pub overlap_b: f32,
    /// Keypoint pairs that obey the warp (0 for a whole-frame alignment found without keypoints).
    pub inliers: u32,
    /// Textured tiles of the overlap that agree.
    pub agreeing: u32,
    /// Tiles of the overlap that disagree.
    pub disagreeing: u32,
    /// Of the disagreeing tiles those that recompression cannot explain.
    pub contradicting: u32,
    /// Of the contradicting tiles those that stand out from the noise of the agreeing ones too: a low quality leaves much
    /// noise on hard edges.
    pub outstanding: u32,
    /// Tiles that are flat in both images and of the same tone: they prove nothing.
    pub neutral: u32,
    /// Mean correlation of the agreeing tiles, 0 to 1.
    pub correlation: f32,
    /// Mean correlation of fine detail over the agreeing tiles, −1 to 1. Two exposures of one scene have
    /// independent noise and correlate less than a copy.
    pub fine_correlation: f32,
    /// Root mean square of the tiles' displacement that the warp leaves unexplained, in pixels of the coarser of the
    /// two images where they overlap; a quarter of a pixel of the planes compared where no tile has corners to tell it by.
    pub displacement: f32,
    /// 95th percentile of the same: a burst moves locally.
    pub displacement_high: f32,
    /// Displacement that neighbouring tiles have in common, at least, root mean square, pixels: what compression leaves of it is
    /// each tile's own. 0 where too few tiles can tell.
    pub wander: f32,
    /// Brightness of B = `gain` · brightness of A + `offset` (grey levels), robustly fitted.
    pub gain: f32,
    /// See `gain`.
    pub offset: f32,
    /// Saturation of B relative to A: slope of chroma, blue and red difference together.
    pub saturation: f32,
    /// Root mean square of the tiles' chroma that gain and offset leave unexplained, levels of 0 to 255.
    pub colour_residual: f32,
    /// All that recompression cannot explain lies in one band across the frame or in one patch, on ground of its own: a
    /// caption, a sticker.
    pub laid_over: bool,
    /// Either image is text-like, and one is the other with something written over it: nothing was taken away, and what was
    /// added is large.
    pub written_over: bool,
    /// Pixels of the finest planes of equal size for each pixel of the planes that were compared: 1, or more where the
    /// images only agree, or only have anything to say, at a coarser scale.
    pub grain: f32,
    /// Of the disagreeing tiles with corners, at most 24 of them, those that were found some pixels away, all by the
    /// same step: no edit does that, a second exposure does. Of text none is looked for.
    pub moved: u32,
    /// Disagreeing tiles that were looked for nearby.
    pub looked_for: u32,
    /// Where the images differ, boxes in A, relative units, largest first.
    pub changed: Vec<Region>,
}

impl Alignment {
    /// Whether something moved between the two: not one tile by chance, and no small part of what differs; or whether what
    /// agrees has the marks of a second exposure, and the scene went on.
    #[must_use]
    pub fn is_another_moment(&self) -> bool {
        let moved = self.moved >= 3 && self.moved * 6 >= self.looked_for;
        moved || self.is_shaken() || self.wanders_together() || self.is_second_exposure()
    }

    /// One frame whose parts lie where no single warp has them, side by side in the same direction: seen from another place, or on
    /// paper that lay another way.
    fn wanders_together(&self) -> bool {
        let [together, in_all] = TOGETHER.map(|limit| limit * self.grain);
        self.overlap_a.min(self.overlap_b) >= WHOLE_FRAME
            && self.fine_correlation < SHARED_NOISE
            && self.displacement > in_all
            && self.wander > together
            && !self.laid_over
    }

    /// One frame with noise of its own in which half of what could be found elsewhere was, or that wanders from one warp and
    /// shows something else in a good part that nobody laid over. Where the noise is loud, less of it is enough.
    fn is_second_exposure(&self) -> bool {
        let tiles = (self.agreeing + self.disagreeing) as f32;
        let other = self.contradicting as f32 >= CONTRADICTION * tiles;
        let loud = self.fine_correlation < LOUD_NOISE;
        // where only coarse planes could be compared it is told less finely
        let wanders = self.displacement > WANDERING.max(COARSE_WANDERING * self.grain);
        let half_moved = self.moved >= 1 && self.moved * 2 >= self.looked_for;
        let some_moved = self.moved >= 1 && (other || self.moved * 3 >= self.looked_for);
        self.overlap_a.min(self.overlap_b) >= SAME_FRAME
            && self.fine_correlation < OWN_NOISE
            && (half_moved
                || (wanders && (loud || (other && !self.laid_over)))
                || (loud && self.displacement > LOOSE * self.grain && some_moved))
    }

    /// The frame moved a little, upright and at one scale, so that each image shows something that the other lacks, and a good
    /// part of what both show differs: a camera in a hand, and a scene that went on. Of a crop and its source one shows
    /// nothing more, and of a copy with a caption and one with a margin nothing but these differs.
    fn is_shaken(&self) -> bool {
        let upright = self.turn() < 2.0 && !self.transform.mirrored;
        let at_one_scale = (1.0 / ONE_SCALE..ONE_SCALE).contains(&self.transform.scale);
        SHIFTED.contains(&self.overlap_a)
            && SHIFTED.contains(&self.overlap_b)
            && upright
            && at_one_scale
            && !self.laid_over
            && self.agreement() < 1.0 - OTHER_THINGS
    }

    /// How far either image is turned against the other, whichever way, 0 to 180 degrees.
    #[must_use]
    pub fn turn(&self) -> f32 {
        let turn = self.transform.rotation.rem_euclid(360.0);
        turn.min(360.0 - turn)
    }

    /// Share of the tiles with something to say that agree, 0 to 1.
    #[must_use]
    pub fn agreement(&self) -> f32 {
        self.agreeing as f32 / (self.agreeing + self.disagreeing).max(1) as f32
    }

    /// The same beside the tiles alone that contradict, 0 to 1: what a resize or a low quality leaves of fine texture
    /// disagrees and contradicts nothing.
    #[must_use]
    pub fn concord(&self) -> f32 {
        self.agreeing as f32 / (self.agreeing + self.contradicting).max(1) as f32
    }
}
