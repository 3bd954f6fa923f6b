//! How far tiles that agree wander together from the one warp that a copy obeys.
//!
//! What compression leaves of a tile's displacement has nothing to do with its neighbours'. A camera that moved between two
//! exposures, or paper that lay another way, displaces neighbours alike.

use super::tiles::Tile;

/// Displacement beyond which one tile counts no more, pixels of the plane compared.
const MOST: f64 = 1.0;
/// Neighbouring pairs that make a verdict.
const LEAST_PAIRS: usize = 24;

/// Standard errors that the mean of what neighbours have in common is taken to be too high by.
const DOUBT: f64 = 2.5;

/// Where a tile lies, and its displacement.
struct Displaced {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
    step: [f64; 2],
}

impl Displaced {
    fn of(tile: &Tile) -> Option<Self> {
        let [left, right, top, bottom] = tile.bounds;
        let step = tile.displacement()?;
        let scale = (MOST / step[0].hypot(step[1])).min(1.0);
        Some(Self {
            left,
            right,
            top,
            bottom,
            step: step.map(|v| v * scale),
        })
    }
}

/// Root mean square of the displacement that neighbouring tiles have in common, at least, pixels of the plane compared; 0 where
/// too few tiles can tell. The tiles come row by row, each from the left.
pub(super) fn wander<'t>(tiles: impl Iterator<Item = &'t Tile>) -> f64 {
    let displaced: Vec<Displaced> = tiles.filter_map(Displaced::of).collect();
    let rows: Vec<&[Displaced]> = displaced.chunk_by(|one, other| one.top == other.top).collect();
    let (mut sum, mut squares, mut pairs) = (0.0, 0.0, 0);
    for (number, row) in rows.iter().enumerate() {
        let below = rows.get(number + 1).copied().unwrap_or_default();
        for (place, tile) in row.iter().enumerate() {
            let beside = row.get(place + 1).filter(|next| next.left == tile.right);
            let first = below.partition_point(|other| other.right < tile.left);
            let under = below[first..]
                .iter()
                .take_while(|other| other.left <= tile.right && other.top == tile.bottom);
            for neighbour in beside.into_iter().chain(under) {
                let common = tile.step[0] * neighbour.step[0] + tile.step[1] * neighbour.step[1];
                sum += common;
                squares += common * common;
                pairs += 1;
            }
        }
    }
    if pairs < LEAST_PAIRS {
        return 0.0;
    }
    let count = pairs as f64;
    let mean = sum / count;
    let error = ((squares / count - mean * mean).max(0.0) / count).sqrt();
    (mean - DOUBT * error).max(0.0).sqrt()
}
