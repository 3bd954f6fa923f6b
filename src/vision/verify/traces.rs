//! Which of two aligned images was altered: plain borders around what both show, and graphics where they differ.
//!
//! An overlay, a caption or a mosaic is drawn: flat fills and hard edges. A photograph under it is neither. A border is
//! plain, and ends abruptly where the picture begins; the plain ground of a studio photograph goes on inside.

use super::Features;
use super::plane::Plane;
use crate::types::{Region, Transform};

/// What betrays an altered image, on either side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traces {
    /// Of the first image.
    pub a: Trace,
    /// Of the second.
    pub b: Trace,
}

/// What betrays one image as altered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Trace {
    /// What the other image does not show of this one is plain.
    pub plain: bool,
    /// It is plain and ends where the shared part begins: a border that was added.
    pub bordered: bool,
    /// Where the images differ this one looks drawn and the other does not.
    pub drawn: bool,
}

impl Traces {
    /// The same with the images in the other order.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { a: self.b, b: self.a }
    }
}

/// Neighbouring pixels that differ by no more are flat, grey levels.
const FLAT: u8 = 2;
/// Neighbouring pixels that differ by as much stand on a hard edge, grey levels.
const HARD: u8 = 48;
/// Share of flat pixels that makes a border.
const PLAIN: f32 = 0.9;
/// Samples along the longer side of an image.
const SAMPLES: usize = 160;
/// Pixels that are enough to judge by.
const ENOUGH: u32 = 24;

/// Looks for traces of editing in a pair that `transform` aligns and that differs in the boxes `changed` of the first.
#[must_use]
pub fn traces(a: &Features, b: &Features, transform: &Transform, changed: &[Region]) -> Traces {
    let Some(back) = transform.inverse() else {
        return Traces::default();
    };
    let (Some(luma_a), Some(luma_b)) = (a.luma.first(), b.luma.first()) else {
        return Traces::default();
    };
    let (plain_a, bordered_a) = border(luma_a, transform, luma_b);
    let (plain_b, bordered_b) = border(luma_b, &back, luma_a);
    let here = Grain::of(luma_a, &|at| within(changed, at), 0.0);
    let there = Grain::of(luma_b, &|at| within(changed, back.apply(at)), 0.0);
    Traces {
        a: Trace {
            plain: plain_a,
            bordered: bordered_a,
            drawn: here.is_drawn_beside(&there),
        },
        b: Trace {
            plain: plain_b,
            bordered: bordered_b,
            drawn: there.is_drawn_beside(&here),
        },
    }
}

fn within(regions: &[Region], [x, y]: [f64; 2]) -> bool {
    let inside = |from: f32, length: f32, at: f64| at >= f64::from(from) && at <= f64::from(from + length);
    regions
        .iter()
        .any(|r| inside(r.x, r.width, x) && inside(r.y, r.height, y))
}

fn is_inside([x, y]: [f64; 2]) -> bool {
    (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y)
}

/// Whether what `map` carries out of the other image is plain, and whether it is a border that was added.
fn border(plane: &Plane, map: &Transform, other: &Plane) -> (bool, bool) {
    // A little away from the seam, which resampling blurs.
    let outside = |at: [f64; 2]| {
        let [x, y] = map.apply(at);
        !(-0.02..=1.02).contains(&x) || !(-0.02..=1.02).contains(&y)
    };
    let rest = Grain::of(plane, &outside, 0.0);
    if rest.count < ENOUGH || rest.flat() < PLAIN {
        return (false, false);
    }
    // The outermost part of the other image: where much of it is of the same tone, the ground of the picture goes on.
    let rim = |[x, y]: [f64; 2]| is_inside([x, y]) && x.min(y).min(1.0 - x).min(1.0 - y) < 0.03;
    let rim = Grain::of(other, &rim, rest.mean());
    (true, (rim.toned as f32) < 0.25 * rim.count as f32)
}

/// Steps of brightness over a part of an image.
#[derive(Default)]
struct Grain {
    count: u32,
    flat: u32,
    hard: u32,
    /// Pixels of about the tone asked for.
    toned: u32,
    sum: u64,
}

impl Grain {
    /// Over the points, in relative units, that `is_meant` names.
    fn of(plane: &Plane, is_meant: &dyn Fn([f64; 2]) -> bool, tone: f32) -> Self {
        let mut grain = Self::default();
        let stride = (plane.width.max(plane.height) / SAMPLES).max(1);
        let (width, height) = (plane.width as f64, plane.height as f64);
        for y in (0..plane.height.saturating_sub(1)).step_by(stride) {
            let (row, below) = (plane.row(y), plane.row(y + 1));
            for x in (0..plane.width.saturating_sub(1)).step_by(stride) {
                if is_meant([(x as f64 + 0.5) / width, (y as f64 + 0.5) / height]) {
                    let step = row[x].abs_diff(row[x + 1]).max(row[x].abs_diff(below[x]));
                    grain.count += 1;
                    grain.flat += u32::from(step <= FLAT);
                    grain.hard += u32::from(step >= HARD);
                    grain.toned += u32::from((f32::from(row[x]) - tone).abs() <= 12.0);
                    grain.sum += u64::from(row[x]);
                }
            }
        }
        grain
    }

    fn flat(&self) -> f32 {
        self.flat as f32 / self.count.max(1) as f32
    }

    fn hard(&self) -> f32 {
        self.hard as f32 / self.count.max(1) as f32
    }

    fn mean(&self) -> f32 {
        self.sum as f32 / self.count.max(1) as f32
    }

    fn is_drawn_beside(&self, other: &Self) -> bool {
        let enough = self.count >= ENOUGH && other.count >= ENOUGH;
        let filled = self.flat() >= other.flat() + 0.25;
        let lettered = self.hard() >= 3.0 * other.hard() + 0.02 && self.flat() + 0.1 >= other.flat();
        enough && (filled || lettered)
    }
}
