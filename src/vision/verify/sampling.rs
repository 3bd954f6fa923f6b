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
    let last = row.len().saturating_sub(1) as f32;
    let is_within = |first: f32, step: f32, len: usize| {
        let within = |at: f32| at >= 0.0 && at < len.saturating_sub(1) as f32;
        within(first) && within(first + step * last)
    };
    let mut first = 0.0;
    if is_within(x0, a, source.width) && is_within(y0, d, source.height) {
        let (many, few) = row.as_chunks_mut::<MANY>();
        for lanes in many {
            inside(source, [x0, y0], [a, d], first, lanes);
            first += MANY as f32;
        }
        for lanes in few.as_chunks_mut::<LANES>().0 {
            inside(source, [x0, y0], [a, d], first, lanes);
            first += LANES as f32;
        }
        return;
    }
    for lanes in row.as_chunks_mut::<LANES>().0 {
        let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let at = first + lane as f32;
            (x[lane], y[lane]) = (x0 + a * at, y0 + d * at);
        }
        *lanes = sampled(source, x, y);
        first += LANES as f32;
    }
}

/// Samples places of which all have four pixels around them: nothing is brought to the border, and most lie in one row.
#[inline(always)]
fn inside<const N: usize>(
    plane: &Plane,
    [x0, y0]: [f32; 2],
    [a, d]: [f32; 2],
    first: f32,
    samples: &mut [f32; N],
) {
    let (mut x, mut y, mut column) = ([0.0; N], [0.0; N], [0i32; N]);
    for lane in 0..N {
        let at = first + lane as f32;
        (x[lane], y[lane]) = (x0 + a * at, y0 + d * at);
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
        } else {
            scattered(plane, &[row as i32; N], &column)
        }
    } else {
        let mut row = [0i32; N];
        for lane in 0..N {
            row[lane] = whole(y[lane]);
            rows[lane] = row[lane] as f32;
        }
        scattered(plane, &row, &column)
    };
    for lane in 0..N {
        let place = [x[lane] - column[lane] as f32, y[lane] - rows[lane]];
        let [a, b, c, d] = &corners;
        samples[lane] = blended([a[lane], b[lane], c[lane], d[lane]], place);
    }
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
