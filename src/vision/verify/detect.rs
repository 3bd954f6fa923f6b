//! Corners at several scales: the segment test of FAST-9 (Rosten and Drummond, "Machine learning for high-speed
//! corner detection", ECCV 2006), ranked by the response of Harris, spread over the frame.

use super::harris::{Columns, REACH, RESPONSES};
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
    let mut sizes = vec![(luma.width, luma.height)];
    while sizes.len() < MAX_LEVELS {
        let shrink = |side: usize| (side as f32 / LEVEL_RATIO).round() as usize;
        let (w, h) = sizes[sizes.len() - 1];
        let (w, h) = (shrink(w), shrink(h));
        if w < MIN_SIDE || h < MIN_SIDE {
            break;
        }
        sizes.push((w, h));
    }
    let total: f32 = (0..sizes.len()).map(share).sum();
    let mut levels = Vec::with_capacity(sizes.len());
    let mut buffers = Buffers::new(luma);
    let mut shrunk: Option<Plane> = None;
    // A loop and no iterator: what a closure calls is not inlined into the kernel.
    for i in 0..sizes.len() {
        let raw = shrunk.as_ref().unwrap_or(luma);
        let quota = (limit as f32 * share(i) / total).ceil() as usize;
        let plane = raw.smoothed();
        levels.push(Level {
            ratio: [
                luma.width as f32 / plane.width as f32,
                luma.height as f32 / plane.height as f32,
            ],
            corners: corners(&plane, quota, &mut buffers),
            plane,
        });
        if i + 1 < sizes.len() {
            let (w, h) = sizes[i + 1];
            shrunk = Some(raw.resampled(w, h));
        }
    }
    levels
}

/// Weight of a level in the sharing of the corners: coarse levels get more than their area, since they are what
/// meets the fine levels of a smaller copy.
fn share(level: usize) -> f32 {
    LEVEL_RATIO.powf(-1.2 * level as f32)
}

#[inline(always)]
fn corners(plane: &Plane, quota: usize, buffers: &mut Buffers) -> Vec<Corner> {
    let (w, h) = (plane.width, plane.height);
    if w <= 2 * MARGIN || h <= 2 * MARGIN {
        return Vec::new();
    }
    peaks(plane, buffers);
    suppress(buffers, w, h);
    spread(&buffers.kept, w, h, quota)
}

/// What is used again on every level: asking for it each time would take a tenth of all.
struct Buffers {
    found: Vec<Scored>,
    order: Vec<u64>,
    taken: Vec<bool>,
    kept: Vec<Corner>,
    /// The row before, the row that is judged and the next.
    lines: [Line; 3],
    scratch: Scratch,
    columns: Columns,
}

impl Buffers {
    /// For levels that are no larger than the first.
    fn new(luma: &Plane) -> Self {
        Self {
            found: Vec::with_capacity(4096),
            order: Vec::with_capacity(4096),
            taken: Vec::with_capacity(luma.width * luma.height),
            kept: Vec::with_capacity(1024),
            lines: [(); 3].map(|()| Line::new(luma.width)),
            scratch: Scratch::new(luma.width),
            columns: Columns::new(luma.width),
        }
    }
}

/// A corner with its response, before it is chosen: many are looked at.
#[derive(Clone, Copy)]
struct Scored {
    score: f32,
    x: u32,
    y: u32,
    dark: bool,
}

/// All corners that no neighbour among the eight outdoes, row by row, with Harris' response over a 7×7 window (k = 0.04).
#[inline(always)]
fn peaks(plane: &Plane, buffers: &mut Buffers) {
    let (w, h) = (plane.width, plane.height);
    let Buffers {
        found,
        lines,
        scratch,
        columns,
        ..
    } = buffers;
    found.clear();
    columns.clear();
    for line in lines.iter_mut() {
        line.narrow(w);
    }
    scratch.narrow(w);
    for y in MARGIN - REACH..=MARGIN + REACH {
        columns.add(plane, y);
    }
    // One more than there are: the last row is judged when the next is known to be empty.
    for y in MARGIN..=h - MARGIN {
        lines.rotate_left(1);
        lines[2].clear();
        if y < h - MARGIN {
            if y > MARGIN {
                columns.advance(plane, y);
            }
            lines[2].fill(plane, columns, y);
        }
        judge(lines, y - 1, scratch, found);
    }
}

/// Response of pixels that are no corners.
const NONE: f32 = f32::MIN;

/// The corners of a row.
struct Line {
    /// One a pixel, and room for whole lanes.
    responses: Vec<f32>,
    /// 1 where the pixel is darker than its surroundings.
    dark: Vec<u8>,
    is_empty: bool,
    width: usize,
}

impl Line {
    fn new(width: usize) -> Self {
        Self {
            responses: vec![NONE; width + LANES],
            dark: vec![0; width + LANES],
            is_empty: true,
            width,
        }
    }

    /// An empty row of that width, which is no larger than before.
    #[inline(always)]
    fn narrow(&mut self, width: usize) {
        self.responses.truncate(width + LANES);
        self.dark.truncate(width + LANES);
        self.width = width;
        self.is_empty = false;
        self.clear();
    }

    #[inline(always)]
    fn clear(&mut self) {
        if !self.is_empty {
            self.responses.fill(NONE);
            self.is_empty = true;
        }
    }

    /// Finds the corners of row `y`, in the middle of the window of `columns`.
    #[inline(always)]
    fn fill(&mut self, plane: &Plane, columns: &Columns, y: usize) {
        let end = self.width - MARGIN;
        for first in (MARGIN..end).step_by(LANES) {
            let (dark, bright) = tested(plane, first, y);
            self.dark[first..first + LANES].copy_from_slice(&dark);
            let lanes = dark.as_chunks::<RESPONSES>().0.iter();
            let lanes = lanes.zip(bright.as_chunks::<RESPONSES>().0);
            for (start, (dark, bright)) in (first..end).step_by(RESPONSES).zip(lanes) {
                if u64::from_le_bytes(*dark) | u64::from_le_bytes(*bright) == 0 {
                    continue;
                }
                let responses = columns.responses(start);
                let line = &mut self.responses[start..start + RESPONSES];
                for lane in 0..RESPONSES {
                    let is_corner = dark[lane] | bright[lane] != 0;
                    line[lane] = if is_corner { responses[lane] } else { NONE };
                }
                self.is_empty = false;
            }
        }
        // Lanes beyond the end tell nothing.
        self.responses[end..].fill(NONE);
    }
}

/// Adds the corners of the middle line, which is row `y`, that none of the others and no neighbour of their own outdoes.
#[inline(always)]
fn judge(lines: &[Line; 3], y: usize, scratch: &mut Scratch, found: &mut Vec<Scored>) {
    let [above, line, below] = lines;
    if line.is_empty {
        return;
    }
    let Scratch { most, peaks } = scratch;
    let (responses, end) = (&line.responses[..most.len()], line.width - MARGIN);
    let columns = above.responses.iter().zip(responses).zip(&below.responses);
    for (most, ((&a, &b), &c)) in most.iter_mut().zip(columns) {
        *most = greater(greater(a, c), b);
    }
    let neighbours = most.iter().zip(&most[1..]).zip(&most[2..]);
    let peaks_inside = peaks[1..].iter_mut().zip(&responses[1..]);
    for ((peak, &here), ((&left, &middle), &right)) in peaks_inside.zip(neighbours) {
        *peak = u8::from((here >= greater(greater(left, right), middle)) & (here > NONE));
    }
    let words = peaks[MARGIN..].as_chunks().0;
    for (start, word) in (MARGIN..end).step_by(8).zip(words) {
        // one bit a pixel
        let mut left = u64::from_le_bytes(*word);
        while left != 0 {
            let x = start + left.trailing_zeros() as usize / 8;
            left &= left - 1;
            found.push(Scored {
                score: responses[x],
                x: x as u32,
                y: y as u32,
                dark: line.dark[x] == 1,
            });
        }
    }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// What is kept of a row while it is judged, with room for whole lanes: long loops are computed side by side.
struct Scratch {
    /// The greatest response of three in a column.
    most: Vec<f32>,
    /// 1 where a corner is kept.
    peaks: Vec<u8>,
}

impl Scratch {
    fn new(width: usize) -> Self {
        Self {
            most: vec![NONE; width + LANES],
            peaks: vec![0; width + LANES],
        }
    }

    /// For rows of that width, which is no larger than before.
    fn narrow(&mut self, width: usize) {
        self.most.truncate(width + LANES);
        self.peaks.truncate(width + LANES);
    }
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
    let (mut above, mut below) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        above[lane] = centre[lane].saturating_add(CONTRAST);
        below[lane] = centre[lane].saturating_sub(CONTRAST);
    }
    // Of two opposite points one is in any 9 in a row.
    let (mut least, mut most) = ([u8::MAX; LANES], [0; LANES]);
    for point in 0..8 {
        for lane in 0..LANES {
            let (one, other) = (circle[point][lane], circle[point + 8][lane]);
            least[lane] = least[lane].min(one.max(other));
            most[lane] = most[lane].max(one.min(other));
        }
    }
    let (mut dark, mut bright) = ([0; LANES], [0; LANES]);
    let (mut any_dark, mut any_bright) = (0, 0);
    for lane in 0..LANES {
        any_dark |= u8::from(least[lane] > above[lane]);
        any_bright |= u8::from(most[lane] < below[lane]);
    }
    // The darkest of each 9 in a row, and the brightest of these; and the other way round.
    if any_dark != 0 {
        let brightest = extreme(&circle, u8::min, u8::max);
        for lane in 0..LANES {
            dark[lane] = u8::from(brightest[lane] > above[lane]);
        }
    }
    if any_bright != 0 {
        let darkest = extreme(&circle, u8::max, u8::min);
        for lane in 0..LANES {
            bright[lane] = u8::from(darkest[lane] < below[lane]);
        }
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

/// Keeps corners that no stronger one stands beside, within 2 pixels; strongest first, of equal ones the first in the frame.
fn suppress(buffers: &mut Buffers, width: usize, height: usize) {
    let Buffers {
        found,
        order,
        taken,
        kept,
        ..
    } = buffers;
    // One number, since these are sorted fastest: the response, the greatest first, and the place.
    order.clear();
    order.extend(found.iter().map(|&Scored { score, x, y, dark }| {
        let place = (y * width as u32 + x) << 1 | u32::from(dark);
        u64::from(!ordered(score)) << 32 | u64::from(place)
    }));
    order.sort_unstable();
    taken.clear();
    taken.resize(width * height, false);
    kept.clear();
    for &key in order.iter() {
        let (place, dark) = ((key as u32 >> 1) as usize, key & 1 == 1);
        if taken[place] {
            continue;
        }
        kept.push(Corner {
            x: place % width,
            y: place / width,
            dark,
        });
        for row in [
            place - 2 * width,
            place - width,
            place,
            place + width,
            place + 2 * width,
        ] {
            taken[row - 2..=row + 2].fill(true);
        }
    }
}

/// A number that orders as [`f32::total_cmp`] does.
fn ordered(number: f32) -> u32 {
    let bits = number.to_bits();
    let sign = 1 << 31;
    if bits & sign == 0 { bits | sign } else { !bits }
}

/// Takes at most `quota` corners, in rounds: the strongest of every cell, then the second of every cell, …
fn spread(found: &[Corner], width: usize, height: usize, quota: usize) -> Vec<Corner> {
    if found.len() <= quota {
        return found.to_vec();
    }
    let columns = width / CELL + 1;
    let mut in_cell = vec![0u32; columns * (height / CELL + 1)];
    // Round and order in one number.
    let mut ranked: Vec<u64> = (0..)
        .zip(found)
        .map(|(order, corner)| {
            let round = &mut in_cell[corner.y / CELL * columns + corner.x / CELL];
            *round += 1;
            u64::from(*round) << 32 | order
        })
        .collect();
    ranked.sort_unstable();
    ranked.truncate(quota);
    ranked
        .into_iter()
        .map(|rank| found[rank as u32 as usize])
        .collect()
}
