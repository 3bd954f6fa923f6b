//! Tiles that show the same thing a little elsewhere: something moved between two exposures.
//!
//! An overlay replaces what was there. Between two pictures of a burst a hand, a branch or the foreground moves by some
//! pixels and is still there: such a tile disagrees under the warp that explains the rest, and agrees beside it.

use super::affine::Affine;
use super::lanes::{LANES, LEVEL, LaneKernel, Lanes, eighths, in_lanes};
use super::plane::Plane;
use super::sampling::sample_row;
use super::tiles::Tile;

/// How far is looked, in pixels of the plane compared.
const REACH: usize = 28;
/// Steps of the first look, pixels; the best is then looked at more closely.
const STRIDE: usize = 2;
/// Correlation from which a tile was found again.
const FOUND: f64 = 0.9;
/// What it has to correlate better there.
const BETTER: f64 = 0.2;
/// What it has to correlate better there than with what the frame itself shows there: along an edge and in a pattern
/// everything is found again.
const DISTINCT: f64 = 0.05;
/// Steps nearer than this are no movement, pixels.
const STILL: f32 = 1.5;
/// What moves together moves by the same, to so many pixels.
const TOGETHER: f32 = 3.0;
/// Square of a grey level, as pixels are counted.
const SQUARE_LEVEL: f64 = (LEVEL as f64) * (LEVEL as f64);
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
            in_lanes(Search {
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

impl LaneKernel for Search<'_> {
    /// Where it was found, pixels from where the map leads.
    type Output = Option<[f32; 2]>;

    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Option<[f32; 2]> {
        let [left, right, top, bottom] = self.tile.bounds.map(|edge| edge as usize);
        let size @ [width, height] = [right - left, bottom - top];
        let field = Field::around(lanes, &self, [left, top], size);
        let pixels = Pixels::cut(self.target, [left, top], size);
        let least = SQUARE_LEVEL * (width * height) as f64;
        let coarse = (0..=2 * REACH)
            .step_by(STRIDE)
            .flat_map(|dy| (0..=2 * REACH).step_by(STRIDE).map(move |dx| [dx, dy]));
        let mut places: Vec<[usize; 2]> = std::iter::once([REACH; 2]).chain(coarse).collect();
        let mut best = (f64::NEG_INFINITY, [REACH; 2]);
        let mut here = 0.0;
        for is_fine in [false, true] {
            // One loop around the sums: they are compiled once, with the instructions of the caller.
            for &place in &places {
                let [sum, squares] = field.sums_at(place, size);
                let variance = squares - sum * sum / (width * height) as f64;
                let found = if variance >= least {
                    pixels.correlation(lanes, &field, place, sum, variance)
                } else {
                    0.0
                };
                if found > best.0 {
                    best = (found, place);
                }
                if !is_fine && place == [REACH; 2] {
                    here = found;
                }
            }
            let [x, y] = best.1;
            let around = |at: usize| at.saturating_sub(1)..=(at + 1).min(2 * REACH);
            places = around(y)
                .flat_map(|dy| around(x).map(move |dx| [dx, dy]))
                .collect();
        }
        let step = best.1.map(|at| at as f32 - REACH as f32);
        let is_found = best.0 >= FOUND && best.0 >= here + BETTER && step[0].hypot(step[1]) >= STILL;
        let is_distinct = || best.0 >= self.itself(best.1) + DISTINCT;
        (is_found && is_distinct()).then_some(step)
    }
}

impl Search<'_> {
    /// Correlation of the tile with its own image that far away; 0 where that is not in the frame.
    fn itself(&self, at: [usize; 2]) -> f64 {
        let [left, right, top, bottom] = self.tile.bounds.map(|edge| edge as usize);
        let moved = |edge: usize, by: usize| (edge + by).checked_sub(REACH);
        let (Some(x), Some(y)) = (moved(left, at[0]), moved(top, at[1])) else {
            return 0.0;
        };
        let size @ [width, height] = [right - left, bottom - top];
        if x + width > self.target.width || y + height > self.target.height {
            return 0.0;
        }
        let [one, other] = [[left, top], [x, y]].map(|place| Pixels::cut(self.target, place, size));
        let products = one.rows.iter().zip(&other.rows);
        let product = products.map(|(&a, &b)| i64::from(a) * i64::from(b)).sum::<i64>() as f64;
        let covariance = product - one.sum * other.sum / (width * height) as f64;
        covariance / (other.variance.max(SQUARE_LEVEL) * one.variance).sqrt()
    }
}

/// A rectangle of the target, in eighths of a level.
struct Pixels {
    /// Rows are `stride` apart: whole lanes, with 0 behind the last pixel.
    rows: Vec<i16>,
    stride: usize,
    sum: f64,
    /// Variance times the number of pixels.
    variance: f64,
    count: f64,
}

impl Pixels {
    fn cut(plane: &Plane, [left, top]: [usize; 2], [width, height]: [usize; 2]) -> Self {
        let stride = width.next_multiple_of(LANES);
        let mut rows = vec![0i16; stride * height];
        let (mut sum, mut squares) = (0i64, 0i64);
        for (y, row) in rows.chunks_exact_mut(stride).enumerate() {
            for (out, &v) in row.iter_mut().zip(&plane.row(top + y)[left..left + width]) {
                *out = eighths(v);
                sum += i64::from(*out);
                squares += i64::from(*out) * i64::from(*out);
            }
        }
        let (sum, count) = (sum as f64, (width * height) as f64);
        Self {
            rows,
            stride,
            sum,
            variance: squares as f64 - sum * sum / count,
            count,
        }
    }

    /// Correlation with a place in the field, of which the sum and the variance times the number of pixels are given.
    #[inline(always)]
    fn correlation<L: Lanes>(
        &self,
        lanes: L,
        field: &Field,
        [dx, dy]: [usize; 2],
        sum: f64,
        variance: f64,
    ) -> f64 {
        let mut products = lanes.none();
        for (y, row) in self.rows.chunks_exact(self.stride).enumerate() {
            let there = &field.samples[(y + dy) * field.stride + dx..][..self.stride];
            let (row, there) = (row.as_chunks::<LANES>().0, there.as_chunks::<LANES>().0);
            for (one, other) in row.iter().zip(there) {
                products = lanes.with_products(products, lanes.pixels(one), lanes.pixels(other));
            }
        }
        let covariance = lanes.total(products) as f64 - self.sum * sum / self.count;
        covariance / (variance * self.variance).sqrt()
    }
}

/// The warped source around one tile, in eighths of a level.
struct Field {
    /// Rows are `stride` apart, and that leaves room for whole lanes.
    samples: Vec<i16>,
    stride: usize,
    /// Sums of the samples and of their squares over all that lies above and to the left.
    sums: Vec<[i64; 2]>,
    wide: usize,
}

impl Field {
    #[inline(always)]
    fn around<L: Lanes>(
        lanes: L,
        search: &Search<'_>,
        [left, top]: [usize; 2],
        [width, height]: [usize; 2],
    ) -> Self {
        let (wide, high) = (width + 2 * REACH, height + 2 * REACH);
        let stride = wide.next_multiple_of(LANES) + LANES;
        let mut samples = vec![0i16; stride * high];
        let first = [left, top].map(|at| at as f64 - REACH as f64 + 0.5);
        for (y, row) in samples.chunks_exact_mut(stride).enumerate() {
            let start = [first[0], first[1] + y as f64];
            sample_row(lanes, search.source, search.map, start, row);
        }
        let mut sums = vec![[0; 2]; (wide + 1) * (high + 1)];
        for (y, row) in samples.chunks_exact(stride).enumerate() {
            let mut line = [0; 2];
            for (x, &v) in row[..wide].iter().enumerate() {
                let v = i64::from(v);
                line = [line[0] + v, line[1] + v * v];
                let above = sums[y * (wide + 1) + x + 1];
                sums[(y + 1) * (wide + 1) + x + 1] = [above[0] + line[0], above[1] + line[1]];
            }
        }
        Self {
            samples,
            stride,
            sums,
            wide,
        }
    }

    /// The sums over the rectangle from a place on.
    #[inline(always)]
    fn sums_at(&self, [x, y]: [usize; 2], [width, height]: [usize; 2]) -> [f64; 2] {
        let at = |x: usize, y: usize| self.sums[y * (self.wide + 1) + x];
        let corners = [
            at(x, y),
            at(x + width, y),
            at(x, y + height),
            at(x + width, y + height),
        ];
        [0, 1].map(|k| (corners[3][k] - corners[1][k] - corners[2][k] + corners[0][k]) as f64)
    }
}
