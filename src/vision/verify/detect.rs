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
const CONTRAST: i16 = 9;
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
    planes
        .into_iter()
        .enumerate()
        .map(|(i, raw)| {
            let quota = (limit as f32 * share(i) / total).ceil() as usize;
            let plane = raw.smoothed();
            Level {
                ratio: [
                    luma.width as f32 / plane.width as f32,
                    luma.height as f32 / plane.height as f32,
                ],
                corners: corners(&plane, quota),
                plane,
            }
        })
        .collect()
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

/// All corners with Harris' response over a 7×7 window (k = 0.04), row by row.
#[inline(always)]
fn scored(plane: &Plane) -> Vec<(f32, Corner)> {
    let (w, h) = (plane.width, plane.height);
    let mut found = Vec::with_capacity(4096);
    let mut columns = Columns::new(w);
    for y in MARGIN - REACH..MARGIN + REACH {
        columns.add(plane, y);
    }
    let mut likely = vec![0u8; w];
    for y in MARGIN..h - MARGIN {
        columns.add(plane, y + REACH);
        mark_likely(plane, y, &mut likely);
        for x in MARGIN..w - MARGIN {
            if likely[x] != 0
                && let Some(dark) = corner(plane, x, y)
            {
                found.push((columns.harris(x), Corner { x, y, dark }));
            }
        }
        columns.remove(plane, y - REACH);
    }
    found
}

/// Half the window of Harris' response.
const REACH: usize = 3;

/// Products of the gradients, summed over the rows of the window, one sum a column.
struct Columns {
    xx: Vec<i32>,
    xy: Vec<i32>,
    yy: Vec<i32>,
}

impl Columns {
    #[inline(always)]
    fn new(width: usize) -> Self {
        Self {
            xx: vec![0; width],
            xy: vec![0; width],
            yy: vec![0; width],
        }
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

    #[inline(always)]
    fn harris(&self, x: usize) -> f32 {
        let sum = |column: &[i32]| column[x - REACH..=x + REACH].iter().sum::<i32>() as f32;
        let (xx, xy, yy) = (sum(&self.xx), sum(&self.xy), sum(&self.yy));
        xx * yy - xy * xy - 0.04 * (xx + yy) * (xx + yy)
    }
}

/// Marks the pixels of a row that two of the four compass points of the circle differ from, in one direction: nine
/// in a row on the circle contain at least two of them.
#[inline(always)]
fn mark_likely(plane: &Plane, y: usize, likely: &mut [u8]) {
    const LIMIT: u8 = CONTRAST as u8;
    let count = plane.width - 6;
    let inner = 3..3 + count;
    let centre = &plane.row(y)[inner.clone()];
    let points = [
        &plane.row(y - 3)[inner.clone()],
        &plane.row(y + 3)[inner.clone()],
        &plane.row(y)[..count],
        &plane.row(y)[6..],
    ];
    let likely = &mut likely[inner];
    for x in 0..count {
        let (high, low) = (centre[x].saturating_add(LIMIT), centre[x].saturating_sub(LIMIT));
        let mut brighter = 0u8;
        let mut darker = 0u8;
        for point in &points {
            brighter += u8::from(point[x] > high);
            darker += u8::from(point[x] < low);
        }
        likely[x] = u8::from(brighter >= 2) | u8::from(darker >= 2);
    }
}

/// The corners that no neighbour among the eight outdoes.
#[inline(always)]
fn peaks(scored: Vec<(f32, Corner)>, width: usize, height: usize) -> Vec<(f32, Corner)> {
    let mut scores = vec![f32::MIN; width * height];
    for (score, corner) in &scored {
        scores[corner.y * width + corner.x] = *score;
    }
    scored
        .into_iter()
        .filter(|&(score, Corner { x, y, .. })| {
            (y - 1..=y + 1).all(|row| {
                let start = row * width + x - 1;
                scores[start..start + 3].iter().all(|&other| other <= score)
            })
        })
        .collect()
}

/// Whether 9 neighbours in a row on the circle are all brighter (then the corner is dark), or all darker, by
/// [`CONTRAST`].
#[inline(always)]
fn corner(plane: &Plane, x: usize, y: usize) -> Option<bool> {
    let centre = i16::from(plane.data[y * plane.width + x]);
    let (mut bright, mut dark) = (0u32, 0u32);
    for (k, (dx, dy)) in CIRCLE.into_iter().enumerate() {
        let index = (y as i32 + dy) * plane.width as i32 + x as i32 + dx;
        let d = i16::from(plane.data[index as usize]) - centre;
        bright |= u32::from(d > CONTRAST) << k;
        dark |= u32::from(-d > CONTRAST) << k;
    }
    if nine_in_a_row(bright) {
        Some(true)
    } else {
        nine_in_a_row(dark).then_some(false)
    }
}

#[inline(always)]
fn nine_in_a_row(circle: u32) -> bool {
    let ring = circle | circle << 16;
    let two = ring & ring >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    eight & ring >> 8 != 0
}

/// Keeps corners that no stronger one stands beside, within 2 pixels; strongest first.
fn suppress(mut found: Vec<(f32, Corner)>, width: usize, height: usize) -> Vec<Corner> {
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1.y, a.1.x).cmp(&(b.1.y, b.1.x))));
    let mut taken = vec![false; width * height];
    let mut kept = Vec::new();
    for (_, corner) in found {
        let Corner { x, y, .. } = corner;
        if taken[y * width + x] {
            continue;
        }
        kept.push(corner);
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
