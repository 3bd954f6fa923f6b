//! Whole-frame hypotheses: the two frames, or what is inside their plain borders, laid onto each other in each
//! of the eight ways that keep a rectangle a rectangle. Needs no keypoints, so it serves images of low texture.

use std::sync::LazyLock;

use super::affine::Affine;
use super::plane::Plane;

/// Side of the squashed pictures that are correlated.
const SIDE: usize = 24;
/// Least correlation for a hypothesis.
const MIN_CORRELATION: f32 = 0.55;
/// Brightness range within which a row or column counts as plain border, grey levels.
const BORDER_RANGE: u8 = 14;

/// The eight ways, in relative coordinates.
const WAYS: [[f64; 6]; 8] = [
    [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    [-1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
    [1.0, 0.0, 0.0, 0.0, -1.0, 1.0],
    [-1.0, 0.0, 1.0, 0.0, -1.0, 1.0],
    [0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
    [0.0, -1.0, 1.0, 1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, -1.0, 0.0, 1.0],
    [0.0, -1.0, 1.0, -1.0, 0.0, 1.0],
];

/// For each pixel of a view, where it goes in each of the ways.
static PLACES: LazyLock<Vec<[usize; 8]>> = LazyLock::new(|| {
    let relative = |v: usize| (v as f64 + 0.5) / SIDE as f64;
    (0..SIDE * SIDE)
        .map(|i| {
            WAYS.map(|way| {
                let [u, v] = Affine(way)
                    .apply([relative(i % SIDE), relative(i / SIDE)])
                    .map(|p| (p * SIDE as f64) as usize);
                v * SIDE + u
            })
        })
        .collect()
});

/// A rectangle of the preview, squashed to a small square, of mean 0 and norm 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// Left, right, top, bottom in pixels of the preview.
    bounds: [f32; 4],
    pixels: Box<[f32]>,
}

/// The whole frame, and its inside when it has plain borders.
#[inline(always)]
pub(super) fn views(luma: &Plane) -> Vec<View> {
    let full = [0.0, luma.width as f32, 0.0, luma.height as f32];
    let inside = inside(luma);
    let mut views = vec![View::cut(luma, full)];
    if inside != full {
        views.push(View::cut(luma, inside));
    }
    views.into_iter().flatten().collect()
}

impl View {
    /// `None` when the rectangle shows next to nothing.
    #[inline(always)]
    fn cut(luma: &Plane, bounds: [f32; 4]) -> Option<Self> {
        let pixels = luma.means(bounds, SIDE);
        let count = pixels.len() as f32;
        let mean = pixels.iter().sum::<f32>() / count;
        let norm = pixels.iter().map(|p| (p - mean) * (p - mean)).sum::<f32>().sqrt();
        // A standard deviation below one grey level is noise.
        if norm < count.sqrt() {
            return None;
        }
        let pixels = pixels.into_iter().map(|p| (p - mean) / norm).collect();
        Some(Self { bounds, pixels })
    }

    /// Correlation with `other`, whose pixels are taken in the order of each of the ways. All at once: each is one long chain.
    fn correlations(&self, other: &Self) -> [f32; 8] {
        let mut sums = [0.0; 8];
        for (&pixel, places) in self.pixels.iter().zip(PLACES.iter()) {
            for (sum, &place) in sums.iter_mut().zip(places) {
                *sum += pixel * other.pixels[place];
            }
        }
        sums
    }

    /// From relative coordinates of the rectangle to pixels of the preview.
    fn to_pixels(&self) -> Affine {
        let [left, right, top, bottom] = self.bounds.map(f64::from);
        Affine([right - left, 0.0, left, 0.0, bottom - top, top])
    }
}

/// At most `limit` maps from pixels of A to pixels of B, likeliest first, with their correlation.
pub(super) fn hypotheses(a: &[View], b: &[View], limit: usize) -> Vec<(f32, Affine)> {
    let mut found = Vec::new();
    for from in a {
        let Some(to_relative) = from.to_pixels().inverse() else {
            continue;
        };
        for to in b {
            for (way, correlation) in WAYS.map(Affine).iter().zip(from.correlations(to)) {
                if correlation >= MIN_CORRELATION {
                    found.push((correlation, to_relative.then(way).then(&to.to_pixels())));
                }
            }
        }
    }
    found.sort_by(|x, y| y.0.total_cmp(&x.0));
    found.truncate(limit);
    found
}

/// The frame without borders of one plain tone, at most two fifths from each side.
fn inside(luma: &Plane) -> [f32; 4] {
    let (w, h) = (luma.width, luma.height);
    let plain = |values: &mut dyn Iterator<Item = u8>| {
        let (mut low, mut high) = (u8::MAX, u8::MIN);
        for v in values {
            (low, high) = (low.min(v), high.max(v));
        }
        high - low <= BORDER_RANGE
    };
    let plain_row = |y: usize| plain(&mut luma.row(y).iter().copied());
    let top = (0..h * 2 / 5).find(|&y| !plain_row(y)).unwrap_or(0);
    let bottom = (0..h * 2 / 5).find(|&y| !plain_row(h - 1 - y)).unwrap_or(0);
    let plain_column = |x: usize| plain(&mut (top..h - bottom).map(|y| luma.data[y * w + x]));
    let left = (0..w * 2 / 5).find(|&x| !plain_column(x)).unwrap_or(0);
    let right = (0..w * 2 / 5).find(|&x| !plain_column(w - 1 - x)).unwrap_or(0);
    [left as f32, (w - right) as f32, top as f32, (h - bottom) as f32]
}
