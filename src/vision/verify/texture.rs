//! What kind of picture an image is, or what two of them share: a page of text, a photograph, nothing at all.

use super::affine::Affine;
use super::plane::Plane;
use super::{Features, places};

/// Step between neighbours that is still flat, grey levels: one less, and the noise of a thumbnail makes and unmakes documents.
const FLAT: u8 = 4;
/// The same of a hard edge.
const HARD: u8 = 32;
/// Share of a document that is paper.
const PAPER: f32 = 0.6;
/// Share of what is not flat that lies on hard edges, where it is letters.
const LETTERS: f32 = 0.2;
/// Likeness to text from which a picture may be a page that was edited. Where both have to be pages, four wrong pairs more are taken
/// for copies (two of 16,000, one of 626 receipts, one of 9,726 pictures); at .8 none is. At 0 a third of what is won is lost.
const NEARLY: f32 = 0.7;
/// How bright paper is at least: a wall with cracks is darker.
const BRIGHT: usize = 180;
/// Difference of brightness within which paper is one, grey levels.
const ONE_PAPER: usize = 12;

/// What kind of picture it is, as far as verification cares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Texture {
    /// Share of pixels whose surroundings are flat, 0 to 1.
    pub flat: f32,
    /// Share of pixels on hard edges, 0 to 1.
    pub hard: f32,
    /// Standard deviation of brightness, grey levels.
    pub spread: f32,
    /// Share of pixels of about one brightness, that of paper, 0 to 1; 0 where there are too few hard edges for letters.
    pub paper: f32,
}

impl Texture {
    /// Documents, receipts, chats and other screens: plain ground and hard edges. Two fillings of one form differ
    /// in few tiles, so such images have to agree in all of them.
    #[must_use]
    pub fn is_text_like(&self) -> bool {
        self.likeness_to_text() > 1.0
    }

    /// The same with less of it: what an edit may make of a page.
    pub(super) fn is_nearly_text_like(&self) -> bool {
        self.likeness_to_text() > NEARLY
    }

    /// How much it is like text: above 1 it is, at 0 nothing of it is.
    fn likeness_to_text(&self) -> f32 {
        let edges = self.hard / (1.0 - self.flat).max(f32::EPSILON);
        let likeness = |ground: f32, [plain, letters]: [f32; 2]| (ground / plain).min(edges / letters);
        let sparse = likeness(self.flat, [0.5, 0.25]);
        // a page of small letters leaves less ground between them, and little between the edges
        let dense = likeness(self.flat, [0.25, 0.5]);
        // a screen made small, with little on it
        let bare = likeness(self.flat, [0.65, 0.2]);
        // a scan: its paper has a grain, and is of one brightness all the same
        let printed = likeness(self.paper, [PAPER, LETTERS]);
        sparse.max(dense).max(bare).max(printed)
    }

    /// Nothing to align by.
    #[must_use]
    pub fn is_featureless(&self) -> bool {
        self.spread < 4.0 || self.flat > 0.9995
    }
}

/// Whether the images share text: a photograph shown in a window is none for the letters around it, and none for a caption over
/// it, or hard edges of a filter, that the other lacks. `map` leads from A to B.
pub(super) fn shares_text(a: &Features, b: &Features, map: Option<&Affine>) -> bool {
    let is_either = a.texture().is_text_like() || b.texture().is_text_like();
    let parts = map.and_then(|map| places::shared(map, a, b));
    match parts {
        Some([here, there]) if is_either => {
            let [one, other] = [(a, here), (b, there)].map(|(image, part)| image.texture_within(part));
            (one.is_text_like() && other.is_nearly_text_like())
                || (other.is_text_like() && one.is_nearly_text_like())
        }
        _ => is_either,
    }
}

/// Of a whole picture.
#[inline(always)]
pub(super) fn texture(luma: &Plane) -> Texture {
    texture_within(luma, [0, luma.width, 0, luma.height])
}

/// Of what lies between left, right, top and bottom, pixels.
#[inline(always)]
pub(super) fn texture_within(luma: &Plane, [left, right, top, bottom]: [usize; 4]) -> Texture {
    let (mut flat, mut hard, mut count) = (0u32, 0u32, 0u32);
    let (mut sum, mut squares) = (0u64, 0u64);
    for y in top..bottom.saturating_sub(1) {
        let (row, below) = (&luma.row(y)[left..right], &luma.row(y + 1)[left..right]);
        let (mut row_flat, mut row_hard, mut row_sum, mut row_squares) = (0u32, 0u32, 0u32, 0u32);
        for ((&v, &next), &under) in row.iter().zip(&row[1..]).zip(below) {
            let step = v.abs_diff(next).max(v.abs_diff(under));
            row_flat += u32::from(step <= FLAT);
            row_hard += u32::from(step >= HARD);
            row_sum += u32::from(v);
            row_squares += u32::from(v) * u32::from(v);
        }
        flat += row_flat;
        hard += row_hard;
        count += row.len() as u32 - 1;
        sum += u64::from(row_sum);
        squares += u64::from(row_squares);
    }
    let n = f64::from(count.max(1));
    let mean = sum as f64 / n;
    let variance = (squares as f64 / n - mean * mean).max(0.0);
    let [flat, hard] = [flat, hard].map(|count| (f64::from(count) / n) as f32);
    let may_be_printed = hard > NEARLY * LETTERS * (1.0 - flat);
    Texture {
        flat,
        hard,
        spread: variance.sqrt() as f32,
        paper: if may_be_printed {
            paper(luma, [left, right, top, bottom])
        } else {
            0.0
        },
    }
}

/// Share of the pixels within [`ONE_PAPER`] of the bright level that has the most there, by every fourth row.
fn paper(luma: &Plane, [left, right, top, bottom]: [usize; 4]) -> f32 {
    let mut counts = [0u32; 256];
    let mut all = 0;
    for y in (top..bottom).step_by(4) {
        for &v in &luma.row(y)[left..right] {
            counts[usize::from(v)] += 1;
        }
        all += (right - left) as u32;
    }
    let windows = counts[BRIGHT - ONE_PAPER..]
        .windows(2 * ONE_PAPER + 1)
        .map(|window| window.iter().sum::<u32>());
    windows.max().unwrap_or(0) as f32 / all.max(1) as f32
}
