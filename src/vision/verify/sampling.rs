//! Pixels of a plane under a map: bilinear interpolation, many places side by side.

use super::affine::Affine;
use super::lanes::{Course, LANES, Lanes};
use super::plane::Plane;

/// Samples `source` by bilinear interpolation along a row of the target that starts at `start`, a continuous coordinate;
/// brightness in eighths of a level around 0. Whole lanes are filled. Places outside the source are brought to its border.
#[inline(always)]
pub(super) fn sample_row<L: Lanes>(lanes: L, source: &Plane, map: &Affine, start: [f64; 2], row: &mut [i16]) {
    let [across, _, _, down, ..] = map.0;
    let [x, y] = map.apply(start).map(|v| v - 0.5);
    let x = Course::new(x, across, source.width);
    let y = Course::new(y, down, source.height);
    for (at, out) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let place = at * LANES;
        *out = lanes.stored(lanes.sampled(source, x.from(place), y.from(place)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{LEVEL, LaneKernel, Plain, in_lanes};
    use super::*;

    struct Row<'a>(&'a Plane, &'a Affine, [f64; 2], usize);

    impl LaneKernel for Row<'_> {
        type Output = Vec<i16>;

        fn call<L: Lanes>(self, lanes: L) -> Vec<i16> {
            let Self(source, map, start, count) = self;
            let mut row = vec![0; count];
            sample_row(lanes, source, map, start, &mut row);
            row
        }
    }

    /// Brightness around 0 between four pixels, each place brought to the border.
    fn exactly(source: &Plane, map: &Affine, [left, top]: [f64; 2], at: usize) -> f64 {
        let [x, y] = map.apply([left + at as f64, top]).map(|v| v - 0.5);
        let (x, y) = (
            x.clamp(0.0, (source.width - 1) as f64),
            y.clamp(0.0, (source.height - 1) as f64),
        );
        let (column, row) = (
            (x as usize).min(source.width - 2),
            (y as usize).min(source.height - 2),
        );
        let (fx, fy) = (x - column as f64, y - row as f64);
        let pixel = |dx, dy| f64::from(source.row(row + dy)[column + dx]);
        let line = |dy| pixel(0, dy) * (1.0 - fx) + pixel(1, dy) * fx;
        line(0) * (1.0 - fy) + line(1) * fy - 128.0
    }

    #[test]
    fn rows_are_sampled_as_one_place_after_the_other() {
        let data = (0..60u32 * 50)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let source = Plane::new(60, 50, data);
        let maps = [
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            [1.0, 0.0, -7.0, 0.0, 1.0, 5.0],
            [1.0, 0.0, 22.0, 0.0, 1.0, -3.0],
            [1.0, 0.0, -70.0, 0.0, 1.0, 60.0],
            [1.0, 0.0, 0.3, 0.0, 1.0, 0.7],
            [1.0, 1e-3, 0.3, 2e-2, 1.0, 0.7],
            [-1.0, 0.0, 59.6, 0.0, 1.0, 0.2],
            [0.7, 0.01, 8.0, -0.02, 0.75, 6.0],
            [1.3, -0.01, 1.0, 0.02, 1.2, -3.0],
            [2.4, -0.01, 1.0, 0.02, 1.2, -3.0],
            [0.0, 1.0, 0.4, -1.0, 0.0, 49.2],
            [0.6, 0.5, 3.0, -0.5, 0.6, 20.0],
            [1e9, 0.0, -1e12, 0.0, -1e9, 1e12],
        ];
        for map in maps.map(Affine) {
            for y in [-0.5, 0.5, 11.5, 24.0, 40.5] {
                for (x, count) in [(-0.5, 48), (4.5, 32), (15.5, 16), (35.5, 32)] {
                    let row = || Row(&source, &map, [x, y], count);
                    let (found, plain) = (in_lanes(row()), row().call(Plain));
                    assert_eq!(found, plain, "{map:?} from {x}, {y}");
                    for (at, level) in found.into_iter().enumerate() {
                        let level = f64::from(level) / f64::from(LEVEL);
                        let gap = (level - exactly(&source, &map, [x, y], at)).abs();
                        assert!(gap < 0.13, "{map:?} from {x}, {y}: off by {gap} at {at}");
                    }
                }
            }
        }
    }
}
