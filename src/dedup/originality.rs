//! Which images of a family were made from which: what the pairs say about who is the original.
//!
//! A person wants to keep the whole, unedited picture. Size alone does not find it: a caption, a border or a new
//! compression adds bytes. The evidence of the pairs does: of a crop and its source one shows more; a border is plain;
//! an overlay looks drawn; and an original agrees with all its copies, which agree less with each other.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::Candidate;
use super::{Evidence, Match};
use crate::types::{MatchClass, Similarity};

/// What a pair says about which of its two images was altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clue {
    /// Nothing: both are whole frames of one picture.
    Alike,
    /// The first was made from the second, or from something more like it.
    First,
    /// The second was made from the first.
    Second,
    /// The first looks drawn where they differ; those who know more copies may know better.
    LikelyFirst,
    /// The second does.
    LikelySecond,
    /// One of them was altered, and the pair does not say which.
    Either,
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
/// Images of a family that are asked how well they agree.
const LARGEST_FAMILY: usize = 1000;

impl Match {
    /// What the match says about which image was altered.
    #[must_use]
    pub fn clue(&self) -> Clue {
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
        match (*a >= ALL, *b >= ALL) {
            // The first shows all of the second, and more.
            (false, true) if traces.a.bordered || scale > 1.0 / SHRUNK => Clue::First,
            // Plain ground was added or cut off.
            (false, true) if traces.a.plain => Clue::Either,
            (false, true) => Clue::Second,
            (true, false) if traces.b.bordered || scale < SHRUNK => Clue::Second,
            (true, false) if traces.b.plain => Clue::Either,
            (true, false) => Clue::First,
            _ => match (
                traces.a.drawn || traces.a.bordered,
                traces.b.drawn || traces.b.bordered,
            ) {
                (true, false) if !traces.a.bordered => Clue::LikelyFirst,
                (false, true) if !traces.b.bordered => Clue::LikelySecond,
                (true, false) => Clue::First,
                (false, true) => Clue::Second,
                _ => Clue::Either,
            },
        }
    }

    /// Whether the second image may go when the first one stays: the first shows all of it, or all but a plain border.
    #[must_use]
    pub fn covers(&self) -> bool {
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
/// family agrees with them, and which were turned.
pub fn expect(
    candidates: &mut [Candidate],
    likely: impl Iterator<Item = (usize, usize)> + Clone,
    similarity: impl Fn(usize, usize) -> Similarity,
) {
    agree(candidates, likely.clone(), similarity);
    turn(candidates, likely);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Similarity, Stage, Transform};
    use crate::vision::verify::{Trace, Traces};

    fn found(class: MatchClass, overlap: [f32; 2], scale: f32, traces: Traces) -> Match {
        Match {
            class,
            probability: 0.99,
            similarity: Similarity::clamped(0.9),
            stage: Stage::Verification,
            transform: Some(Transform {
                scale,
                ..Transform::IDENTITY
            }),
            overlap: Some(overlap[0].max(overlap[1])),
            evidence: Evidence {
                overlap_a: Some(overlap[0]),
                overlap_b: Some(overlap[1]),
                traces: Some(traces),
                ..Evidence::default()
            },
        }
    }

    fn candidate(name: &str) -> Candidate {
        Candidate {
            name: name.to_owned(),
            pixels: 100,
            size: 1,
            ..Candidate::default()
        }
    }

    const NONE: Trace = Trace {
        plain: false,
        bordered: false,
        drawn: false,
    };
    const BORDER: Trace = Trace {
        plain: true,
        bordered: true,
        drawn: false,
    };
    const GROUND: Trace = Trace {
        plain: true,
        bordered: false,
        drawn: false,
    };
    const DRAWN: Trace = Trace {
        plain: false,
        bordered: false,
        drawn: true,
    };

    #[test]
    fn a_pair_says_which_image_was_altered() {
        let traces = |a, b| Traces { a, b };
        let cases = [
            (
                "a crop of the first",
                [0.8, 1.0],
                1.0,
                traces(NONE, NONE),
                Clue::Second,
            ),
            (
                "the first has a border",
                [0.8, 1.0],
                1.0,
                traces(BORDER, NONE),
                Clue::First,
            ),
            (
                "plain ground was cut off or added",
                [0.8, 1.0],
                1.0,
                traces(GROUND, NONE),
                Clue::Either,
            ),
            (
                "the first is a collage",
                [0.25, 1.0],
                2.0,
                traces(NONE, NONE),
                Clue::First,
            ),
            ("a shrunk crop", [0.6, 1.0], 0.5, traces(NONE, NONE), Clue::Second),
            (
                "the second is written on",
                [1.0, 1.0],
                1.0,
                traces(NONE, DRAWN),
                Clue::LikelySecond,
            ),
            (
                "nothing is known",
                [1.0, 1.0],
                1.0,
                traces(NONE, NONE),
                Clue::Either,
            ),
            (
                "both are written on",
                [1.0, 1.0],
                1.0,
                traces(DRAWN, DRAWN),
                Clue::Either,
            ),
        ];
        for (what, overlap, scale, traces, clue) in cases {
            let forth = found(MatchClass::Edited, overlap, scale, traces);
            assert_eq!(forth.clue(), clue, "{what}");
            let back = match clue {
                Clue::First => Clue::Second,
                Clue::Second => Clue::First,
                Clue::LikelyFirst => Clue::LikelySecond,
                Clue::LikelySecond => Clue::LikelyFirst,
                other => other,
            };
            let turned = found(
                MatchClass::Edited,
                [overlap[1], overlap[0]],
                1.0 / scale,
                traces.reversed(),
            );
            assert_eq!(turned.clue(), back, "{what}, the other way round");
        }
        let whole = found(MatchClass::NearIdentical, [1.0, 1.0], 0.5, traces(NONE, NONE));
        assert_eq!(whole.clue(), Clue::Alike);
    }

    #[test]
    fn what_shows_more_than_the_kept_image_does_not_go() {
        let traces = |a, b| Traces { a, b };
        let covers = |overlap, traces| found(MatchClass::Edited, overlap, 1.0, traces).covers();
        assert!(covers([0.5, 1.0], traces(NONE, NONE)), "a crop may go");
        assert!(covers([1.0, 0.5], traces(NONE, BORDER)), "a border is no loss");
        assert!(
            !covers([1.0, 0.25], traces(NONE, NONE)),
            "a collage shows other pictures"
        );
    }

    #[test]
    fn the_one_alone_with_its_change_was_altered() {
        let mut images = ["original", "small", "written on"].map(candidate).to_vec();
        let alike = found(MatchClass::NearIdentical, [1.0, 1.0], 0.5, Traces::default());
        let edited = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces::default());
        let pairs = [(0, 1, &alike), (0, 2, &edited), (1, 2, &edited)];
        let similarity = |_, _| Similarity::clamped(0.9);
        mark(&mut images, pairs.into_iter(), similarity);
        assert_eq!(
            images.iter().map(|i| i.altered).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(images[0].agreement, 1800);
        // A second file of the original's pixels: it agrees with the original best.
        images
            .iter_mut()
            .for_each(|image| *image = candidate(&image.name));
        images[0].copies = 1;
        mark(&mut images, pairs.into_iter(), similarity);
        assert_eq!(images[0].agreement, 2800);
        assert_eq!(
            images.iter().map(|i| i.turned).collect::<Vec<_>>(),
            [false, true, false],
            "the small one agrees less than the original of two files"
        );
    }

    #[test]
    fn the_one_that_its_family_resembles_less_was_altered() {
        let mut images = ["original", "small", "written on"].map(candidate).to_vec();
        let edited = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces::default());
        // The one that was written on was compared with both, and they not with each other.
        let pairs = [(0, 2, &edited), (1, 2, &edited)];
        let similarity = |a, b| Similarity::clamped(if a == 2 || b == 2 { 0.85 } else { 0.97 });
        mark(&mut images, pairs.into_iter(), similarity);
        let altered = |images: &[Candidate]| images.iter().map(|i| i.altered).collect::<Vec<_>>();
        assert_eq!(altered(&images), [false, false, true]);
        // What looks drawn is not, say many copies; a few may all have been written on.
        let drawn = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces { a: DRAWN, b: NONE });
        for (others, expected) in [(1, 0), (6, 1)] {
            let names = ["original", "written on"]
                .into_iter()
                .chain(["copy"; 6])
                .take(2 + others);
            let mut images: Vec<Candidate> = names.map(candidate).collect();
            let copies = (2..images.len()).map(|copy| (0, copy, &edited));
            let similarity = |a, b| Similarity::clamped(if a == 1 || b == 1 { 0.85 } else { 0.97 });
            mark(&mut images, copies.chain([(0, 1, &drawn)]), similarity);
            let altered = [images[0].altered, images[1].altered];
            assert!(altered[expected], "{others} others: {altered:?}");
            assert_eq!(altered.iter().filter(|a| **a).count(), 1);
        }
        let mut two = ["original", "written on"].map(candidate).to_vec();
        mark(&mut two, [(0, 1, &edited)].into_iter(), similarity);
        assert_eq!(altered(&two), [false, false], "two cannot outvote each other");
    }
}
