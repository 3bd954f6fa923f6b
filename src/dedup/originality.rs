//! Which images of a family were made from which: what the pairs say about who is the original.
//!
//! A person wants to keep the whole, unedited picture. Size alone does not find it: a caption, a border or a new
//! compression adds bytes. The evidence of the pairs does: of a crop and its source one shows more; a border is plain;
//! an overlay looks drawn; and an original agrees with all its copies, which agree less with each other.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::policy::Candidate;
use super::{Evidence, Lineage, Match, Tone};
use crate::types::{MatchClass, Similarity, Transform};
use crate::vision::lineage::Side;
use crate::vision::verify::Trace;

/// What a pair says about which of its two images was altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clue {
    /// Nothing: both are whole frames of one picture.
    Alike,
    /// The first was made from the second, or from something more like it.
    First,
    /// The second was made from the first.
    Second,
    /// The first looks drawn where they differ, or has a border; those who know more copies may know better.
    LikelyFirst,
    /// The second does.
    LikelySecond,
    /// One of them was altered, and the pair does not say which.
    Either,
}

impl Clue {
    /// The same of the images in the other order.
    const fn reversed(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
            Self::LikelyFirst => Self::LikelySecond,
            Self::LikelySecond => Self::LikelyFirst,
            Self::Alike | Self::Either => self,
        }
    }
}

/// What an image that shows all of the second one says by what it shows beyond; nothing where that is more of the picture, and
/// the second is a crop.
fn around(beyond: Trace, was_shrunk: bool) -> Option<Clue> {
    if was_shrunk {
        Some(Clue::First)
    } else if beyond.bordered {
        // A crop whose lost rim happens to end in another tone looks the same.
        Some(Clue::LikelyFirst)
    } else {
        // Ground was added or cut off, with what is written on it.
        beyond.ground.then_some(Clue::Either)
    }
}

/// Share of an image from which all of it counts as shown.
const ALL: f32 = 0.97;
/// Share of an image that a kept one has to show before the image may go.
const COVERED: f32 = 0.9;
/// A picture within another one that is shown at less than this scale was shrunk to fit: a collage or a screenshot.
const SHRUNK: f32 = 0.85;
/// Agreement that is less by one part in so many is clearly less.
const CLEARLY: u64 = 50;
/// Agreement that takes at least four other files, however close.
const MANY: u64 = 3500;
/// Aspects that differ by less are one, as a share: small copies have whole pixels too.
const SAME_ASPECT: f32 = 0.015;
/// Parts of its size that a picture may seem to move by, between two images that lie on each other.
const IN_PLACE: f64 = 0.01;
/// Images of a family that are asked how well they agree.
const LARGEST_FAMILY: usize = 1000;

impl Match {
    /// What the match says about which image was altered.
    #[must_use]
    pub fn clue(&self) -> Clue {
        if let Some(Lineage::Known(later)) = self.evidence.lineage {
            return match later.side {
                Side::First => Clue::LikelyFirst,
                Side::Second => Clue::LikelySecond,
            };
        }
        if self.class != MatchClass::Edited {
            return Clue::Alike;
        }
        let Evidence {
            overlap_a,
            overlap_b,
            traces,
            ..
        } = &self.evidence;
        let (Some(a), Some(b)) = (overlap_a, overlap_b) else {
            return Clue::Either;
        };
        let traces = traces.unwrap_or_default();
        let scale = self.transform.map_or(1.0, |t| t.scale);
        // The first shows all of the second and more, or the other way round.
        match (*a >= ALL, *b >= ALL) {
            (false, true) => around(traces.a, scale > 1.0 / SHRUNK).unwrap_or(Clue::Second),
            (true, false) => around(traces.b, scale < SHRUNK).map_or(Clue::First, Clue::reversed),
            _ => match (
                traces.a.drawn || traces.a.bordered,
                traces.b.drawn || traces.b.bordered,
            ) {
                (true, false) => Clue::LikelyFirst,
                (false, true) => Clue::LikelySecond,
                _ => Clue::Either,
            },
        }
    }

    /// Whether the images are one picture, pixel by pixel, edited in one of them: what is worth asking for further evidence.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let edited = match self.class {
            MatchClass::Edited => !matches!(self.clue(), Clue::First | Clue::Second),
            MatchClass::NearIdentical => self.evidence.tone.is_some_and(Tone::is_changed),
            _ => false,
        };
        let stays = |transform: Transform| {
            let moved = transform.matrix.iter().zip(Transform::IDENTITY.matrix);
            !transform.mirrored && moved.map(|(v, w)| (v - w).abs()).fold(0.0, f64::max) <= IN_PLACE
        };
        edited && self.transform.is_some_and(stays)
    }

    /// Whether the second image may go when the first one stays: the first shows all of it, or all but a plain border, and is not
    /// as likely to be the edited one.
    #[must_use]
    pub fn covers(&self) -> bool {
        if self.evidence.lineage == Some(Lineage::Open) {
            return false;
        }
        match self.class {
            MatchClass::Similar => false,
            MatchClass::Edited => {
                self.evidence.overlap_b.is_some_and(|share| share >= COVERED)
                    || self.evidence.traces.is_some_and(|traces| traces.b.plain)
            }
            MatchClass::NearIdentical | MatchClass::SamePixels | MatchClass::Identical => true,
        }
    }
}

/// Notes in `candidates` what their matches, by position, say about them: whether they were altered, and how well all files
/// of their family agree with them. `similarity` is that of two of them, by position.
pub fn mark<'a>(
    candidates: &mut [Candidate],
    matches: impl Iterator<Item = (usize, usize, &'a Match)> + Clone,
    similarity: impl Fn(usize, usize) -> Similarity,
) {
    let copies = matches
        .clone()
        .filter(|(_, _, found)| found.class >= MatchClass::Edited);
    agree(candidates, copies.map(|(a, b, _)| (a, b)), similarity);
    let frames = matches
        .clone()
        .filter(|(_, _, found)| found.class > MatchClass::Edited);
    let frames = frames.map(|(a, b, _)| (a, b));
    turn(candidates, frames.clone());
    let mut whole = vec![0u32; candidates.len()];
    for (a, b) in frames {
        whole[a] += 1;
        whole[b] += 1;
    }
    for (a, b, found) in matches {
        let altered = match found.clue() {
            Clue::Alike => None,
            Clue::First => Some(a),
            Clue::Second => Some(b),
            Clue::LikelyFirst => by_many(candidates, a, b).or(Some(a)),
            Clue::LikelySecond => by_many(candidates, a, b).or(Some(b)),
            Clue::Either => by_many(candidates, a, b)
                // The one that is alone with its change.
                .or_else(|| (whole[a] != whole[b]).then_some(if whole[a] < whole[b] { a } else { b }))
                .or_else(|| clearly_less(candidates, a, b)),
        };
        if let Some(altered) = altered {
            candidates[altered].altered = true;
        }
    }
}

/// The same where the family is large enough to know better than what one pair shows.
fn by_many(candidates: &[Candidate], a: usize, b: usize) -> Option<usize> {
    let is_large = candidates[a].agreement.max(candidates[b].agreement) >= MANY;
    is_large.then(|| clearly_less(candidates, a, b)).flatten()
}

/// Of two images the one that their family agrees with clearly less, if any.
fn clearly_less(candidates: &[Candidate], a: usize, b: usize) -> Option<usize> {
    let agreement = |image: usize| candidates[image].agreement;
    [(a, b), (b, a)]
        .into_iter()
        .find_map(|(x, y)| is_clearly_less(agreement(x), agreement(y)).then_some(x))
}

fn is_clearly_less(agreement: u64, than: u64) -> bool {
    agreement * CLEARLY < than * (CLEARLY - 1)
}

/// Notes in `candidates` what their likely copies, by position, let expect before anything is verified: how well their
/// family agrees with them, and which were altered: agree with it clearly less, or have a shape of their own. `aspect` is the
/// longer side by the shorter.
pub fn expect(
    candidates: &mut [Candidate],
    likely: impl Iterator<Item = (usize, usize)> + Clone,
    similarity: impl Fn(usize, usize) -> Similarity,
    aspect: impl Fn(usize) -> f32,
) {
    agree(candidates, likely.clone(), similarity);
    turn(candidates, likely.clone());
    for family in families(likely) {
        let alike = |&image: &usize| {
            let same =
                |&&other: &&usize| (aspect(image) - aspect(other)).abs() <= SAME_ASPECT * aspect(image);
            family.iter().filter(same).count()
        };
        let shared: Vec<usize> = family.iter().map(alike).collect();
        let most = shared.iter().copied().max().unwrap_or(0);
        for (&image, count) in family.iter().zip(shared) {
            candidates[image].altered = candidates[image].turned || 2 * count < most;
        }
    }
}

/// Adds up how well each family agrees with its images. Not every pair of a family is verified, so its matches do not tell.
fn agree(
    candidates: &mut [Candidate],
    matches: impl Iterator<Item = (usize, usize)>,
    similarity: impl Fn(usize, usize) -> Similarity,
) {
    for candidate in candidates.iter_mut() {
        // Pixels survive only in copies that lose nothing: such files were made from this one or are this one.
        candidate.agreement = 1000 * candidate.copies;
    }
    for family in families(matches) {
        for (place, &a) in family.iter().enumerate() {
            for &b in &family[place + 1..] {
                // Whole numbers add up to the same in any order.
                let closeness = (similarity(a, b).get().max(0.0) * 1000.0).round() as u64;
                candidates[a].agreement += closeness;
                candidates[b].agreement += closeness;
            }
        }
    }
}

/// Of whole frames of one picture those that the others agree with clearly less than with the best were turned: what
/// recompression changes says nothing; a turn, a mirror or another tone is more.
fn turn(candidates: &mut [Candidate], whole: impl Iterator<Item = (usize, usize)>) {
    for family in families(whole) {
        let best = family.iter().map(|&image| candidates[image].agreement).max();
        for image in family {
            candidates[image].turned = is_clearly_less(candidates[image].agreement, best.unwrap_or(0));
        }
    }
}

/// Images connected by matches that are more than similar, each family in order and cut at so many that all its pairs
/// can be looked at.
fn families(matches: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (a, b) in matches {
        neighbours.entry(a).or_default().push(b);
        neighbours.entry(b).or_default().push(a);
    }
    let mut seen = BTreeSet::new();
    let mut families = Vec::new();
    for &start in neighbours.keys() {
        if !seen.insert(start) {
            continue;
        }
        let (mut family, mut waiting) = (vec![start], vec![start]);
        while let Some(image) = waiting.pop() {
            for &next in &neighbours[&image] {
                if seen.insert(next) {
                    family.push(next);
                    waiting.push(next);
                }
            }
        }
        family.sort_unstable();
        family.truncate(LARGEST_FAMILY);
        families.push(family);
    }
    families
}
