//! PDQ, a 256-bit perceptual hash with a quality, and its eight dihedral variants.
//!
//! Source: Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019). Luma; two
//! passes of box filters along rows and columns (a tent filter, after Jarosz, SIGGRAPH 2001) of 1/128 of each side;
//! 64 × 64 samples at cell centres; the 16 × 16 lowest DCT frequencies without the constant ones; one bit for each that
//! is above their median. All sums run in f32 and in the published order, so hashes equal the reference's bit by bit.

use std::sync::LazyLock;

use image::RgbImage;

use crate::types::PdqHash;
use crate::vision::wide::{Kernel, wide};

/// Side of the down-sampled image.
const GRID: usize = 64;
/// Frequencies kept along each axis: 1 to 16.
const FREQUENCIES: usize = 16;
/// Images with a shorter side have no hash: all zeros, quality 0.
const MIN_SIDE: usize = 5;
/// Box filters along each axis.
const PASSES: usize = 2;

type Grid = [[f32; GRID]; GRID];
type Spectrum = [[f32; FREQUENCIES]; FREQUENCIES];

/// A PDQ hash and how much it can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pdq {
    /// The hash.
    pub hash: PdqHash,
    /// 0 to 100; below 50 the image is too featureless for its hash to mean anything.
    pub quality: u8,
}

/// PDQ of an image.
#[must_use]
pub fn pdq(image: &RgbImage) -> Pdq {
    let Some((spectrum, quality)) = spectrum(image) else {
        return Pdq {
            hash: PdqHash::from_bytes([0; 32]),
            quality: 0,
        };
    };
    Pdq {
        hash: bits(&spectrum),
        quality,
    }
}

/// PDQ of an image and of its seven rotations and mirrors, from one DCT, with the quality they share.
///
/// Order: original, rotated by 90°, 180°, 270° (counter-clockwise), flipped top to bottom, flipped left to right,
/// transposed (upper left and lower right stay), anti-transposed (upper right and lower left stay).
#[must_use]
pub fn pdq_dihedral(image: &RgbImage) -> ([PdqHash; 8], u8) {
    let Some((spectrum, quality)) = spectrum(image) else {
        return ([PdqHash::from_bytes([0; 32]); 8], 0);
    };
    (VARIANTS.map(|variant| bits(&variant.of(&spectrum))), quality)
}

/// What a rotation or a mirror does to the spectrum: frequency k along an axis that is reversed changes its sign when
/// k is odd. Rows hold frequencies 1, 2, 3 …, so odd frequencies stand at even positions.
struct Variant {
    reverse_rows: bool,
    reverse_columns: bool,
    transpose: bool,
}

const fn variant(reverse_rows: bool, reverse_columns: bool, transpose: bool) -> Variant {
    Variant {
        reverse_rows,
        reverse_columns,
        transpose,
    }
}

const VARIANTS: [Variant; 8] = [
    variant(false, false, false),
    variant(false, true, true),
    variant(true, true, false),
    variant(true, false, true),
    variant(true, false, false),
    variant(false, true, false),
    variant(false, false, true),
    variant(true, true, true),
];

impl Variant {
    fn of(&self, spectrum: &Spectrum) -> Spectrum {
        let mut out = [[0.0; FREQUENCIES]; FREQUENCIES];
        for (i, row) in spectrum.iter().enumerate() {
            for (j, &value) in row.iter().enumerate() {
                let negative = (self.reverse_rows && i % 2 == 0) != (self.reverse_columns && j % 2 == 0);
                let (to_row, to_column) = if self.transpose { (j, i) } else { (i, j) };
                out[to_row][to_column] = if negative { -value } else { value };
            }
        }
        out
    }
}

/// Spectrum and quality; `None` for an image too small to have them.
fn spectrum(image: &RgbImage) -> Option<(Spectrum, u8)> {
    wide(Sampling(image))
}

/// Filters, samples and transforms an image.
struct Sampling<'a>(&'a RgbImage);

impl Kernel for Sampling<'_> {
    type Output = Option<(Spectrum, u8)>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        sampled(self.0)
    }
}

#[inline(always)]
fn sampled(image: &RgbImage) -> Option<(Spectrum, u8)> {
    let (columns, rows) = (image.width() as usize, image.height() as usize);
    if rows < MIN_SIDE || columns < MIN_SIDE {
        return None;
    }
    let mut luma = luma(image);
    let every: Vec<usize> = (0..columns).collect();
    let sampled = centres(columns);
    if (rows, columns) != (GRID, GRID) {
        let mut scratch = vec![0.0; luma.len()];
        for _ in 1..PASSES {
            box_along_rows(&luma, &mut scratch, columns, &every);
            box_along_columns(&scratch, &mut luma, columns);
        }
        // Of the last pass only what is sampled is wanted.
        scratch.resize(rows * GRID, 0.0);
        box_along_rows(&luma, &mut scratch, columns, &sampled);
        luma.resize(rows * GRID, 0.0);
        box_along_columns(&scratch, &mut luma, GRID);
    }
    let grid = centres(rows).map(|row| *luma[row * GRID..].first_chunk().expect("rows of 64 samples"));
    Some((dct(&grid), quality(&grid)))
}

#[inline(always)]
fn luma(image: &RgbImage) -> Vec<f32> {
    image
        .as_raw()
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
        .collect()
}

/// A centred moving mean over a line; at the ends the window shrinks.
#[derive(Clone, Copy)]
struct Window {
    /// Length of the line.
    length: usize,
    /// Inputs in a full window.
    full: usize,
    /// Inputs from the centre to the right edge, the centre included.
    ahead: usize,
}

/// One output of a moving mean: the input that enters, the one that leaves, and how many are inside.
struct Step {
    enters: Option<usize>,
    leaves: Option<usize>,
    inside: f32,
}

impl Window {
    /// Window of one pass along a side of `length` pixels: 1/128 of it, rounded up, so that two passes span a cell.
    fn for_side(length: usize) -> Self {
        let full = length.div_ceil(2 * GRID);
        Self {
            length,
            full,
            ahead: (full + 2) / 2,
        }
    }

    /// Inputs summed before the first output.
    fn head(self) -> std::ops::Range<usize> {
        0..self.ahead - 1
    }

    #[inline(always)]
    fn steps(self) -> impl Iterator<Item = Step> {
        let behind = self.full - self.ahead + 1;
        (0..self.length).map(move |i| {
            let right = i + self.ahead;
            let left = i.saturating_sub(behind);
            Step {
                enters: (right <= self.length).then(|| right - 1),
                leaves: i.checked_sub(behind),
                // at most `full` inputs, far below 2^24
                inside: {
                    let first = if i >= behind { left + 1 } else { 0 };
                    let count = right.min(self.length) - first;
                    u16::try_from(count).map_or(f32::MAX, f32::from)
                },
            }
        })
    }
}

/// Rows filtered side by side: the running sum of one row alone would wait for each addition.
const LANES: usize = 8;

/// Filters rows of `columns` values; of the outputs those `at` these columns are kept, which are in order.
#[inline(always)]
fn box_along_rows(input: &[f32], output: &mut [f32], columns: usize, at: &[usize]) {
    let window = Window::for_side(columns);
    let blocks = input
        .chunks(LANES * columns)
        .zip(output.chunks_mut(LANES * at.len()));
    for (from, to) in blocks {
        if from.len() == LANES * columns {
            filter_rows::<LANES>(from, to, window, at);
        } else {
            for (from, to) in from.chunks_exact(columns).zip(to.chunks_exact_mut(at.len())) {
                filter_rows::<1>(from, to, window, at);
            }
        }
    }
}

#[inline(always)]
fn filter_rows<const N: usize>(input: &[f32], output: &mut [f32], window: Window, at: &[usize]) {
    let mut sums = [0.0_f32; N];
    let columns = window.length;
    let rows: [&[f32]; N] = std::array::from_fn(|n| &input[n * columns..][..columns]);
    for i in window.head() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum += row[i];
        }
    }
    let mut kept = 0;
    for (i, step) in window.steps().enumerate() {
        if let Some(enters) = step.enters {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum += row[enters];
            }
        }
        if let Some(leaves) = step.leaves {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum -= row[leaves];
            }
        }
        while at.get(kept) == Some(&i) {
            for (n, sum) in sums.iter().enumerate() {
                output[n * at.len() + kept] = sum / step.inside;
            }
            kept += 1;
        }
    }
}

#[inline(always)]
fn box_along_columns(input: &[f32], output: &mut [f32], columns: usize) {
    let window = Window::for_side(input.len() / columns);
    let row = |i: usize| &input[i * columns..][..columns];
    let mut sums = vec![0.0_f32; columns];
    for i in window.head() {
        for (sum, value) in sums.iter_mut().zip(row(i)) {
            *sum += value;
        }
    }
    for (step, line) in window.steps().zip(output.chunks_exact_mut(columns)) {
        if let Some(enters) = step.enters {
            for (sum, value) in sums.iter_mut().zip(row(enters)) {
                *sum += value;
            }
        }
        if let Some(leaves) = step.leaves {
            for (sum, value) in sums.iter_mut().zip(row(leaves)) {
                *sum -= value;
            }
        }
        for (out, sum) in line.iter_mut().zip(&sums) {
            *out = sum / step.inside;
        }
    }
}

/// Where a side is sampled: at the centres of 64 cells.
fn centres(side: usize) -> [usize; GRID] {
    std::array::from_fn(|cell| (2 * cell + 1) * side / (2 * GRID))
}

/// Gradients between neighbours, each in hundredths of the value range rounded towards zero, summed and divided by 90.
fn quality(grid: &Grid) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a difference of lumas within ±100"
    )]
    let gradient = |a: f32, b: f32| ((a - b) * 100.0 / 255.0) as i32;
    let mut sum = 0;
    for i in 0..GRID {
        for j in 0..GRID {
            if i + 1 < GRID {
                sum += gradient(grid[i][j], grid[i + 1][j]).abs();
            }
            if j + 1 < GRID {
                sum += gradient(grid[i][j], grid[i][j + 1]).abs();
            }
        }
    }
    u8::try_from((sum / 90).min(100)).expect("a number within 0..=100")
}

/// Cosines of frequencies 1 to 16 at the 64 sample positions, by frequency.
static COSINES: LazyLock<[[f32; GRID]; FREQUENCIES]> = LazyLock::new(|| {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the reference rounds to f32 here, and small integers are exact"
    )]
    std::array::from_fn(|k| {
        let scale = f64::from((2.0 / GRID as f64).sqrt() as f32);
        std::array::from_fn(|x| {
            let angle = std::f64::consts::PI / 2.0 / GRID as f64 * (k + 1) as f64 * (2 * x + 1) as f64;
            (scale * angle.cos()) as f32
        })
    })
});

/// The lowest frequencies of the two-dimensional DCT, the constant ones left out.
#[inline(always)]
fn dct(grid: &Grid) -> Spectrum {
    let cosines = &*COSINES;
    let mut by_row = [[0.0_f32; GRID]; FREQUENCIES];
    for (out, cosine) in by_row.iter_mut().zip(cosines) {
        for (&c, line) in cosine.iter().zip(grid) {
            for (o, &value) in out.iter_mut().zip(line) {
                *o += c * value;
            }
        }
    }
    let mut spectrum = [[0.0_f32; FREQUENCIES]; FREQUENCIES];
    for (out, line) in spectrum.iter_mut().zip(&by_row) {
        for (x, &value) in line.iter().enumerate() {
            for (o, cosine) in out.iter_mut().zip(cosines) {
                *o += value * cosine[x];
            }
        }
    }
    spectrum
}

/// One bit for each frequency above the (lower) median; bit 16·i + j, bit 255 first.
fn bits(spectrum: &Spectrum) -> PdqHash {
    let mut values = *spectrum
        .as_flattened()
        .first_chunk::<256>()
        .expect("16 × 16 values");
    let (_, &mut median, _) = values.select_nth_unstable_by(127, f32::total_cmp);
    let mut bytes = [0; 32];
    for (k, &value) in spectrum.as_flattened().iter().enumerate() {
        if value > median {
            bytes[31 - k / 8] |= 1 << (k % 8);
        }
    }
    PdqHash::from_bytes(bytes)
}

#[cfg(test)]
#[path = "pdq_tests.rs"]
mod tests;
