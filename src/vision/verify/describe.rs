//! Binary descriptors of corners: an oriented patch is cut into cells whose mean brightness and mean gradients
//! are compared with each other, one bit a comparison, in the manner of the local difference binary of AKAZE
//! (Alcantarilla, Nuevo and Bartoli, "Fast explicit diffusion for accelerated features in nonlinear scale
//! spaces", BMVC 2013; Yang and Cheng, "LDB", ISMAR 2012).
//!
//! The set of comparisons is closed under reflection, so the descriptor of a mirrored image follows from the
//! original's by a permutation of its bits ([`Mirror`]).

use std::sync::LazyLock;

use super::plane::Plane;

/// 256 bits, of which 246 are in use.
pub(super) type Bits = [u64; 4];

/// A described corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Keypoint {
    /// Position in pixels of the full preview.
    pub(super) at: [f32; 2],
    /// Pixels of the preview per pixel of the level the corner was found on.
    pub(super) size: f32,
    /// Orientation of the patch in radians, from the x axis towards the y axis (y points down).
    pub(super) angle: f32,
    pub(super) bits: Bits,
}

/// Side of the sampled patch, in pixels of the level: divisible by 2, 3 and 4.
const PATCH: usize = 24;
/// Side of the patch in blocks of 2×2 samples.
const BLOCKS: usize = PATCH / 2;
/// Radius of the disc whose centroid of brightness gives the orientation.
const DISC: i32 = 11;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Brightness,
    Along,
    Across,
}

/// One bit: whether `channel` of cell `first` exceeds that of cell `second` on the grid of `side`² cells.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Test {
    side: usize,
    channel: Channel,
    first: usize,
    second: usize,
}

static TESTS: LazyLock<Vec<Test>> = LazyLock::new(|| {
    let mut tests = Vec::with_capacity(246);
    for (side, channels) in [
        (
            2,
            [Channel::Brightness, Channel::Along, Channel::Across].as_slice(),
        ),
        (
            3,
            [Channel::Brightness, Channel::Along, Channel::Across].as_slice(),
        ),
        (4, [Channel::Brightness].as_slice()),
    ] {
        for &channel in channels {
            for first in 0..side * side {
                for second in first + 1..side * side {
                    tests.push(Test {
                        side,
                        channel,
                        first,
                        second,
                    });
                }
            }
        }
    }
    tests
});

/// How the bits of a descriptor change when the image is mirrored.
pub(super) struct Mirror {
    /// Bits that turn.
    turned: Bits,
    /// Where the bits of each four go, for each value of the four.
    moved: Vec<[Bits; 16]>,
}

static MIRROR: LazyLock<Mirror> = LazyLock::new(|| {
    let mut mirror = Mirror {
        turned: [0; 4],
        moved: vec![[[0; 4]; 16]; 64],
    };
    let sources = TESTS.iter().map(|test| {
        // A mirrored patch, seen along its own orientation, has its rows in reverse.
        let flip = |cell: usize| (test.side - 1 - cell / test.side) * test.side + cell % test.side;
        let (a, b) = (flip(test.first), flip(test.second));
        let swapped = a > b;
        let wanted = Test {
            first: a.min(b),
            second: a.max(b),
            ..*test
        };
        let index = TESTS
            .iter()
            .position(|t| *t == wanted)
            .expect("the tests are all pairs of a grid, so the mirrored pair is one of them");
        (index, swapped != (test.channel == Channel::Across))
    });
    for (bit, (source, turns)) in sources.enumerate() {
        let (word, set) = (bit / 64, 1 << (bit % 64));
        mirror.turned[word] |= if turns { set } else { 0 };
        for (four, bits) in mirror.moved[source / 4].iter_mut().enumerate() {
            bits[word] |= if four >> (source % 4) & 1 == 1 { set } else { 0 };
        }
    }
    mirror
});

impl Mirror {
    /// The shared table.
    pub(super) fn table() -> &'static Self {
        &MIRROR
    }

    /// The descriptor that the corner would have in the mirrored image.
    pub(super) fn apply(&self, bits: &Bits) -> Bits {
        let mut mirrored = self.turned;
        for (place, moved) in self.moved.iter().enumerate() {
            let four = bits[place / 16] >> (place % 16 * 4) & 15;
            for (word, part) in mirrored.iter_mut().zip(moved[four as usize]) {
                *word ^= part;
            }
        }
        mirrored
    }
}

/// Columns of the square around the disc, and more: whole lanes are summed. A corner is so far from the border that they exist.
const SQUARE: usize = 32;

/// For each distance from the middle row all bits where the disc is, none elsewhere.
static INSIDE: [[u8; SQUARE]; DISC as usize + 1] = {
    let mut rows = [[0; SQUARE]; DISC as usize + 1];
    let mut dy = 0;
    while dy <= DISC {
        let mut dx = -DISC;
        while dx <= DISC {
            if dx * dx + dy * dy <= DISC * DISC {
                rows[dy as usize][(dx + DISC) as usize] = u8::MAX;
            }
            dx += 1;
        }
        dy += 1;
    }
    rows
};

/// Direction of the centroid of brightness around a corner.
#[inline(always)]
pub(super) fn orientation(plane: &Plane, x: usize, y: usize) -> f32 {
    let reach = DISC as usize;
    let row = |y: usize| {
        let at = y * plane.width + x - reach;
        let mut row = [0; SQUARE];
        row.copy_from_slice(&plane.data[at..at + SQUARE]);
        row
    };
    // Sixteen bits hold them all: a column has 23 pixels, and the distances of eleven add up to 66.
    let mut columns = [0i16; SQUARE];
    // Lower half less upper half: of the rows at least so far from the middle, and the sum of these.
    let (mut farther, mut moments) = ([0i16; SQUARE], [0i16; SQUARE]);
    for step in (1..=reach).rev() {
        let (above, below) = (row(y - step), row(y + step));
        for lane in 0..SQUARE {
            let [a, b] = [above[lane], below[lane]].map(|v| i16::from(v & INSIDE[step][lane]));
            columns[lane] += a + b;
            farther[lane] += b - a;
            moments[lane] += farther[lane];
        }
    }
    let middle = row(y);
    let (mut mx, mut my) = (0i32, 0i32);
    for lane in 0..SQUARE {
        let column = columns[lane] + i16::from(middle[lane] & INSIDE[0][lane]);
        mx += i32::from(column) * (lane as i32 - DISC);
        my += i32::from(moments[lane]);
    }
    (my as f32).atan2(mx as f32)
}

/// Descriptors that are compared into bits side by side.
const LANES: usize = 16;
/// The sums that are compared with each other: cells of a grid in one channel, one group after the other.
const GROUPS: [usize; 7] = [4, 4, 4, 9, 9, 9, 16];
/// All of them.
const SUMS: usize = 55;

/// Describes the patches around the corners `(x, y)` of `plane`, each turned by its angle.
#[inline(always)]
pub(super) fn describe(plane: &Plane, corners: &[(usize, usize, f32)]) -> Vec<Bits> {
    let mut described = Vec::with_capacity(corners.len());
    let mut window = Window::new();
    let mut sums = [[0i32; LANES]; SUMS];
    for corners in corners.chunks(LANES) {
        for (lane, &(x, y, angle)) in corners.iter().enumerate() {
            let patch = window.cut(plane, x, y, angle);
            let (two, three) = (cells::<2>(&patch), cells::<3>(&patch));
            let [four, ..] = cells::<4>(&patch);
            let groups = [two[0], two[1], two[2], three[0], three[1], three[2], four];
            let mut at = 0;
            for group in 0..GROUPS.len() {
                for cell in 0..GROUPS[group] {
                    sums[at][lane] = groups[group][cell];
                    at += 1;
                }
            }
        }
        let halves = compared(&sums);
        for lane in 0..corners.len() {
            let mut bits = [0; 4];
            for (word, halves) in bits.iter_mut().zip(halves.as_chunks::<2>().0) {
                *word = u64::from(halves[0][lane]) | u64::from(halves[1][lane]) << 32;
            }
            described.push(bits);
        }
    }
    described
}

/// A bit for every two cells of a group: whether the first has more. The first halves of all first words, the second halves, …
#[inline(always)]
fn compared(sums: &[[i32; LANES]; SUMS]) -> [[u32; LANES]; 8] {
    let mut halves = [[0; LANES]; 8];
    let (mut index, mut start) = (0, 0);
    for count in GROUPS {
        for first in start..start + count {
            for second in first + 1..start + count {
                let half = &mut halves[index / 32];
                for lane in 0..LANES {
                    let bit = 1 << (index % 32);
                    half[lane] |= if sums[first][lane] > sums[second][lane] {
                        bit
                    } else {
                        0
                    };
                }
                index += 1;
            }
        }
        start += count;
    }
    halves
}

/// Columns that sums of blocks are kept for: whole lanes.
const WIDE: usize = 16;
/// Sums of 2×2 samples of a patch: cells and their halves are made of whole blocks.
type Blocks = [[i32; WIDE]; BLOCKS];

/// Pixels around a corner, of which a turned patch is cut: at a place that is masked nothing has to be checked.
struct Window {
    pixels: [u8; 1 << (2 * Self::SHIFT)],
}

impl Window {
    const SHIFT: usize = 6;
    const SIDE: usize = 1 << Self::SHIFT;
    const MASK: u32 = (1 << (2 * Self::SHIFT)) - 1;
    /// Half the diagonal of a patch, and a pixel.
    const REACH: usize = 18;

    const fn new() -> Self {
        Self {
            pixels: [0; 1 << (2 * Self::SHIFT)],
        }
    }

    /// Copies what is around `(x, y)`; beyond the border of the plane its outermost pixels are repeated.
    #[inline(always)]
    fn fill(&mut self, plane: &Plane, x: usize, y: usize) {
        let right = plane.width - 1;
        let is_inside = x >= Self::REACH && x + Self::REACH <= right;
        for (v, row) in self
            .pixels
            .chunks_exact_mut(Self::SIDE)
            .take(2 * Self::REACH + 1)
            .enumerate()
        {
            let from = plane.row((y + v).saturating_sub(Self::REACH).min(plane.height - 1));
            if is_inside {
                row[..2 * Self::REACH + 1].copy_from_slice(&from[x - Self::REACH..=x + Self::REACH]);
            } else {
                for (u, pixel) in row[..2 * Self::REACH + 1].iter_mut().enumerate() {
                    *pixel = from[(x + u).saturating_sub(Self::REACH).min(right)];
                }
            }
        }
    }

    /// Samples the turned patch, rows along the orientation, in steps of 1/65,536 of a pixel.
    #[inline(always)]
    fn cut(&mut self, plane: &Plane, x: usize, y: usize, angle: f32) -> Blocks {
        self.fill(plane, x, y);
        let (sin, cos) = angle.sin_cos();
        let (sin, cos) = ((sin * 65_536.0) as i32, (cos * 65_536.0) as i32);
        // Twice the half side, less one, is whole: 23 half-pixels from the centre to the first sample.
        let half = PATCH as i32 - 1;
        let middle = ((Self::REACH as i32) << 16) + (1 << 15);
        let mut start = [middle - half * (cos - sin) / 2, middle - half * (sin + cos) / 2];
        let mut blocks = [[0; WIDE]; BLOCKS];
        for v in 0..PATCH {
            // Where the samples are is computed side by side; only the reading is one by one.
            let mut places = [0u32; 2 * WIDE];
            for u in 0..2 * WIDE {
                let sx = (start[0] + u as i32 * cos) >> 16;
                let sy = (start[1] + u as i32 * sin) >> 16;
                places[u] = ((sy << Self::SHIFT) + sx).cast_unsigned() & Self::MASK;
            }
            let block = &mut blocks[v / 2];
            for u in 0..BLOCKS {
                let (first, second) = (places[2 * u] as usize, places[2 * u + 1] as usize);
                block[u] += i32::from(self.pixels[first]) + i32::from(self.pixels[second]);
            }
            start[0] -= sin;
            start[1] += cos;
        }
        blocks
    }
}

/// Sums per cell: brightness, right half minus left half, bottom half minus top half. (The halves of the grid of 4×4
/// are not asked for: its cells are three blocks wide.)
#[inline(always)]
fn cells<const SIDE: usize>(blocks: &Blocks) -> [[i32; 16]; 3] {
    let step = BLOCKS / SIDE;
    let mut sums = [[0; 16]; 3];
    for band in 0..SIDE {
        // Rows are added up first, side by side.
        let (mut all, mut tilt) = ([0; WIDE], [0; WIDE]);
        for v in 0..step {
            let row = &blocks[band * step + v];
            let sign = if v >= step / 2 { 1 } else { -1 };
            for u in 0..WIDE {
                all[u] += row[u];
                tilt[u] += sign * row[u];
            }
        }
        for cell in 0..SIDE {
            let (mut left, mut right, mut across) = (0, 0, 0);
            for u in 0..step {
                let at = cell * step + u;
                if u < step / 2 {
                    left += all[at];
                } else {
                    right += all[at];
                }
                across += tilt[at];
            }
            let index = band * SIDE + cell;
            sums[Channel::Brightness as usize][index] = left + right;
            sums[Channel::Along as usize][index] = right - left;
            sums[Channel::Across as usize][index] = across;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_is_that_of_the_centroid() {
        let (width, height) = (40, 37);
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        let plane = Plane::new(width, height, (0..width * height).map(noise).collect());
        for (x, y) in [(14, 14), (25, 22), (20, 18), (14, 22)] {
            let (mut mx, mut my) = (0, 0);
            for dy in -DISC..=DISC {
                for dx in (-DISC..=DISC).filter(|dx| dx * dx + dy * dy <= DISC * DISC) {
                    let v = i32::from(plane.row((y + dy) as usize)[(x + dx) as usize]);
                    mx += dx * v;
                    my += dy * v;
                }
            }
            let expected = (my as f32).atan2(mx as f32);
            assert_eq!(
                orientation(&plane, x as usize, y as usize).to_bits(),
                expected.to_bits()
            );
        }
        let bright = Plane::new(width, height, vec![u8::MAX; width * height]);
        assert_eq!(orientation(&bright, 14, 14), 0.0);
    }

    #[test]
    fn descriptors_are_those_of_single_tests() {
        let (width, height) = (61, 47);
        let noise = |i: usize| ((i * i + 7 * i).wrapping_mul(2_654_435_761) >> 23) as u8;
        let plane = Plane::new(width, height, (0..width * height).map(noise).collect());
        let corners: Vec<(usize, usize, f32)> = (0..37)
            .map(|i| (14 + i * 5 % 33, 14 + i * 3 % 19, i as f32 * 0.41 - 3.0))
            .collect();
        for (bits, &(x, y, angle)) in describe(&plane, &corners).iter().zip(&corners) {
            let (sin, cos) = angle.sin_cos();
            let [sin, cos] = [sin, cos].map(|v| (v * 65_536.0) as i32);
            let sample = |u: i32, v: i32| {
                let x = ((x as i32) << 16) + (1 << 15) - 23 * (cos - sin) / 2 + u * cos - v * sin;
                let y = ((y as i32) << 16) + (1 << 15) - 23 * (sin + cos) / 2 + u * sin + v * cos;
                let (x, y) = ((x >> 16).clamp(0, 60), (y >> 16).clamp(0, 46));
                i32::from(plane.row(y as usize)[x as usize])
            };
            for (index, test) in TESTS.iter().enumerate() {
                let step = PATCH as i32 / test.side as i32;
                let value = |cell: usize| {
                    let (left, top) = (
                        cell as i32 % test.side as i32 * step,
                        cell as i32 / test.side as i32 * step,
                    );
                    let mut sum = 0;
                    for (v, u) in (0..step).flat_map(|v| (0..step).map(move |u| (v, u))) {
                        let is_negative = match test.channel {
                            Channel::Brightness => false,
                            Channel::Along => u < step / 2,
                            Channel::Across => v < step / 2,
                        };
                        let value = sample(left + u, top + v);
                        sum += if is_negative { -value } else { value };
                    }
                    sum
                };
                let expected = value(test.first) > value(test.second);
                assert_eq!(
                    bits[index / 64] >> (index % 64) & 1 == 1,
                    expected,
                    "{index} at {x}, {y}"
                );
            }
        }
    }
}
