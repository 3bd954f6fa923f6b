//! The images of a scan by their pixels, and the report made of them.

use std::collections::{BTreeMap, BTreeSet};

use super::comparing::Matches;
use super::intake::{Intake, Known};
use super::verdicts::Verdicts;
use super::walk::Found;
use super::{Member, ScanEdge, ScanGroup, ScanReport, ScanStats, ScannedImage};
use crate::dedup::groups::Apart;
use crate::dedup::{self, Cascade, Group, KeepPolicy, Match};
use crate::types::{ContentHash, PixelHash, Stage};

/// The images by their pixels: what is equal to the pixel is settled before anything is compared.
pub(super) struct Sorted<'a> {
    files: &'a [Found],
    intake: &'a Intake,
    /// Files that are images, in order: positions in `files`.
    pub(super) images: Vec<usize>,
    pub(super) classes: Vec<PixelClass>,
    /// Classes that people told apart, or want to keep side by side.
    pub(super) apart: Apart,
    /// Contents of which people said that both stay.
    stay: BTreeSet<ContentHash>,
}

/// Images of equal pixels.
pub(super) struct PixelClass {
    /// The content compared with other classes: that of the best file.
    pub(super) content: usize,
    pub(super) best: dedup::Candidate,
    /// Positions in [`Sorted::images`], best first.
    pub(super) images: Vec<usize>,
}

impl<'a> Sorted<'a> {
    pub(super) fn of(
        files: &'a [Found],
        intake: &'a Intake,
        policy: &KeepPolicy,
        verdicts: &Verdicts,
    ) -> Self {
        let images: Vec<usize> = (0..files.len())
            .filter(|&file| intake.content_of[file].is_some())
            .collect();
        let mut sorted = Self {
            files,
            intake,
            images,
            classes: Vec::new(),
            apart: Apart::new(),
            stay: verdicts.staying().collect(),
        };
        let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for image in 0..sorted.images.len() {
            let pixels = sorted.known(image).fingerprint.pixel_hash;
            let content = sorted.known(image).fingerprint.content_hash;
            // Files of equal pixels that people told apart are classes of their own.
            let alone = verdicts.names(&content).then_some(content);
            classes.entry((pixels, alone)).or_default().push(image);
        }
        sorted.classes = classes
            .into_values()
            .map(|mut images| {
                images.sort_by(|&a, &b| {
                    policy.compare_equal_pixels(&sorted.candidate(a), &sorted.candidate(b))
                });
                PixelClass {
                    content: sorted.content(images[0]),
                    best: dedup::Candidate {
                        copies: images.len() as u64 - 1,
                        ..sorted.candidate(images[0])
                    },
                    images,
                }
            })
            .collect();
        sorted.classes.sort_by(|a, b| a.best.name.cmp(&b.best.name));
        sorted.apart = sorted.told_apart(verdicts);
        sorted
    }

    /// A word about two files is a word about all files of their pixels.
    fn told_apart(&self, verdicts: &Verdicts) -> Apart {
        let mut classes: BTreeMap<PixelHash, Vec<usize>> = BTreeMap::new();
        let mut pixels: BTreeMap<ContentHash, PixelHash> = BTreeMap::new();
        let mut class_of: BTreeMap<ContentHash, usize> = BTreeMap::new();
        for (place, class) in self.classes.iter().enumerate() {
            let print = &self.known(class.images[0]).fingerprint;
            classes.entry(print.pixel_hash).or_default().push(place);
            for &image in &class.images {
                let content = self.known(image).fingerprint.content_hash;
                pixels.insert(content, print.pixel_hash);
                class_of.insert(content, place);
            }
        }
        let mut apart = Apart::new();
        for pair in verdicts.pairs() {
            let (Some(p), Some(q)) = (pixels.get(&pair.low()), pixels.get(&pair.high())) else {
                continue;
            };
            if p == q {
                let (a, b) = (class_of[&pair.low()], class_of[&pair.high()]);
                apart.insert((a.min(b), a.max(b)));
                continue;
            }
            for &a in &classes[p] {
                apart.extend(classes[q].iter().map(|&b| (a.min(b), a.max(b))));
            }
        }
        apart
    }

    fn content(&self, image: usize) -> usize {
        self.intake.content_of[self.images[image]].expect("images are the files that have a content")
    }

    fn known(&self, image: usize) -> &Known {
        &self.intake.contents[self.content(image)]
    }

    fn candidate(&self, image: usize) -> dedup::Candidate {
        let file = &self.files[self.images[image]];
        let print = &self.known(image).fingerprint;
        dedup::Candidate {
            name: file.name.clone(),
            pixels: u64::from(print.width) * u64::from(print.height),
            size: file.size,
            modified: file.modified,
            reference: file.reference || self.stay.contains(&print.content_hash),
            camera: print.exif.camera.is_some() || print.exif.taken.is_some(),
            lossy: self.known(image).format.is_lossy(),
            ..dedup::Candidate::default()
        }
    }

    pub(super) fn report(&self, groups: &[Group], matches: &Matches, cascade: &Cascade) -> ScanReport {
        let mut edges: Vec<ScanEdge> = matches
            .iter()
            .map(|(&(a, b), found)| {
                let image = |class: u32| self.classes[class as usize].images[0];
                edge(image(a), image(b), found)
            })
            .collect();
        let mut in_group = vec![false; self.classes.len()];
        let mut reported = Vec::new();
        let mut all: Vec<(usize, &[usize])> =
            groups.iter().map(|g| (g.keeper, g.members.as_slice())).collect();
        for group in groups {
            in_group[group.keeper] = true;
            group.members.iter().for_each(|&m| in_group[m] = true);
        }
        let alone = (0..self.classes.len()).filter(|&c| !in_group[c] && self.classes[c].images.len() > 1);
        all.extend(alone.map(|class| (class, [].as_slice())));
        for (keeper, others) in all {
            let keeper_image = self.classes[keeper].images[0];
            let mut members = Vec::new();
            for &image in &self.classes[keeper].images[1..] {
                let found = self.exact(keeper_image, image, cascade);
                edges.push(edge(keeper_image, image, &found));
                members.push(Member { image, found });
            }
            for &class in others {
                let Some(found) = oriented(matches, keeper, class) else {
                    continue;
                };
                for (rank, &image) in self.classes[class].images.iter().enumerate() {
                    if rank > 0 {
                        let first = self.classes[class].images[0];
                        edges.push(edge(first, image, &self.exact(first, image, cascade)));
                    }
                    members.push(Member {
                        image,
                        found: found.clone(),
                    });
                }
            }
            members.sort_by_key(|m| m.image);
            reported.push(ScanGroup {
                keeper: keeper_image,
                members,
            });
        }
        reported.sort_by_key(|g| g.keeper);
        edges.sort_by_key(|e| (e.a, e.b));
        let duplicates = reported.iter().flat_map(|g| &g.members);
        let stats = ScanStats {
            duplicates: duplicates.clone().count() as u64,
            duplicate_bytes: duplicates.map(|m| self.files[self.images[m.image]].size).sum(),
            ..ScanStats::default()
        };
        ScanReport {
            images: (0..self.images.len()).map(|i| self.image(i, cascade)).collect(),
            groups: reported,
            edges,
            skipped: Vec::new(),
            stats,
        }
    }

    /// The match of two images of equal pixels.
    fn exact(&self, a: usize, b: usize, cascade: &Cascade) -> Match {
        let (x, y) = (self.known(a), self.known(b));
        cascade
            .judge(&x.fingerprint, &x.variants, &y.fingerprint, None)
            .filter(|m| matches!(m.stage, Stage::Bytes | Stage::Pixels))
            .expect("images of one class have equal pixels")
    }

    fn image(&self, image: usize, cascade: &Cascade) -> ScannedImage {
        let file = &self.files[self.images[image]];
        let known = self.known(image);
        ScannedImage {
            path: file.name.clone(),
            canonical: file.canonical.clone(),
            size: file.size,
            width: known.fingerprint.width,
            height: known.fingerprint.height,
            format: known.format,
            beyond: known.beyond,
            modified: file.modified,
            content: known.fingerprint.content_hash,
            distinctiveness: cascade.distinctiveness(&known.fingerprint),
            stays: file.reference || self.stay.contains(&known.fingerprint.content_hash),
        }
    }
}

fn edge(a: usize, b: usize, found: &Match) -> ScanEdge {
    ScanEdge {
        a: a.min(b),
        b: a.max(b),
        class: found.class,
        probability: found.probability,
    }
}

/// The match from `a` to `b`, whichever way round it was found.
fn oriented(matches: &Matches, a: usize, b: usize) -> Option<Match> {
    let key = |i: usize| u32::try_from(i).ok();
    if a < b {
        return matches.get(&(key(a)?, key(b)?)).cloned();
    }
    Some(matches.get(&(key(b)?, key(a)?))?.reversed())
}
