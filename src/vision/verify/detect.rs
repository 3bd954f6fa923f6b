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

fn corners(plane: &Plane, quota: usize) -> Vec<Corner> {
    let (w, h) = (plane.width, plane.height);
    if w <= 2 * MARGIN || h <= 2 * MARGIN {
        return Vec::new();
    }
    let mut found: Vec<(f32, Corner)> = Vec::new();
    for y in MARGIN..h - MARGIN {
        for x in MARGIN..w - MARGIN {
            if let Some(dark) = corner(plane, x, y) {
                found.push((harris(plane, x, y), Corner { x, y, dark }));
            }
        }
    }
    let found = suppress(found, w, h);
    spread(found, w, quota)
}

/// Whether 9 neighbours in a row on the circle are all brighter (then the corner is dark), or all darker, by
/// [`CONTRAST`].
fn corner(plane: &Plane, x: usize, y: usize) -> Option<bool> {
    let at = |k: usize| {
        let (dx, dy) = CIRCLE[k];
        let index = (y as i32 + dy) * plane.width as i32 + x as i32 + dx;
        i16::from(plane.data[index as usize])
    };
    let centre = i16::from(plane.data[y * plane.width + x]);
    // Nine in a row contain at least two of the four compass points.
    let compass = [at(0), at(4), at(8), at(12)];
    let brighter = compass.iter().filter(|&&v| v - centre > CONTRAST).count();
    let darker = compass.iter().filter(|&&v| centre - v > CONTRAST).count();
    if brighter < 2 && darker < 2 {
        return None;
    }
    let (mut bright, mut dark) = (0u32, 0u32);
    for k in 0..16 {
        let d = at(k) - centre;
        bright |= u32::from(d > CONTRAST) << k;
        dark |= u32::from(-d > CONTRAST) << k;
    }
    if nine_in_a_row(bright) {
        Some(true)
    } else {
        nine_in_a_row(dark).then_some(false)
    }
}

fn nine_in_a_row(circle: u32) -> bool {
    let ring = circle | circle << 16;
    let two = ring & ring >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    eight & ring >> 8 != 0
}

/// Harris' response over a 7×7 window, k = 0.04.
fn harris(plane: &Plane, x: usize, y: usize) -> f32 {
    let (mut xx, mut yy, mut xy) = (0i32, 0i32, 0i32);
    for row in y - 3..=y + 3 {
        let (above, line, below) = (plane.row(row - 1), plane.row(row), plane.row(row + 1));
        for col in x - 3..=x + 3 {
            let gx = i32::from(line[col + 1]) - i32::from(line[col - 1]);
            let gy = i32::from(below[col]) - i32::from(above[col]);
            xx += gx * gx;
            yy += gy * gy;
            xy += gx * gy;
        }
    }
    let (xx, yy, xy) = (xx as f32, yy as f32, xy as f32);
    xx * yy - xy * xy - 0.04 * (xx + yy) * (xx + yy)
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
