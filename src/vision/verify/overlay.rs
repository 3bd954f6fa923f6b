//! Captions and stickers over pictures of text: a band across the frame or a patch within it, on ground of its own.
//!
//! Two fillings of one form differ in ink and share the paper. What somebody put over a screenshot brings its own ground
//! along: a caption reaches from side to side at the top or the bottom, a sticker or a logo is one piece without holes. All
//! the rest is as it was.

use super::places::{Ground, Places};
use super::tiles::Tile;
use super::verdict::{CONTRADICTS, TONE, Verdict, judge, unexplained};

/// Share of the frame's length that a band reaches over.
const ACROSS: f32 = 0.93;
/// Share of the frame's height that a band covers at most.
const THICK: f32 = 0.25;
/// Shares of the frame's tiles that a patch covers.
const PATCH: std::ops::Range<f32> = 0.015..0.25;
/// Share of the tiles in the box around a patch that differ, if only in their ground: a disc fills .79 of it.
const FILLED: f32 = 0.6;
/// Share of a patch's tiles whose ground differs.
const REPAINTED: f32 = 0.6;
/// Difference of brightness and of colour within which grounds are painted alike, levels of 0 to 255.
const PAINT: f32 = 8.0;
/// Share of the other tiles that may have the ground of a patch.
const SHARED_GROUND: f32 = 0.1;
/// Share of the band's tiles that differ.
const DENSE: f32 = 0.85;
/// Share of the differing tiles whose ground differs.
const GROUND: f32 = 0.7;
/// Of the tiles outside a band, one in so many may differ.
const STRAY: usize = 70;
/// And of those outside a patch: its own border is among them.
const STRAY_AROUND: usize = 40;
/// Tiles outside the band that have to agree.
const LEAST: usize = 24;
/// For so many tiles of a text that agree one may disagree that has no part in it: a page that was dimmed
/// contradicts little, and agrees little.
const FADED: usize = 3;

/// Whether all that contradicts lies in one band or patch, and whether the rest agrees; among text what disagrees vaguely counts too.
pub(super) fn is_laid_over(tiles: &[Tile], tone: (f32, f32), places: &Places<'_>, text_like: bool) -> bool {
    is_one_piece(tiles, tone, places) && !(text_like && is_faded(tiles, tone))
}

/// Whether many tiles disagree that have no part in what contradicts, nor lie beside it.
fn is_faded(tiles: &[Tile], tone: (f32, f32)) -> bool {
    let verdicts: Vec<Verdict> = tiles.iter().map(|tile| judge(tile, tone)).collect();
    let with = |verdict| {
        let tiles = tiles.iter().zip(&verdicts);
        tiles.filter_map(move |(tile, found)| (*found == verdict).then_some(tile))
    };
    let (contradicting, vague): (Vec<&Tile>, Vec<&Tile>) =
        with(Verdict::Disagrees).partition(|tile| unexplained(tile, tone) > CONTRADICTS);
    let is_apart = |tile: &&&Tile| !contradicting.iter().any(|other| is_beside(tile, other));
    vague.iter().filter(is_apart).count() * FADED > with(Verdict::Agrees).count()
}

fn is_one_piece(tiles: &[Tile], tone: (f32, f32), places: &Places<'_>) -> bool {
    let contradicts =
        |tile: &Tile| judge(tile, tone) == Verdict::Disagrees && unexplained(tile, tone) > CONTRADICTS;
    let frame = bounds(tiles.iter());
    [Side::Top, Side::Bottom, Side::Left, Side::Right]
        .into_iter()
        .any(|side| is_band_at(side, tiles, frame, &contradicts, tone))
        || is_patch(tiles, &contradicts, tone, places)
}

/// Whether what contradicts is one piece that fills its box, has other ground, and leaves the rest alone.
fn is_patch(
    tiles: &[Tile],
    contradicts: &dyn Fn(&Tile) -> bool,
    tone: (f32, f32),
    places: &Places<'_>,
) -> bool {
    let differing: Vec<&Tile> = tiles.iter().filter(|tile| contradicts(tile)).collect();
    let patch = largest_piece(&differing);
    let share = patch.len() as f32 / tiles.len().max(1) as f32;
    if !PATCH.contains(&share) {
        return false;
    }
    let [left, right, top, bottom] = bounds(patch.iter().copied());
    let in_box = |tile: &&Tile| {
        let [l, r, t, b] = tile.bounds;
        l >= left && r <= right && t >= top && b <= bottom
    };
    // What shows through a veil agrees, on ground of the veil's.
    let fills_its_box = || {
        let in_box = || tiles.iter().filter(in_box);
        let is_filled = |tile: &&Tile| contradicts(tile) || places.has_other_ground(tile, tone);
        let enough = FILLED * in_box().count() as f32;
        patch.len() as f32 >= enough || in_box().filter(is_filled).count() as f32 >= enough
    };
    let is_repainted = || {
        let other_ground = |tile: &&&Tile| places.has_other_ground(tile, tone);
        patch.iter().filter(other_ground).count() as f32 >= REPAINTED * patch.len() as f32
    };
    let leaves_the_rest = || {
        let agrees = |tile: &&Tile| judge(tile, tone) == Verdict::Agrees;
        let agreeing = tiles.iter().filter(agrees).count();
        let stray = differing.len() - patch.len();
        agreeing >= LEAST && stray * STRAY_AROUND <= agreeing
    };
    let brings_its_ground = || {
        let others = tiles.iter().filter(|tile| !patch.contains(tile));
        let others: Vec<[Ground; 2]> = others.map(|tile| places.ground(tile)).collect();
        let patch: Vec<[Ground; 2]> = patch.iter().map(|tile| places.ground(tile)).collect();
        (0..2).any(|side| is_foreign(&patch, &others, side))
    };
    leaves_the_rest() && fills_its_box() && is_repainted() && brings_its_ground()
}

/// Whether most of a patch is painted, in one of the images, as hardly any other tile is there: squares of a board or of a code
/// are painted with what is around them, whichever of them are set.
fn is_foreign(patch: &[[Ground; 2]], others: &[[Ground; 2]], side: usize) -> bool {
    let foreign = patch.iter().filter(|ground| {
        let is_alike = |other: &&[Ground; 2]| is_one_paint(ground[side], other[side]);
        others.iter().filter(is_alike).count() as f32 <= SHARED_GROUND * others.len() as f32
    });
    foreign.count() as f32 >= REPAINTED * patch.len() as f32
}

/// Whether two grounds are painted alike.
fn is_one_paint([x, u, v]: Ground, [y, p, q]: Ground) -> bool {
    (y - x).abs() <= PAINT && (p - u).hypot(q - v) <= PAINT
}

/// The most tiles that hang together.
fn largest_piece<'t>(tiles: &[&'t Tile]) -> Vec<&'t Tile> {
    let mut left: Vec<&Tile> = tiles.to_vec();
    let mut largest = Vec::new();
    while let Some(first) = left.pop() {
        let mut piece = vec![first];
        let mut at = 0;
        while at < piece.len() {
            let (beside, apart) = left.iter().partition(|tile| is_beside(piece[at], tile));
            left = apart;
            piece.extend::<Vec<&Tile>>(beside);
            at += 1;
        }
        if piece.len() > largest.len() {
            largest = piece;
        }
    }
    largest
}

/// Whether two tiles have a side or a corner in common.
fn is_beside(one: &Tile, other: &Tile) -> bool {
    let ([l, r, t, b], [left, right, top, bottom]) = (one.bounds, other.bounds);
    l <= right && left <= r && t <= bottom && top <= b
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tile of 16 pixels in column `x` and row `y`, whose brightness correlates so in both images.
    fn tile([x, y]: [u8; 2], correlation: f32) -> Tile {
        let [left, top] = [x, y].map(|at| f32::from(at) * 16.0);
        Tile {
            bounds: [left, left + 16.0, top, top + 16.0],
            spread_target: 14.0,
            spread_source: 14.0,
            mean_target: 200.0,
            mean_source: 200.0,
            correlation,
            fine_correlation: correlation,
            fine_energy: 100.0,
            structure: [0.0; 3],
            pull: [0.0; 2],
        }
    }

    #[test]
    fn what_hardly_agrees_beside_a_drawer_was_dimmed_and_around_it_is_its_border() {
        let agrees = |_: [u8; 2]| 0.95;
        // Too much noise to agree, too little to be another letter.
        let vague = 0.6;
        let under_a_drawer = |rest: &dyn Fn([u8; 2]) -> f32| -> Vec<Tile> {
            let places = (0..20).flat_map(|y| (0..20).map(move |x| [x, y]));
            places
                .map(|at @ [x, y]| {
                    let is_drawer = x >= 15 && y >= 10;
                    tile(at, if is_drawer { 0.0 } else { rest(at) })
                })
                .collect()
        };
        let tone = (1.0, 0.0);
        assert!(!is_faded(&under_a_drawer(&agrees), tone));
        let border = |[x, y]: [u8; 2]| if x >= 14 && y >= 9 { vague } else { 0.95 };
        assert!(!is_faded(&under_a_drawer(&border), tone));
        let few = |[x, _]: [u8; 2]| if x < 3 { vague } else { 0.95 };
        assert!(!is_faded(&under_a_drawer(&few), tone), "a low quality");
        let many = |[x, _]: [u8; 2]| if x < 8 { vague } else { 0.95 };
        assert!(is_faded(&under_a_drawer(&many), tone), "dimmed");
    }
}
