//! A warp on its way from a map to a verdict on every tile: refined on coarse planes, settled on fine ones.

use super::affine::Affine;
use super::places::{Places, overlap};
use super::planes::{ENOUGH, Planes, Promise, levels, textured};
use super::regions::regions;
use super::tiles::Tile;
use super::verdict::{CONTRADICTS, NOISE, Verdict, judge, tone, unexplained};
use super::{Alignment, Features, ink, overlay, pairing, wander};
use crate::types::{Region, Transform};

/// Displacement left from which a warp is drawn to the tiles that agree, pixels of the plane compared.
const TIGHT: f64 = 0.2;
/// How often it is.
const TIGHTENINGS: usize = 3;
/// Agreement from which no coarser plane is asked, and no other hypothesis.
pub(super) const SETTLED: f64 = 0.8;
/// What a coarser plane has to agree more, to be believed instead of a finer one.
const CLEARLY_MORE: f64 = 0.25;
/// Mean correlation of fine detail from which images are as sharp as each other.
const SHARP: f32 = 0.9;
/// What noise of the agreeing tiles excuses at most, grey levels: on high contrast they are left with much.
const LOUDEST: f32 = 20.0;
/// Gain of brightness between two pictures of text of which one was written or laid over: where another row is lit up on a dimmed
/// page, the brightness of the one says next to nothing of the other's.
const TONES: std::ops::Range<f32> = 0.2..5.0;
/// Displacement assumed where no tile can tell, pixels of the plane compared.
const UNTOLD: f64 = 0.25;

/// A warp refined on coarse planes, to be settled on fine ones.
pub(super) struct Contender {
    pub(super) inliers: usize,
    /// The finest planes of equal size, in the pyramids of A and B.
    levels: (usize, usize),
    /// From pixels of A's preview to pixels of B's.
    pub(super) map: Affine,
    /// The map as each octave left it, coarse to fine.
    steps: Vec<(usize, Affine)>,
    /// Whether the coarse planes show the same, so that the finest are worth a look.
    is_open: bool,
    pub(super) promise: Promise,
}

impl Contender {
    /// Refines a map from coarse to fine, down to planes of half the size; `inliers` is 0 for that of a whole frame. `None` where
    /// it makes too much of either image.
    pub(super) fn new(a: &Features, b: &Features, map: Affine, inliers: usize) -> Option<Self> {
        let mut new = Self {
            inliers,
            levels: levels(&map)?,
            map,
            steps: Vec::with_capacity(4),
            is_open: true,
            promise: Promise::default(),
        };
        let coarsest = if inliers == 0 { 3 } else { 2 };
        for step in (1..=coarsest).rev() {
            let Some(planes) = Planes::at(a, b, new.levels, step) else {
                continue;
            };
            let refined;
            (refined, new.promise) = planes.refined(&new.map);
            let Some(map) = refined else {
                new.is_open = false;
                break;
            };
            new.map = map;
            new.steps.push((step, map));
        }
        Some(new)
    }
}

/// A settled warp with its tiles.
pub(super) struct Candidate {
    /// Pixels of A's preview to pixels of B's.
    pub(super) map: Affine,
    pub(super) inliers: usize,
    tiles: Vec<Tile>,
    /// What each of the tiles says.
    verdicts: Vec<Verdict>,
    /// Pixels of A's preview per pixel of the plane the tiles were measured on.
    unit: f64,
    /// The finest planes of equal size, in the pyramids of A and B.
    levels: (usize, usize),
    /// How many octaves coarser the planes are that the tiles were measured on.
    step: usize,
    tone: (f32, f32),
    agreeing: usize,
    disagreeing: usize,
    contradicting: usize,
}

impl Candidate {
    /// The frames laid onto each other where nothing but resampling and tone lies between them: coarse planes see no reason to
    /// move the map, and the finest ones are measured under it at once. `None` where it has to be searched for.
    pub(super) fn as_it_is(a: &Features, b: &Features, mut map: Affine) -> Option<Self> {
        let levels = levels(&map)?;
        if !Planes::at(a, b, levels, 2)?.holds(&map) {
            return None;
        }
        let planes = Planes::at(a, b, levels, 0)?;
        let unit = f64::from(a.width) / planes.target.width as f64;
        for is_last in [false, true] {
            let tiles = planes.measured(&map);
            if textured(&tiles).count() < ENOUGH {
                return None;
            }
            let found = Self::weigh(map, 0, tiles, unit, (levels, 0))?;
            if !found.explains(SETTLED) {
                return None;
            }
            let agreeing: Vec<Tile> = found.with(Verdict::Agrees).copied().collect();
            let drawn = planes.drawn_to(&map, &agreeing).filter(pairing::plausible)?;
            if is_last || planes.is_still(&map, &drawn) {
                return Some(found.tightened(a, b));
            }
            map = drawn;
        }
        None
    }

    /// The map of a contender refined on the finest planes, and its tiles: on the finest planes that have something to say.
    pub(super) fn settle(a: &Features, b: &Features, contender: &Contender) -> Option<Self> {
        let (levels, inliers) = (contender.levels, contender.inliers);
        let mut settled = contender.steps.clone();
        if contender.is_open
            && let Some(finest) = Planes::at(a, b, levels, 0)
            && let (Some(map), _) = finest.refined(&contender.map)
        {
            settled.push((0, map));
        }
        let mut best: Option<Self> = None;
        let mut textured_most = 0;
        for &(step, map) in settled.iter().rev() {
            if !pairing::plausible(&map) {
                continue;
            }
            let Some(planes) = Planes::at(a, b, levels, step) else {
                continue;
            };
            let tiles = planes.measured(&map);
            let textured = textured(&tiles).count();
            let unit = f64::from(a.width) / planes.target.width as f64;
            let new = Self::weigh(map, inliers, tiles, unit, (levels, step));
            // Smooth images have nothing to say at the finest plane; blurred, pixelated and noisy ones say it at a coarser one.
            let better = match (&best, &new) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(old), Some(new)) if textured_most >= ENOUGH => {
                    textured >= ENOUGH && new.agreement() >= old.agreement() + CLEARLY_MORE && !old.is_sharp()
                }
                _ => textured > textured_most,
            };
            if better {
                best = new;
                textured_most = textured;
            }
            if textured_most >= ENOUGH && best.as_ref().is_some_and(|best| best.agreement() >= SETTLED) {
                break;
            }
        }
        best.map(|found| found.tightened(a, b))
    }

    /// The same warp drawn to the tiles that agree, as long as that brings them closer: where a good part of the frame shows
    /// something else, the first steps do not tell the two apart.
    fn tightened(mut self, a: &Features, b: &Features) -> Self {
        let Some(planes) = Planes::at(a, b, self.levels, self.step) else {
            return self;
        };
        for _ in 0..TIGHTENINGS {
            let loose = self.looseness();
            if self.agreeing < ENOUGH || loose <= TIGHT {
                break;
            }
            let agreeing: Vec<Tile> = self.with(Verdict::Agrees).copied().collect();
            let Some(map) = planes.drawn_to(&self.map, &agreeing).filter(pairing::plausible) else {
                break;
            };
            let tiles = planes.measured(&map);
            let place = (self.levels, self.step);
            match Self::weigh(map, self.inliers, tiles, self.unit, place) {
                Some(new) if new.agreeing >= self.agreeing && new.looseness() < loose => self = new,
                _ => break,
            }
        }
        self
    }

    /// Root mean square of the displacement that agreeing tiles are left with, pixels of the plane compared.
    fn looseness(&self) -> f64 {
        let steps = self.with(Verdict::Agrees).filter_map(Tile::displacement);
        let (sum, count) = steps.fold((0.0, 0.0), |(sum, count), [x, y]| {
            (sum + x * x + y * y, count + 1.0)
        });
        (sum / f64::max(count, 1.0)).sqrt()
    }

    fn weigh(
        map: Affine,
        inliers: usize,
        tiles: Vec<Tile>,
        unit: f64,
        (levels, step): ((usize, usize), usize),
    ) -> Option<Self> {
        if tiles.is_empty() {
            return None;
        }
        let tone = tone(&tiles);
        let verdicts: Vec<Verdict> = tiles.iter().map(|tile| judge(tile, tone)).collect();
        let count = |verdict| verdicts.iter().filter(|&&found| found == verdict).count();
        let (agreeing, disagreeing) = (count(Verdict::Agrees), count(Verdict::Disagrees));
        let contradicting = tiles
            .iter()
            .zip(&verdicts)
            .filter(|(t, verdict)| **verdict == Verdict::Disagrees && unexplained(t, tone) > CONTRADICTS)
            .count();
        Some(Self {
            unit,
            levels,
            step,
            map,
            inliers,
            tone,
            agreeing,
            disagreeing,
            contradicting,
            tiles,
            verdicts,
        })
    }

    /// Share of the tiles with something to say that agree.
    fn agreement(&self) -> f64 {
        self.agreeing as f64 / (self.agreeing + self.disagreeing).max(1) as f64
    }

    /// Whether what agrees agrees in its finest detail: no coarser plane has more to say then, what disagrees is something else.
    fn is_sharp(&self) -> bool {
        let detail = self
            .with(Verdict::Agrees)
            .map(|tile| tile.fine_correlation)
            .sum::<f32>();
        self.agreeing >= 2 * ENOUGH && detail >= SHARP * self.agreeing as f32
    }

    /// Which of two candidates explains more.
    pub(super) fn worth(&self) -> f64 {
        self.agreeing as f64 * self.agreement() * self.unit
    }

    /// Whether this share of what there is to say agrees, and that is not little: no other hypothesis is much better then.
    pub(super) fn explains(&self, share: f64) -> bool {
        self.agreeing >= 24 && self.agreement() >= share
    }

    pub(super) fn alignment(self, a: &Features, b: &Features, text_like: bool) -> Alignment {
        let (overlap_a, overlap_b) = overlap(&self.map, a, b);
        let grain = f64::from(1u32 << self.step);
        let (moved, looked_for) = self.moved(a, b, text_like);
        let agreeing: Vec<&Tile> = self.with(Verdict::Agrees).collect();
        let mean = |f: &dyn Fn(&Tile) -> f32| {
            agreeing.iter().map(|t| f(t)).sum::<f32>() / agreeing.len().max(1) as f32
        };
        let mut steps: Vec<f64> = agreeing
            .iter()
            .filter_map(|t| t.displacement())
            .map(|[x, y]| (x * x + y * y).sqrt() * grain)
            .collect();
        steps.sort_by(f64::total_cmp);
        if steps.is_empty() {
            steps.push(UNTOLD * grain);
        }
        let square = steps.iter().map(|d| d * d).sum::<f64>() / steps.len() as f64;
        let high = steps[steps.len() * 19 / 20];
        let places = self.places(a, b);
        let alike = self.with(Verdict::Agrees).chain(self.with(Verdict::Neutral));
        let (saturation, colour_residual) = places.colour(alike);
        let (long, short) = self.map.stretch();
        let has_a_tone = TONES.contains(&self.tone.0);
        Alignment {
            transform: self.transform(a, b),
            distortion: (long / short.max(1e-9)) as f32,
            overlap_a,
            overlap_b,
            inliers: u32::try_from(self.inliers).unwrap_or(u32::MAX),
            agreeing: u32::try_from(self.agreeing).unwrap_or(u32::MAX),
            disagreeing: u32::try_from(self.disagreeing).unwrap_or(u32::MAX),
            contradicting: u32::try_from(self.contradicting).unwrap_or(u32::MAX),
            outstanding: u32::try_from(self.outstanding()).unwrap_or(u32::MAX),
            neutral: u32::try_from(self.tiles.len() - self.agreeing - self.disagreeing).unwrap_or(u32::MAX),
            correlation: mean(&|t| t.correlation),
            fine_correlation: mean(&|t| t.fine_correlation),
            displacement: square.sqrt() as f32,
            displacement_high: high as f32,
            wander: (wander::wander(self.with(Verdict::Agrees)) * grain) as f32,
            gain: self.tone.0,
            offset: self.tone.1,
            saturation,
            colour_residual,
            written_over: text_like && has_a_tone && self.is_written_over(&places),
            laid_over: self.contradicting > 0
                && (has_a_tone || !text_like)
                && overlay::is_laid_over(&self.tiles, self.tone, &places, text_like),
            grain: grain as f32,
            moved,
            looked_for,
            changed: self.changed(a),
        }
    }

    /// How many of the tiles that disagree moved, and how many were looked for. Among letters the same letter is found again.
    fn moved(&self, a: &Features, b: &Features, text_like: bool) -> (u32, u32) {
        let is_asked = !text_like && self.agreeing >= ENOUGH && self.agreeing > self.disagreeing / 2;
        match Planes::at(a, b, self.levels, self.step) {
            Some(planes) if is_asked => {
                planes.moved(&planes.between(&self.map), self.with(Verdict::Disagrees))
            }
            _ => (0, 0),
        }
    }

    fn is_written_over(&self, places: &Places<'_>) -> bool {
        let disagreeing = self.with(Verdict::Disagrees);
        let contradicting: Vec<&Tile> = disagreeing
            .filter(|tile| unexplained(tile, self.tone) > CONTRADICTS)
            .collect();
        ink::is_written_over(&contradicting, self.agreeing, self.tone, places)
    }

    /// How many tiles are left with more than recompression explains, and than the tiles that agree are left with.
    fn outstanding(&self) -> usize {
        let squares = self
            .with(Verdict::Agrees)
            .map(|tile| unexplained(tile, self.tone).powi(2));
        let noise = (squares.sum::<f32>() / self.agreeing.max(1) as f32).sqrt();
        let limit = (CONTRADICTS + (noise - NOISE).max(0.0)).min(LOUDEST);
        self.with(Verdict::Disagrees)
            .filter(|tile| unexplained(tile, self.tone) > limit)
            .count()
    }

    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Tile> {
        let tiles = self.tiles.iter().zip(&self.verdicts);
        tiles.filter_map(move |(tile, found)| (*found == verdict).then_some(tile))
    }

    fn transform(&self, a: &Features, b: &Features) -> Transform {
        let relative = Affine::scaling(f64::from(a.width), f64::from(a.height))
            .then(&self.map)
            .then(&Affine::scaling(
                1.0 / f64::from(b.width),
                1.0 / f64::from(b.height),
            ));
        Transform {
            matrix: relative.0,
            rotation: self.map.rotation() as f32,
            scale: self.map.scale() as f32,
            mirrored: self.map.mirrored(),
        }
    }

    fn places<'f>(&self, a: &'f Features, b: &'f Features) -> Places<'f> {
        Places {
            a,
            b,
            map: self.map,
            unit: self.unit,
        }
    }

    /// Boxes around neighbouring tiles that disagree.
    fn changed(&self, a: &Features) -> Vec<Region> {
        let boxes = self.with(Verdict::Disagrees).map(|tile| tile.bounds).collect();
        let unit = self.unit as f32;
        regions(boxes, [a.width as f32 / unit, a.height as f32 / unit])
    }
}
