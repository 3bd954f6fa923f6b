//! Tile by tile comparison of one image with another warped onto it, and the refinement of the warp from what
//! the tiles say about their own displacement.

use super::affine::{Affine, solve};
use super::plane::Plane;

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
    structure: [f64; 3],
    /// Structure tensor times displacement.
    pull: [f64; 2],
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

    fn centre(&self) -> [f64; 2] {
        let [left, right, top, bottom] = self.bounds.map(f64::from);
        [(left + right) / 2.0, (top + bottom) / 2.0]
    }
}

/// Compares `target` with `source`, tiles of about `side` pixels; `map` leads from pixels of the target to pixels
/// of the source. Tiles that do not fall wholly within the source are left out.
pub(super) fn measure(target: &Plane, source: &Plane, map: &Affine, side: usize) -> Vec<Tile> {
    let columns = (target.width / side).max(1);
    let rows = (target.height / side).max(1);
    let mut tiles = Vec::with_capacity(columns * rows);
    let mut scratch = Scratch::default();
    for row in 0..rows {
        let (top, bottom) = (row * target.height / rows, (row + 1) * target.height / rows);
        for column in 0..columns {
            let (left, right) = (
                column * target.width / columns,
                (column + 1) * target.width / columns,
            );
            if scratch.sample(source, map, [left, right, top, bottom]) {
                tiles.push(scratch.compare(target, [left, right, top, bottom]));
            }
        }
    }
    tiles
}

/// The warped source under one tile, with a margin of one pixel.
#[derive(Default)]
struct Scratch {
    samples: Vec<f32>,
    stride: usize,
}

impl Scratch {
    /// Fills the samples; false when the tile leaves the source.
    fn sample(&mut self, source: &Plane, map: &Affine, [left, right, top, bottom]: [usize; 4]) -> bool {
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
        let slack = 0.75;
        let inside = corners.iter().all(|&(x, y)| {
            let [sx, sy] = map.apply([x as f64, y as f64]);
            sx >= -slack
                && sy >= -slack
                && sx <= source.width as f64 + slack
                && sy <= source.height as f64 + slack
        });
        if !inside {
            return false;
        }
        self.stride = right - left + 2;
        self.samples.clear();
        let [a, _, _, d, ..] = map.0.map(|v| v as f32);
        let (limit_x, limit_y) = ((source.width - 1) as f32, (source.height - 1) as f32);
        for y in 0..bottom - top + 2 {
            let start = map.apply([left as f64 - 0.5, top as f64 - 0.5 + y as f64]);
            let (start_x, start_y) = (start[0] as f32 - 0.5, start[1] as f32 - 0.5);
            for x in 0..self.stride {
                let sx = (start_x + a * x as f32).clamp(0.0, limit_x);
                let sy = (start_y + d * x as f32).clamp(0.0, limit_y);
                self.samples.push(bilinear(source, sx, sy));
            }
        }
        true
    }

    fn compare(&self, target: &Plane, [left, right, top, bottom]: [usize; 4]) -> Tile {
        let mut sums = Sums::default();
        for y in top..bottom {
            let (above, line, below) = (
                target.row(y.saturating_sub(1)),
                target.row(y),
                target.row((y + 1).min(target.height - 1)),
            );
            let base = (y - top + 1) * self.stride + 1;
            for x in left..right {
                let i = base + x - left;
                let s = self.samples[i];
                let s_right = self.samples[i + 1];
                let s_left = self.samples[i - 1];
                let s_down = self.samples[i + self.stride];
                let s_up = self.samples[i - self.stride];
                let (x0, x1) = (x.saturating_sub(1), (x + 1).min(target.width - 1));
                let t = f32::from(line[x]);
                let (t_left, t_right) = (f32::from(line[x0]), f32::from(line[x1]));
                let (t_up, t_down) = (f32::from(above[x]), f32::from(below[x]));
                // The mean of both gradients converges faster than either.
                sums.add(
                    t,
                    s,
                    (t_right - t_left + s_right - s_left) * 0.25,
                    (t_down - t_up + s_down - s_up) * 0.25,
                    t - (t_left + t_right + t_up + t_down) * 0.25,
                    s - (s_left + s_right + s_up + s_down) * 0.25,
                );
            }
        }
        sums.tile([left, right, top, bottom])
    }
}

fn bilinear(plane: &Plane, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x as usize, y as usize);
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let right = usize::from(x0 + 1 < plane.width);
    let down = if y0 + 1 < plane.height { plane.width } else { 0 };
    let i = y0 * plane.width + x0;
    let data = &plane.data;
    let top = f32::from(data[i]) * (1.0 - fx) + f32::from(data[i + right]) * fx;
    let bottom = f32::from(data[i + down]) * (1.0 - fx) + f32::from(data[i + down + right]) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Sums over one tile: target `t`, source `s`, gradients `gx`, `gy`, fine detail `ft`, `fs`.
#[derive(Default)]
struct Sums {
    n: f32,
    t: f32,
    s: f32,
    tt: f32,
    ss: f32,
    ts: f32,
    gx: f32,
    gy: f32,
    gxx: f32,
    gxy: f32,
    gyy: f32,
    gxt: f32,
    gyt: f32,
    gxs: f32,
    gys: f32,
    ftt: f32,
    fss: f32,
    fts: f32,
}

impl Sums {
    fn add(&mut self, t: f32, s: f32, gx: f32, gy: f32, ft: f32, fs: f32) {
        let (t, s) = (t - 128.0, s - 128.0);
        self.n += 1.0;
        self.t += t;
        self.s += s;
        self.tt += t * t;
        self.ss += s * s;
        self.ts += t * s;
        self.gx += gx;
        self.gy += gy;
        self.gxx += gx * gx;
        self.gxy += gx * gy;
        self.gyy += gy * gy;
        self.gxt += gx * t;
        self.gyt += gy * t;
        self.gxs += gx * s;
        self.gys += gy * s;
        self.ftt += ft * ft;
        self.fss += fs * fs;
        self.fts += ft * fs;
    }

    fn tile(&self, bounds: [usize; 4]) -> Tile {
        let n = self.n;
        let (mean_t, mean_s) = (self.t / n, self.s / n);
        let var_t = (self.tt / n - mean_t * mean_t).max(0.0);
        let var_s = (self.ss / n - mean_s * mean_s).max(0.0);
        let covariance = self.ts / n - mean_t * mean_s;
        let product = (var_t * var_s).sqrt();
        let correlation = if product > 0.25 { covariance / product } else { 0.0 };
        let fine_product = (self.ftt * self.fss).sqrt();
        let fine_correlation = if fine_product > 0.05 * n {
            self.fts / fine_product
        } else {
            0.0
        };
        // Both sides normalised: t/σt and s/σs differ by displacement times gradient.
        let gain = if var_s > 0.25 { (var_t / var_s).sqrt() } else { 1.0 };
        let residual = |gt: f32, gs: f32, g: f32| gt - mean_t * g - gain * (gs - mean_s * g);
        // Gradient of the mean of t and gain·s, roughly: the gradients were averaged with gain 1.
        let balance = (1.0 + gain) / 2.0;
        let b = [
            residual(self.gxt, self.gxs, self.gx) * balance,
            residual(self.gyt, self.gys, self.gy) * balance,
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
            fine_energy: self.ftt / n,
            structure: [self.gxx, self.gxy, self.gyy].map(|v| f64::from(v) * square),
            pull: b.map(f64::from),
        }
    }
}

/// How freely a refinement may change the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freedom {
    /// Six parameters.
    Affine,
    /// Shift and scale per axis: for the first steps, where few tiles carry weight.
    ShiftAndScale,
}

/// One step of Gauss–Newton: tiles vote with their displacement, weighted by texture and agreement; outliers are
/// down-weighted (Tukey). Returns the improved map, or `None` when too little texture agrees.
pub(super) fn refine(map: &Affine, tiles: &[Tile], size: [usize; 2], freedom: Freedom) -> Option<Affine> {
    let (w, h) = (size[0] as f64, size[1] as f64);
    let limit = 3.0;
    let mut votes: Vec<(&Tile, f64)> = tiles
        .iter()
        .filter(|t| t.correlation > 0.25 && t.spread_target > 2.0 && t.spread_source > 1.0)
        .map(|t| (t, f64::from(t.correlation * t.correlation)))
        .collect();
    if votes.len() < 4 {
        return None;
    }
    // Normalised coordinates keep the system well conditioned.
    let place = |tile: &Tile| {
        let [x, y] = tile.centre();
        [x / w - 0.5, y / h - 0.5]
    };
    let mut step = [0.0; 6];
    for round in 0..3 {
        let mut normal = [[0.0; 6]; 6];
        let mut right = [0.0; 6];
        for (tile, weight) in &votes {
            let [x, y] = place(tile);
            let [xx, xy, yy] = tile.structure.map(|v| v * weight);
            let [px, py] = tile.pull.map(|v| v * weight);
            let basis = [x, y, 1.0];
            for i in 0..3 {
                for j in 0..3 {
                    let product = basis[i] * basis[j];
                    normal[i][j] += xx * product;
                    normal[i][j + 3] += xy * product;
                    normal[i + 3][j] += xy * product;
                    normal[i + 3][j + 3] += yy * product;
                }
                right[i] += px * basis[i];
                right[i + 3] += py * basis[i];
            }
        }
        let trace: f64 = (0..6).map(|i| normal[i][i]).sum();
        if trace <= 0.0 {
            return None;
        }
        for (i, row) in normal.iter_mut().enumerate() {
            // A little damping; rotation and shear are held still in the first steps.
            row[i] += 1e-4 * trace;
            if freedom == Freedom::ShiftAndScale && (i == 1 || i == 3) {
                row[i] += 1e3 * trace;
            }
        }
        step = solve(normal, right)?;
        if round == 2 {
            break;
        }
        let misfit = |tile: &Tile| {
            let [x, y] = place(tile);
            let predicted = [
                step[0] * x + step[1] * y + step[2],
                step[3] * x + step[4] * y + step[5],
            ];
            let [xx, xy, yy] = tile.structure;
            let (rx, ry) = (
                tile.pull[0] - xx * predicted[0] - xy * predicted[1],
                tile.pull[1] - xy * predicted[0] - yy * predicted[1],
            );
            (rx * rx + ry * ry).sqrt() / (xx + yy).max(1e-9)
        };
        let mut misfits: Vec<f64> = votes.iter().map(|(tile, _)| misfit(tile)).collect();
        misfits.sort_by(f64::total_cmp);
        let cut = (4.0 * misfits[misfits.len() / 2]).clamp(0.2, limit);
        for (tile, weight) in &mut votes {
            let ratio = misfit(tile) / cut;
            let tukey = if ratio < 1.0 {
                (1.0 - ratio * ratio).powi(2)
            } else {
                0.0
            };
            *weight = f64::from(tile.correlation * tile.correlation) * tukey;
        }
    }
    if step.iter().any(|s| !s.is_finite() || s.abs() > limit * 4.0) {
        return None;
    }
    // The target point x matches the source under x + step(x): apply the step first, then the old map.
    let shift = Affine([
        1.0 + step[0] / w,
        step[1] / h,
        step[2] - 0.5 * (step[0] + step[1]),
        step[3] / w,
        1.0 + step[4] / h,
        step[5] - 0.5 * (step[3] + step[4]),
    ]);
    Some(shift.then(map))
}
