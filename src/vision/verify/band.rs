//! Captions over pictures of text: a band across the frame, on ground of its own.
//!
//! Two fillings of one form differ in ink and share the paper. A caption that somebody put over a screenshot brings its own
//! ground along, reaches from side to side at the top or the bottom, and leaves all the rest as it was.

use super::judge::{CONTRADICTS, TONE, Verdict, judge, unexplained};
use super::tiles::Tile;

/// Share of the frame's length that a band reaches over.
const ACROSS: f32 = 0.93;
/// Share of the frame's height that a band covers at most.
const THICK: f32 = 0.25;
/// Share of the band's tiles that differ.
const DENSE: f32 = 0.85;
/// Share of the differing tiles whose ground differs.
const GROUND: f32 = 0.7;
/// Of the tiles outside the band, one in so many may differ.
const STRAY: usize = 70;
/// Tiles outside the band that have to agree.
const LEAST: usize = 24;

/// Whether all that contradicts lies in one band, and whether the rest agrees.
pub(super) fn is_band(tiles: &[Tile], tone: (f32, f32)) -> bool {
    let contradicts =
        |tile: &Tile| judge(tile, tone) == Verdict::Disagrees && unexplained(tile, tone) > CONTRADICTS;
    let frame = bounds(tiles.iter());
    [Side::Top, Side::Bottom, Side::Left, Side::Right]
        .into_iter()
        .any(|side| is_band_at(side, tiles, frame, &contradicts, tone))
}

#[derive(Clone, Copy)]
enum Side {
    Top,
    Bottom,
    Left,
    Right,
}

impl Side {
    /// How far the far edge of a tile is from this side, as a share of the frame.
    fn depth(self, [left, right, top, bottom]: [f32; 4], frame: [f32; 4]) -> f32 {
        let (width, height) = (frame[1] - frame[0], frame[3] - frame[2]);
        match self {
            Self::Top => (bottom - frame[2]) / height,
            Self::Bottom => (frame[3] - top) / height,
            Self::Left => (right - frame[0]) / width,
            Self::Right => (frame[1] - left) / width,
        }
    }

    /// Extent along this side, as a share of the frame.
    fn along(self, [left, right, top, bottom]: [f32; 4], frame: [f32; 4]) -> f32 {
        match self {
            Self::Top | Self::Bottom => (right - left) / (frame[1] - frame[0]),
            Self::Left | Self::Right => (bottom - top) / (frame[3] - frame[2]),
        }
    }
}

fn is_band_at(
    side: Side,
    tiles: &[Tile],
    frame: [f32; 4],
    contradicts: &dyn Fn(&Tile) -> bool,
    (gain, offset): (f32, f32),
) -> bool {
    let (near, far): (Vec<&Tile>, Vec<&Tile>) = tiles
        .iter()
        .partition(|tile| side.depth(tile.bounds, frame) <= THICK);
    let differing: Vec<&Tile> = near.iter().copied().filter(|tile| contradicts(tile)).collect();
    if differing.is_empty() {
        return false;
    }
    let thickness = differing
        .iter()
        .map(|tile| side.depth(tile.bounds, frame))
        .fold(0.0, f32::max);
    let within = near
        .iter()
        .filter(|tile| side.depth(tile.bounds, frame) <= thickness + 1e-4)
        .count();
    let other_ground = differing
        .iter()
        .filter(|tile| (tile.mean_source - gain * tile.mean_target - offset).abs() > TONE)
        .count();
    let agreeing = far
        .iter()
        .filter(|tile| judge(tile, (gain, offset)) == Verdict::Agrees)
        .count();
    let stray = far.iter().filter(|tile| contradicts(tile)).count();
    side.along(bounds(differing.iter().copied()), frame) >= ACROSS
        && differing.len() as f32 >= DENSE * within as f32
        && other_ground as f32 >= GROUND * differing.len() as f32
        && agreeing >= LEAST
        && stray * STRAY <= agreeing
}

fn bounds<'a>(tiles: impl Iterator<Item = &'a Tile>) -> [f32; 4] {
    tiles.fold([f32::MAX, f32::MIN, f32::MAX, f32::MIN], |[l, r, t, b], tile| {
        let [left, right, top, bottom] = tile.bounds;
        [l.min(left), r.max(right), t.min(top), b.max(bottom)]
    })
}
