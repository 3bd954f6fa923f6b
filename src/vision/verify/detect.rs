//! Corners at several scales: the segment test of FAST-9 (Rosten and Drummond, "Machine learning for high-speed
//! corner detection", ECCV 2006), ranked by the response of Harris, spread over the frame.

use super::plane::Plane;

/// Ratio of the sides of neighbouring levels.
const LEVEL_RATIO: f32 = 1.25;
/// Levels below this side find nothing that a descriptor could be cut from.
const MIN_SIDE: usize = 2 * MARGIN + 8;
const MAX_LEVELS: usize = 8;
/// Distance from the border within which no corner is taken: the descriptor's patch must fit, turned by 45°.
const MARGIN: usize = 14;
/// Least difference of brightness on the circle, in grey levels.
const CONTRAST: u8 = 9;
/// Side of the cells that corners are spread over, in pixels of the level.
const CELL: usize = 28;

/// Offsets of the circle of radius 3, clockwise from the top.
const CIRCLE: [(i32, i32); 16] = [
    (0, -3),
    (1, -3),
    (2, -2),
    (3, -1),
    (3, 0),
    (3, 1),
    (2, 2),
    (1, 3),
    (0, 3),
    (-1, 3),
    (-2, 2),
    (-3, 1),
    (-3, 0),
    (-3, -1),
    (-2, -2),
    (-1, -3),
];

/// One level of the scale pyramid, smoothed, with its corners.
pub(super) struct Level {
    pub(super) plane: Plane,
    /// Pixels of the full image per pixel of this level, along x and y.
    pub(super) ratio: [f32; 2],
    /// Corners in pixels of this level.
    pub(super) corners: Vec<Corner>,
}

/// A corner in pixels of its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Corner {
    pub(super) x: usize,
    pub(super) y: usize,
    /// Whether it is darker than its surroundings: copies keep that.
    pub(super) dark: bool,
}

/// Finds at most about `limit` corners in all levels together.
#[inline(always)]
pub(super) fn levels(luma: &Plane, limit: usize) -> Vec<Level> {
    let mut planes = vec![luma.clone()];
    while planes.len() < MAX_LEVELS {
        let last = &planes[planes.len() - 1];
        let shrink = |side: usize| (side as f32 / LEVEL_RATIO).round() as usize;
        let (w, h) = (shrink(last.width), shrink(last.height));
        if w < MIN_SIDE || h < MIN_SIDE {
            break;
        }
        let next = last.resampled(w, h);
        planes.push(next);
    }
    let total: f32 = (0..planes.len()).map(share).sum();
    let mut levels = Vec::with_capacity(planes.len());
    // A loop and no iterator: what a closure calls is not inlined into the kernel.
    for (i, raw) in planes.into_iter().enumerate() {
        let quota = (limit as f32 * share(i) / total).ceil() as usize;
        let plane = raw.smoothed();
        levels.push(Level {
            ratio: [
                luma.width as f32 / plane.width as f32,
                luma.height as f32 / plane.height as f32,
            ],
            corners: corners(&plane, quota),
            plane,
        });
    }
    levels
}

/// Weight of a level in the sharing of the corners: coarse levels get more than their area, since they are what
/// meets the fine levels of a smaller copy.
fn share(level: usize) -> f32 {
    LEVEL_RATIO.powf(-1.2 * level as f32)
}

#[inline(always)]
fn corners(plane: &Plane, quota: usize) -> Vec<Corner> {
    let (w, h) = (plane.width, plane.height);
    if w <= 2 * MARGIN || h <= 2 * MARGIN {
        return Vec::new();
    }
    spread(suppress(peaks(scored(plane), w, h), w, h), w, quota)
}

/// A corner with its response, before it is chosen: many are looked at.
#[derive(Clone, Copy)]
struct Scored {
    score: f32,
    x: u32,
    y: u32,
    dark: bool,
}

/// All corners with Harris' response over a 7×7 window (k = 0.04), row by row.
#[inline(always)]
fn scored(plane: &Plane) -> Vec<Scored> {
    let (w, h) = (plane.width, plane.height);
    let mut found = Vec::with_capacity(4096);
    let mut columns = Columns::new(w);
    for y in MARGIN - REACH..MARGIN + REACH {
        columns.add(plane, y);
    }
    for y in MARGIN..h - MARGIN {
        columns.add(plane, y + REACH);
        for first in (MARGIN..w - MARGIN).step_by(LANES) {
            let (dark, bright) = tested(plane, first, y);
            let words = dark.as_chunks().0.iter().zip(bright.as_chunks().0);
            for (start, (dark, bright)) in (first..w - MARGIN).step_by(8).zip(words) {
                let (dark, bright) = (u64::from_le_bytes(*dark), u64::from_le_bytes(*bright));
                // one bit a lane
                let mut left = dark | bright;
                if left == 0 {
                    continue;
                }
                let scores = columns.harris(start);
                while left != 0 {
                    let bit = left.trailing_zeros();
                    left &= left - 1;
                    let (lane, dark) = (bit as usize / 8, dark >> bit & 1 == 1);
                    if start + lane < w - MARGIN {
                        let [x, y] = [start + lane, y].map(|at| at as u32);
                        let score = scores[lane];
                        found.push(Scored { score, x, y, dark });
                    }
                }
            }
        }
        columns.remove(plane, y - REACH);
    }
    found
}

/// Half the window of Harris' response.
const REACH: usize = 3;

/// Responses that are computed side by side.
const RESPONSES: usize = 8;

/// Products of the gradients, summed over the rows of the window, one sum a column, and room for whole lanes.
struct Columns {
    xx: Vec<i32>,
    xy: Vec<i32>,
    yy: Vec<i32>,
}

impl Columns {
    #[inline(always)]
    fn new(width: usize) -> Self {
        let [xx, xy, yy] = [(); 3].map(|()| vec![0; width + RESPONSES]);
        Self { xx, xy, yy }
    }

    #[inline(always)]
    fn add(&mut self, plane: &Plane, y: usize) {
        self.change(plane, y, 1);
    }

    #[inline(always)]
    fn remove(&mut self, plane: &Plane, y: usize) {
        self.change(plane, y, -1);
    }

    #[inline(always)]
    fn change(&mut self, plane: &Plane, y: usize, sign: i32) {
        let inner = plane.width - 2;
        let (above, below) = (&plane.row(y - 1)[1..=inner], &plane.row(y + 1)[1..=inner]);
        let (left, right) = (&plane.row(y)[..inner], &plane.row(y)[2..]);
        let (xx, xy, yy) = (
            &mut self.xx[1..=inner],
            &mut self.xy[1..=inner],
            &mut self.yy[1..=inner],
        );
        for x in 0..inner {
            let gx = i32::from(i16::from(right[x]) - i16::from(left[x]));
            let gy = i32::from(i16::from(below[x]) - i16::from(above[x]));
            xx[x] += sign * (gx * gx);
            xy[x] += sign * (gx * gy);
            yy[x] += sign * (gy * gy);
        }
    }

    /// The responses from column `x` on.
    #[inline(always)]
    fn harris(&self, x: usize) -> [f32; RESPONSES] {
        let (xx, xy, yy) = (summed(&self.xx, x), summed(&self.xy, x), summed(&self.yy, x));
        let mut responses = [0.0; RESPONSES];
        for lane in 0..RESPONSES {
            let (xx, xy, yy) = (xx[lane] as f32, xy[lane] as f32, yy[lane] as f32);
            responses[lane] = xx * yy - xy * xy - 0.04 * (xx + yy) * (xx + yy);
        }
        responses
    }
}

/// Sums over the window's columns, for places from `x` on.
#[inline(always)]
fn summed(columns: &[i32], x: usize) -> [i32; RESPONSES] {
    let columns = &columns[x - REACH..x + REACH + RESPONSES];
    let mut sums = [0; RESPONSES];
    for step in 0..=2 * REACH {
        for lane in 0..RESPONSES {
            sums[lane] += columns[step + lane];
        }
    }
    sums
}

/// Pixels that are tested side by side.
const LANES: usize = 32;
type Lanes = [u8; LANES];

/// Of the pixels from `x` on: whether 9 neighbours in a row on the circle are all brighter by more than [`CONTRAST`] (then the
/// corner is dark), and whether 9 are all darker. 0 is no, 1 is yes. Lanes beyond the end of the row tell nothing.
#[inline(always)]
fn tested(plane: &Plane, x: usize, y: usize) -> (Lanes, Lanes) {
    let lanes = |dx: i32, dy: i32| {
        let at = (y as i32 + dy) as usize * plane.width + (x as i32 + dx) as usize;
        let mut lanes = [0; LANES];
        lanes.copy_from_slice(&plane.data[at..at + LANES]);
        lanes
    };
    let mut circle = [[0; LANES]; 16];
    for (point, (dx, dy)) in circle.iter_mut().zip(CIRCLE) {
        *point = lanes(dx, dy);
    }
    let centre = lanes(0, 0);
    // The darkest of each 9 in a row, and the brightest of these; and the other way round.
    let brightest = extreme(&circle, u8::min, u8::max);
    let darkest = extreme(&circle, u8::max, u8::min);
    let (mut dark, mut bright) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        dark[lane] = u8::from(brightest[lane] > centre[lane].saturating_add(CONTRAST));
        bright[lane] = u8::from(darkest[lane] < centre[lane].saturating_sub(CONTRAST));
    }
    (dark, bright)
}

#[inline(always)]
fn extreme(circle: &[Lanes; 16], within: impl Fn(u8, u8) -> u8, among: impl Fn(u8, u8) -> u8) -> Lanes {
    let two = joined(circle, circle, 1, &within);
    let four = joined(&two, &two, 2, &within);
    let eight = joined(&four, &four, 4, &within);
    let nine = joined(&eight, circle, 8, &within);
    let mut best = nine[0];
    for run in &nine[1..] {
        for lane in 0..LANES {
            best[lane] = among(best[lane], run[lane]);
        }
    }
    best
}

/// Runs along the circle, each lengthened by the one that begins `step` places further on. A function, since a closure would be
/// compiled for any processor.
#[inline(always)]
fn joined(
    runs: &[Lanes; 16],
    others: &[Lanes; 16],
    step: usize,
    within: &impl Fn(u8, u8) -> u8,
) -> [Lanes; 16] {
    let mut longer = [[0; LANES]; 16];
    for start in 0..16 {
        for lane in 0..LANES {
            longer[start][lane] = within(runs[start][lane], others[(start + step) % 16][lane]);
        }
    }
    longer
}

/// The corners that no neighbour among the eight outdoes.
#[inline(always)]
fn peaks(mut scored: Vec<Scored>, width: usize, height: usize) -> Vec<Scored> {
    let mut scores = vec![f32::MIN; width * height];
    for corner in &scored {
        scores[corner.y as usize * width + corner.x as usize] = corner.score;
    }
    scored.retain(|&Scored { score, x, y, .. }| {
        let (x, y) = (x as usize, y as usize);
        (y - 1..=y + 1).all(|row| {
            let start = row * width + x - 1;
            scores[start..start + 3].iter().all(|&other| other <= score)
        })
    });
    scored
}

/// Keeps corners that no stronger one stands beside, within 2 pixels; strongest first.
fn suppress(mut found: Vec<Scored>, width: usize, height: usize) -> Vec<Corner> {
    // All places differ: an unstable sort has one answer too.
    found.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then((a.y, a.x).cmp(&(b.y, b.x))));
    let mut taken = vec![false; width * height];
    let mut kept = Vec::new();
    for Scored { x, y, dark, .. } in found {
        let (x, y) = (x as usize, y as usize);
        if taken[y * width + x] {
            continue;
        }
        kept.push(Corner { x, y, dark });
        for row in y - 2..=y + 2 {
            taken[row * width + x - 2..=row * width + x + 2].fill(true);
        }
    }
    kept
}

/// Takes at most `quota` corners, in rounds: the strongest of every cell, then the second of every cell, …
fn spread(found: Vec<Corner>, width: usize, quota: usize) -> Vec<Corner> {
    if found.len() <= quota {
        return found;
    }
    let columns = width / CELL + 1;
    let mut in_cell = std::collections::HashMap::new();
    let mut ranked: Vec<(usize, usize, Corner)> = found
        .into_iter()
        .enumerate()
        .map(|(order, corner)| {
            let cell = corner.y / CELL * columns + corner.x / CELL;
            let round = in_cell.entry(cell).or_insert(0usize);
            *round += 1;
            (*round, order, corner)
        })
        .collect();
    ranked.sort_unstable();
    ranked.truncate(quota);
    ranked.into_iter().map(|(_, _, corner)| corner).collect()
}
