//! Matches between images of one collection, as they become known: at ingest for new images, by the `dedup` job for those
//! that were stored before this process started. Kept in memory; a cache that can always be found anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::dedup::Match;
use crate::types::{ImageId, MatchClass};

/// Matches of class `similar` kept of one image: they are many, and the best are enough to review.
const SIMILAR_KEPT: usize = 4;

/// Matches found so far.
#[derive(Default)]
pub(super) struct Edges {
    /// Images whose matches among all others have been looked for.
    checked: HashSet<ImageId>,
    /// Matches by pair, from the first image of the pair to the second.
    matches: BTreeMap<(ImageId, ImageId), Match>,
    neighbours: HashMap<ImageId, BTreeSet<ImageId>>,
}

impl Edges {
    /// Adds the matches found for `image`, best first; each leads from `image` to the other.
    pub(super) fn add<'a>(&mut self, image: ImageId, found: impl IntoIterator<Item = (ImageId, &'a Match)>) {
        let mut similar = 0;
        for (other, matched) in found {
            if other == image {
                continue;
            }
            if matched.class == MatchClass::Similar {
                similar += 1;
                if similar > SIMILAR_KEPT {
                    continue;
                }
            }
            if !self.matches.contains_key(&(other, image)) {
                self.matches.insert((image, other), matched.clone());
            }
            self.neighbours.entry(image).or_default().insert(other);
            self.neighbours.entry(other).or_default().insert(image);
        }
        self.checked.insert(image);
    }

    /// Forgets an image.
    pub(super) fn remove(&mut self, image: ImageId) {
        self.checked.remove(&image);
        for other in self.neighbours.remove(&image).unwrap_or_default() {
            self.matches.remove(&(image, other));
            self.matches.remove(&(other, image));
            if let Some(of_other) = self.neighbours.get_mut(&other) {
                of_other.remove(&image);
            }
        }
    }

    /// Whether the matches of `image` have been looked for.
    pub(super) fn is_checked(&self, image: ImageId) -> bool {
        self.checked.contains(&image)
    }

    /// Number of images whose matches have been looked for.
    pub(super) fn checked(&self) -> usize {
        self.checked.len()
    }

    /// Images that `image` matches.
    pub(super) fn neighbours(&self, image: ImageId) -> impl Iterator<Item = ImageId> {
        self.neighbours.get(&image).into_iter().flatten().copied()
    }

    /// The match from `from` to `to`.
    pub(super) fn between(&self, from: ImageId, to: ImageId) -> Option<Match> {
        let forward = self.matches.get(&(from, to)).cloned();
        forward.or_else(|| self.matches.get(&(to, from)).map(Match::reversed))
    }

    /// All pairs with their matches.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ImageId, ImageId, &Match)> {
        self.matches.iter().map(|((a, b), matched)| (*a, *b, matched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::Evidence;
    use crate::types::{Region, Similarity, Stage, Transform};

    fn id(n: u8) -> ImageId {
        ImageId::from_bytes([n; 16])
    }

    fn matched(class: MatchClass, transform: Option<Transform>) -> Match {
        Match {
            class,
            probability: 0.97,
            similarity: Similarity::clamped(0.9),
            stage: Stage::Verification,
            transform,
            overlap: Some(0.5),
            evidence: Evidence {
                overlap_a: Some(0.5),
                overlap_b: Some(1.0),
                changed: vec![Region {
                    x: 0.5,
                    y: 0.25,
                    width: 0.25,
                    height: 0.25,
                }],
                ..Evidence::default()
            },
        }
    }

    #[test]
    fn a_match_is_seen_from_both_sides() {
        // B shows the right half of A.
        let crop = Transform {
            matrix: [2.0, 0.0, -1.0, 0.0, 1.0, 0.0],
            rotation: 10.0,
            scale: 1.0,
            mirrored: false,
        };
        let mut edges = Edges::default();
        let edited = matched(MatchClass::Edited, Some(crop));
        edges.add(id(1), [(id(2), &edited)]);
        assert_eq!(edges.between(id(1), id(2)), Some(edited));
        let back = edges.between(id(2), id(1)).expect("the same match");
        let transform = back.transform.expect("a crop can be undone");
        assert_eq!(transform.apply(crop.apply([0.7, 0.2])), [0.7, 0.2]);
        assert_eq!(transform.rotation, -10.0);
        assert_eq!(
            (back.evidence.overlap_a, back.evidence.overlap_b),
            (Some(1.0), Some(0.5))
        );
        assert_eq!(
            back.evidence.changed,
            [Region {
                x: 0.0,
                y: 0.25,
                width: 0.5,
                height: 0.25
            }]
        );
    }

    #[test]
    fn a_removed_image_leaves_nothing_behind() {
        let mut edges = Edges::default();
        let edited = matched(MatchClass::Edited, None);
        edges.add(id(2), [(id(1), &edited)]);
        edges.add(id(3), [(id(1), &edited), (id(2), &edited)]);
        edges.remove(id(2));
        assert!(!edges.is_checked(id(2)));
        assert_eq!(
            edges.iter().map(|(a, b, _)| (a, b)).collect::<Vec<_>>(),
            [(id(3), id(1))]
        );
        assert_eq!(edges.neighbours(id(1)).collect::<Vec<_>>(), [id(3)]);
        assert_eq!(edges.between(id(1), id(2)), None);
    }

    #[test]
    fn only_the_best_similar_ones_are_kept() {
        let mut edges = Edges::default();
        let similar = matched(MatchClass::Similar, None);
        edges.add(id(0), (1..20).map(|n| (id(n), &similar)));
        assert_eq!(edges.neighbours(id(0)).count(), SIMILAR_KEPT);
    }
}
