//! From an image to what it matches: candidates of every shard, the cascade's judgement, geometric verification of the few
//! best, best matches first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use super::collections::Collection;
use super::{Answer, Engine, EngineError, Found, Probe, SearchOptions};
use crate::dedup::Match;
use crate::dedup::cascade::{Part, Prospect};
use crate::error::ErrorKind;
use crate::telemetry::names;
use crate::types::{
    CollectionName, Fingerprint, ImageId, ImagePair, ImageRecord, MatchClass, PdqHash, Verdict,
};
use crate::vision::verify::{self, Features};
use crate::vision::{Analysis, RgbImage, fingerprint, thumbnail};

/// Candidates verified together, best first. Verification goes on while such a wave still finds copies: of an image
/// without copies only the first wave is paid for.
pub(super) const WAVE: usize = 6;

/// Nearest images of each part of an image that are candidates of a deep search.
pub(super) const PART_NEIGHBOURS: usize = 4;

/// An image that matches are looked for.
pub(super) struct Subject {
    pub(super) fingerprint: Fingerprint,
    pub(super) variants: [PdqHash; 8],
    /// The image at thumbnail size.
    preview: RgbImage,
    /// Its parts, where the search is deep.
    parts: Vec<Part>,
    /// The file, where it has just come in.
    pub(super) file: Option<Bytes>,
    /// Features of the file itself, from when they were first asked for.
    pub(super) close_up: OnceCell<Option<Arc<Features>>>,
}

impl Subject {
    pub(super) fn new(analysis: &Analysis, file: Bytes) -> Self {
        Self {
            fingerprint: analysis.fingerprint.clone(),
            variants: analysis.pdq_variants,
            preview: analysis.preview.clone(),
            parts: Vec::new(),
            file: Some(file),
            close_up: OnceCell::new(),
        }
    }
}

/// An image of the collection, and what the cascade says of it.
type Judged = (Arc<ImageRecord>, Option<Match>);

/// Matches of one image.
pub(super) struct Matches {
    /// Best first, all classes.
    pub(super) found: Vec<Found>,
    /// Whether a shard did not answer.
    pub(super) partial: bool,
    /// Keypoints of the image itself, where they were needed.
    pub(super) features: Option<Arc<Features>>,
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
        let Matches {
            mut found, partial, ..
        } = self.matches(&collection, &subject, options.k).await?;
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
                let can_tell = engine.cascade.is_verifiable(&x.fingerprint, &y.fingerprint);
                let verification = can_tell
                    .then(|| verify::verify(&Features::extract(&x.preview), &Features::extract(&y.preview)));
                engine
                    .cascade
                    .judge(&x.fingerprint, &x.variants, &y.fingerprint, verification.as_ref())
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
                let analysis = self.analysis.analyse(bytes.clone()).await?;
                Ok(Subject::new(&analysis, bytes))
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
        let (records, partial) = {
            let (engine, collection, subject) =
                (Arc::clone(self), Arc::clone(collection), Arc::clone(subject));
            self.compute(move || engine.candidates(&collection, &subject, k))
                .await??
        };
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "candidates").record(started.elapsed());
        let started = Instant::now();
        let (judged, features) = self.judge(collection, subject, records).await?;
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "verify").record(started.elapsed());
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
        Ok(Matches {
            found,
            partial,
            features,
        })
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

    /// Judges candidates, and verifies before those that geometry can decide, closest first, as many as configured. Answers
    /// with the subject's keypoints too, where there was anything to verify.
    async fn judge(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        subject: &Arc<Subject>,
        records: Vec<Arc<ImageRecord>>,
    ) -> Result<(Vec<Judged>, Option<Arc<Features>>), EngineError> {
        let promised = {
            let (engine, subject) = (Arc::clone(self), Arc::clone(subject));
            self.compute(move || {
                let asked = engine.cascade.prospect(&subject.fingerprint);
                let mut promised: Vec<_> = records
                    .into_iter()
                    .map(|record| {
                        let other = engine.cascade.prospect(&record.fingerprint);
                        (engine.promise(asked, &subject, other), record)
                    })
                    .collect();
                promised.sort_by(|(p, x), (q, y)| q.total_cmp(p).then(x.id.cmp(&y.id)));
                promised
            })
            .await?
        };
        let print = &subject.fingerprint;
        let (wanted, rest): (Vec<_>, Vec<_>) = promised.into_iter().partition(|(promise, record)| {
            self.cascade.is_promising(*promise) && self.cascade.is_verifiable(print, &record.fingerprint)
        });
        let records = |promised: Vec<(f32, Arc<ImageRecord>)>| promised.into_iter().map(|(_, record)| record);
        let (mut wanted, rest): (Vec<_>, Vec<_>) = (records(wanted).collect(), records(rest).collect());
        let mut left = wanted.split_off(wanted.len().min(self.config.search.verified));
        let mut judged: Vec<Judged> = rest
            .into_iter()
            .map(|record| self.unverified(subject, record))
            .collect();
        let mut features = None;
        let mut at_most = 1.0;
        if !wanted.is_empty() {
            let subject_features = self.subject_features(subject).await?;
            features = Some(Arc::clone(&subject_features));
            let mut wanted = wanted.into_iter();
            loop {
                let wave: Vec<Judged> = stream::iter(wanted.by_ref().take(WAVE))
                    .map(|record| self.verified(collection, subject, &subject_features, record))
                    .buffered(WAVE)
                    .try_collect()
                    .await?;
                let matches = || wave.iter().filter_map(|(_, matched)| matched.as_ref());
                let finds = matches().any(|matched| matched.class > MatchClass::Similar);
                if !wave.is_empty() {
                    at_most = matches().map(|matched| matched.probability).fold(0.0, f32::max);
                }
                judged.extend(wave);
                if !finds {
                    break;
                }
            }
            left.extend(wanted);
        }
        // They promised less than those that were verified last: they are worth no more.
        judged.extend(left.into_iter().map(|record| {
            let (record, mut matched) = self.unverified(subject, record);
            if let Some(matched) = &mut matched {
                matched.probability = matched.probability.min(at_most);
            }
            (record, matched)
        }));
        Ok((judged, features))
    }

    fn unverified(&self, subject: &Subject, record: Arc<ImageRecord>) -> Judged {
        let (a, b) = (&subject.fingerprint, &record.fingerprint);
        let matched = self.cascade.judge(a, &subject.variants, b, None);
        (record, matched)
    }

    /// Probability that a candidate is a copy, by its descriptors or those of the subject's parts.
    fn promise(&self, asked: Prospect<'_>, subject: &Subject, other: Prospect<'_>) -> f32 {
        let whole = self.cascade.promise(asked, &subject.variants, other);
        let of_part = |part| {
            self.cascade
                .promise_of_part(asked, part, &subject.variants, other)
        };
        subject.parts.iter().map(of_part).fold(whole, f32::max)
    }

    /// Keypoints of the image that matches are looked for: those of its preview, or remembered ones.
    async fn subject_features(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
    ) -> Result<Arc<Features>, EngineError> {
        if let Some(features) = self.features.get(&subject.fingerprint.content_hash) {
            return Ok(features);
        }
        let subject = Arc::clone(subject);
        self.compute(move || Arc::new(Features::extract(&subject.preview)))
            .await
    }

    async fn verified(
        self: &Arc<Self>,
        collection: &Collection,
        subject: &Arc<Subject>,
        features: &Arc<Features>,
        record: Arc<ImageRecord>,
    ) -> Result<Judged, EngineError> {
        let other = match self.features(&record).await {
            Ok(other) => other,
            Err(error) => {
                // A damaged or missing thumbnail must not hide the other matches.
                tracing::warn!(%error, image = %record.id, "a candidate could not be verified");
                return Ok(self.unverified(subject, record));
            }
        };
        let matched = {
            let (engine, subject, features) = (Arc::clone(self), Arc::clone(subject), Arc::clone(features));
            let record = Arc::clone(&record);
            self.compute(move || {
                let (a, b) = (&subject.fingerprint, &record.fingerprint);
                let features = [&*features, &*other];
                engine.cascade.judge_features(a, &subject.variants, b, features)
            })
            .await?
        };
        let matched = self
            .closer(collection, subject, &record.fingerprint, None, matched)
            .await;
        Ok((record, matched))
    }

    /// Keypoints of a stored image.
    async fn features(self: &Arc<Self>, record: &ImageRecord) -> Result<Arc<Features>, EngineError> {
        let hash = record.fingerprint.content_hash;
        if let Some(features) = self.features.get(&hash) {
            return Ok(features);
        }
        let jpeg: Bytes = self.thumbnail(record).await?;
        let features = self
            .compute(move || thumbnail::decode(&jpeg).map(|preview| Arc::new(Features::extract(&preview))))
            .await??;
        self.features.insert(hash, Arc::clone(&features));
        Ok(features)
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
