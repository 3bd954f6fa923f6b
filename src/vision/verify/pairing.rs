//! Keypoints of two images are paired, and one similarity that many pairs obey is searched for.

use super::Features;
use super::affine::{Affine, solve};
use super::describe::Bits;
use crate::vision::wide::{Kernel, counting, wide};

/// Pairs farther apart than this many of 246 bits are chance.
const MAX_DISTANCE: u32 = 72;
/// The best partner must be closer than this share of the second best.
const RATIO: f32 = 0.88;
/// Pairs that hypotheses are made of, the clearest first.
const SEEDS: usize = 48;
/// A pair obeys a hypothesis when it lands within this many pixels, at the scale of its keypoint.
const TOLERANCE: f64 = 2.5;

/// A pair of keypoints that look alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    a: [f64; 2],
    b: [f64; 2],
    /// Logarithm of the ratio of their sizes, B to A.
    log_size: f32,
    /// Turn from A to B in radians.
    turn: f32,
    /// Pixels of B per pixel of the keypoint's level.
    size_b: f64,
    /// Distance relative to the second best: smaller is clearer.
    clarity: f32,
}

/// A map from A to B that several pairs obey.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hypothesis {
    pub(super) map: Affine,
    pub(super) inliers: usize,
}

/// The nearest descriptor and the distance of the second nearest.
struct Nearest {
    best: u32,
    second: u32,
    partner: usize,
}

/// For each of `query` the nearest of `target`, of equal ones the first; positions count from `offset`.
fn nearest(query: &[Bits], target: &[Bits], offset: usize) -> Vec<Nearest> {
    let pairs = Match {
        query,
        target,
        offset,
    };
    counting(Counted::<true>(pairs)).unwrap_or_else(|| wide(Counted::<false>(pairs)))
}

/// The arguments of [`nearest`].
#[derive(Clone, Copy)]
struct Match<'a> {
    query: &'a [Bits],
    target: &'a [Bits],
    offset: usize,
}

/// For processors that count the bits of words side by side, or that look up those of bytes.
struct Counted<'a, const WORDS: bool>(Match<'a>);

impl<const WORDS: bool> Kernel for Counted<'_, WORDS> {
    type Output = Vec<Nearest>;

    #[inline(always)]
    fn call(self) -> Vec<Nearest> {
        all_nearest::<WORDS>(self.0)
    }
}

/// Descriptors that are compared at a time.
const LANES: usize = 16;
type Lanes = [u32; LANES];

/// Descriptors side by side: the first halves of all first words, the second halves, … Loads of whole lanes lie in one line of
/// the cache each.
#[repr(align(64))]
struct Block {
    halves: [Lanes; 8],
    /// Where they stand; [`u32::MAX`] where there is none.
    places: Lanes,
}

fn halves(bits: &Bits) -> [u32; 8] {
    std::array::from_fn(|half| (bits[half / 2] >> (half % 2 * 32)) as u32)
}

/// How many bits differ from each descriptor of a block.
#[inline(always)]
fn differing<const WORDS: bool>(query: &[u32; 8], halves: &[Lanes; 8]) -> Lanes {
    let mut sums = [0; LANES];
    if WORDS {
        for (query, half) in query.iter().zip(halves) {
            for lane in 0..LANES {
                sums[lane] += (query ^ half[lane]).count_ones();
            }
        }
        return sums;
    }
    // No byte counts more than eight bits of eight words.
    let mut bytes = [0u8; 4 * LANES];
    for (query, half) in query.iter().zip(halves) {
        let mut differ = [0; LANES];
        for lane in 0..LANES {
            differ[lane] = query ^ half[lane];
        }
        let differ: [u8; 4 * LANES] = bytemuck::cast(differ);
        for (sum, byte) in bytes.iter_mut().zip(differ) {
            *sum += byte.count_ones() as u8;
        }
    }
    let fours: Lanes = bytemuck::cast(bytes);
    for (sum, four) in sums.iter_mut().zip(fours) {
        let two = (four & 0x00ff_00ff) + ((four >> 8) & 0x00ff_00ff);
        *sum = (two & 0xffff) + (two >> 16);
    }
    sums
}

/// A distance and a position are one number, the distance above: the least is the nearest, and of equal ones the first.
#[inline(always)]
fn all_nearest<const WORDS: bool>(
    Match {
        query,
        target,
        offset,
    }: Match<'_>,
) -> Vec<Nearest> {
    debug_assert!(offset + target.len() < 1 << 16, "a position has sixteen bits");
    let mut blocks = Vec::with_capacity(target.len().div_ceil(LANES));
    for (first, target) in (offset..).step_by(LANES).zip(target.chunks(LANES)) {
        let mut block = Block {
            halves: [[0; LANES]; 8],
            places: [u32::MAX; LANES],
        };
        for (lane, bits) in target.iter().enumerate() {
            block.places[lane] = (first + lane) as u32;
            for (lanes, half) in block.halves.iter_mut().zip(halves(bits)) {
                lanes[lane] = half;
            }
        }
        blocks.push(block);
    }
    let mut all = Vec::with_capacity(query.len());
    for bits in query {
        let query = halves(bits);
        // The nearest of every sixteenth, and the next.
        let (mut best, mut second) = ([u32::MAX; LANES], [u32::MAX; LANES]);
        for Block { halves, places } in &blocks {
            let sums = differing::<WORDS>(&query, halves);
            for lane in 0..LANES {
                let found = sums[lane] << 16 | places[lane];
                second[lane] = second[lane].min(best[lane].max(found));
                best[lane] = best[lane].min(found);
            }
        }
        // The same of all, half of them at a time.
        let mut count = LANES;
        while count > 1 {
            count /= 2;
            for lane in 0..count {
                let (one, other) = (best[lane], best[lane + count]);
                second[lane] = second[lane].min(second[lane + count]).min(one.max(other));
                best[lane] = one.min(other);
            }
        }
        let distance = |found: u32| if found == u32::MAX { u32::MAX } else { found >> 16 };
        all.push(Nearest {
            best: distance(best[0]),
            second: distance(second[0]),
            partner: if best[0] == u32::MAX {
                usize::MAX
            } else {
                (best[0] & 0xffff) as usize
            },
        });
    }
    all
}

/// Pairs each keypoint of A with its nearest of B when no other of A is nearer to that, and when it is clearly nearer
/// than the second. With `mirrored`, A is taken as seen in a mirror.
pub(super) fn pair(a: &Features, b: &Features, mirrored: bool) -> Vec<Pair> {
    let (query, target) = (a.descriptors(mirrored), b.descriptors(false));
    let (a, b) = (a.keypoints(), b.keypoints());
    // Bright corners come first, then the dark ones; each kind meets its own.
    let (split_a, split_b) = (a.bright(), b.bright());
    let (a, b) = (a.all(), b.all());
    let mut forward = nearest(&query[..split_a], &target[..split_b], 0);
    forward.extend(nearest(&query[split_a..], &target[split_b..], split_b));
    let mut backward = vec![(u32::MAX, usize::MAX); b.len()];
    for (i, found) in forward.iter().enumerate() {
        // Of the corners that chose the same partner only the nearest keeps it.
        if let Some(slot) = backward.get_mut(found.partner)
            && found.best < slot.0
        {
            *slot = (found.best, i);
        }
    }
    forward
        .into_iter()
        .enumerate()
        .filter_map(
            |(
                i,
                Nearest {
                    best,
                    second,
                    partner: j,
                },
            )| {
                let clarity = best as f32 / second.max(1) as f32;
                let good = best <= MAX_DISTANCE && clarity <= RATIO && backward[j].1 == i;
                good.then(|| {
                    let (ka, kb) = (&a[i], &b[j]);
                    let angle = if mirrored { -ka.angle } else { ka.angle };
                    let x = if mirrored { -ka.at[0] } else { ka.at[0] };
                    // A mirrored image has its x axis turned round: direction θ becomes π − θ.
                    let angle = if mirrored {
                        angle + std::f32::consts::PI
                    } else {
                        angle
                    };
                    Pair {
                        a: [f64::from(x), f64::from(ka.at[1])],
                        b: kb.at.map(f64::from),
                        log_size: (kb.size / ka.size).ln(),
                        turn: wrapped(kb.angle - angle),
                        size_b: f64::from(kb.size),
                        clarity,
                    }
                })
            },
        )
        .collect()
}

/// The similarity that most pairs obey, refined to an affine map where they allow one. Tries every two of the
/// clearest pairs, so the answer depends on nothing but the pairs. `mirrored` as in [`pair`].
pub(super) fn hypothesis(pairs: &[Pair], mirrored: bool) -> Option<Hypothesis> {
    let mut seeds: Vec<&Pair> = pairs.iter().collect();
    seeds.sort_by(|x, y| x.clarity.total_cmp(&y.clarity));
    seeds.truncate(SEEDS);
    let seeds: Vec<Seed<'_>> = seeds.into_iter().map(Seed::of).collect();
    let mut best: Option<(usize, Affine)> = None;
    for (i, p) in seeds.iter().enumerate() {
        for q in &seeds[i + 1..] {
            let Some(map) = similarity(p, q) else { continue };
            let count = pairs.iter().filter(|pair| obeys(pair, &map, 1.0)).count();
            if best.is_none_or(|(most, _)| count > most) {
                best = Some((count, map));
            }
        }
    }
    let (count, mut map) = best.filter(|&(count, _)| count >= 4)?;
    let mut inliers = count;
    for (minimum, tolerance) in [(5, 1.5), (8, 1.0), (8, 1.0)] {
        let obeying: Vec<&Pair> = pairs.iter().filter(|pair| obeys(pair, &map, tolerance)).collect();
        let fitted = if obeying.len() >= minimum {
            fit_affine(&obeying).filter(plausible)
        } else {
            None
        };
        let Some(fitted) = fitted else { break };
        let count = pairs.iter().filter(|pair| obeys(pair, &fitted, 1.0)).count();
        if count < inliers {
            break;
        }
        (map, inliers) = (fitted, count);
    }
    let map = if mirrored {
        Affine::scaling(-1.0, 1.0).then(&map)
    } else {
        map
    };
    Some(Hypothesis { map, inliers })
}

/// Whether an affine map could relate two pictures of one image: no extreme stretch or shear.
pub(super) fn plausible(map: &Affine) -> bool {
    let (long, short) = map.stretch();
    short > 0.05 && long < 20.0 && long / short < 2.5
}

/// Logarithm of the scale by which a map may miss the sizes of a pair's keypoints.
const SIZE_SLACK: f32 = 0.5;
/// What is added to it where a quick test may only refuse what the exact one refuses.
const ROUNDING: f32 = 1e-3;
/// Angle by which a map may miss the turn of a pair's keypoints, radians.
const TURN_SLACK: f32 = 0.45;

/// Square of the cosine of an angle just beyond the turn's slack.
const LEAST_SQUARE_COSINE: f64 = 0.81;

/// A pair that hypotheses are made of, and what most of them are refused by without a logarithm or an angle.
struct Seed<'p> {
    pair: &'p Pair,
    /// Squares of the scales that its keypoints allow.
    scales: std::ops::RangeInclusive<f64>,
    /// Cosine and sine of its turn.
    direction: [f64; 2],
}

impl<'p> Seed<'p> {
    fn of(pair: &'p Pair) -> Self {
        let square = |slack: f32| f64::from(2.0 * (pair.log_size + slack)).exp();
        let slack = SIZE_SLACK + ROUNDING;
        let (sin, cos) = f64::from(pair.turn).sin_cos();
        Self {
            pair,
            scales: square(-slack)..=square(slack),
            direction: [cos, sin],
        }
    }

    /// Whether its keypoints may agree with a map: the square of its scale, cosine and sine of its turn times a length, and the
    /// square of that length.
    fn may_agree(&self, square: f64, [cos, sin]: [f64; 2], square_length: f64) -> bool {
        let along = cos * self.direction[0] + sin * self.direction[1];
        self.scales.contains(&square) && along > 0.0 && along * along >= LEAST_SQUARE_COSINE * square_length
    }
}

/// The similarity through two pairs, if it agrees with their keypoints' own sizes and turns.
fn similarity(p: &Seed<'_>, q: &Seed<'_>) -> Option<Affine> {
    let seeds = [p, q];
    let (p, q) = (p.pair, q.pair);
    let (ax, ay) = (q.a[0] - p.a[0], q.a[1] - p.a[1]);
    let (bx, by) = (q.b[0] - p.b[0], q.b[1] - p.b[1]);
    let (la, lb) = (ax * ax + ay * ay, bx * bx + by * by);
    if la < 144.0 || lb < 64.0 {
        return None;
    }
    let (cos, sin) = (ax * bx + ay * by, ax * by - ay * bx);
    if !seeds
        .iter()
        .all(|seed| seed.may_agree(lb / la, [cos, sin], la * lb))
    {
        return None;
    }
    // Two pairs that contradict each other cannot both agree with a map.
    if (p.log_size - q.log_size).abs() > 1.0 || wrapped(p.turn - q.turn).abs() > 0.9 {
        return None;
    }
    let log_scale = ((lb / la).ln() / 2.0) as f32;
    let turn = (sin as f32).atan2(cos as f32);
    for pair in [p, q] {
        if (pair.log_size - log_scale).abs() > SIZE_SLACK || wrapped(pair.turn - turn).abs() > TURN_SLACK {
            return None;
        }
    }
    let (c, s) = (cos / la, sin / la);
    Some(Affine([
        c,
        -s,
        p.b[0] - c * p.a[0] + s * p.a[1],
        s,
        c,
        p.b[1] - s * p.a[0] - c * p.a[1],
    ]))
}

fn obeys(pair: &Pair, map: &Affine, slack: f64) -> bool {
    let [x, y] = map.apply(pair.a);
    let (dx, dy) = (x - pair.b[0], y - pair.b[1]);
    let limit = TOLERANCE * slack * pair.size_b.max(1.0);
    dx * dx + dy * dy <= limit * limit
}

/// Least squares, each pair weighted by the precision of its keypoint.
fn fit_affine(pairs: &[&Pair]) -> Option<Affine> {
    let mut normal = [[0.0; 3]; 3];
    let (mut right_x, mut right_y) = ([0.0; 3], [0.0; 3]);
    for pair in pairs {
        let weight = 1.0 / (pair.size_b * pair.size_b);
        let row = [pair.a[0], pair.a[1], 1.0];
        for i in 0..3 {
            for j in 0..3 {
                normal[i][j] += weight * row[i] * row[j];
            }
            right_x[i] += weight * row[i] * pair.b[0];
            right_y[i] += weight * row[i] * pair.b[1];
        }
    }
    let x = solve(normal, right_x)?;
    let y = solve(normal, right_y)?;
    Some(Affine([x[0], x[1], x[2], y[0], y[1], y[2]]))
}

/// An angle brought to −π..π.
fn wrapped(angle: f32) -> f32 {
    let turn = std::f32::consts::TAU;
    // Differences of two angles and half a turn lie within two turns.
    let mut angle = angle;
    while angle > std::f32::consts::PI {
        angle -= turn;
    }
    while angle < -std::f32::consts::PI {
        angle += turn;
    }
    angle
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One descriptor after the other.
    fn plainly(query: &[Bits], target: &[Bits], offset: usize) -> Vec<(u32, u32, usize)> {
        let distance = |a: &Bits, b: &Bits| a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum::<u32>();
        let of_one = |bits: &Bits| {
            let mut all: Vec<(u32, usize)> = target
                .iter()
                .enumerate()
                .map(|(j, other)| (distance(bits, other), offset + j))
                .collect();
            all.sort_unstable();
            let (best, partner) = all.first().copied().unwrap_or((u32::MAX, usize::MAX));
            (best, all.get(1).map_or(u32::MAX, |second| second.0), partner)
        };
        query.iter().map(of_one).collect()
    }

    #[test]
    fn lanes_find_what_a_plain_search_finds() {
        let mut state = 7u64;
        let mut descriptors = |count: usize| -> Vec<Bits> {
            let mut word = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                // few bits: many distances are equal
                (state ^ state >> 31) & 0x1111
            };
            (0..count).map(|_| std::array::from_fn(|_| word())).collect()
        };
        for count in (0..35).chain([250, 251]) {
            let (query, target) = (descriptors(40), descriptors(count));
            let pairs = Match {
                query: &query,
                target: &target,
                offset: 3,
            };
            let told = |all: Vec<Nearest>| -> Vec<(u32, u32, usize)> {
                all.into_iter().map(|n| (n.best, n.second, n.partner)).collect()
            };
            let expected = plainly(&query, &target, 3);
            assert_eq!(told(all_nearest::<true>(pairs)), expected, "{count}");
            assert_eq!(told(all_nearest::<false>(pairs)), expected, "{count}");
            assert_eq!(told(nearest(&query, &target, 3)), expected, "{count}");
        }
    }
}
