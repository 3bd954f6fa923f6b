//! Pixels of a plane under a map: bilinear interpolation, many places side by side.

use super::affine::Affine;
use super::plane::Plane;
use crate::vision::wide::whole;

/// Pixels that are sampled side by side where some lie on the border.
const LANES: usize = 8;
/// Pixels that are sampled side by side elsewhere.
const MANY: usize = 16;

/// Samples `source` by bilinear interpolation along a row of the target that starts at `start`, a continuous coordinate;
/// brightness around 0. Whole lanes are filled. Places outside the source are brought to its border.
#[inline(always)]
pub(super) fn sample_row(source: &Plane, map: &Affine, start: [f64; 2], row: &mut [f32]) {
    let [a, _, _, d, ..] = map.0.map(|v| v as f32);
    let [x0, y0] = map.apply(start).map(|v| v as f32 - 0.5);
    let line = Line { x0, y0, a, d };
    if line.is_a_row() {
        return shifted(source, [x0 as isize, y0 as isize], row);
    }
    let (many, few) = row.as_chunks_mut::<MANY>();
    let (count, rest) = (many.len(), (many.len() * MANY) as f32);
    // Only the ends of most rows lie on the border; what lies between two places within lies within.
    let is_within = count > 2 && line.is_within(source, MANY as f32, (count - 2) * MANY);
    for (at, lanes) in many.iter_mut().enumerate() {
        let first = (at * MANY) as f32;
        let is_between = is_within && at > 0 && at + 1 < count;
        if is_between || line.is_within(source, first, MANY) {
            inside(source, line, first, lanes);
        } else {
            for (half, lanes) in lanes.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                anywhere(source, line, first + (half * LANES) as f32, lanes);
            }
        }
    }
    for (at, lanes) in few.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        anywhere(source, line, rest + (at * LANES) as f32, lanes);
    }
}

/// Places in the source along a row of the target: where the first one is, and the step to the next.
#[derive(Clone, Copy)]
struct Line {
    x0: f32,
    y0: f32,
    a: f32,
    d: f32,
}

impl Line {
    #[inline(always)]
    fn at(self, place: f32) -> [f32; 2] {
        [self.x0 + self.a * place, self.y0 + self.d * place]
    }

    /// Whether each place is a pixel of one row, and the next place the next pixel.
    #[inline(always)]
    fn is_a_row(self) -> bool {
        [self.a, self.d] == [1.0, 0.0] && [self.x0, self.y0].iter().all(|at| at.fract() == 0.0)
    }

    /// Whether so many places from `first` on all have four pixels around them.
    #[inline(always)]
    fn is_within(self, source: &Plane, first: f32, count: usize) -> bool {
        let (right, bottom) = (
            source.width.saturating_sub(1) as f32,
            source.height.saturating_sub(1) as f32,
        );
        let mut is_within = true;
        for place in [first, first + (count - 1) as f32] {
            let [x, y] = self.at(place);
            is_within &= x >= 0.0 && x < right && y >= 0.0 && y < bottom;
        }
        is_within
    }
}

/// Copies the pixels of a row from a place on.
#[inline(always)]
fn shifted(source: &Plane, [x, y]: [isize; 2], row: &mut [f32]) {
    let at = |place: isize, len: usize| usize::try_from(place).unwrap_or(0).min(len - 1);
    let pixels = source.row(at(y, source.height));
    // Those before the first pixel, those within, and those behind the last.
    let before = usize::try_from(-x).unwrap_or(0).min(row.len());
    let (head, rest) = row.split_at_mut(before);
    head.fill(f32::from(pixels[0]) - 128.0);
    let within = &pixels[at(x, source.width)..];
    for (out, &v) in rest.iter_mut().zip(within) {
        *out = f32::from(v) - 128.0;
    }
    if let Some(tail) = rest.get_mut(within.len()..) {
        tail.fill(f32::from(pixels[source.width - 1]) - 128.0);
    }
}

/// Samples places on the border or inside.
#[inline(always)]
fn anywhere(source: &Plane, line: Line, first: f32, lanes: &mut [f32; LANES]) {
    if line.is_within(source, first, LANES) {
        return inside(source, line, first, lanes);
    }
    let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
    for lane in 0..LANES {
        [x[lane], y[lane]] = line.at(first + lane as f32);
    }
    *lanes = sampled(source, x, y);
}

/// Samples places of which all have four pixels around them: nothing is brought to the border, and most lie in one row.
#[inline(always)]
fn inside<const N: usize>(plane: &Plane, line: Line, first: f32, samples: &mut [f32; N]) {
    let (mut x, mut y, mut column) = ([0.0; N], [0.0; N], [0i32; N]);
    for lane in 0..N {
        [x[lane], y[lane]] = line.at(first + lane as f32);
        column[lane] = whole(x[lane]);
    }
    // Along a row of places the height only rises or only falls.
    let (row, end) = (y[0] as usize, y[N - 1] as usize);
    let mut rows = [y[0].trunc(); N];
    let corners = if row == end {
        let (mut differs, mut mirrored) = (0, 0);
        for lane in 0..N {
            differs |= column[lane] ^ (column[0] + lane as i32);
            mirrored |= column[lane] ^ (column[0] - lane as i32);
        }
        let (top, bottom) = (plane.row(row), plane.row(row + 1));
        if differs == 0 {
            let at = column[0] as usize;
            neighbours(&top[at..], &bottom[at..])
        } else if mirrored == 0 {
            let at = column[N - 1] as usize;
            let corners = neighbours::<N>(&top[at..], &bottom[at..]);
            let mut turned = [[0.0; N]; 4];
            for (turned, corners) in turned.iter_mut().zip(&corners) {
                for lane in 0..N {
                    turned[lane] = corners[N - 1 - lane];
                }
            }
            turned
        } else if let Some(corners) = nearly(plane, [row, row], &[0; N], &column) {
            corners
        } else {
            scattered(plane, &[row as i32; N], &column)
        }
    } else {
        let mut row = [0i32; N];
        for lane in 0..N {
            row[lane] = whole(y[lane]);
            rows[lane] = row[lane] as f32;
        }
        let above = row[0].min(row[N - 1]);
        let mut lower = [0; N];
        for lane in 0..N {
            lower[lane] = u8::from(row[lane] > above);
        }
        let is_one_step = row[0].abs_diff(row[N - 1]) == 1;
        let corners = if is_one_step {
            nearly(plane, [above as usize, above as usize + 1], &lower, &column)
        } else {
            None
        };
        corners.unwrap_or_else(|| scattered(plane, &row, &column))
    };
    for lane in 0..N {
        let place = [x[lane] - column[lane] as f32, y[lane] - rows[lane]];
        let [a, b, c, d] = &corners;
        samples[lane] = blended([a[lane], b[lane], c[lane], d[lane]], place);
    }
}

/// The four pixels around places side by side of which some are a column further than the others, or all one; `None` where that
/// is not so. They lie in the first of two rows, or in the second where `lower` is 1.
#[inline(always)]
fn nearly<const N: usize>(
    plane: &Plane,
    [row, other]: [usize; 2],
    lower: &[u8; N],
    column: &[i32; N],
) -> Option<[[f32; N]; 4]> {
    // Along a row of places a column is skipped once, or comes twice: only later on or only before.
    let steps = column[N - 1] - column[0] - (N as i32 - 1);
    let first = column[0] + steps.min(0);
    let mut further = [0u8; N];
    let mut stray = 0;
    for lane in 0..N {
        let step = column[lane] - first - lane as i32;
        stray |= step & !1;
        further[lane] = step as u8;
    }
    if stray != 0 || first < 0 {
        return None;
    }
    let first = first as usize;
    let upper = [plane.row(row), plane.row(row + 1)];
    let under = [plane.row(other), plane.row(other + 1)];
    let mut corners = [[0.0; N]; 4];
    for (pair, (upper, under)) in corners
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(upper.into_iter().zip(under))
    {
        let (upper, under) = (upper.get(first..first + N + 2)?, under.get(first..first + N + 2)?);
        let mut line = [[0u8; N]; 3];
        for lane in 0..N {
            for (shift, line) in line.iter_mut().enumerate() {
                let (up, down) = (upper[lane + shift], under[lane + shift]);
                line[lane] = if lower[lane] == 1 { down } else { up };
            }
        }
        for lane in 0..N {
            let is_further = further[lane] == 1;
            pair[0][lane] = f32::from(if is_further { line[1][lane] } else { line[0][lane] });
            pair[1][lane] = f32::from(if is_further { line[2][lane] } else { line[1][lane] });
        }
    }
    Some(corners)
}

/// Brightness around 0 between four pixels.
#[inline(always)]
fn blended([a, b, c, d]: [f32; 4], [fx, fy]: [f32; 2]) -> f32 {
    let (top, bottom) = (a + (b - a) * fx, c + (d - c) * fx);
    top + (bottom - top) * fy - 128.0
}

#[inline(always)]
fn sampled(plane: &Plane, mut x: [f32; LANES], mut y: [f32; LANES]) -> [f32; LANES] {
    let (width, height) = (plane.width as i32, plane.height as i32);
    let (mut row, mut column) = ([0i32; LANES], [0i32; LANES]);
    // Loops over lanes, not closures over arrays: those are compiled apart, for any processor.
    for lane in 0..LANES {
        x[lane] = x[lane].clamp(0.0, (width - 1) as f32);
        y[lane] = y[lane].clamp(0.0, (height - 1) as f32);
        // At the far border the last pixel is the second of a pair.
        column[lane] = whole(x[lane]).clamp(0, width - 2);
        row[lane] = whole(y[lane]).clamp(0, height - 2);
    }
    let [a, b, c, d] = scattered(plane, &row, &column);
    let mut samples = [0.0; LANES];
    for lane in 0..LANES {
        let place = [x[lane] - column[lane] as f32, y[lane] - row[lane] as f32];
        samples[lane] = blended([a[lane], b[lane], c[lane], d[lane]], place);
    }
    samples
}

/// The four pixels around each of as many places side by side: one load where one lane after the other would take eight. Most
/// copies have the size of their original, or nearly, once planes are chosen.
#[inline(always)]
fn neighbours<const N: usize>(top: &[u8], bottom: &[u8]) -> [[f32; N]; 4] {
    let (top, bottom) = (&top[..=N], &bottom[..=N]);
    let mut corners = [[0.0; N]; 4];
    for lane in 0..N {
        corners[0][lane] = f32::from(top[lane]);
        corners[1][lane] = f32::from(top[lane + 1]);
        corners[2][lane] = f32::from(bottom[lane]);
        corners[3][lane] = f32::from(bottom[lane + 1]);
    }
    corners
}

/// The four pixels around each of any places.
#[inline(always)]
fn scattered<const N: usize>(plane: &Plane, row: &[i32; N], column: &[i32; N]) -> [[f32; N]; 4] {
    let width = plane.width as i32;
    let mut places = [0i32; N];
    for lane in 0..N {
        places[lane] = row[lane] * width + column[lane];
    }
    let (mut top, mut bottom) = ([0u16; N], [0u16; N]);
    let above = &plane.data[..plane.data.len() - plane.width];
    let beneath = &plane.data[plane.width..];
    for lane in 0..N {
        let at = places[lane].cast_unsigned() as usize;
        top[lane] = u16::from_le_bytes([above[at], above[at + 1]]);
        bottom[lane] = u16::from_le_bytes([beneath[at], beneath[at + 1]]);
    }
    let mut corners = [[0.0; N]; 4];
    for lane in 0..N {
        corners[0][lane] = f32::from(top[lane] & 0xff);
        corners[1][lane] = f32::from(top[lane] >> 8);
        corners[2][lane] = f32::from(bottom[lane] & 0xff);
        corners[3][lane] = f32::from(bottom[lane] >> 8);
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One place after the other, each brought to the border.
    fn plainly(source: &Plane, map: &Affine, start: [f64; 2], row: &mut [f32]) {
        let [a, _, _, d, ..] = map.0.map(|v| v as f32);
        let [x0, y0] = map.apply(start).map(|v| v as f32 - 0.5);
        for (at, out) in row.iter_mut().enumerate() {
            let x = (x0 + a * at as f32).clamp(0.0, (source.width - 1) as f32);
            let y = (y0 + d * at as f32).clamp(0.0, (source.height - 1) as f32);
            let (column, row) = (
                (x as usize).min(source.width - 2),
                (y as usize).min(source.height - 2),
            );
            let pixel = |dx, dy| f32::from(source.row(row + dy)[column + dx]);
            let corners = [pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1)];
            *out = blended(corners, [x - column as f32, y - row as f32]);
        }
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
            [0.0, 1.0, 0.4, -1.0, 0.0, 49.2],
            [0.6, 0.5, 3.0, -0.5, 0.6, 20.0],
        ];
        for map in maps.map(Affine) {
            for y in [-0.5, 0.5, 11.5, 24.0, 40.5] {
                for (x, count) in [(-0.5, 48), (4.5, 24), (15.5, 16), (35.5, 24)] {
                    let (mut found, mut expected) = (vec![0.0; count], vec![0.0; count]);
                    sample_row(&source, &map, [x, y], &mut found);
                    plainly(&source, &map, [x, y], &mut expected);
                    assert_eq!(found, expected, "{map:?} from {x}, {y}");
                }
            }
        }
    }
}
