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
    /// Whether it is even if all the pixels that are `left` are written.
    fn is_too_much_erased(self, left: f32) -> bool {
        self.erased as f32 > ERASED * (self.written as f32 + left)
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
    let pixels = |tile: &&Tile| {
        let [[left, right, top, bottom], _] = places.boxes(tile);
        (right - left + 1.0) * (bottom - top + 1.0)
    };
    // No more can be written than there are pixels left: with too much ink missing for that, it is another filling.
    let mut left: f32 = contradicting.iter().map(pixels).sum();
    let mut found = [Ink::default(); 2];
    for tile in contradicting {
        if found.iter().all(|ink| ink.is_too_much_erased(left)) {
            return false;
        }
        left -= pixels(tile);
        for (found, new) in found.iter_mut().zip(of_tile(tile, tone, places)) {
            found.erased += new.erased;
            found.written += new.written;
            found.all += new.all;
        }
    }
    found.into_iter().any(Ink::is_only_written)
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
    for y in top..bottom.min(a.height) {
        for x in left..right.min(a.width) {
            let [u, v] = places.map.apply([x as f64 + 0.5, y as f64 + 0.5]);
            if u < 0.0 || v < 0.0 || u >= b.width as f64 || v >= b.height as f64 {
                continue;
            }
            let (u, v) = (u as usize, v as usize);
            let one = to_b(f32::from(a.row(y)[x]));
            let other = f32::from(b.row(v)[u]);
            for found in &mut found {
                found.all += 1;
            }
            let is_ink = |ground: f32| (one - ground).abs() > INK || (other - ground).abs() > INK;
            if !grounds.into_iter().any(is_ink) {
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
