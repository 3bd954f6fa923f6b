//! Patterns that repeat: boards, tiles, checks. Any other drawing of one geometry fits them as well as a copy does.

use super::plane::Plane;

/// Longest side of the plane that is looked at, pixels.
const SIDE: usize = 128;
/// Least period, pixels of that plane.
const LEAST: usize = 4;
/// Correlation with itself that a shift of half a period falls below.
const APART: f64 = 0.5;
/// Correlation with itself that a shift of a whole period reaches.
const AGAIN: f64 = 0.9;

/// Whether an image looks the same again some way to the right and some way down, and another way in between; or along one axis,
/// with nothing changing along the other.
pub(super) fn repeats(pyramid: &[Plane]) -> bool {
    let Some(plane) = pyramid
        .iter()
        .find(|plane| plane.width.max(plane.height) <= SIDE)
        .or(pyramid.last())
    else {
        return false;
    };
    let down = || along(plane.height, |shift| correlation(plane, [0, shift]));
    match along(plane.width, |shift| correlation(plane, [shift, 0])) {
        Course::Repeats => down() != Course::Neither,
        Course::Constant => down() == Course::Repeats,
        Course::Neither => false,
    }
}

/// What becomes of an image along one axis.
#[derive(Debug, PartialEq)]
enum Course {
    Constant,
    Repeats,
    Neither,
}

fn along(length: usize, correlation: impl Fn(usize) -> f64) -> Course {
    let mut least = 1.0f64;
    for shift in LEAST..=length / 2 {
        let now = correlation(shift);
        if least <= APART && now >= AGAIN {
            return Course::Repeats;
        }
        least = least.min(now);
    }
    if least >= AGAIN {
        Course::Constant
    } else {
        Course::Neither
    }
}

/// Correlation of a plane with itself, moved by so many pixels to the left and up; 1 where there is nothing to correlate.
fn correlation(plane: &Plane, [right, down]: [usize; 2]) -> f64 {
    let mut sums = [0u64; 6];
    for row in 0..plane.height - down {
        let here = &plane.row(row)[..plane.width - right];
        let there = &plane.row(row + down)[right..];
        // A row is short enough for 32 bits.
        let (mut x, mut y, mut xx, mut yy, mut xy) = (0u32, 0u32, 0u32, 0u32, 0u32);
        for (&a, &b) in here.iter().zip(there) {
            let (a, b) = (u32::from(a), u32::from(b));
            x += a;
            y += b;
            xx += a * a;
            yy += b * b;
            xy += a * b;
        }
        for (sum, of_row) in sums.iter_mut().zip([here.len() as u32, x, y, xx, yy, xy]) {
            *sum += u64::from(of_row);
        }
    }
    let [n, x, y, xx, yy, xy] = sums.map(|sum| sum as f64);
    let (vx, vy) = (n * xx - x * x, n * yy - y * y);
    if vx <= 0.0 || vy <= 0.0 {
        return 1.0;
    }
    (n * xy - x * y) / (vx * vy).sqrt()
}
