//! From an image to what it matches: candidates of every shard, geometric verification of the few best ([`super::waves`]), best
//! matches first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::collections::Collection;
use super::features::FeatureCache;
use super::{Answer, Engine, EngineError, Found, Probe, SearchOptions};
use crate::dedup::Match;
use crate::dedup::cascade::Part;
use crate::error::ErrorKind;
use crate::telemetry::names;
use crate::types::{
    CollectionName, Fingerprint, ImageId, ImagePair, ImageRecord, MatchClass, PdqHash, Verdict,
};
use crate::vision::verify::Features;
use crate::vision::{Analysis, RgbImage, fingerprint, thumbnail};

/// Nearest images of each part of an image that are candidates of a deep search.
pub(super) const PART_NEIGHBOURS: usize = 4;

/// An image that matches are looked for.
pub(super) struct Subject {
    pub(super) fingerprint: Fingerprint,
    pub(super) variants: [PdqHash; 8],
    /// The image at thumbnail size.
    preview: RgbImage,
    /// Its keypoints, from when they were first asked for.
    pub(super) features: OnceLock<Arc<Features>>,
    /// Its parts, where the search is deep.
    pub(super) parts: Vec<Part>,
    /// The file, where it has just come in.
    pub(super) file: Option<Bytes>,
    /// Features of the file itself, from when they were first asked for.
    pub(super) close_up: OnceCell<Option<Arc<Features>>>,
}

impl Subject {
    /// Takes the preview of an analysis, which needs it no more.
    pub(super) fn new(analysis: &mut Analysis, file: Bytes) -> Self {
        Self {
            fingerprint: analysis.fingerprint.clone(),
            variants: analysis.pdq_variants,
            preview: std::mem::take(&mut analysis.preview),
            features: OnceLock::new(),
            parts: Vec::new(),
            file: Some(file),
            close_up: OnceCell::new(),
        }
    }

    /// Its keypoints: those that `known` remembers, or those of its preview.
    pub(super) fn features(&self, known: &FeatureCache) -> &Arc<Features> {
        self.features.get_or_init(|| {
            let remembered = known.get(&self.fingerprint.content_hash);
            remembered.unwrap_or_else(|| Arc::new(Features::extract(&self.preview)))
        })
    }
}

/// Matches of one image.
pub(super) struct Matches {
    /// Best first, all classes.
    pub(super) found: Vec<Found>,
    /// Whether a shard did not answer.
    pub(super) partial: bool,
}

impl Engine {
    /// Images of a collection that match `probe`.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`], [`EngineError::NoImage`], [`EngineError::Image`] for a file that cannot be read.
    pub async fn search(
        self: &Arc<Self>,
        collection: &CollectionName,
        probe: Probe,
        options: SearchOptions,
    ) -> Result<Answer, EngineError> {
        let collection = self.opened(collection)?;
        let itself = match &probe {
            Probe::Stored(id) => Some(*id),
            Probe::File(_) => None,
        };
        let mut subject = self.subject(&collection, probe).await?;
        if options.deep {
            subject = self.in_parts(subject).await?;
        }
        let subject = Arc::new(subject);
        let Matches { mut found, partial } = self.matches(&collection, &subject, options.k).await?;
        found.retain(|one| Some(one.record.id) != itself && one.matched.class >= options.level);
        found.truncate(options.k);
        Ok(Answer {
            matches: found,
            partial,
        })
    }

    /// How two images match; `None` when they do not.
    ///
    /// # Errors
    /// As for [`Engine::search`].
    pub async fn compare(
        self: &Arc<Self>,
        collection: &CollectionName,
        a: Probe,
        b: Probe,
    ) -> Result<Option<Match>, EngineError> {
        let collection = self.opened(collection)?;
        let (a, b) = futures::try_join!(self.subject(&collection, a), self.subject(&collection, b))?;
        let (engine, a, b) = (Arc::clone(self), Arc::new(a), Arc::new(b));
        let (x, y) = (Arc::clone(&a), Arc::clone(&b));
        let found = self
            .compute(move || {
                let (a, variants, b) = (&x.fingerprint, &x.variants, &y.fingerprint);
                if !engine.cascade.is_verifiable(a, b) {
                    return engine.cascade.judge(a, variants, b, None);
                }
                let features = [&x.preview, &y.preview].map(Features::extract);
                engine.cascade.judge_features(a, variants, b, features.each_ref())
            })
            .await?;
        Ok(self
            .closer(&collection, &a, &b.fingerprint, b.file.clone(), found)
            .await)
    }

    /// Makes ready what `probe` names.
    async fn subject(
        self: &Arc<Self>,
        collection: &Collection,
        probe: Probe,
    ) -> Result<Subject, EngineError> {
        match probe {
            Probe::File(bytes) => {
                let mut analysis = self.analysis.analyse(bytes.clone()).await?;
                Ok(Subject::new(&mut analysis, bytes))
            }
            Probe::Stored(id) => {
                let record = collection.get(id).ok_or_else(|| EngineError::NoImage {
                    id,
                    collection: collection.name().clone(),
                })?;
                self.stored_subject(&record).await
            }
        }
    }

    /// The same image with its parts.
    async fn in_parts(self: &Arc<Self>, subject: Subject) -> Result<Subject, EngineError> {
        let engine = Arc::clone(self);
        self.compute(move || {
            let parts = engine.analyser.embed_parts(&subject.preview)?;
            let parts = parts.into_iter().map(|part| engine.cascade.part(part)).collect();
            Ok(Subject { parts, ..subject })
        })
        .await?
    }

    /// A stored image as the subject of a search; its pixels come from its thumbnail.
    pub(super) async fn stored_subject(
        self: &Arc<Self>,
        record: &ImageRecord,
    ) -> Result<Subject, EngineError> {
        let jpeg = self.thumbnail(record).await?;
        let stored = record.fingerprint.clone();
        self.compute(move || {
            let preview = thumbnail::decode(&jpeg)?;
            let (mut variants, _) = fingerprint::pdq_dihedral(&preview);
            variants[0] = stored.pdq;
            Ok(Subject {
                fingerprint: stored,
                variants,
                preview,
                features: OnceLock::new(),
                parts: Vec::new(),
                file: None,
                close_up: OnceCell::new(),
            })
        })
        .await?
    }

    /// Everything in `collection` that matches `subject`, itself included if it is stored. At least `k` nearest neighbours
    /// are looked at.
    pub(super) async fn matches(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        subject: &Arc<Subject>,
        k: usize,
    ) -> Result<Matches, EngineError> {
        let started = Instant::now();
        // One piece of work as far as nothing has to be read for it: every piece more is a thread that wakes another.
        let (partial, begun, judging) = {
            let (engine, collection, subject) =
                (Arc::clone(self), Arc::clone(collection), Arc::clone(subject));
            self.compute(move || {
                let (records, partial) = engine.candidates(&collection, &subject, k)?;
                metrics::histogram!(names::STAGE_SECONDS, "stage" => "candidates").record(started.elapsed());
                let judging = Instant::now();
                Ok::<_, EngineError>((partial, engine.begin(&subject, records), judging))
            })
            .await??
        };
        let judged = self.judge(collection, subject, begun).await?;
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "verify").record(judging.elapsed());
        let mut found: Vec<Found> = judged
            .into_iter()
            .filter_map(|(record, matched)| {
                Some(Found {
                    record,
                    matched: matched?,
                })
            })
            .filter(|found| !is_overruled(collection, subject, found))
            .collect();
        found.sort_by_key(|found| Reverse(rank(found)));
        Ok(Matches { found, partial })
    }

    /// Records of all shards that may match, by id; and whether a shard is missing.
    fn candidates(
        &self,
        collection: &Collection,
        subject: &Subject,
        k: usize,
    ) -> Result<(Vec<Arc<ImageRecord>>, bool), EngineError> {
        let print = &subject.fingerprint;
        // One more than asked for: the image itself may be among its neighbours.
        let k = self.config.search.candidates.max(k) + 1;
        // What cannot be read cannot be found.
        let mut partial = collection.is_damaged();
        let mut records = BTreeMap::new();
        for shard in collection.shards() {
            let near = match shard.search(&print.embedding, k) {
                Ok(hits) => hits,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, collection = %collection.name(), "a shard did not answer");
                    partial = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut near: Vec<ImageId> = near.into_iter().map(|hit| hit.id).collect();
            for part in &subject.parts {
                let hits = shard.search(&part.embedding, PART_NEIGHBOURS + 1)?;
                near.extend(hits.into_iter().map(|hit| hit.id));
            }
            let same = shard.by_pixel_hash(&print.pixel_hash);
            let looks = shard.pdq_within(&subject.variants, self.cascade.calibration().pdq_radius);
            for id in near
                .into_iter()
                .chain(same)
                .chain(looks.into_iter().map(|(id, _)| id))
            {
                // One that was deleted meanwhile is no candidate.
                if let Some(record) = shard.get(&id) {
                    records.insert(id, record);
                }
            }
        }
        Ok((records.into_values().collect(), partial))
    }
}

/// Whether people said that the two are no duplicates: they know better.
fn is_overruled(collection: &Collection, subject: &Subject, found: &Found) -> bool {
    let (a, b) = (&subject.fingerprint, &found.record.fingerprint);
    let verdict = ImagePair::new(a.content_hash, b.content_hash).and_then(|pair| collection.verdict(&pair));
    verdict == Some(Verdict::NotDuplicate) && found.matched.class > MatchClass::Similar
}

/// Order of matches: the greatest is the best.
fn rank(found: &Found) -> (MatchClass, u32, crate::types::Similarity, Reverse<ImageId>) {
    // Probabilities are 0 to 1: their bits order like the numbers.
    let probability = found.matched.probability.max(0.0).to_bits();
    (
        found.matched.class,
        probability,
        found.matched.similarity,
        Reverse(found.record.id),
    )
}
