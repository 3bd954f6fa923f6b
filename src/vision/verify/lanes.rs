//! Sixteen pixels side by side, in numbers of sixteen bits: what samples, compares and finds tiles again.
//!
//! Brightness is counted in eighths of a grey level around 0. Sums of products are exact in 32 bits, so that every processor
//! gives the same answer to the bit, whether it has the instructions or goes through the lanes one by one.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::plane::Plane;
#[cfg(target_arch = "x86_64")]
use crate::vision::wide::Kernel;

/// Pixels side by side.
pub(super) const LANES: usize = 16;
/// Steps of brightness in a grey level.
pub(super) const LEVEL: i16 = 8;

/// Bits behind the point of a place in a plane.
const PLACE_BITS: u32 = 16;
/// The same of a brightness between pixels, while it is reckoned.
const BLEND_BITS: u32 = 7;
/// Just less than a whole pixel, in numbers with fifteen bits behind the point.
const WHOLE: i32 = i16::MAX as i32;

/// The brightness of a pixel of a plane in eighths of a grey level, around 0.
#[inline(always)]
pub(super) fn eighths(level: u8) -> i16 {
    (i16::from(level) - 128) * LEVEL
}

/// Places side by side along one axis of a plane, in 65,536ths of a pixel from the middle of the first one. What lies beyond the
/// plane is brought to its border; it has two pixels at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along {
    first: i32,
    step: i32,
    /// The last pixel of the plane.
    last: i32,
}

/// All places along a row of the target, on one axis of a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    first: i64,
    step: i64,
    last: i32,
}

impl Course {
    /// More bits behind the point, so that the last places of a row are as exact as the first.
    const MORE: u32 = 16;

    /// `first` and `step` in pixels of a plane that is `len` long.
    #[inline(always)]
    pub(super) fn new(first: f64, step: f64, len: usize) -> Self {
        const ONE: f64 = (1i64 << (PLACE_BITS + Course::MORE)) as f64;
        // No more than lanes of 32 bits hold.
        const STEEP: f64 = 1024.0;
        Self {
            first: (first * ONE) as i64,
            step: (step.clamp(-STEEP, STEEP) * ONE) as i64,
            last: len as i32 - 1,
        }
    }

    /// The places of lanes from a place of the row on.
    #[inline(always)]
    pub(super) fn from(self, place: usize) -> Along {
        // Farther than any plane reaches.
        const FAR: i64 = 16_384 << PLACE_BITS;
        let rounded = |number: i64| number.saturating_add(1 << (Self::MORE - 1)) >> Self::MORE;
        let first = rounded(self.first.saturating_add(self.step * place as i64));
        Along {
            first: first.clamp(-FAR, FAR) as i32,
            step: rounded(self.step) as i32,
            last: self.last,
        }
    }
}

impl Along {
    /// A lane's pixel, and how far it lies towards the next one, with fifteen bits behind the point.
    #[inline(always)]
    fn at(self, lane: usize) -> (usize, i16) {
        let place = (self.first + self.step * lane as i32).clamp(0, self.last << PLACE_BITS);
        // At the far border the last pixel is the second of a pair.
        let pixel = (place >> PLACE_BITS).min(self.last - 1);
        let beyond = ((place - (pixel << PLACE_BITS)) >> 1).min(WHOLE);
        (pixel as usize, beyond as i16)
    }

    /// The first and the last pixel of all lanes, and how many pixels apart they are.
    #[inline(always)]
    fn span(self) -> (usize, usize) {
        let (one, other) = (self.at(0).0, self.at(LANES - 1).0);
        (one.min(other), one.abs_diff(other))
    }
}

/// What a processor does to sixteen pixels at a time.
pub(super) trait Lanes: Copy {
    /// Sixteen numbers of 16 bits.
    type Pixels: Copy;
    /// Eight sums of 32 bits.
    type Sums: Copy;

    fn pixels(self, of: &[i16; LANES]) -> Self::Pixels;
    fn stored(self, pixels: Self::Pixels) -> [i16; LANES];
    fn plus(self, a: Self::Pixels, b: Self::Pixels) -> Self::Pixels;
    fn minus(self, a: Self::Pixels, b: Self::Pixels) -> Self::Pixels;
    /// Those of `a` whose lane of `mask` is −1, and 0 where it is 0.
    fn kept(self, a: Self::Pixels, mask: Self::Pixels) -> Self::Pixels;
    /// Rounded down.
    fn half(self, a: Self::Pixels) -> Self::Pixels;
    fn none(self) -> Self::Sums;
    /// The sums, and the products of both added to them, two to each.
    fn with_products(self, sums: Self::Sums, a: Self::Pixels, b: Self::Pixels) -> Self::Sums;
    fn total(self, sums: Self::Sums) -> i64;
    /// The brightness of a plane at places side by side, by bilinear interpolation.
    fn sampled(self, plane: &Plane, x: Along, y: Along) -> Self::Pixels;
}

/// Something to do by sixteen pixels at a time.
pub(super) trait LaneKernel {
    type Output;

    fn call<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs a kernel with the widest instructions that the processor has.
pub(super) fn in_lanes<K: LaneKernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        // Twice the registers, for what keeps many sums.
        if let Some(avx512) = pulp::x86::V4::try_new() {
            return avx512.vectorize(With(kernel, *avx512));
        }
        if let Some(avx2) = pulp::x86::V3::try_new() {
            return avx2.vectorize(With(kernel, avx2));
        }
    }
    kernel.call(Plain)
}

/// A kernel and the lanes it runs in.
#[cfg(target_arch = "x86_64")]
struct With<K, L>(K, L);

#[cfg(target_arch = "x86_64")]
impl<K: LaneKernel, L: Lanes> Kernel for With<K, L> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.0.call(self.1)
    }
}

/// One lane after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

/// What lies between two numbers; `beyond` has fifteen bits behind the point. Rounded as `pmulhrsw` rounds.
#[inline(always)]
fn between(one: i16, other: i16, beyond: i16) -> i16 {
    let product = i32::from(other - one) * i32::from(beyond);
    one + ((product + (1 << 14)) >> 15) as i16
}

/// Half of a level while it is reckoned, to round by, and what brings it around 0.
const ROUND: i16 = (1 << (BLEND_BITS - 4)) - (128 << BLEND_BITS);

#[inline(always)]
fn each(of: impl Fn(usize) -> i16) -> [i16; LANES] {
    let mut lanes = [0; LANES];
    for (lane, out) in lanes.iter_mut().enumerate() {
        *out = of(lane);
    }
    lanes
}

impl Lanes for Plain {
    type Pixels = [i16; LANES];
    type Sums = [i32; LANES / 2];

    #[inline(always)]
    fn pixels(self, of: &[i16; LANES]) -> Self::Pixels {
        *of
    }

    #[inline(always)]
    fn stored(self, pixels: Self::Pixels) -> [i16; LANES] {
        pixels
    }

    #[inline(always)]
    fn plus(self, a: Self::Pixels, b: Self::Pixels) -> Self::Pixels {
        each(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn minus(self, a: Self::Pixels, b: Self::Pixels) -> Self::Pixels {
        each(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn kept(self, a: Self::Pixels, mask: Self::Pixels) -> Self::Pixels {
        each(|lane| a[lane] & mask[lane])
    }

    #[inline(always)]
    fn half(self, a: Self::Pixels) -> Self::Pixels {
        each(|lane| a[lane] >> 1)
    }

    #[inline(always)]
    fn none(self) -> Self::Sums {
        [0; LANES / 2]
    }

    #[inline(always)]
    fn with_products(self, mut sums: Self::Sums, a: Self::Pixels, b: Self::Pixels) -> Self::Sums {
        for (k, sum) in sums.iter_mut().enumerate() {
            let product = |lane: usize| i32::from(a[lane]) * i32::from(b[lane]);
            *sum += product(2 * k) + product(2 * k + 1);
        }
        sums
    }

    #[inline(always)]
    fn total(self, sums: Self::Sums) -> i64 {
        sums.iter().map(|&sum| i64::from(sum)).sum()
    }

    #[inline(always)]
    fn sampled(self, plane: &Plane, x: Along, y: Along) -> Self::Pixels {
        each(|lane| {
            let ((column, across), (row, down)) = (x.at(lane), y.at(lane));
            let line = |row: usize| {
                let pixel = |column: usize| i16::from(plane.row(row)[column]) << BLEND_BITS;
                between(pixel(column), pixel(column + 1), across)
            };
            (between(line(row), line(row + 1), down) + ROUND) >> (BLEND_BITS - 3)
        })
    }
}
