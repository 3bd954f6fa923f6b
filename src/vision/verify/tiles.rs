//! Tile by tile comparison of one image with another warped onto it.

use super::affine::Affine;
use super::plane::Plane;
use crate::vision::wide::{Kernel, wide};

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
    /// Every second one, as on a chessboard: enough to refine a map by.
    Chessboard,
}

/// Compares `target` with `source`, tiles of about `side` pixels; `map` leads from pixels of the target to pixels
/// of the source. Tiles that do not fall wholly within the source are left out.
pub(super) fn measure(target: &Plane, source: &Plane, map: &Affine, side: usize, grid: Grid) -> Vec<Tile> {
    wide(Measure {
        target,
        source,
        map,
        side,
        grid,
    })
}

/// The arguments of [`measure`].
struct Measure<'a> {
    target: &'a Plane,
    source: &'a Plane,
    map: &'a Affine,
    side: usize,
    grid: Grid,
}

impl Kernel for Measure<'_> {
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
        for row in 0..rows {
            let (top, bottom) = (row * target.height / rows, (row + 1) * target.height / rows);
            for column in 0..columns {
                if grid == Grid::Chessboard && (row + column) % 2 == 1 {
                    continue;
                }
                let (left, right) = (
                    column * target.width / columns,
                    (column + 1) * target.width / columns,
                );
                let bounds = [left, right, top, bottom];
                if scratch.sample(source, map, bounds) {
                    scratch.copy(target, bounds);
                    tiles.push(scratch.compare(bounds));
                }
            }
        }
        tiles
    }
}

/// Pixels that are summed side by side.
const LANES: usize = 8;

/// The warped source under one tile and the target there, both around 0 and with a margin of one pixel. Rows are
/// `stride` apart, and that leaves room for whole lanes.
#[derive(Default)]
struct Scratch {
    samples: Vec<f32>,
    pixels: Vec<f32>,
    stride: usize,
}

impl Scratch {
    /// Fills the samples; false when the tile leaves the source.
    #[inline(always)]
    fn sample(&mut self, source: &Plane, map: &Affine, [left, right, top, bottom]: [usize; 4]) -> bool {
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)].map(|(x, y)| {
            let [sx, sy] = map.apply([x as f64, y as f64]);
            [sx, sy]
        });
        let (width, height) = (source.width as f64, source.height as f64);
        let within = |slack: f64| {
            corners
                .iter()
                .all(|&[sx, sy]| sx >= -slack && sy >= -slack && sx <= width + slack && sy <= height + slack)
        };
        if !within(0.75) {
            return false;
        }
        let (wide, high) = (right - left + 2, bottom - top + 2);
        self.stride = (right - left).next_multiple_of(LANES) + 2;
        self.samples.clear();
        self.samples.resize(self.stride * high, 0.0);
        // How far a sample may lie from the corners: half a pixel of the target, twice, and one of the source.
        let is_inner = within(-(2.0 + map.stretch().0));
        for (y, row) in self.samples.chunks_exact_mut(self.stride).enumerate() {
            let start = [left as f64 - 0.5, top as f64 - 0.5 + y as f64];
            sample_row(source, map, start, is_inner, &mut row[..wide]);
        }
        true
    }

    /// Copies the target; beyond its border the outermost pixels are repeated.
    #[inline(always)]
    fn copy(&mut self, target: &Plane, [left, right, top, bottom]: [usize; 4]) {
        self.pixels.clear();
        self.pixels.resize(self.samples.len(), 0.0);
        let count = right - left;
        for (y, out) in (top..bottom + 2).zip(self.pixels.chunks_exact_mut(self.stride)) {
            let row = target.row(y.saturating_sub(1).min(target.height - 1));
            for (out, &v) in out[1..=count].iter_mut().zip(&row[left..right]) {
                *out = f32::from(v) - 128.0;
            }
            out[0] = f32::from(row[left.saturating_sub(1)]) - 128.0;
            out[count + 1] = f32::from(row[right.min(target.width - 1)]) - 128.0;
        }
    }

    #[inline(always)]
    fn compare(&self, [left, right, top, bottom]: [usize; 4]) -> Tile {
        let mut sums = Sums::default();
        let (count, stride) = (right - left, self.stride);
        for y in 1..=bottom - top {
            for x in (0..count).step_by(LANES) {
                let at = y * stride + 1 + x;
                sums.add(
                    around(&self.pixels, at, stride),
                    around(&self.samples, at, stride),
                    (count - x).min(LANES),
                );
            }
        }
        sums.tile([left, right, top, bottom], (count * (bottom - top)) as f32)
    }
}

/// The lanes from `at` on, with those to the left, to the right, above and below.
#[inline(always)]
fn around(data: &[f32], at: usize, stride: usize) -> [[f32; LANES]; 5] {
    let mut lanes = [[0.0; LANES]; 5];
    for (lanes, from) in lanes
        .iter_mut()
        .zip([at, at - 1, at + 1, at - stride, at + stride])
    {
        lanes.copy_from_slice(&data[from..from + LANES]);
    }
    lanes
}

/// Samples `source` along a row of the target that starts at `start`, in continuous coordinates of pixel centres; brightness
/// around 0. `is_inner` promises that all lie a pixel or more within the source; others are brought to its border.
#[inline(always)]
pub(super) fn sample_row(source: &Plane, map: &Affine, start: [f64; 2], is_inner: bool, row: &mut [f32]) {
    let [a, _, _, d, ..] = map.0.map(|v| v as f32);
    let [x0, y0] = map.apply(start).map(|v| v as f32 - 0.5);
    if is_inner {
        let mut first = 0.0;
        for lanes in row.chunks_mut(LANES) {
            let at: [f32; LANES] = std::array::from_fn(|lane| first + lane as f32);
            let samples = inner(source, at.map(|x| x0 + a * x), at.map(|x| y0 + d * x));
            lanes.copy_from_slice(&samples[..lanes.len()]);
            first += LANES as f32;
        }
        return;
    }
    let (limit_x, limit_y) = ((source.width - 1) as f32, (source.height - 1) as f32);
    for (x, out) in row.iter_mut().enumerate() {
        let sx = (x0 + a * x as f32).clamp(0.0, limit_x);
        let sy = (y0 + d * x as f32).clamp(0.0, limit_y);
        *out = bilinear(source, sx, sy) - 128.0;
    }
}

/// Bilinear values, around 0, at places that are a pixel or more within the plane, or follow upon such in the direction of
/// the row: what lies outside is read somewhere in the plane, and not used.
#[inline(always)]
fn inner(plane: &Plane, x: [f32; LANES], y: [f32; LANES]) -> [f32; LANES] {
    let (column, row) = (x.map(|x| x as i32), y.map(|y| y as i32));
    let (width, last) = (plane.width as i32, (plane.data.len() - plane.width - 2) as i32);
    let (mut top, mut bottom) = ([0u16; LANES], [0u16; LANES]);
    for lane in 0..LANES {
        let at = (row[lane] * width + column[lane]).clamp(0, last) as usize;
        let below = at + plane.width;
        top[lane] = u16::from_le_bytes([plane.data[at], plane.data[at + 1]]);
        bottom[lane] = u16::from_le_bytes([plane.data[below], plane.data[below + 1]]);
    }
    let mut samples = [0.0; LANES];
    for lane in 0..LANES {
        let (fx, fy) = (x[lane] - column[lane] as f32, y[lane] - row[lane] as f32);
        let [a, c] = [top[lane], bottom[lane]].map(|two| f32::from(two & 0xff));
        let [b, d] = [top[lane], bottom[lane]].map(|two| f32::from(two >> 8));
        let (top, bottom) = (a + (b - a) * fx, c + (d - c) * fx);
        samples[lane] = top + (bottom - top) * fy - 128.0;
    }
    samples
}

#[inline(always)]
fn bilinear(plane: &Plane, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x as usize, y as usize);
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let right = usize::from(x0 + 1 < plane.width);
    let down = if y0 + 1 < plane.height { plane.width } else { 0 };
    let i = y0 * plane.width + x0;
    let [a, b, c, d] = [i, i + right, i + down, i + down + right].map(|i| f32::from(plane.data[i]));
    let (top, bottom) = (a + (b - a) * fx, c + (d - c) * fx);
    top + (bottom - top) * fy
}

/// Sums over one tile, in lanes, of products of target `t`, source `s`, gradients `gx`, `gy`, fine detail `ft`,
/// `fs`; in the order of [`Total`].
#[derive(Default)]
struct Sums([[f32; LANES]; 17]);

/// The sums of [`Sums`], by name.
struct Total {
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
    /// Adds the first `count` lanes; both sides as pixel, left, right, upper and lower neighbour.
    #[inline(always)]
    fn add(&mut self, target: [[f32; LANES]; 5], source: [[f32; LANES]; 5], count: usize) {
        for lane in 0..LANES {
            let [t, t_left, t_right, t_up, t_down] = target.map(|v| v[lane]);
            let [s, s_left, s_right, s_up, s_down] = source.map(|v| v[lane]);
            // The mean of both gradients converges faster than either.
            let gx = (t_right - t_left + s_right - s_left) * 0.25;
            let gy = (t_down - t_up + s_down - s_up) * 0.25;
            let ft = t - (t_left + t_right + t_up + t_down) * 0.25;
            let fs = s - (s_left + s_right + s_up + s_down) * 0.25;
            let keep = if lane < count { 1.0 } else { 0.0 };
            let [t, s, gx, gy, ft, fs] = [t, s, gx, gy, ft, fs].map(|v| v * keep);
            let products = [
                t,
                s,
                t * t,
                s * s,
                t * s,
                gx,
                gy,
                gx * gx,
                gx * gy,
                gy * gy,
                gx * t,
                gy * t,
                gx * s,
                gy * s,
                ft * ft,
                fs * fs,
                ft * fs,
            ];
            for (sum, product) in self.0.iter_mut().zip(products) {
                sum[lane] += product;
            }
        }
    }

    #[inline(always)]
    fn total(&self) -> Total {
        let [
            t,
            s,
            tt,
            ss,
            ts,
            gx,
            gy,
            gxx,
            gxy,
            gyy,
            gxt,
            gyt,
            gxs,
            gys,
            ftt,
            fss,
            fts,
        ] = self.0.map(|lanes| lanes.iter().sum());
        Total {
            t,
            s,
            tt,
            ss,
            ts,
            gx,
            gy,
            gxx,
            gxy,
            gyy,
            gxt,
            gyt,
            gxs,
            gys,
            ftt,
            fss,
            fts,
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
