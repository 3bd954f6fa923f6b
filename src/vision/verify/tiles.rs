//! Tile by tile comparison of one image with another warped onto it.

use super::affine::Affine;
use super::plane::Plane;
use super::sampling::sample_row;
use crate::vision::wide::{Kernel, roomy};

/// What one tile of the target shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tile {
    /// Edges in pixels of the target plane: left, right, top, bottom.
    pub(super) bounds: [f32; 4],
    /// Standard deviation of brightness in the target, grey levels.
    pub(super) spread_target: f32,
    /// Standard deviation of brightness in the warped source.
    pub(super) spread_source: f32,
    /// Mean brightness in the target.
    pub(super) mean_target: f32,
    /// Mean brightness in the warped source.
    pub(super) mean_source: f32,
    /// Normalised correlation of brightness, −1 to 1; 0 where either side is flat.
    pub(super) correlation: f32,
    /// Normalised correlation of fine detail (pixel minus the mean of its four neighbours).
    pub(super) fine_correlation: f32,
    /// Mean square of the fine detail of the target.
    pub(super) fine_energy: f32,
    /// Structure tensor: how well the tile can tell its displacement, xx, xy, yy.
    pub(super) structure: [f64; 3],
    /// Structure tensor times displacement.
    pub(super) pull: [f64; 2],
}

impl Tile {
    /// Displacement in pixels of the target that would improve the fit, where the tile's texture can tell:
    /// `None` for a tile without corners or ends of lines.
    pub(super) fn displacement(&self) -> Option<[f64; 2]> {
        let [xx, xy, yy] = self.structure;
        let det = xx * yy - xy * xy;
        let trace = xx + yy;
        // Smaller eigenvalue at least a twentieth of the larger.
        if trace <= 0.0 || det < 0.045 * trace * trace {
            return None;
        }
        let [bx, by] = self.pull;
        Some([(yy * bx - xy * by) / det, (xx * by - xy * bx) / det])
    }

    /// Whether the texture can tell a displacement in every direction.
    pub(super) fn has_corners(&self) -> bool {
        self.displacement().is_some()
    }

    pub(super) fn centre(&self) -> [f64; 2] {
        let [left, right, top, bottom] = self.bounds.map(f64::from);
        [(left + right) / 2.0, (top + bottom) / 2.0]
    }
}

/// Which tiles of the grid are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grid {
    All,
    /// Every second row of them where there are [`MANY_ROWS`]: enough to refine a map by.
    Stripes,
}

/// Compares `target` with `source`, tiles of about `side` pixels; `map` leads from pixels of the target to pixels
/// of the source. Tiles that do not fall wholly within the source are left out.
pub(super) fn measure(target: &Plane, source: &Plane, map: &Affine, side: usize) -> Vec<Tile> {
    roomy(Measure::<true> {
        target,
        source,
        map,
        side,
        grid: Grid::All,
    })
}

/// The same without the fine detail, which is 0 in the answer: all that refining a map asks for.
pub(super) fn outline(target: &Plane, source: &Plane, map: &Affine, side: usize, grid: Grid) -> Vec<Tile> {
    roomy(Measure::<false> {
        target,
        source,
        map,
        side,
        grid,
    })
}

/// The arguments of [`measure`], with or without the fine detail.
struct Measure<'a, const DETAIL: bool> {
    target: &'a Plane,
    source: &'a Plane,
    map: &'a Affine,
    side: usize,
    grid: Grid,
}

impl<const DETAIL: bool> Kernel for Measure<'_, DETAIL> {
    type Output = Vec<Tile>;

    #[inline(always)]
    fn call(self) -> Vec<Tile> {
        let Self {
            target,
            source,
            map,
            side,
            grid,
        } = self;
        let columns = (target.width / side).max(1);
        let rows = (target.height / side).max(1);
        let mut tiles = Vec::with_capacity(columns * rows);
        let mut scratch = Scratch::default();
        let edges = |column: usize| {
            (
                column * target.width / columns,
                (column + 1) * target.width / columns,
            )
        };
        // What lies within the source lies side by side: a row of tiles is sampled at once.
        let row_within = |row: usize| {
            let (top, bottom) = (row * target.height / rows, (row + 1) * target.height / rows);
            let is_within = |column: &usize| {
                let (left, right) = edges(*column);
                is_within(source, map, [left, right, top, bottom])
            };
            let first = (0..columns).find(is_within)?;
            let end = (first..columns)
                .find(|column| !is_within(column))
                .unwrap_or(columns);
            Some((first..end, [top, bottom]))
        };
        let within: Vec<_> = (0..rows).filter_map(row_within).collect();
        let is_sparse = grid == Grid::Stripes && within.len() >= MANY_ROWS;
        for (columns, [top, bottom]) in within.into_iter().step_by(1 + usize::from(is_sparse)) {
            let bounds = [edges(columns.start).0, edges(columns.end - 1).1, top, bottom];
            scratch.fill(target, source, map, bounds);
            for (left, right) in columns.map(edges) {
                tiles.push(scratch.compare::<DETAIL>([left, right, top, bottom]));
            }
        }
        tiles
    }
}

/// Pixels of the source that a tile may reach beyond its border.
const SLACK: f64 = 0.75;
/// Rows of tiles of which every second one says as much as all.
const MANY_ROWS: usize = 8;
/// Pixels that are summed side by side.
const LANES: usize = 8;

/// Whether a tile of the target lies within the source.
#[inline(always)]
fn is_within(source: &Plane, map: &Affine, [left, right, top, bottom]: [usize; 4]) -> bool {
    let (width, height) = (source.width as f64, source.height as f64);
    let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
    let mut is_within = source.width >= 2 && source.height >= 2;
    for (x, y) in corners {
        let [sx, sy] = map.apply([x as f64, y as f64]);
        is_within &= sx >= -SLACK && sy >= -SLACK && sx <= width + SLACK && sy <= height + SLACK;
    }
    is_within
}

/// The warped source under a tile or a row of them and the target there, both around 0 and with a margin of one pixel. Rows
/// are `stride` apart, and that leaves room for whole lanes.
#[derive(Default)]
struct Scratch {
    samples: Vec<f32>,
    pixels: Vec<f32>,
    stride: usize,
    /// Left, right, top, bottom in pixels of the target.
    bounds: [usize; 4],
}

impl Scratch {
    /// Samples the source and copies the target; beyond the border of this its outermost pixels are repeated.
    #[inline(always)]
    fn fill(
        &mut self,
        target: &Plane,
        source: &Plane,
        map: &Affine,
        bounds @ [left, right, top, bottom]: [usize; 4],
    ) {
        let (wide, high) = (right - left + 2, bottom - top + 2);
        // The last lanes may begin anywhere in a row, and have a neighbour to the right.
        self.stride = wide.next_multiple_of(LANES) + LANES;
        let [last_left, last_right, last_top, last_bottom] = self.bounds;
        // Two rows of the margins are those of the tiles above.
        let mut known = 0;
        if [last_left, last_right, last_bottom] == [left, right, top] && last_bottom > last_top {
            known = 2;
            let from = (last_bottom - last_top) * self.stride;
            for buffer in [&mut self.samples, &mut self.pixels] {
                buffer.copy_within(from..from + 2 * self.stride, 0);
            }
        }
        self.bounds = bounds;
        // What is left over from other tiles counts nowhere.
        self.samples.resize(self.stride * high, 0.0);
        self.pixels.resize(self.stride * high, 0.0);
        let count = right - left;
        for y in known..high {
            let at = y * self.stride;
            let start = [left as f64 - 0.5, top as f64 - 0.5 + y as f64];
            let samples = &mut self.samples[at..at + wide.next_multiple_of(LANES)];
            sample_row(source, map, start, samples);
            let row = target.row((top + y).saturating_sub(1).min(target.height - 1));
            let out = &mut self.pixels[at..at + wide];
            for (out, &v) in out[1..=count].iter_mut().zip(&row[left..right]) {
                *out = f32::from(v) - 128.0;
            }
            out[0] = f32::from(row[left.saturating_sub(1)]) - 128.0;
            out[count + 1] = f32::from(row[right.min(target.width - 1)]) - 128.0;
        }
    }

    /// One of the tiles that it was filled for.
    #[inline(always)]
    fn compare<const DETAIL: bool>(&self, [left, right, top, bottom]: [usize; 4]) -> Tile {
        let mut sums = Sums::<Lanes>::default();
        let (count, stride) = (right - left, self.stride);
        let first = left - self.bounds[0];
        for y in 1..=bottom - top {
            for x in (0..count).step_by(LANES) {
                let at = y * stride + 1 + first + x;
                let mut keep = [0.0; LANES];
                keep[..(count - x).min(LANES)].fill(1.0);
                sums.add::<DETAIL>(
                    &Around::at(&self.pixels, at, stride),
                    &Around::at(&self.samples, at, stride),
                    &keep,
                );
            }
        }
        sums.tile([left, right, top, bottom], (count * (bottom - top)) as f32)
    }
}

/// Sums over one tile of products of target `t`, source `s`, gradients `gx`, `gy`, fine detail `ft`, `fs`.
#[derive(Default)]
struct Sums<T> {
    t: T,
    s: T,
    tt: T,
    ss: T,
    ts: T,
    gx: T,
    gy: T,
    gxx: T,
    gxy: T,
    gyy: T,
    gxt: T,
    gyt: T,
    gxs: T,
    gys: T,
    ftt: T,
    fss: T,
    fts: T,
}

/// Lanes that are summed side by side.
type Lanes = [f32; LANES];

/// Pixels of one row of a tile with what is around them.
#[derive(Clone, Copy)]
struct Around {
    here: Lanes,
    left: Lanes,
    right: Lanes,
    up: Lanes,
    down: Lanes,
}

impl Around {
    #[inline(always)]
    fn at(data: &[f32], at: usize, stride: usize) -> Self {
        let lanes = |from: usize| {
            let mut lanes = [0.0; LANES];
            lanes.copy_from_slice(&data[from..from + LANES]);
            lanes
        };
        Self {
            here: lanes(at),
            left: lanes(at - 1),
            right: lanes(at + 1),
            up: lanes(at - stride),
            down: lanes(at + stride),
        }
    }
}

impl Sums<Lanes> {
    /// Adds the lanes of both sides; `keep` is 1 where a lane counts, and 0 elsewhere. One loop with all sums in it: many short
    /// ones would be taken apart into single numbers.
    #[inline(always)]
    fn add<const DETAIL: bool>(&mut self, target: &Around, source: &Around, keep: &Lanes) {
        for lane in 0..LANES {
            let keep = keep[lane];
            let difference = |side: [&Lanes; 2]| side[0][lane] - side[1][lane];
            // The mean of both gradients converges faster than either.
            let gx = (difference([&target.right, &target.left]) + difference([&source.right, &source.left]))
                * 0.25
                * keep;
            let gy = (difference([&target.down, &target.up]) + difference([&source.down, &source.up]))
                * 0.25
                * keep;
            let (t, s) = (target.here[lane] * keep, source.here[lane] * keep);
            self.t[lane] += t;
            self.s[lane] += s;
            self.tt[lane] += t * t;
            self.ss[lane] += s * s;
            self.ts[lane] += t * s;
            self.gx[lane] += gx;
            self.gy[lane] += gy;
            self.gxx[lane] += gx * gx;
            self.gxy[lane] += gx * gy;
            self.gyy[lane] += gy * gy;
            self.gxt[lane] += gx * t;
            self.gyt[lane] += gy * t;
            self.gxs[lane] += gx * s;
            self.gys[lane] += gy * s;
            if DETAIL {
                let detail = |side: &Around| {
                    let around = side.left[lane] + side.right[lane] + side.up[lane] + side.down[lane];
                    (side.here[lane] - around * 0.25) * keep
                };
                let (ft, fs) = (detail(target), detail(source));
                self.ftt[lane] += ft * ft;
                self.fss[lane] += fs * fs;
                self.fts[lane] += ft * fs;
            }
        }
    }

    #[inline(always)]
    fn total(&self) -> Sums<f32> {
        let sum = |lanes: &Lanes| lanes.iter().sum();
        Sums {
            t: sum(&self.t),
            s: sum(&self.s),
            tt: sum(&self.tt),
            ss: sum(&self.ss),
            ts: sum(&self.ts),
            gx: sum(&self.gx),
            gy: sum(&self.gy),
            gxx: sum(&self.gxx),
            gxy: sum(&self.gxy),
            gyy: sum(&self.gyy),
            gxt: sum(&self.gxt),
            gyt: sum(&self.gyt),
            gxs: sum(&self.gxs),
            gys: sum(&self.gys),
            ftt: sum(&self.ftt),
            fss: sum(&self.fss),
            fts: sum(&self.fts),
        }
    }

    /// The tile of `n` pixels.
    #[inline(always)]
    fn tile(&self, bounds: [usize; 4], n: f32) -> Tile {
        let sums = self.total();
        let (mean_t, mean_s) = (sums.t / n, sums.s / n);
        let var_t = (sums.tt / n - mean_t * mean_t).max(0.0);
        let var_s = (sums.ss / n - mean_s * mean_s).max(0.0);
        let covariance = sums.ts / n - mean_t * mean_s;
        let product = (var_t * var_s).sqrt();
        let correlation = if product > 0.25 { covariance / product } else { 0.0 };
        let fine_product = (sums.ftt * sums.fss).sqrt();
        let fine_correlation = if fine_product > 0.05 * n {
            sums.fts / fine_product
        } else {
            0.0
        };
        // Both sides normalised: t/σt and s/σs differ by displacement times gradient.
        let gain = if var_s > 0.25 { (var_t / var_s).sqrt() } else { 1.0 };
        let residual = |gt: f32, gs: f32, g: f32| gt - mean_t * g - gain * (gs - mean_s * g);
        // Gradient of the mean of t and gain·s, roughly: the gradients were averaged with gain 1.
        let balance = (1.0 + gain) / 2.0;
        let b = [
            residual(sums.gxt, sums.gxs, sums.gx) * balance,
            residual(sums.gyt, sums.gys, sums.gy) * balance,
        ];
        let square = f64::from(balance * balance);
        Tile {
            bounds: bounds.map(|v| v as f32),
            spread_target: var_t.sqrt(),
            spread_source: var_s.sqrt(),
            mean_target: mean_t + 128.0,
            mean_source: mean_s + 128.0,
            correlation: correlation.clamp(-1.0, 1.0),
            fine_correlation: fine_correlation.clamp(-1.0, 1.0),
            fine_energy: sums.ftt / n,
            structure: [sums.gxx, sums.gxy, sums.gyy].map(|v| f64::from(v) * square),
            pull: b.map(f64::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_row_of_tiles_shows_what_it_shows_among_all() {
        let picture = |width: usize, height: usize| {
            let level = |i: usize| {
                let (x, y) = ((i % width) as f32 * 0.21, (i / width) as f32 * 0.17);
                (128.0 + 60.0 * (x + 0.4 * y).sin() + 50.0 * (y - 0.3 * x).cos()) as u8
            };
            Plane::new(width, height, (0..width * height).map(level).collect())
        };
        // Sides that tiles do not divide evenly, and tiles that leave the source on every side.
        let (target, source) = (picture(131, 203), picture(117, 190));
        for map in [
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            [0.9, 0.05, 4.0, -0.04, 0.95, 3.0],
            [1.1, 0.0, -20.3, 0.0, 1.1, -15.8],
            [-0.8, 0.1, 110.0, 0.1, 0.8, 2.0],
        ] {
            let map = Affine(map);
            let all = outline(&target, &source, &map, 16, Grid::All);
            let some = outline(&target, &source, &map, 16, Grid::Stripes);
            let count = all.len();
            assert!(
                some.len() * 2 <= count + 8 && some.len() >= 5,
                "{} of {count}",
                some.len()
            );
            for tile in some {
                let same = all.iter().find(|other| other.bounds == tile.bounds);
                let same = same.expect("all tiles are more than some");
                let differ = [
                    (tile.correlation - same.correlation) * 100.0,
                    tile.spread_source - same.spread_source,
                    tile.mean_source - same.mean_source,
                    tile.mean_target - same.mean_target,
                    ((tile.pull[0] - same.pull[0]) / tile.structure[0].max(1.0)) as f32,
                ];
                assert!(
                    differ.iter().all(|d| d.abs() < 0.01),
                    "{differ:?} {tile:?} {same:?}"
                );
            }
        }
    }
}
