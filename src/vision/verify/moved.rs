//! Tiles that show the same thing a little elsewhere: something moved between two exposures.
//!
//! An overlay replaces what was there. Between two pictures of a burst a hand, a branch or the foreground moves by some
//! pixels and is still there: such a tile disagrees under the warp that explains the rest, and agrees beside it.

use super::affine::Affine;
use super::plane::Plane;
use super::tiles::{Tile, bilinear};
use crate::vision::wide::{Kernel, wide};

/// How far is looked, in pixels of the plane compared.
const REACH: usize = 28;
/// Steps of the first look, pixels; the best is then looked at more closely.
const STRIDE: usize = 2;
/// Correlation from which a tile was found again.
const FOUND: f32 = 0.9;
/// What it has to correlate better there.
const BETTER: f32 = 0.2;
/// Steps nearer than this are no movement, pixels.
const STILL: f32 = 1.5;
/// What moves together moves by the same, to so many pixels.
const TOGETHER: f32 = 3.0;
/// Tiles that are looked for, at most.
const LOOKED_FOR: usize = 24;

/// How many of `tiles` moved together, and how many were looked for: those with corners, spread over all of them.
pub(super) fn moved<'t>(
    target: &Plane,
    source: &Plane,
    map: &Affine,
    tiles: impl Iterator<Item = &'t Tile>,
) -> (u32, u32) {
    let corners: Vec<&Tile> = tiles
        .filter(|tile| tile.spread_target > 8.0 && tile.spread_source > 8.0 && tile.has_corners())
        .collect();
    let stride = corners.len().div_ceil(LOOKED_FOR).max(1);
    let chosen: Vec<&Tile> = corners.into_iter().step_by(stride).collect();
    let steps: Vec<[f32; 2]> = chosen
        .iter()
        .filter_map(|tile| {
            wide(Search {
                target,
                source,
                map,
                tile,
            })
        })
        .collect();
    let beside = |p: &[f32; 2]| {
        let near = |q: &&[f32; 2]| (p[0] - q[0]).hypot(p[1] - q[1]) <= TOGETHER;
        steps.iter().filter(near).count()
    };
    let together = steps.iter().map(beside).max().unwrap_or(0);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (count(together), count(chosen.len()))
}

/// Looks for one tile in its neighbourhood.
struct Search<'a> {
    target: &'a Plane,
    source: &'a Plane,
    map: &'a Affine,
    tile: &'a Tile,
}

impl Kernel for Search<'_> {
    /// Where it was found, pixels from where the map leads.
    type Output = Option<[f32; 2]>;

    #[inline(always)]
    fn call(self) -> Option<[f32; 2]> {
        let [left, right, top, bottom] = self.tile.bounds.map(|edge| edge as usize);
        let (width, height) = (right - left, bottom - top);
        let (wide, high) = (width + 2 * REACH, height + 2 * REACH);
        let mut field = vec![0.0f32; wide * high];
        let (limit_x, limit_y) = ((self.source.width - 1) as f32, (self.source.height - 1) as f32);
        for y in 0..high {
            for x in 0..wide {
                let at = [
                    (left + x) as f64 - REACH as f64 + 0.5,
                    (top + y) as f64 - REACH as f64 + 0.5,
                ];
                let [sx, sy] = self.map.apply(at).map(|v| v as f32 - 0.5);
                field[y * wide + x] =
                    bilinear(self.source, sx.clamp(0.0, limit_x), sy.clamp(0.0, limit_y)) - 128.0;
            }
        }
        let pixels: Vec<f32> = (top..bottom)
            .flat_map(|y| self.target.row(y)[left..right].iter().map(|&v| f32::from(v)))
            .collect();
        let n = pixels.len() as f32;
        let mean = pixels.iter().sum::<f32>() / n;
        let pixels: Vec<f32> = pixels.iter().map(|p| p - mean).collect();
        let norm = pixels.iter().map(|p| p * p).sum::<f32>();
        let correlation = |dx: usize, dy: usize| {
            let (mut s, mut ss, mut ts) = (0.0f32, 0.0f32, 0.0f32);
            for (y, row) in pixels.chunks_exact(width).enumerate() {
                let start = (y + dy) * wide + dx;
                for (t, v) in row.iter().zip(&field[start..start + width]) {
                    s += v;
                    ss += v * v;
                    ts += t * v;
                }
            }
            let variance = ss - s * s / n;
            if variance < n {
                0.0
            } else {
                ts / (variance * norm).sqrt()
            }
        };
        let here = correlation(REACH, REACH);
        let mut best = (here, [REACH; 2]);
        let look = |dx: usize, dy: usize, best: &mut (f32, [usize; 2])| {
            let found = correlation(dx, dy);
            if found > best.0 {
                *best = (found, [dx, dy]);
            }
        };
        for dy in (0..=2 * REACH).step_by(STRIDE) {
            for dx in (0..=2 * REACH).step_by(STRIDE) {
                look(dx, dy, &mut best);
            }
        }
        let [x, y] = best.1;
        for dy in y.saturating_sub(1)..=(y + 1).min(2 * REACH) {
            for dx in x.saturating_sub(1)..=(x + 1).min(2 * REACH) {
                look(dx, dy, &mut best);
            }
        }
        let step = best.1.map(|at| at as f32 - REACH as f32);
        let is_found = best.0 >= FOUND && best.0 >= here + BETTER && step[0].hypot(step[1]) >= STILL;
        is_found.then_some(step)
    }
}
