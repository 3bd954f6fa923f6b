//! Letters that somebody wrote over a picture of text, told from another filling of it.
//!
//! Another filling has other ink where the first had its own: what it does not show is plain paper there. What is written over a
//! picture takes nothing away, and it is written large: who fills in a form writes about as small as it is printed.

use super::places::Places;
use super::plane::Plane;
use super::tiles::Tile;

/// Difference from the ground's brightness from which a pixel is ink, grey levels.
const INK: f32 = 24.0;
/// The same up to which it is paper.
const PAPER: f32 = 12.0;
/// What a pixel has to lie beyond the other image's surroundings, to be missing there, grey levels.
const BEYOND: f32 = 12.0;

/// Ink missing for each pixel of ink that was written, at most: of 1,300 pairs of forms and receipts one is below it, receipts are
/// from three times that on.
const ERASED: f32 = 0.02;
/// Share of the tiles' pixels that are written, at least: large letters cover .28 to .35 of them, what fills in a form .14.
const LARGE: f32 = 0.2;
/// Share of the tiles that are written on, at least: a signature is less.
const WRITTEN: f32 = 0.1;
/// Pixels of ink that make a verdict.
const LEAST_INK: u32 = 100;
/// Tiles that have to agree.
const LEAST: usize = 24;
/// One tile in so many is looked at first; what is missing in all may be missing in these.
const SPARSE: usize = 8;
/// Pixels missing in these that are no chance.
const MISSING: u32 = 32;

/// Pixels of some tiles, as one image against the other shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ink {
    /// Ink of the first where the second has plain paper.
    erased: u32,
    /// Ink of the second where the first has plain paper, or other ink.
    written: u32,
    /// All pixels.
    all: u32,
}

impl Ink {
    /// Whether more is missing than a few tiles show by chance.
    fn is_clearly_erased(self) -> bool {
        self.erased >= MISSING && self.erased as f32 > SPARSE as f32 * ERASED * self.written as f32
    }

    fn is_only_written(self) -> bool {
        let written = self.written as f32;
        self.written >= LEAST_INK
            && self.erased as f32 <= ERASED * written
            && written >= LARGE * self.all as f32
    }
}

/// Whether either image is the other with something written over it: `contradicting` are the tiles that show something else,
/// `agreeing` is the number of those that agree.
pub(super) fn is_written_over(
    contradicting: &[&Tile],
    agreeing: usize,
    tone: (f32, f32),
    places: &Places<'_>,
) -> bool {
    let differing = contradicting.len() as f32;
    if agreeing < LEAST || differing < WRITTEN * (agreeing as f32 + differing) {
        return false;
    }
    let found = |every: usize| of_tiles(contradicting.iter().step_by(every), tone, places);
    // A few tiles tell nearly every other filling.
    if found(SPARSE).into_iter().all(Ink::is_clearly_erased) {
        return false;
    }
    found(1).into_iter().any(Ink::is_only_written)
}

fn of_tiles<'t>(
    tiles: impl Iterator<Item = &'t &'t Tile>,
    tone: (f32, f32),
    places: &Places<'_>,
) -> [Ink; 2] {
    let mut found = [Ink::default(); 2];
    for tile in tiles {
        for (found, new) in found.iter_mut().zip(of_tile(tile, tone, places)) {
            found.erased += new.erased;
            found.written += new.written;
            found.all += new.all;
        }
    }
    found
}

/// What a tile shows with A as the picture that may have been written over, and with B.
fn of_tile(tile: &Tile, (gain, offset): (f32, f32), places: &Places<'_>) -> [Ink; 2] {
    let (a, b) = (&places.a.luma[0], &places.b.luma[0]);
    let [here, there] = places.boxes(tile);
    let to_b = |v: f32| gain * v + offset;
    let grounds = [to_b(f32::from(a.median(here))), f32::from(b.median(there))];
    let reach = places.map.scale().ceil().clamp(1.0, 4.0) as usize;
    let mut found = [Ink::default(); 2];
    let [left, right, top, bottom] = here.map(|v| v.round().max(0.0) as usize);
    let [across, _, _, down, ..] = places.map.0;
    let mut all = 0;
    for y in top..bottom.min(a.height) {
        let [start_u, start_v] = places.map.apply([left as f64 + 0.5, y as f64 + 0.5]);
        let row = a.row(y).get(left..right.min(a.width)).unwrap_or_default();
        for (step, &level) in row.iter().enumerate() {
            let (u, v) = (start_u + across * step as f64, start_v + down * step as f64);
            if u < 0.0 || v < 0.0 || u >= b.width as f64 || v >= b.height as f64 {
                continue;
            }
            all += 1;
            let (x, u, v) = (left + step, u as usize, v as usize);
            let one = to_b(f32::from(level));
            let other = f32::from(b.row(v)[u]);
            // What is about as bright in both is missing in neither.
            let is_ink = |ground: f32| (one - ground).abs() > INK || (other - ground).abs() > INK;
            if (one - other).abs() <= BEYOND || !grounds.into_iter().any(is_ink) {
                continue;
            }
            let [low, high] = range(a, x, y, 1).map(to_b);
            let around_one = [low.min(high), low.max(high)];
            let around_other = range(b, u, v, reach);
            let one_is_missing = is_beyond(one, around_other);
            let other_is_missing = is_beyond(other, around_one);
            let roles = [
                (grounds[0], (one, one_is_missing), (other, other_is_missing)),
                (grounds[1], (other, other_is_missing), (one, one_is_missing)),
            ];
            for (found, (ground, (clean, clean_is_missing), (drawn, drawn_is_missing))) in
                found.iter_mut().zip(roles)
            {
                let (clean, drawn) = ((clean - ground).abs(), (drawn - ground).abs());
                found.erased += u32::from(clean > INK && drawn <= PAPER && clean_is_missing);
                let beside = clean <= PAPER && drawn_is_missing;
                let across = clean > INK && (clean_is_missing || drawn_is_missing);
                found.written += u32::from(drawn > INK && (beside || across));
            }
        }
    }
    for found in &mut found {
        found.all = all;
    }
    found
}

fn is_beyond(value: f32, [low, high]: [f32; 2]) -> bool {
    value < low - BEYOND || value > high + BEYOND
}

/// Darkest and brightest pixel within `reach` of a place.
fn range(plane: &Plane, x: usize, y: usize, reach: usize) -> [f32; 2] {
    let (mut low, mut high) = (u8::MAX, 0);
    for y in y.saturating_sub(reach)..(y + reach + 1).min(plane.height) {
        for &v in &plane.row(y)[x.saturating_sub(reach)..(x + reach + 1).min(plane.width)] {
            low = low.min(v);
            high = high.max(v);
        }
    }
    [f32::from(low), f32::from(high)]
}
