//! Tile by tile comparison of one image with another warped onto it.

use super::affine::Affine;
use super::lanes::{LANES, LaneKernel, Lanes, eighths, in_lanes};
use super::plane::Plane;
use super::sampling::sample_row;
use super::sums::{Around, Sums};

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
    in_lanes(Measure::<true> {
        target,
        source,
        map,
        side,
        grid: Grid::All,
    })
}

/// The same without the fine detail, which is 0 in the answer: all that refining a map asks for.
pub(super) fn outline(target: &Plane, source: &Plane, map: &Affine, side: usize, grid: Grid) -> Vec<Tile> {
    in_lanes(Measure::<false> {
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

impl<const DETAIL: bool> LaneKernel for Measure<'_, DETAIL> {
    type Output = Vec<Tile>;

    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Vec<Tile> {
        let Self {
            target,
            source,
            map,
            side,
            grid,
        } = self;
        debug_assert!(side <= LANES, "sums of a larger tile would not fit");
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
            scratch.fill(lanes, target, source, map, bounds);
            for (left, right) in columns.map(edges) {
                tiles.push(scratch.compare::<L, DETAIL>(lanes, [left, right, top, bottom]));
            }
        }
        tiles
    }
}

/// Pixels of the source that a tile may reach beyond its border.
const SLACK: f64 = 0.75;
/// Rows of tiles of which every second one says as much as all.
const MANY_ROWS: usize = 8;

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

/// The warped source under a tile or a row of them and the target there, in eighths of a level and with a margin of one pixel.
/// Rows are `stride` apart, and that leaves room for whole lanes.
#[derive(Default)]
struct Scratch {
    samples: Vec<i16>,
    pixels: Vec<i16>,
    stride: usize,
    /// Left, right, top, bottom in pixels of the target.
    bounds: [usize; 4],
}

impl Scratch {
    /// Samples the source and copies the target; beyond the border of this its outermost pixels are repeated.
    #[inline(always)]
    fn fill<L: Lanes>(
        &mut self,
        lanes: L,
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
        self.samples.resize(self.stride * high, 0);
        self.pixels.resize(self.stride * high, 0);
        let count = right - left;
        for y in known..high {
            let at = y * self.stride;
            let start = [left as f64 - 0.5, top as f64 - 0.5 + y as f64];
            let samples = &mut self.samples[at..at + wide.next_multiple_of(LANES)];
            sample_row(lanes, source, map, start, samples);
            let row = target.row((top + y).saturating_sub(1).min(target.height - 1));
            let out = &mut self.pixels[at..at + wide];
            for (out, &v) in out[1..=count].iter_mut().zip(&row[left..right]) {
                *out = eighths(v);
            }
            out[0] = eighths(row[left.saturating_sub(1)]);
            out[count + 1] = eighths(row[right.min(target.width - 1)]);
        }
    }

    /// One of the tiles that it was filled for.
    #[inline(always)]
    fn compare<L: Lanes, const DETAIL: bool>(
        &self,
        lanes: L,
        [left, right, top, bottom]: [usize; 4],
    ) -> Tile {
        let mut sums = Sums::of(|| lanes.none());
        let (count, stride) = (right - left, self.stride);
        let first = left - self.bounds[0];
        for x in (0..count).step_by(LANES) {
            let mut mask = [0; LANES];
            mask[..(count - x).min(LANES)].fill(-1);
            let mask = lanes.pixels(&mask);
            for y in 1..=bottom - top {
                let at = y * stride + 1 + first + x;
                sums.add::<L, DETAIL>(
                    lanes,
                    &Around::at(lanes, &self.pixels, at, stride),
                    &Around::at(lanes, &self.samples, at, stride),
                    mask,
                );
            }
        }
        sums.map(|sum| lanes.total(sum) as f64)
            .tile([left, right, top, bottom], (count * (bottom - top)) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Plain;
    use super::*;

    #[test]
    fn the_widest_instructions_see_what_one_lane_after_the_other_sees() {
        let noise = |width: usize, height: usize, seed: u32| {
            let level = |i: u32| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8;
            Plane::new(width, height, (0..(width * height) as u32).map(level).collect())
        };
        // Tiles of up to 31 pixels, and the largest steps that there are.
        for (width, height) in [(31, 31), (47, 20), (150, 90)] {
            let target = noise(width, height, 7);
            for map in [
                [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
                [0.96, 0.21, 0.4, -0.2, 0.93, 12.0],
                [-2.1, 0.0, 150.0, 0.0, 1.7, 0.3],
                [0.0, 1.1, 0.0, 1.1, 0.0, 0.0],
            ] {
                let (source, map) = (noise(160, 170, 99), Affine(map));
                let seen = || Measure::<true> {
                    target: &target,
                    source: &source,
                    map: &map,
                    side: 16,
                    grid: Grid::All,
                };
                let found = in_lanes(seen());
                assert!(!found.is_empty(), "{map:?}");
                assert_eq!(found, seen().call(Plain), "{map:?}");
            }
        }
        // Every sum at its largest.
        let stripes: Vec<u8> = (0..31 * 31)
            .map(|i| if i % 31 / 2 % 2 == 0 { 0 } else { 255 })
            .collect();
        let plane = Plane::new(31, 31, stripes);
        let found = measure(&plane, &plane, &Affine([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), 16);
        assert!((found[0].correlation - 1.0).abs() < 1e-6 && found[0].spread_target > 127.0);
    }

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
