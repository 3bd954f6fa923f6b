//! A pair of planes of two images at about equal size: a map is refined and measured on them.

use super::Features;
use super::affine::Affine;
use super::moved;
use super::plane::Plane;
use super::refine::{Freedom, refine};
use super::tiles::{Grid, Tile, measure, outline};

/// Side of a tile in pixels of the plane compared.
const TILE: usize = 16;
/// A round that moves no corner by more is the last, pixels of the plane compared.
const STILL: f64 = 0.05;
/// Maps whose corners are no farther apart are one, pixels of the plane compared.
const SAME_PLACE: f64 = 0.1;
/// What coarse planes may want to move the corners of a map that is measured as it is, pixels of these.
const HELD: f64 = 0.25;
/// Correlation from which a tile may show the same, before the map is settled.
const ALIKE: f32 = 0.5;
/// Textured tiles that make a verdict; with fewer, larger tiles are tried.
pub(super) const ENOUGH: usize = 12;
/// Tiles of less spread than this in both images prove nothing, grey levels.
pub(super) const TEXTURED: f32 = 5.0;

/// The finest planes of about equal size, in the pyramids of A and B; `None` where the map makes too much of either.
pub(super) fn levels(map: &Affine) -> Option<(usize, usize)> {
    let scale = map.scale();
    if !(0.04..=25.0).contains(&scale) {
        return None;
    }
    let octaves = scale.log2().round() as i32;
    Some(((-octaves).max(0) as usize, octaves.max(0) as usize))
}

/// The planes of a pair that show what they share at about the same size.
pub(super) struct Planes<'a> {
    pub(super) target: &'a Plane,
    source: &'a Plane,
    level_a: usize,
    level_b: usize,
    step: usize,
}

impl<'a> Planes<'a> {
    /// `step` octaves coarser than the finest planes of equal size; `None` where an image has no such plane.
    pub(super) fn at(
        a: &'a Features,
        b: &'a Features,
        (level_a, level_b): (usize, usize),
        step: usize,
    ) -> Option<Self> {
        Some(Self {
            target: a.luma.get(level_a + step)?,
            source: b.luma.get(level_b + step)?,
            level_a: level_a + step,
            level_b: level_b + step,
            step,
        })
    }

    /// The map between these planes.
    pub(super) fn between(&self, map: &Affine) -> Affine {
        let (up, down) = (
            f64::from(1u32 << self.level_a),
            1.0 / f64::from(1u32 << self.level_b),
        );
        Affine::scaling(up, up)
            .then(map)
            .then(&Affine::scaling(down, down))
    }

    fn between_back(&self, map: &Affine) -> Affine {
        let (down, up) = (
            1.0 / f64::from(1u32 << self.level_a),
            f64::from(1u32 << self.level_b),
        );
        Affine::scaling(down, down)
            .then(map)
            .then(&Affine::scaling(up, up))
    }

    /// The map refined on these planes, and what it promises; no map when they show different things under it: the coarser planes
    /// have aligned what can be aligned, and most false hypotheses end here.
    pub(super) fn refined(&self, map: &Affine) -> (Option<Affine>, Promise) {
        let (rounds, freedom) = match self.step {
            3 => (3, Freedom::ShiftAndScale),
            1 | 2 => (2, Freedom::Affine),
            _ => (1, Freedom::Affine),
        };
        let (side, grid) = if self.step == 0 {
            (TILE, Grid::Stripes)
        } else {
            (TILE * 3 / 4, Grid::All)
        };
        let (mut map, mut promise) = (*map, Promise::default());
        for _ in 0..rounds {
            let local = self.between(&map);
            let tiles = outline(self.target, self.source, &local, side, grid);
            promise = self.promise(&tiles);
            if self.step <= 1 && hopeless(&tiles) {
                return (None, promise);
            }
            let size = [self.target.width, self.target.height];
            let Some(better) = refine(&local, &tiles, size, freedom) else {
                break;
            };
            let has_settled = self.moves(&local, &better) <= STILL;
            map = self.between_back(&better);
            if has_settled {
                break;
            }
        }
        (Some(map), promise)
    }

    /// What is promised by tiles that were outlined on these planes.
    fn promise(&self, tiles: &[Tile]) -> Promise {
        let (mut textured_area, mut alike) = (0.0, 0.0);
        for tile in textured(tiles) {
            let [left, right, top, bottom] = tile.bounds.map(f64::from);
            let area = (right - left) * (bottom - top);
            textured_area += area;
            alike += if tile.correlation > ALIKE { area } else { 0.0 };
        }
        let share = alike / f64::max(textured_area, 1.0);
        // Each octave down there are four times as many tiles of half the size.
        let unit = f64::from(1u32 << (self.level_a + self.step));
        Promise {
            worth: alike / (TILE * TILE) as f64 * share * unit,
            share,
        }
    }

    /// How far the farthest corner is from one map to another, pixels of the source.
    fn moves(&self, one: &Affine, other: &Affine) -> f64 {
        let (width, height) = (self.target.width as f64, self.target.height as f64);
        one.apart(other, [[0.0, 0.0], [width, 0.0], [0.0, height]])
    }

    /// Whether two maps between the images are one on these planes.
    pub(super) fn is_still(&self, one: &Affine, other: &Affine) -> bool {
        self.moves(&self.between(one), &self.between(other)) <= SAME_PLACE
    }

    /// Whether the tiles of these planes see next to no reason to move the map.
    pub(super) fn holds(&self, map: &Affine) -> bool {
        let local = self.between(map);
        let tiles = outline(self.target, self.source, &local, TILE * 3 / 4, Grid::All);
        let size = [self.target.width, self.target.height];
        let better = (!hopeless(&tiles)).then(|| refine(&local, &tiles, size, Freedom::Affine));
        better
            .flatten()
            .is_some_and(|better| self.moves(&local, &better) <= HELD)
    }

    /// The map refined by some tiles that were measured under it.
    pub(super) fn drawn_to(&self, map: &Affine, tiles: &[Tile]) -> Option<Affine> {
        let size = [self.target.width, self.target.height];
        let better = refine(&self.between(map), tiles, size, Freedom::Affine)?;
        Some(self.between_back(&better))
    }

    /// How many of some tiles moved, of how many that were looked for; `map` is that of these planes.
    pub(super) fn moved<'t>(&self, map: &Affine, tiles: impl Iterator<Item = &'t Tile>) -> (u32, u32) {
        moved::moved(self.target, self.source, map, tiles)
    }

    pub(super) fn measured(&self, map: &Affine) -> Vec<Tile> {
        measure(self.target, self.source, &self.between(map), TILE)
    }
}

/// What a map may be worth, before it is settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Promise {
    /// In units of a settled warp's worth.
    pub(super) worth: f64,
    /// Share of the textured area that correlates, 0 to 1.
    pub(super) share: f64,
}

/// Whether hardly any textured tile correlates.
fn hopeless(tiles: &[Tile]) -> bool {
    let (mut count, mut good) = (0, 0);
    for tile in textured(tiles) {
        count += 1;
        good += usize::from(tile.correlation > ALIKE);
    }
    count >= ENOUGH && good * 5 < count
}

/// The tiles that have something to say.
pub(super) fn textured(tiles: &[Tile]) -> impl Iterator<Item = &Tile> {
    tiles
        .iter()
        .filter(|t| t.spread_target.max(t.spread_source) >= TEXTURED)
}
