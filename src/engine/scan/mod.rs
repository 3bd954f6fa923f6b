//! De-duplication of folders: list, read once, compare, verify, group. Nothing is changed on disk but the cache.
//!
//! Memory grows by about 2 kB an image; pixels do not stay, but for some 120 MB of features while pairs are verified. The answer does not depend on the order or on threads.

mod cache;
mod codec;
mod comparing;
mod deep;
mod intake;
mod lineage;
mod recent;
mod sorting;
mod verdicts;
pub(super) mod walk;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use globset::GlobSet;

use crate::dedup::{self, Calibration, Cascade, KeepPolicy, Match, plan};
use crate::error::ErrorKind;
use crate::types::{Beyond, ContentHash, ImageFormat, MatchClass};
use crate::vector::VectorError;
use crate::vision::{Analyser, DecodeLimits, Embedder};

pub use cache::CacheError;
pub use verdicts::{VerdictError, Verdicts};

use cache::Cache;
use comparing::{Comparer, Content};
use sorting::Sorted;

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
    /// What people said about pairs.
    pub verdicts: Verdicts,
    /// Limits on what is read.
    pub limits: DecodeLimits,
    /// Whether the parts of every image are compared too, for small and contained copies.
    pub deep: bool,
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
    /// Embedding the parts of images; counted in images.
    Parts,
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
    /// What the file holds beyond the picture that is compared.
    pub beyond: Beyond,
    /// Nanoseconds since 1970; 0 when unknown.
    pub modified: i64,
    /// BLAKE3 of the bytes.
    pub content: ContentHash,
    /// As [`Cascade::distinctiveness`] has it.
    pub distinctiveness: Option<f32>,
    /// In a reference folder, or a person said that it stays: never removed.
    pub stays: bool,
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
        let cascade = Cascade::new(options.calibration.clone()).with_background(embedder.bank());
        let analyser = Analyser::new(embedder, options.limits);
        let started = Instant::now();
        let intake = intake::take_in(&walk.files, &analyser, &options.limits, &cache, progress)?;
        let reading = started.elapsed();

        let started = Instant::now();
        let sorted = Sorted::of(&walk.files, &intake, &options.keep, &options.verdicts);
        let contents: Vec<Content<'_>> = sorted
            .classes
            .iter()
            .map(|class| Content {
                known: &intake.contents[class.content],
                path: &walk.files[sorted.images[class.images[0]]].path,
            })
            .collect();
        let deep = options.deep.then_some(&analyser);
        let comparer = Comparer::new(&contents, &cascade, &cache, &options.limits, deep, progress);
        let candidates: Vec<dedup::Candidate> = sorted.classes.iter().map(|c| c.best.clone()).collect();
        let mut matches = comparer.matches(&candidates, options.level, &options.keep, &sorted.apart)?;
        if options.keep.wants_unedited() {
            comparer.look_closer(&candidates, &mut matches)?;
        }
        let groups = dedup::group(
            &comparer.marked(&candidates, &matches),
            &comparing::edges(&matches),
            options.level,
            &options.keep,
            &sorted.apart,
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

impl ScanReport {
    /// What the groups amount to: keepers stay, members go, except references, what is merely
    /// similar, and what shows or holds more than the keeper does.
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
            let keeper = &self.images[group.keeper];
            let covers = |member: &Member| {
                let image = &self.images[member.image];
                let is_held = image.content == keeper.content || image.beyond.is_in(keeper.beyond);
                is_held && member.found.covers()
            };
            let members = group
                .members
                .iter()
                .map(|member| plan::GroupFile {
                    file: file(member.image),
                    reference: self.images[member.image].stays,
                    class: member.found.class,
                    probability: member.found.probability,
                    covered: covers(member),
                })
                .collect();
            (file(group.keeper), members)
        }))
    }
}
