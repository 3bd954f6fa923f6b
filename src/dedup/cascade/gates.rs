//! What holds a verified pair back from being a copy: too little that agrees, a second exposure, other colours, other words.

use super::super::Gate;
use crate::types::{ExifSummary, Fingerprint};
use crate::vision::thumbnail::THUMBNAIL_SIDE;
use crate::vision::verify::{Alignment, CLOSE_UP_SIDE, SHARED_NOISE, Verification};

/// Agreement and concord from which a whole frame counts as unedited: a resize leaves other fine texture.
const WHOLE_AGREEMENT: [f32; 2] = [0.9, 0.97];
/// Share of either image that a whole frame must show.
const WHOLE_OVERLAP: f32 = 0.97;
/// Agreement below which a warp proves nothing: two pictures in equal frames agree in the frame and nowhere else.
pub(super) const LEAST_AGREEMENT: f32 = 0.35;
/// Correlation of fine detail from which a frame has the noise of the other.
const SAME_NOISE: f32 = 0.95;
/// Keypoints that obey a warp by chance, or because of a common frame.
pub(super) const FEW_INLIERS: u32 = 12;
/// Fewer than so many found most warps that are none: corners of a board fit corners of another one. Of 7,911 copies nine were
/// found by so few, and all of these fit closely.
pub(in crate::dedup) const CHANCE_INLIERS: u32 = 9;
/// Agreeing tiles without which a part of one image is not found in a part of the other, and a warp that few keypoints found
/// is none.
const LEAST_TILES: u32 = 12;
/// Displacement left up to which such a warp fits, pixels.
const CLOSE: f32 = 0.2;
/// Share of the other that two pictures of one size show after a camera moved a little: one of them, and both. A crop shows
/// nothing that its source lacks.
const NUDGED: [std::ops::Range<f32>; 2] = [0.8..0.9975, 0.8..0.9995];
/// Scales that a camera moved by a hand goes through.
const ONE_SCALE: f32 = 1.05;
/// Grain from which letters cannot be told apart.
const BLURRED: f32 = 2.0;
/// Concord from which such a picture is a blurred copy all the same.
const BLURRED_CONCORD: f32 = 0.98;
/// Share of the tiles of text-like images that may not show something else, at least: hard edges make much noise when they are
/// recompressed.
const TEXT_AGREEMENT: f32 = 0.985;
/// Chroma that no gain and offset explain, levels, beyond which plain graphics are others in the same pattern: boards, charts,
/// cards; and any pictures whose brightness changed too.
const OTHER_INK: f32 = 16.0;
/// The same of any pictures: a logo over a crop leaves up to 26.
const OTHER_COLOURS: f32 = 28.0;
/// Agreement from which a picture in whatever colours is the same one.
const SAME_DRAWING: f32 = 0.95;
/// Chroma left and gain of brightness or colour up to which a pattern that repeats is drawn in the same colours.
const SAME_INK: f32 = 8.0;
const SAME_TONE: std::ops::RangeInclusive<f32> = 0.75..=1.35;
/// Correlation of fine detail from which nothing was lost: two screens of one program are saved without a loss.
const LOSSLESS: f32 = 0.995;
/// Tiles that may disagree in a close-up of text, whatever their share: a page has thousands, and one number has a few.
const TEXT_TILES: u32 = 2;

/// Why the warp of a pair does not make it a copy, by what was seen alone.
pub(super) fn held_back(verification: &Verification, alignment: &Alignment) -> Option<Gate> {
    if alignment.agreement() < LEAST_AGREEMENT || is_slight(alignment) {
        Some(Gate::NoWarp)
    } else if alignment.is_another_moment() {
        Some(Gate::Burst)
    } else if is_another_drawing(verification, alignment) {
        Some(Gate::Colours)
    } else if is_another_text(verification, alignment) {
        Some(Gate::TextLike)
    } else {
        None
    }
}

/// Whether text-like images agree where no letter can be told from another, and in little else: in a window, or in the margins
/// of a page.
pub(super) fn is_blurred_text(verification: &Verification, alignment: &Alignment) -> bool {
    let is_much = alignment.agreeing >= 2 * LEAST_TILES && alignment.concord() >= BLURRED_CONCORD;
    verification.text_like && alignment.grain >= BLURRED && !is_much
}

/// Whether next to nothing speaks for a warp: parts that share a few tiles, or a few keypoints that fit loosely.
fn is_slight(alignment: &Alignment) -> bool {
    let is_little = alignment.agreeing < LEAST_TILES;
    let is_part = alignment.overlap_a.max(alignment.overlap_b) < WHOLE_OVERLAP;
    let by_chance = (1..CHANCE_INLIERS).contains(&alignment.inliers);
    let fits = !is_little && alignment.grain < BLURRED && alignment.displacement <= CLOSE;
    (is_little && is_part) || (by_chance && !fits)
}

/// Whether pictures of text differ in what nobody laid over them. Where nothing was lost between the two, all that differs does.
fn is_another_text(verification: &Verification, alignment: &Alignment) -> bool {
    let is_lossless = alignment.fine_correlation >= LOSSLESS;
    let (differing, allowed) = if is_lossless {
        (alignment.disagreeing, 0)
    } else {
        (alignment.outstanding, TEXT_TILES)
    };
    let agreement = alignment.agreeing as f32 / (alignment.agreeing + differing).max(1) as f32;
    verification.text_like
        && !is_laid_over(alignment)
        && (agreement < TEXT_AGREEMENT || (verification.side > THUMBNAIL_SIDE && differing > allowed))
}

/// Whole frame: resized, recompressed, slightly toned, turned by a right angle or mirrored, and nothing else.
pub(super) fn is_whole_frame(alignment: &Alignment) -> bool {
    let turn = alignment.transform.rotation.rem_euclid(90.0);
    let upright = turn.min(90.0 - turn) <= 1.5;
    let toned = !(0.7..=1.45).contains(&alignment.gain)
        || (alignment.offset + 128.0 * (alignment.gain - 1.0)).abs() > 40.0
        || !(0.6..=1.6).contains(&alignment.saturation)
        || alignment.colour_residual > 10.0;
    alignment.overlap_a >= WHOLE_OVERLAP
        && alignment.overlap_b >= WHOLE_OVERLAP
        && upright
        && alignment.distortion <= 1.1
        && !toned
        && alignment.agreement() >= WHOLE_AGREEMENT[0]
        && alignment.concord() >= WHOLE_AGREEMENT[1]
}

/// Whether all that differs was laid over one of the images, or written over it: a sticker that moved between two exposures was not.
fn is_laid_over(alignment: &Alignment) -> bool {
    (alignment.laid_over || alignment.written_over)
        && (alignment.moved == 0 || alignment.fine_correlation >= SAME_NOISE)
}

/// Whether two images of one geometry are drawn in colours that no change of tone turns into each other. Of patterns that
/// repeat hardly any change is believed: all of one geometry agree nearly everywhere, moved by a period too.
fn is_another_drawing(verification: &Verification, alignment: &Alignment) -> bool {
    let retoned = !SAME_TONE.contains(&alignment.gain);
    let limit = [OTHER_COLOURS, OTHER_INK][usize::from(verification.text_like || retoned)];
    let recoloured =
        alignment.colour_residual > SAME_INK || retoned || !SAME_TONE.contains(&alignment.saturation);
    let redrawn = recoloured || (alignment.agreement() < SAME_DRAWING && !is_laid_over(alignment));
    let moved = alignment.overlap_a.max(alignment.overlap_b) < WHOLE_OVERLAP;
    (verification.repeating && (redrawn || moved))
        || (alignment.colour_residual > limit && alignment.agreement() < SAME_DRAWING)
}

/// Whether previews of this side show the images about as large as they are, or as large as a close-up.
pub(super) fn is_readable(a: &Fingerprint, b: &Fingerprint, side: u32) -> bool {
    let long = |image: &Fingerprint| image.width.max(image.height);
    side * 5 / 4 >= long(a).min(long(b)).min(CLOSE_UP_SIDE)
}

/// Pictures of one size that lie upright and at about one scale, but not on each other, and have each its own noise: a camera
/// that moved. Of 2,000 copies that have the size of their source two lie so, by what was laid over them.
pub(super) fn is_nudged(a: &Fingerprint, b: &Fingerprint, alignment: &Alignment) -> bool {
    let transform = &alignment.transform;
    let (one, other) = (alignment.overlap_a, alignment.overlap_b);
    (a.width, a.height) == (b.width, b.height)
        && NUDGED[0].contains(&one.min(other))
        && NUDGED[1].contains(&one.max(other))
        && alignment.turn() < 3.0
        && !transform.mirrored
        && (1.0 / ONE_SCALE..ONE_SCALE).contains(&transform.scale)
        && alignment.fine_correlation < SHARED_NOISE
        && alignment.grain < BLURRED
        && !is_laid_over(alignment)
}

/// Same camera, and the shutter fell at another time.
pub(super) fn another_moment(a: &ExifSummary, b: &ExifSummary) -> bool {
    let same_camera = a.camera.is_some() && a.camera == b.camera;
    let moments = a.taken.zip(b.taken);
    same_camera
        && moments.is_some_and(|(x, y)| {
            x != y || (a.taken_centis != b.taken_centis && a.taken_centis != 0 && b.taken_centis != 0)
        })
}

/// One warp to half a pixel and shared fine detail, nearly everywhere: no second exposure does that.
pub(super) fn explains_every_tile(alignment: &Alignment) -> bool {
    alignment.agreement() >= 0.99
        && alignment.displacement <= 0.2
        && alignment.displacement_high <= 0.4
        && alignment.fine_correlation >= 0.9
}
