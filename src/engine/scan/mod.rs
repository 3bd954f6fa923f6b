//! De-duplication of folders: list, read once, compare, verify, group. Nothing is changed on disk but the cache.
//!
//! Memory grows by about 2 kB an image; pixels do not stay. The answer does not depend on the order or on threads.

mod cache;
mod codec;
mod comparing;
mod intake;
pub(super) mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use globset::GlobSet;

use crate::dedup::{self, Calibration, Cascade, Group, KeepPolicy, Match, plan};
use crate::error::ErrorKind;
use crate::types::{ContentHash, ImageFormat, MatchClass, Stage};
use crate::vector::VectorError;
use crate::vision::{Analyser, DecodeLimits, Embedder};

pub use cache::CacheError;

use cache::Cache;
use comparing::{Comparer, Content, Matches};
use intake::{Intake, Known};
use walk::Found;

/// What to scan, and how.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Folders whose images are always kept.
    pub references: Vec<PathBuf>,
    /// Paths and names that are left out.
    pub exclude: GlobSet,
    /// Weakest class that makes a group.
    pub level: MatchClass,
    /// Which image of a group is kept.
    pub keep: KeepPolicy,
    /// Threads; 0 for one a core.
    pub threads: usize,
    /// Folder of the cache; without it nothing outlives the scan.
    pub cache: Option<PathBuf>,
    /// Limits on what is read.
    pub limits: DecodeLimits,
    /// Coefficients and thresholds.
    pub calibration: Calibration,
}

/// What a scan is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading, decoding, hashing and embedding; counted in files.
    Reading,
    /// Comparing descriptors; counted in pairs.
    Comparing,
    /// Verifying candidates; counted in pairs.
    Verifying,
}

/// How far a phase has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Done so far.
    pub done: u64,
    /// To be done in all.
    pub total: u64,
}

/// A file that was left out, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why, in words for a person.
    pub reason: String,
}

/// An image that was scanned.
#[derive(Debug, Clone, PartialEq)]
pub struct ScannedImage {
    /// As the arguments lead to it.
    pub path: String,
    /// Absolute, without links.
    pub canonical: String,
    /// Bytes.
    pub size: u64,
    /// Pixels, after orientation.
    pub width: u32,
    /// Pixels, after orientation.
    pub height: u32,
    /// Told by the content.
    pub format: ImageFormat,
    /// Nanoseconds since 1970; 0 when unknown.
    pub modified: i64,
    /// BLAKE3 of the bytes.
    pub content: ContentHash,
    /// In a reference folder.
    pub reference: bool,
}

/// A member of a group; positions refer to [`ScanReport::images`].
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The image.
    pub image: usize,
    /// Its match with the keeper; the transform leads from the keeper to the member.
    pub found: Match,
}

/// Images that are copies of one.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanGroup {
    /// The image to keep.
    pub keeper: usize,
    /// The others, by path.
    pub members: Vec<Member>,
}

/// A pair that matches, whether or not it is in a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanEdge {
    /// One image, the first by path.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Class of the match.
    pub class: MatchClass,
    /// Its probability.
    pub probability: f32,
}

/// Figures of a scan.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ScanStats {
    /// Files that were looked at.
    pub files: u64,
    /// Images among them.
    pub images: u64,
    /// Files that are no images and do not claim to be.
    pub ignored: u64,
    /// Files that were read; the others were in the cache.
    pub read: u64,
    /// Images that were decoded and embedded.
    pub analysed: u64,
    /// Pairs that were verified.
    pub verified: u64,
    /// Images that could go: members of all groups.
    pub duplicates: u64,
    /// Bytes that these take.
    pub duplicate_bytes: u64,
    /// Time spent reading and analysing.
    pub reading: Duration,
    /// Time spent comparing and verifying.
    pub comparing: Duration,
}

/// The answer of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanReport {
    /// By path.
    pub images: Vec<ScannedImage>,
    /// By the keeper's path.
    pub groups: Vec<ScanGroup>,
    /// In order.
    pub edges: Vec<ScanEdge>,
    /// By path.
    pub skipped: Vec<Skipped>,
    /// Figures.
    pub stats: ScanStats,
}

/// Why a scan could not be done. A bad file is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// An argument cannot be read.
    #[error("cannot read {path}")]
    Root {
        /// The argument.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The cache's folder cannot be used.
    #[error("cannot keep a cache in {path}")]
    CacheFolder {
        /// The folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The cache failed.
    #[error("the cache failed")]
    Cache(#[from] CacheError),
    /// The cache lacks a thumbnail that it should have.
    #[error("the cache lacks the thumbnail of {content}; remove the cache and scan again")]
    Thumbnail {
        /// BLAKE3 of the image.
        content: String,
    },
    /// Embeddings of different models.
    #[error("the embeddings do not fit each other")]
    Vectors(#[from] VectorError),
    /// The threads could not be started.
    #[error("cannot start the threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The reading thread died.
    #[error("the reading thread failed")]
    Reader,
}

impl ScanError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Root { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Root { .. } => ErrorKind::Invalid,
            Self::CacheFolder { .. } => ErrorKind::Unavailable,
            Self::Cache(_) | Self::Thumbnail { .. } => ErrorKind::Corrupt,
            Self::Vectors(_) | Self::Threads(_) | Self::Reader => ErrorKind::Internal,
        }
    }
}

/// Scans folders for duplicates.
///
/// # Errors
/// [`ScanError`] when an argument cannot be read or the cache fails; files that cannot be read are listed in the
/// report.
pub fn scan(
    options: &ScanOptions,
    embedder: Arc<dyn Embedder>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ScanReport, ScanError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|i| format!("scan-{i}"))
        .build()?;
    pool.install(|| {
        let walk = walk::walk(&options.paths, &options.references, &options.exclude)?;
        let cache = Cache::open(options.cache.as_deref(), embedder.model_hash())?;
        let analyser = Analyser::new(embedder, options.limits);
        let started = Instant::now();
        let intake = intake::take_in(&walk.files, &analyser, &options.limits, &cache, progress)?;
        let reading = started.elapsed();

        let started = Instant::now();
        let sorted = Sorted::of(&walk.files, &intake, &options.keep);
        let cascade = Cascade::new(options.calibration.clone());
        let contents: Vec<Content<'_>> = sorted
            .classes
            .iter()
            .map(|class| Content {
                known: &intake.contents[class.content],
                path: &walk.files[sorted.images[class.images[0]]].path,
            })
            .collect();
        let comparer = Comparer::new(&contents, &cascade, &cache, &options.limits, progress);
        let candidates: Vec<dedup::Candidate> = sorted.classes.iter().map(|c| c.best.clone()).collect();
        let matches = comparer.matches(&candidates, options.level, &options.keep)?;
        let groups = dedup::group(
            &candidates,
            &comparing::edges(&matches),
            options.level,
            &options.keep,
        );
        let mut report = sorted.report(&groups, &matches, &cascade);

        report.skipped = walk.skipped;
        report.skipped.extend(intake.skipped);
        report.skipped.sort();
        report.stats = ScanStats {
            files: walk.files.len() as u64 + walk.ignored,
            images: report.images.len() as u64,
            ignored: walk.ignored + intake.ignored,
            read: intake.read,
            analysed: intake.analysed,
            verified: comparer.verified(),
            reading,
            comparing: started.elapsed(),
            ..report.stats
        };
        Ok(report)
    })
}

/// The images by their pixels: what is equal to the pixel is settled before anything is compared.
struct Sorted<'a> {
    files: &'a [Found],
    intake: &'a Intake,
    /// Files that are images, in order: positions in `files`.
    images: Vec<usize>,
    classes: Vec<PixelClass>,
}

/// Images of equal pixels.
struct PixelClass {
    /// The content compared with other classes: that of the best file.
    content: usize,
    best: dedup::Candidate,
    /// Positions in [`Sorted::images`], best first.
    images: Vec<usize>,
}

impl<'a> Sorted<'a> {
    fn of(files: &'a [Found], intake: &'a Intake, policy: &KeepPolicy) -> Self {
        let images: Vec<usize> = (0..files.len())
            .filter(|&file| intake.content_of[file].is_some())
            .collect();
        let mut sorted = Self {
            files,
            intake,
            images,
            classes: Vec::new(),
        };
        let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for image in 0..sorted.images.len() {
            let pixels = sorted.known(image).fingerprint.pixel_hash;
            classes.entry(pixels).or_default().push(image);
        }
        sorted.classes = classes
            .into_values()
            .map(|mut images| {
                images.sort_by(|&a, &b| policy.compare(&sorted.candidate(a), &sorted.candidate(b)));
                PixelClass {
                    content: sorted.content(images[0]),
                    best: sorted.candidate(images[0]),
                    images,
                }
            })
            .collect();
        sorted.classes.sort_by(|a, b| a.best.name.cmp(&b.best.name));
        sorted
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
            reference: file.reference,
        }
    }

    fn report(&self, groups: &[Group], matches: &Matches, cascade: &Cascade) -> ScanReport {
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
            images: (0..self.images.len()).map(|i| self.image(i)).collect(),
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

    fn image(&self, image: usize) -> ScannedImage {
        let file = &self.files[self.images[image]];
        let known = self.known(image);
        ScannedImage {
            path: file.name.clone(),
            canonical: file.canonical.clone(),
            size: file.size,
            width: known.fingerprint.width,
            height: known.fingerprint.height,
            format: known.format,
            modified: file.modified,
            content: known.fingerprint.content_hash,
            reference: file.reference,
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

impl ScanReport {
    /// What the groups amount to: keepers stay, members go, except references and what is merely similar.
    #[must_use]
    pub fn plan(&self) -> plan::Plan {
        let file = |image: usize| {
            let image = &self.images[image];
            plan::PlannedFile {
                path: image.canonical.clone(),
                size: image.size,
                blake3: image.content.to_string(),
            }
        };
        plan::Plan::of(self.groups.iter().map(|group| {
            let members = group
                .members
                .iter()
                .map(|member| plan::GroupFile {
                    file: file(member.image),
                    reference: self.images[member.image].reference,
                    class: member.found.class,
                    probability: member.found.probability,
                })
                .collect();
            (file(group.keeper), members)
        }))
    }
}
