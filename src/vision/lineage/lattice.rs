//! The later of two compressions.
//!
//! A JPEG file holds coefficients of 8×8 blocks rounded to multiples of a step. Of two files with one picture the later one was
//! rounded from the multiples of the earlier: where the later has the finer steps, each of its coefficients is the multiple
//! nearest to one of the earlier, and those in between are missing ("double quantisation": Lukáš and Fridrich, DFRWS 2003).
//! Where the later has the coarser steps, what it does not tell apart is spread in the earlier as in any picture. A change of
//! contrast scales the steps with the picture.

use super::{Coded, Side};
use crate::vision::wide::{Kernel, wide};

/// Blocks looked at.
const BLOCKS: usize = 4096;
/// Blocks that are enough to judge by.
const FEWEST: usize = 6;
/// Frequencies of a block that carry detail.
const DETAILS: usize = 63;
/// Sum of squares from which a block has detail.
const DETAILED: f32 = 378.0;
/// Correlation of the details of a block from which it was not edited, but for its contrast.
const SAME: f32 = 0.95;
/// Contrast that counts as unchanged.
const UNCHANGED: std::ops::Range<f32> = 0.94..1.06;
/// Variance of what rounding to whole grey levels leaves in a coefficient of either image.
const ROUNDING: f32 = 0.1;
/// Steps of the finer lattice up to which a coefficient is small enough for its gain to be exact.
const SMALL: f32 = 14.0;
/// Likelihood by chance from which a coefficient tells nothing.
const CERTAIN: f32 = 0.85;
/// Coefficients, less those explained by chance, that make a verdict.
const LEAST: f32 = 8.0;
/// Share of what chance leaves open that the lattice explains: from here on it is there. Of 285 training pairs whose finer compression
/// is the later nine have less than .7, of 211 whose coarser one is two have more.
const LATTICE: f32 = 0.72;
/// The same up to which it is not.
const NO_LATTICE: f32 = 0.3;
/// Squared distance, in parts of what a rounding leaves, that a later rounding accounts for.
const ACCOUNTED: f32 = 2.2;
/// Least share of the coefficients that have to lie where the coarser lattice lets them.
const WITHIN: f32 = 0.7;
/// Squared distance from the lossless image, in those expected of a rounding, up to which a compression is earlier than it,
/// and within which it is later.
const EARLIER: f32 = 0.5;
const LATER: std::ops::Range<f32> = 0.85..1.25;
/// Blocks of unchanged contrast that make it later: few under a veil may lie at any distance.
const ENOUGH: usize = 24;

/// What two compressions say about which came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The image whose compression is the later one.
    pub(super) later: Side,
    /// It carries the other's rounding, so it was made from it. Without that the other was not made from it; both may have been made
    /// from a third.
    pub(super) is_made_from_other: bool,
}

impl Verdict {
    /// One image is the later, or else the other.
    const fn of(side: Side, is_later: bool, is_made_from_other: bool) -> Self {
        Self {
            later: if is_later { side } else { side.other() },
            is_made_from_other,
        }
    }
}

/// A pair of blocks: the details of either image.
type Blocks = ([f32; DETAILS], [f32; DETAILS]);

/// Which compression came later.
pub(super) fn later(a: &Coded, b: &Coded) -> Option<Verdict> {
    if (a.width, a.height) != (b.width, b.height) {
        return None;
    }
    let steps = |image: &Coded| {
        image
            .steps
            .map(|steps| std::array::from_fn::<f32, DETAILS, _>(|i| f32::from(steps[i + 1])))
    };
    let (steps_a, steps_b) = (steps(a), steps(b));
    if steps_a.is_none() && steps_b.is_none() {
        return None;
    }
    let (blocks, gain) = wide(Common(a, b))?;
    let is_sure = blocks.len() >= ENOUGH && UNCHANGED.contains(&gain);
    match (steps_a, steps_b) {
        (Some(steps_a), Some(steps_b)) => both(&blocks, gain, &steps_a, &steps_b),
        (Some(steps), None) => {
            let pairs = blocks.iter().map(|(x, y)| (x, y));
            let is_later = beside_lossless(pairs, 1.0 / gain, &steps)?;
            (!is_later || is_sure).then_some(Verdict::of(Side::First, is_later, !is_later))
        }
        (None, Some(steps)) => {
            let pairs = blocks.iter().map(|(x, y)| (y, x));
            let is_later = beside_lossless(pairs, gain, &steps)?;
            (!is_later || is_sure).then_some(Verdict::of(Side::Second, is_later, !is_later))
        }
        (None, None) => None,
    }
}

/// Looks for the blocks that two images have in common.
struct Common<'a>(&'a Coded, &'a Coded);

impl Kernel for Common<'_> {
    type Output = Option<(Vec<Blocks>, f32)>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        common(self.0, self.1)
    }
}

/// The blocks with detail that show the same in both images, and the contrast of B relative to A.
#[inline(always)]
fn common(a: &Coded, b: &Coded) -> Option<(Vec<Blocks>, f32)> {
    let (columns, rows) = (a.width / 8, a.height / 8);
    let stride = (columns * rows).div_ceil(BLOCKS).max(1);
    let dct = Cosines::new();
    let energy = |block: &[f32; DETAILS]| block.iter().map(|v| v * v).sum::<f32>();
    let mut found: Vec<Blocks> = Vec::new();
    let mut means: Vec<[f32; 2]> = Vec::new();
    for place in (0..columns * rows).step_by(stride) {
        let (x, y) = (8 * (place % columns), 8 * (place / columns));
        let (Some((one, mean)), Some((other, other_mean))) = (dct.details(a, x, y), dct.details(b, x, y))
        else {
            continue;
        };
        let (e, f) = (energy(&one), energy(&other));
        let shared: f32 = one.iter().zip(&other).map(|(v, w)| v * w).sum();
        if e.min(f) > DETAILED && shared > SAME * (e * f).sqrt() {
            found.push((one, other));
            means.push([mean, other_mean]);
        }
    }
    if found.len() < FEWEST {
        return None;
    }
    let rest = |(one, other): &Blocks, gain: f32| -> f32 {
        one.iter().zip(other).map(|(v, w)| (w - gain * v).powi(2)).sum()
    };
    let left = |gain: f32| median(found.iter().map(|block| rest(block, gain)));
    // What rounds to nothing weakens details, and brightness from block to block hardly.
    let contrast = slope(&means);
    let gain = if UNCHANGED.contains(&contrast) {
        1.0
    } else {
        contrast
    };
    let most = 2.5 * left(gain) + 20.0;
    found.retain(|block| rest(block, gain) <= most);
    Some((found, gain))
}

/// Spread of the second values by that of the first.
fn slope(pairs: &[[f32; 2]]) -> f32 {
    let spread = |i: usize| {
        let mean = pairs.iter().map(|pair| pair[i]).sum::<f32>() / pairs.len() as f32;
        pairs.iter().map(|pair| (pair[i] - mean).powi(2)).sum::<f32>()
    };
    (spread(1) / spread(0).max(1e-3)).sqrt().clamp(0.1, 10.0)
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// How the coefficients of the finer of two lattices lie on what the coarser one lets expect.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: f32,
    /// Within the multiples that the coarser lattice does not tell apart.
    within: f32,
    /// The one nearest to the coarser's.
    nearest: f32,
    /// As many as are the nearest in any picture.
    by_chance: f32,
}

impl Tally {
    /// Whether the finer compression is the later one.
    fn is_later(&self) -> Option<bool> {
        let open = self.count - self.by_chance;
        if open < LEAST {
            return None;
        }
        let explained = (self.nearest - self.by_chance) / open;
        if explained > LATTICE {
            Some(true)
        } else if explained < NO_LATTICE && self.within > WITHIN * self.count {
            Some(false)
        } else {
            None
        }
    }
}

/// Of two JPEG files.
fn both(blocks: &[Blocks], gain: f32, steps_a: &[f32; DETAILS], steps_b: &[f32; DETAILS]) -> Option<Verdict> {
    let noise = (ROUNDING * (1.0 + gain * gain) + ROUNDING / 2.0).sqrt();
    let [mut finer_a, mut finer_b] = [Tally::default(); 2];
    for (i, (&step_a, &step_b)) in steps_a.iter().zip(steps_b).enumerate() {
        let step_a = gain * step_a;
        let of_a = blocks.iter().map(|(a, b)| (gain * a[i], b[i]));
        if step_b < step_a {
            tally(&mut finer_b, of_a.map(|(a, b)| (b, a)), [step_b, step_a], noise);
        } else if step_a < step_b {
            tally(&mut finer_a, of_a, [step_a, step_b], noise);
        }
    }
    let (tally, finer) = if finer_b.count >= finer_a.count {
        (finer_b, Side::Second)
    } else {
        (finer_a, Side::First)
    };
    if tally.is_later()? {
        return Some(Verdict::of(finer, true, true));
    }
    // A wrong gain hides a lattice too: the coarser one has to account for what differs.
    let scaled = blocks.iter().map(|(a, b)| (a.map(|v| gain * v), *b));
    let distance = match finer {
        Side::First => distance(scaled.map(|(a, b)| (b, a)), steps_b, noise),
        Side::Second => distance(scaled, &steps_a.map(|step| gain * step), noise),
    };
    (distance <= ACCOUNTED).then_some(Verdict::of(finer, false, false))
}

/// Mean squared difference of the coefficients of the first images that are not rounded to nothing by its steps, from those of the
/// second, in parts of what that rounding leaves.
fn distance(
    pairs: impl Iterator<Item = ([f32; DETAILS], [f32; DETAILS])>,
    steps: &[f32; DETAILS],
    noise: f32,
) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0f32);
    for (rounded, other) in pairs {
        for ((v, w), step) in rounded.iter().zip(&other).zip(steps) {
            if (v / step).round() != 0.0 {
                sum += (v - w).powi(2) / (step * step / 12.0 + noise * noise);
                count += 1.0;
            }
        }
    }
    sum / count.max(1.0)
}

/// Adds coefficients of one frequency, (finer, coarser) as their images have them.
fn tally(
    tally: &mut Tally,
    pairs: impl Iterator<Item = (f32, f32)> + Clone,
    [fine, coarse]: [f32; 2],
    noise: f32,
) {
    let multiple = |v: f32| (v / coarse).round().abs();
    let (sum, count) = pairs
        .clone()
        .map(|(_, coarser)| multiple(coarser))
        .filter(|k| *k > 0.0)
        .fold((0.0f32, 0.0f32), |(sum, count), k| (sum + k, count + 1.0));
    if count < 3.0 {
        return;
    }
    // Coefficients of a picture become rarer at one rate from step to step.
    let decay = (1.0 - count / sum).clamp(0.02, 0.98).powf(fine / coarse);
    let clear = 0.5 - (1.5 * noise / fine).min(0.4);
    for (finer, coarser) in pairs {
        let k = multiple(coarser);
        if k == 0.0 || k * coarse > SMALL * fine {
            continue;
        }
        let expected = k * coarse / fine;
        let nearest = expected.round();
        // All multiples of the finer lattice that the coarser one rounds to this.
        let low = ((k - 0.5) * coarse / fine).ceil().max(1.0);
        let high = ((k + 0.5) * coarse / fine).ceil() - 1.0;
        if high <= low || (expected - nearest).abs() >= clear {
            continue;
        }
        let series = decay.powf(low - nearest) * (1.0 - decay.powf(high - low + 1.0)) / (1.0 - decay);
        let chance = 1.0 / series.max(1.0);
        if chance > CERTAIN {
            continue;
        }
        let found = (finer / fine).round() * coarser.signum();
        tally.count += 1.0;
        tally.by_chance += chance;
        tally.within += f32::from(u8::from((low..=high).contains(&found)));
        tally.nearest += f32::from(u8::from(found == nearest));
    }
}

/// Whether a JPEG file is later than an image that lost nothing: `pairs` are blocks of both, the JPEG file's first, `gain` is its
/// contrast relative to the other's.
fn beside_lossless<'a>(
    pairs: impl Iterator<Item = (&'a [f32; DETAILS], &'a [f32; DETAILS])>,
    gain: f32,
    steps: &[f32; DETAILS],
) -> Option<bool> {
    let noise = (2.0 * ROUNDING * (1.0 + gain * gain)).sqrt();
    let scaled = pairs.map(|(jpeg, lossless)| (*jpeg, lossless.map(|v| gain * v)));
    let distance = distance(scaled, steps, noise);
    if distance < EARLIER {
        Some(false)
    } else {
        LATER.contains(&distance).then_some(true)
    }
}

/// The cosine transform of 8×8 blocks, orthonormal: for each place the waves of all frequencies, and the other way round.
struct Cosines {
    at: [[f32; 8]; 8],
    of: [[f32; 8]; 8],
}

impl Cosines {
    fn new() -> Self {
        let of = std::array::from_fn(|k| {
            let scale = if k == 0 { 0.125f32.sqrt() } else { 0.5 };
            std::array::from_fn(|x| {
                scale * ((2 * x + 1) as f32 * k as f32 * std::f32::consts::PI / 16.0).cos()
            })
        });
        let at = std::array::from_fn(|x| of.map(|wave: [f32; 8]| wave[x]));
        Self { at, of }
    }

    /// The details and the mean of the block at (x, y); nothing where it reaches an end of the scale, at which values were cut off.
    #[inline(always)]
    fn details(&self, image: &Coded, x: usize, y: usize) -> Option<([f32; DETAILS], f32)> {
        let mut rows = [[0.0f32; 8]; 8];
        for (j, row) in rows.iter_mut().enumerate() {
            let line = &image.luma[(y + j) * image.width + x..][..8];
            if line.iter().any(|v| !(3..253).contains(v)) {
                return None;
            }
            for (&v, waves) in line.iter().zip(&self.at) {
                add(row, waves, f32::from(v));
            }
        }
        let mut found = [0.0; 64];
        for (out, wave) in found.as_chunks_mut::<8>().0.iter_mut().zip(&self.of) {
            for (row, &c) in rows.iter().zip(wave) {
                add(out, row, c);
            }
        }
        let mean = rows.iter().map(|row| row[0]).sum::<f32>() / 8.0;
        Some((std::array::from_fn(|i| found[i + 1]), mean))
    }
}

/// Adds a multiple of eight values to eight others.
#[inline(always)]
fn add(sums: &mut [f32; 8], values: &[f32; 8], factor: f32) {
    for (sum, v) in sums.iter_mut().zip(values) {
        *sum += factor * v;
    }
}
