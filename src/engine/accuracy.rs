//! How well copies are found among a user's own images: some are attacked, all others are references, and every way
//! of scoring is asked for the original.
//!
//! The protocol is that of `models/evaluate.py`: queries with a match (every family of edits at three strengths, and
//! chains) and queries without (attacked images that are no reference, halves of images whose other half is one,
//! images of a folder without matches) are ranked together, so that a look-alike with a high score costs precision.

mod figures;
mod making;
mod plan;
mod scores;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::scan::ScanError;
use crate::dedup::Cascade;
use crate::error::ErrorKind;
use crate::vision::attack::{Edit, Family, Strength};
use crate::vision::{DecodeLimits, Embedder, NetworkSpec, VisionError};
use figures::Bootstrap;
use making::Maker;
use plan::Plan;
use scores::{Answer, Scorer};

pub use figures::Estimate;
pub use whole::{Decided, Mistake, VerifiedPair, WholeResult};

/// What to measure.
#[derive(Debug, Clone)]
pub struct AccuracyOptions {
    /// Files and folders with images, no two of which are copies.
    pub paths: Vec<PathBuf>,
    /// Files and folders with images that match none of those, and each other neither.
    pub without_match: Vec<PathBuf>,
    /// Queries for each family and strength.
    pub queries: usize,
    /// Images at most, of either kind.
    pub limit: usize,
    /// Whether the whole cascade is measured too.
    pub cascade: Option<CascadeOptions>,
    /// Seed of the choice of images and of the edits.
    pub seed: u64,
    /// Limits on what is read.
    pub limits: DecodeLimits,
}

/// How the cascade looks for candidates, as in a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CascadeOptions {
    /// Nearest references that are candidates.
    pub candidates: usize,
    /// Candidates that are verified, at most.
    pub verified: usize,
    /// Whether the parts of queries and references are asked about too.
    pub deep: bool,
}

/// A way of scoring pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Cosine of the embeddings.
    Raw,
    /// Cosine less what the background bank says.
    Normalised,
    /// Cosine and a bonus for close PDQ hashes.
    FusedRaw,
    /// Normalised score and the same bonus.
    FusedNormalised,
    /// Least PDQ distance over eight rotations and mirrors.
    Pdq,
    /// pHash of 256 bits.
    Phash,
    /// Cosine of the same network with random weights, standardised over the references.
    Random,
    /// The probability that retrieval alone gives, without verification.
    Retrieval,
    /// Retrieval, verification and calibration: the probability.
    Cascade,
}

/// What a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One edit of a reference.
    Edited(Edit),
    /// So many further edits after a first one, of a reference.
    Chain(u8),
    /// An attacked image that is no reference.
    NoMatch,
    /// An image of the folder without matches, as it is or attacked.
    Unrelated,
    /// Half of an image whose other half is a reference.
    OtherHalf,
}

/// Queries that are reported together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// A family of edits, all strengths.
    Family(Family),
    /// So many further edits after a first one.
    Chain(u8),
}

/// Recall of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupResult {
    /// Queries.
    pub queries: u64,
    /// The original ranks first.
    pub recall_at_1: Estimate,
    /// The same at the three strengths; `None` for chains.
    pub by_strength: Option<[f64; 3]>,
}

/// Figures of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodResult {
    /// Micro-average precision: area under precision over recall, candidates of all queries ranked together.
    pub average_precision: Estimate,
    /// Share of the originals found at a threshold where 90 % of what is found is right.
    pub recall_at_90: Estimate,
    /// The same where 99 % is right.
    pub recall_at_99: Estimate,
    /// The original ranks first.
    pub recall_at_1: Estimate,
    /// The same over families the network was trained on (chains apart).
    pub trained: Estimate,
    /// The same over families it never saw.
    pub held_out: Estimate,
    /// The same over files that were merely resized or recompressed.
    pub mild: Estimate,
    /// Average precision of those, ranked together with the queries without match.
    pub mild_average_precision: Estimate,
    /// For probabilities: the expected calibration error over ten bins, and the Brier score, of the candidates.
    pub calibration: Option<(f64, f64)>,
    /// By group.
    pub groups: BTreeMap<Group, GroupResult>,
    /// Wrong references above the threshold of precision .90: of queries with a match, and by kind of those without
    /// (no match, unrelated, other half).
    pub false_at_90: [u64; 4],
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    /// References.
    pub references: u64,
    /// Queries with a match in the ranking (everyday edits apart).
    pub with_match: u64,
    /// Queries without a match.
    pub without_match: u64,
    /// Files that could not be read.
    pub unreadable: u64,
    /// By method.
    pub methods: BTreeMap<Method, MethodResult>,
    /// What the cascade decided, where it was measured.
    pub whole: Option<WholeResult>,
    /// Time spent decoding, hashing and embedding references and queries, and the number of these.
    pub analysing: (Duration, u64),
    /// Time spent in all.
    pub total: Duration,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// An argument cannot be read.
    #[error(transparent)]
    Walk(#[from] ScanError),
    /// The network with random weights cannot be made.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// Too few images.
    #[error("{found} images can be read, and at least {LEAST_IMAGES} are needed")]
    TooFew {
        /// Images found.
        found: usize,
    },
}

impl AccuracyError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Walk(error) => error.kind(),
            Self::Vision(error) => error.kind(),
            Self::TooFew { .. } => ErrorKind::Invalid,
        }
    }
}

/// With fewer images the figures would say nothing.
const LEAST_IMAGES: usize = 12;

/// Queries that are in memory at a time.
const CHUNK: usize = 64;

impl Method {
    /// The method in a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Normalised => "normalised",
            Self::FusedRaw => "fused raw",
            Self::FusedNormalised => "fused normalised",
            Self::Pdq => "PDQ-8",
            Self::Phash => "pHash-256",
            Self::Random => "random weights",
            Self::Retrieval => "unverified",
            Self::Cascade => "whole cascade",
        }
    }
}

impl Kind {
    /// Where a query is reported; `None` for one without a match.
    #[must_use]
    pub const fn group(self) -> Option<Group> {
        match self {
            Self::Edited(edit) => Some(Group::Family(edit.family)),
            Self::Chain(further) => Some(Group::Chain(further)),
            Self::NoMatch | Self::Unrelated | Self::OtherHalf => None,
        }
    }

    /// Whether the query stands in the ranking that average precision is of: everyday edits are reported apart.
    const fn is_ranked(self) -> bool {
        !matches!(self, Self::Edited(edit) if edit.family.is_everyday())
    }
}

impl Group {
    /// The group's name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Family(family) => family.name().to_owned(),
            Self::Chain(further) => format!("chain_{further}"),
        }
    }

    /// Whether the network never saw such edits.
    #[must_use]
    pub const fn is_held_out(self) -> bool {
        matches!(self, Self::Family(family) if family.is_held_out())
    }
}

/// Measures. `progress` hears how many of how many images are done.
///
/// # Errors
/// [`AccuracyError`]. Files that cannot be read are counted and left out.
pub fn measure(
    options: &AccuracyOptions,
    embedder: &Arc<dyn Embedder>,
    spec: &NetworkSpec,
    cascade: &Cascade,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Accuracy, AccuracyError> {
    let started = Instant::now();
    let plan = Plan::new(options)?;
    let maker = Maker::new(options, &plan, Arc::clone(embedder));
    let total = (plan.references.len() + plan.queries.len()) as u64;
    let mut done = 0;
    let mut scorer = Scorer::new(options, embedder.as_ref(), spec, (cascade, &maker))?;
    let mut analysing = Duration::ZERO;
    for (chunk, rows) in plan.references.chunks(CHUNK).enumerate() {
        let clock = Instant::now();
        let made = maker.references(rows);
        analysing += clock.elapsed();
        scorer.add(chunk * CHUNK, made)?;
        done += rows.len() as u64;
        progress(done, total);
    }
    if scorer.len() < LEAST_IMAGES / 2 {
        return Err(AccuracyError::TooFew { found: scorer.len() });
    }
    scorer.freeze();
    let mut answers: Vec<Answer> = Vec::with_capacity(plan.queries.len());
    for queries in plan.queries.chunks(CHUNK) {
        let clock = Instant::now();
        let made = maker.queries(queries);
        analysing += clock.elapsed();
        answers.extend(scorer.answer(queries, made)?);
        done += queries.len() as u64;
        progress(done, total);
    }
    let bootstrap = Bootstrap::new(&answers, options.seed);
    let methods = scorer
        .methods()
        .into_iter()
        .map(|method| (method, bootstrap.figures(method)))
        .collect();
    let ranked = |a: &&Answer| a.kind.is_ranked();
    let with_match = answers.iter().filter(ranked).filter(|a| a.has_match()).count() as u64;
    let without_match = answers.iter().filter(|a| !a.has_match()).count() as u64;
    Ok(Accuracy {
        references: scorer.len() as u64,
        with_match,
        without_match,
        unreadable: maker.unreadable(),
        methods,
        whole: scorer.whole(&answers, &bootstrap),
        analysing: (analysing, done),
        total: started.elapsed(),
    })
}
