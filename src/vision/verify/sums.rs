//! Sums over a tile of the products of two images, of their gradients and of their fine detail, and what they say.

use super::lanes::{LANES, LEVEL, Lanes};
use super::tiles::Tile;

/// Sums over one tile of products of target `t`, source `s`, gradients `gx`, `gy`, fine detail `ft`, `fs`.
pub(super) struct Sums<T> {
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

/// Pixels of one row of a tile with what is around them.
#[derive(Clone, Copy)]
pub(super) struct Around<T> {
    here: T,
    left: T,
    right: T,
    up: T,
    down: T,
}

impl<T> Around<T> {
    #[inline(always)]
    pub(super) fn at<L: Lanes<Pixels = T>>(lanes: L, data: &[i16], at: usize, stride: usize) -> Self {
        let load = |from: usize| {
            let mut pixels = [0; LANES];
            pixels.copy_from_slice(&data[from..from + LANES]);
            lanes.pixels(&pixels)
        };
        Self {
            here: load(at),
            left: load(at - 1),
            right: load(at + 1),
            up: load(at - stride),
            down: load(at + stride),
        }
    }
}

/// What gradients and fine detail are counted in, parts of a level: both are sums of four pixels, and fine detail is halved.
const GRADIENT: f64 = 4.0 * LEVEL as f64;
const FINE: f64 = 2.0 * LEVEL as f64;

impl<T> Sums<T> {
    #[inline(always)]
    pub(super) fn of(sum: impl Fn() -> T) -> Self {
        Self {
            t: sum(),
            s: sum(),
            tt: sum(),
            ss: sum(),
            ts: sum(),
            gx: sum(),
            gy: sum(),
            gxx: sum(),
            gxy: sum(),
            gyy: sum(),
            gxt: sum(),
            gyt: sum(),
            gxs: sum(),
            gys: sum(),
            ftt: sum(),
            fss: sum(),
            fts: sum(),
        }
    }

    #[inline(always)]
    pub(super) fn map<U>(self, with: impl Fn(T) -> U) -> Sums<U> {
        Sums {
            t: with(self.t),
            s: with(self.s),
            tt: with(self.tt),
            ss: with(self.ss),
            ts: with(self.ts),
            gx: with(self.gx),
            gy: with(self.gy),
            gxx: with(self.gxx),
            gxy: with(self.gxy),
            gyy: with(self.gyy),
            gxt: with(self.gxt),
            gyt: with(self.gyt),
            gxs: with(self.gxs),
            gys: with(self.gys),
            ftt: with(self.ftt),
            fss: with(self.fss),
            fts: with(self.fts),
        }
    }
}

impl<T: Copy> Sums<T> {
    /// Adds the lanes of both sides that `mask` keeps. No sum leaves 32 bits: a product of two gradients is below 2²⁴, each sum
    /// takes two of them at a time, and a tile has less than 64 times sixteen pixels.
    #[inline(always)]
    pub(super) fn add<L: Lanes<Sums = T>, const DETAIL: bool>(
        &mut self,
        lanes: L,
        target: &Around<L::Pixels>,
        source: &Around<L::Pixels>,
        mask: L::Pixels,
    ) {
        let one = lanes.kept(lanes.pixels(&[1; LANES]), mask);
        let (t, s) = (lanes.kept(target.here, mask), lanes.kept(source.here, mask));
        // The mean of both gradients converges faster than either.
        let slope = |low: [L::Pixels; 2], high: [L::Pixels; 2]| {
            let rise = |side: usize| lanes.minus(high[side], low[side]);
            lanes.kept(lanes.plus(rise(0), rise(1)), mask)
        };
        let gx = slope([target.left, source.left], [target.right, source.right]);
        let gy = slope([target.up, source.up], [target.down, source.down]);
        let add = |sum: &mut T, a, b| *sum = lanes.with_products(*sum, a, b);
        add(&mut self.t, t, one);
        add(&mut self.s, s, one);
        add(&mut self.tt, t, t);
        add(&mut self.ss, s, s);
        add(&mut self.ts, t, s);
        add(&mut self.gx, gx, one);
        add(&mut self.gy, gy, one);
        add(&mut self.gxx, gx, gx);
        add(&mut self.gxy, gx, gy);
        add(&mut self.gyy, gy, gy);
        add(&mut self.gxt, gx, t);
        add(&mut self.gyt, gy, t);
        add(&mut self.gxs, gx, s);
        add(&mut self.gys, gy, s);
        if DETAIL {
            let detail = |side: &Around<L::Pixels>| {
                let twice = lanes.plus(side.here, side.here);
                let across = lanes.minus(twice, lanes.plus(side.left, side.right));
                let down = lanes.minus(twice, lanes.plus(side.up, side.down));
                lanes.kept(lanes.half(lanes.plus(across, down)), mask)
            };
            let (ft, fs) = (detail(target), detail(source));
            add(&mut self.ftt, ft, ft);
            add(&mut self.fss, fs, fs);
            add(&mut self.fts, ft, fs);
        }
    }
}

impl Sums<f64> {
    /// The tile of `n` pixels.
    #[inline(always)]
    pub(super) fn tile(&self, bounds: [usize; 4], n: f64) -> Tile {
        let level = f64::from(LEVEL);
        let mean = |sum: f64| sum / (level * n);
        let (mean_t, mean_s) = (mean(self.t), mean(self.s));
        let squares = |sum: f64| sum / (level * level * n);
        let var_t = (squares(self.tt) - mean_t * mean_t).max(0.0);
        let var_s = (squares(self.ss) - mean_s * mean_s).max(0.0);
        let covariance = squares(self.ts) - mean_t * mean_s;
        let product = (var_t * var_s).sqrt();
        let correlation = if product > 0.25 { covariance / product } else { 0.0 };
        let fine_product = (self.ftt * self.fss).sqrt();
        let fine_correlation = if fine_product > 0.05 * n * FINE * FINE {
            self.fts / fine_product
        } else {
            0.0
        };
        // Both sides normalised: t/σt and s/σs differ by displacement times gradient.
        let gain = if var_s > 0.25 { (var_t / var_s).sqrt() } else { 1.0 };
        let residual = |gt: f64, gs: f64, g: f64| {
            let product = |sum: f64| sum / (GRADIENT * level);
            let g = g / GRADIENT;
            product(gt) - mean_t * g - gain * (product(gs) - mean_s * g)
        };
        // Gradient of the mean of t and gain·s, roughly: the gradients were averaged with gain 1.
        let balance = (1.0 + gain) / 2.0;
        let pull = [
            residual(self.gxt, self.gxs, self.gx) * balance,
            residual(self.gyt, self.gys, self.gy) * balance,
        ];
        let square = balance * balance / (GRADIENT * GRADIENT);
        Tile {
            bounds: bounds.map(|v| v as f32),
            spread_target: var_t.sqrt() as f32,
            spread_source: var_s.sqrt() as f32,
            mean_target: mean_t as f32 + 128.0,
            mean_source: mean_s as f32 + 128.0,
            correlation: correlation.clamp(-1.0, 1.0) as f32,
            fine_correlation: fine_correlation.clamp(-1.0, 1.0) as f32,
            fine_energy: (self.ftt / (n * FINE * FINE)) as f32,
            structure: [self.gxx, self.gxy, self.gyy].map(|v| v * square),
            pull,
        }
    }
}
