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
    /// Whether it is darker than its surroundings.
    pub(super) dark: bool,
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

/// Describes the patch around `(x, y)` of `plane`, turned by `angle`.
#[inline(always)]
pub(super) fn describe(plane: &Plane, x: usize, y: usize, angle: f32) -> Bits {
    let patch = cut(plane, x, y, angle);
    let (mut bits, mut index) = ([0; 4], 0);
    for channel in cells::<2>(&patch) {
        compare::<2>(&channel, &mut bits, &mut index);
    }
    for channel in cells::<3>(&patch) {
        compare::<3>(&channel, &mut bits, &mut index);
    }
    let [brightness, ..] = cells::<4>(&patch);
    compare::<4>(&brightness, &mut bits, &mut index);
    bits
}

/// Adds a bit for every two cells of a grid: whether the first has more.
#[inline(always)]
fn compare<const SIDE: usize>(cells: &[i32; 16], bits: &mut Bits, index: &mut usize) {
    for first in 0..SIDE * SIDE - 1 {
        // All at once: a bit for each cell that has less.
        let mut less = 0;
        for (second, &value) in cells.iter().enumerate() {
            less |= if cells[first] > value { 1u32 << second } else { 0 };
        }
        let count = SIDE * SIDE - 1 - first;
        let less = u64::from(less >> (first + 1) & ((1 << count) - 1));
        let (word, at) = (*index / 64, *index % 64);
        bits[word] |= less << at;
        if at + count > 64 {
            bits[word + 1] |= less >> (64 - at);
        }
        *index += count;
    }
}

/// Sums of 2×2 samples of a patch: cells and their halves are made of whole blocks.
type Blocks = [[i32; BLOCKS]; BLOCKS];

/// Samples the turned patch, rows along the orientation, in steps of 1/65,536 of a pixel.
#[inline(always)]
fn cut(plane: &Plane, x: usize, y: usize, angle: f32) -> Blocks {
    let (sin, cos) = angle.sin_cos();
    let [sin, cos] = [sin, cos].map(|v| (v * 65_536.0) as i32);
    let (right, bottom) = (plane.width as i32 - 1, plane.height as i32 - 1);
    // Twice the half side, less one, is whole: 23 half-pixels from the centre to the first sample.
    let half = PATCH as i32 - 1;
    let mut start = [
        ((x as i32) << 16) + (1 << 15) - half * (cos - sin) / 2,
        ((y as i32) << 16) + (1 << 15) - half * (sin + cos) / 2,
    ];
    let mut blocks = [[0; BLOCKS]; BLOCKS];
    for v in 0..PATCH {
        // Where the samples are is computed side by side; only the reading is one by one.
        let mut places = [0u32; PATCH];
        for (u, place) in (0..).zip(&mut places) {
            let sx = ((start[0] + u * cos) >> 16).clamp(0, right);
            let sy = ((start[1] + u * sin) >> 16).clamp(0, bottom);
            *place = (sy * (right + 1) + sx) as u32;
        }
        for (block, places) in blocks[v / 2].iter_mut().zip(places.as_chunks::<2>().0) {
            let [first, second] = places.map(|place| i32::from(plane.data[place as usize]));
            *block += first + second;
        }
        start[0] -= sin;
        start[1] += cos;
    }
    blocks
}

/// Sums per cell: brightness, right half minus left half, bottom half minus top half. (The halves of the grid of 4×4
/// are not asked for: its cells are three blocks wide.)
#[inline(always)]
fn cells<const SIDE: usize>(blocks: &Blocks) -> [[i32; 16]; 3] {
    let step = BLOCKS / SIDE;
    let mut sums = [[0; 16]; 3];
    for (v, row) in blocks.iter().enumerate() {
        let lower = v % step >= step / 2;
        for (cell, part) in row.chunks_exact(step).enumerate() {
            let (left, right) = part.split_at(step / 2);
            let (left, right): (i32, i32) = (left.iter().sum(), right.iter().sum());
            let index = v / step * SIDE + cell;
            sums[Channel::Brightness as usize][index] += left + right;
            sums[Channel::Along as usize][index] += right - left;
            sums[Channel::Across as usize][index] += if lower { left + right } else { -left - right };
        }
    }
    sums
}

/// Number of differing bits.
#[inline(always)]
pub(super) fn distance(a: &Bits, b: &Bits) -> u32 {
    let part = |i: usize| (a[i] ^ b[i]).count_ones();
    part(0) + part(1) + part(2) + part(3)
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
    fn distance_counts_bits() {
        let mut state = 1u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            state ^ state >> 29
        };
        for _ in 0..200 {
            let a: Bits = [word(), word(), word(), word()];
            let b: Bits = [word(), word(), word(), word()];
            let expected: u32 = a.iter().zip(&b).map(|(x, y)| (x ^ y).count_ones()).sum();
            assert_eq!(distance(&a, &b), expected);
        }
        assert_eq!(distance(&[0; 4], &[u64::MAX; 4]), 256);
        assert_eq!(distance(&[7; 4], &[7; 4]), 0);
    }
}
