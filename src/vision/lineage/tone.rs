//! The later of two tones: what was cut off at the ends of the scale is gone for good.
//!
//! One affine map of colours is fitted from either image to the other. Where an image stands at an end of its scale and the map
//! leads beyond that end, it was cut off, and the other one still tells apart what was there. Where the map leads to that
//! very end, the other image has the same cut-off tones somewhere inside its scale: it was made from this one.

use image::RgbImage;

use super::{Later, Side, Sign};

/// Levels at which a channel counts as cut off.
const ENDS: [u8; 2] = [2, 253];
/// Levels between which a channel is clear of the ends.
const CLEAR: [u8; 2] = [6, 249];
/// Pixels that a map is fitted to, at least.
const FEWEST: usize = 200;
/// And about at most: more of them say the same.
const MOST: usize = 16_384;
/// Rounds of the fit; each but the first leaves out what fits worst.
const ROUNDS: usize = 3;
/// Share of the pixels that the fit goes by.
const FITTED: f64 = 0.7;
/// Residual up to which a pixel belongs to the fit in any case, levels.
const FITS: f64 = 8.0;
/// Levels beyond an end that are no noise.
const BEYOND: f64 = 8.0;
/// Channels cut off that make a verdict.
const ENOUGH: usize = 30;
/// Half of the pixels have to differ by so many levels, for tones to be compared.
const CHANGED: u8 = 4;

/// Share of an image's values that were cut off beyond an end, of all values and of those at an end.
const LOST: [f64; 2] = [0.003, 0.25];
/// So many times as many lie beyond the end as equally far short of it; a map that fits badly leads as many to either side.
const ONE_SIDED: f64 = 2.0;
/// Values at an end that are there in truth: their share of all, the share of them that the map may lead beyond, and the share that it
/// has to lead close to the end.
const TRUE_ENDS: [f64; 3] = [0.004, 0.15, 0.6];
/// The other image has so many times fewer.
const FEWER: f64 = 3.0;

/// What an image shows at the ends of its scale, beside the other one.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// Values at an end, of all values.
    share: f64,
    /// Of these the share that the map leads beyond the end.
    beyond: f64,
    /// The share that it leads as far short of the end.
    short: f64,
    /// The share that it leads close to the end.
    close: f64,
    is_enough: bool,
}

impl Ends {
    fn are_lost(&self) -> bool {
        let is_one_sided = self.beyond >= ONE_SIDED * self.short;
        self.is_enough && is_one_sided && self.share * self.beyond >= LOST[0] && self.beyond >= LOST[1]
    }

    fn are_true(&self, other: &Self) -> bool {
        self.is_enough
            && self.share >= TRUE_ENDS[0]
            && self.beyond < TRUE_ENDS[1]
            && self.close >= TRUE_ENDS[2]
            && self.share > FEWER * other.share
    }
}

/// The image whose tones were made from the other's; both of one size.
pub(super) fn later(a: &RgbImage, b: &RgbImage) -> Option<Later> {
    let (a, b) = (a.as_raw().as_chunks::<3>().0, b.as_raw().as_chunks::<3>().0);
    let (ends_a, ends_b) = (ends(a, b)?, ends(b, a)?);
    let of = |side, sign| Some(Later { side, sign });
    match (ends_a.are_lost(), ends_b.are_lost()) {
        (true, false) => of(Side::First, Sign::Clipped),
        (false, true) => of(Side::Second, Sign::Clipped),
        (true, true) => None,
        (false, false) => match (ends_a.are_true(&ends_b), ends_b.are_true(&ends_a)) {
            (true, false) => of(Side::Second, Sign::Dulled),
            (false, true) => of(Side::First, Sign::Dulled),
            _ => None,
        },
    }
}

/// Whether two images of one size have other tones all over.
pub(super) fn is_other(a: &RgbImage, b: &RgbImage) -> bool {
    let (a, b) = (a.as_raw().as_chunks::<3>().0, b.as_raw().as_chunks::<3>().0);
    let mut differences: Vec<u8> = a.iter().zip(b).map(|(p, q)| farthest(p, q)).collect();
    let middle = differences.len() / 2;
    !differences.is_empty() && *differences.select_nth_unstable(middle).1 >= CHANGED
}

fn farthest(p: &[u8; 3], q: &[u8; 3]) -> u8 {
    p.iter().zip(q).map(|(v, w)| v.abs_diff(*w)).max().unwrap_or(0)
}

/// What `image` shows at its ends, by the map from `other`.
fn ends(image: &[[u8; 3]], other: &[[u8; 3]]) -> Option<Ends> {
    let map = Map::fitted(other, image)?;
    let (mut at_end, mut beyond, mut short, mut close) = (0usize, 0usize, 0usize, 0usize);
    for (pixel, source) in image.iter().zip(other) {
        if pixel.iter().all(|v| (ENDS[0] + 1..ENDS[1]).contains(v)) {
            continue;
        }
        for (&v, led) in pixel.iter().zip(map.apply(source)) {
            let over = if v <= ENDS[0] {
                -led
            } else if v >= ENDS[1] {
                led - 255.0
            } else {
                continue;
            };
            at_end += 1;
            beyond += usize::from(over > BEYOND);
            short += usize::from(over < -BEYOND);
            close += usize::from(over.abs() <= BEYOND);
        }
    }
    let of_ends = |count: usize| count as f64 / at_end.max(1) as f64;
    Some(Ends {
        share: at_end as f64 / (3 * image.len()) as f64,
        beyond: of_ends(beyond),
        short: of_ends(short),
        close: of_ends(close),
        is_enough: at_end >= ENOUGH,
    })
}

/// An affine map of colours: for each channel three weights and an offset.
struct Map([[f64; 4]; 3]);

impl Map {
    /// The map from one image to another that fits most of their pixels clear of the ends best.
    fn fitted(from: &[[u8; 3]], to: &[[u8; 3]]) -> Option<Self> {
        let is_clear = |pixel: &[u8; 3]| pixel.iter().all(|v| (CLEAR[0] + 1..CLEAR[1]).contains(v));
        let clear: Vec<(&[u8; 3], &[u8; 3])> = from
            .iter()
            .zip(to)
            .step_by((from.len() / MOST).max(1))
            .filter(|(p, q)| is_clear(p) && is_clear(q))
            .collect();
        if clear.len() < FEWEST {
            return None;
        }
        let mut most = f64::MAX;
        let mut map: Option<Self> = None;
        for _ in 0..ROUNDS {
            let fits =
                |(p, q): &&(&[u8; 3], &[u8; 3])| map.as_ref().is_none_or(|map| map.misses(p, q) <= most);
            let next = Self::least_squares(clear.iter().filter(fits).copied())?;
            let mut left: Vec<f64> = clear.iter().map(|(p, q)| next.misses(p, q)).collect();
            let place = (FITTED * (left.len() - 1) as f64) as usize;
            most = FITS.max(*left.select_nth_unstable_by(place, f64::total_cmp).1);
            map = Some(next);
        }
        map
    }

    fn least_squares<'a>(pairs: impl Iterator<Item = (&'a [u8; 3], &'a [u8; 3])>) -> Option<Self> {
        // Normal equations: products of the colours, and with each channel of the target.
        let (mut products, mut targets) = ([[0.0f64; 4]; 4], [[0.0f64; 4]; 3]);
        for (p, q) in pairs {
            let source = [f64::from(p[0]), f64::from(p[1]), f64::from(p[2]), 1.0];
            for (row, v) in products.iter_mut().zip(source) {
                row.iter_mut().zip(source).for_each(|(sum, w)| *sum += v * w);
            }
            for (row, &target) in targets.iter_mut().zip(q) {
                row.iter_mut()
                    .zip(source)
                    .for_each(|(sum, v)| *sum += v * f64::from(target));
            }
        }
        // Grey pictures have one colour only: a little weight keeps the channels apart.
        let ridge = 1e-4 * (products[0][0] + products[1][1] + products[2][2]);
        (0..3).for_each(|i| products[i][i] += ridge);
        let solve = |target: [f64; 4]| solved(products, target);
        let [red, green, blue] = targets.map(solve);
        Some(Self([red?, green?, blue?]))
    }

    fn apply(&self, pixel: &[u8; 3]) -> [f64; 3] {
        let [r, g, b] = pixel.map(f64::from);
        self.0.map(|[x, y, z, offset]| x * r + y * g + z * b + offset)
    }

    fn misses(&self, from: &[u8; 3], to: &[u8; 3]) -> f64 {
        let led = self.apply(from);
        led.iter()
            .zip(to)
            .map(|(v, w)| (v - f64::from(*w)).abs())
            .fold(0.0, f64::max)
    }
}

/// Solves four linear equations of a positive matrix by elimination.
fn solved(mut matrix: [[f64; 4]; 4], mut right: [f64; 4]) -> Option<[f64; 4]> {
    for i in 0..4 {
        let pivot = matrix[i];
        if pivot[i].abs() < 1e-9 {
            return None;
        }
        for j in i + 1..4 {
            let share = matrix[j][i] / pivot[i];
            matrix[j].iter_mut().zip(pivot).for_each(|(v, w)| *v -= share * w);
            right[j] -= share * right[i];
        }
    }
    for i in (0..4).rev() {
        let known: f64 = (i + 1..4).map(|j| matrix[i][j] * right[j]).sum();
        right[i] = (right[i] - known) / matrix[i][i];
    }
    Some(right)
}
