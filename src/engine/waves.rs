//! The candidates of an image, verified in waves, likeliest first. What is remembered of a wave is judged at once and on one
//! thread; only thumbnails have to be waited for.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};

use super::collections::Collection;
use super::search::Subject;
use super::{Engine, EngineError};
use crate::dedup::Match;
use crate::dedup::cascade::Prospect;
use crate::types::{ImageRecord, MatchClass};
use crate::vision::verify::Features;

/// Candidates verified together, best first. Verification goes on while such a wave still finds copies: of an image
/// without copies only the first wave is paid for.
pub(super) const WAVE: usize = 6;

/// Candidates that are verified whatever they promise: a picture that was turned, padded or pasted into another one resembles
/// its source little, and every other picture less.
pub(super) const TRIED: usize = 3;

/// An image of the collection, and what the cascade says of it.
pub(super) type Judged = (Arc<ImageRecord>, Option<Match>);

/// The candidates of an image, of which no more than a first wave is verified.
pub(super) struct Begun {
    /// Those that are not worth verifying.
    judged: Vec<Judged>,
    first: First,
    /// Worth it next, likeliest first.
    wanted: Vec<Arc<ImageRecord>>,
    /// Worth it, beyond the number that is verified.
    left: Vec<Arc<ImageRecord>>,
}

/// The first wave.
enum First {
    Verified(Vec<Judged>),
    /// Keypoints of some are not in memory.
    Waits(Vec<Arc<ImageRecord>>),
}

/// Where the keypoints of a candidate come from.
enum Source {
    Known(Arc<Features>),
    Thumbnail(Bytes),
}

impl Engine {
    /// Sorts candidates by what they promise, and verifies the likeliest if their keypoints are in memory.
    pub(super) fn begin(&self, subject: &Subject, records: Vec<Arc<ImageRecord>>) -> Begun {
        let asked = self.cascade.prospect(&subject.fingerprint);
        let mut promised: Vec<_> = records
            .into_iter()
            .map(|record| {
                let other = self.cascade.prospect(&record.fingerprint);
                (self.promise(asked, subject, other), record)
            })
            .collect();
        promised.sort_by(|(p, x), (q, y)| q.total_cmp(p).then(x.id.cmp(&y.id)));
        let mut likelier = 0;
        let (wanted, rest): (Vec<_>, Vec<_>) = promised.into_iter().partition(|(promise, record)| {
            let is_wanted = (likelier < TRIED || self.cascade.is_promising(*promise))
                && self
                    .cascade
                    .is_verifiable(&subject.fingerprint, &record.fingerprint);
            likelier += usize::from(is_wanted);
            is_wanted
        });
        let records = |promised: Vec<(f32, Arc<ImageRecord>)>| promised.into_iter().map(|(_, record)| record);
        let mut first: Vec<_> = records(wanted).collect();
        let left = first.split_off(first.len().min(self.config.search.verified));
        let wanted = first.split_off(first.len().min(WAVE));
        let known: Option<Vec<_>> = first
            .iter()
            .map(|record| self.features.get(&record.fingerprint.content_hash))
            .collect();
        Begun {
            judged: records(rest)
                .map(|record| self.unverified(subject, record))
                .collect(),
            first: match known {
                None => First::Waits(first),
                Some(known) => First::Verified(
                    first
                        .into_iter()
                        .zip(known)
                        .map(|(record, theirs)| self.verified(subject, record, Ok(Source::Known(theirs))))
                        .collect(),
                ),
            },
            wanted,
            left,
        }
    }

    /// Verifies those that geometry can decide, as many as configured, and judges all.
    pub(super) async fn judge(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        subject: &Arc<Subject>,
        begun: Begun,
    ) -> Result<Vec<Judged>, EngineError> {
        let Begun {
            mut judged,
            first,
            wanted,
            mut left,
        } = begun;
        let mut wanted = wanted.into_iter();
        let mut wave = match first {
            First::Verified(wave) => wave,
            First::Waits(records) => self.wave(subject, records).await?,
        };
        let mut at_most = 1.0;
        while !wave.is_empty() {
            let closer = wave.into_iter().map(async |(record, found)| {
                let found = self.closer(collection, subject, &record.fingerprint, None, found);
                let found = found.await;
                (record, found)
            });
            let seen: Vec<Judged> = stream::iter(closer).buffered(WAVE).collect().await;
            let matches = || seen.iter().filter_map(|(_, matched)| matched.as_ref());
            let finds = matches().any(|matched| matched.class > MatchClass::Similar);
            at_most = matches().map(|matched| matched.probability).fold(0.0, f32::max);
            judged.extend(seen);
            if !finds {
                break;
            }
            wave = self.wave(subject, wanted.by_ref().take(WAVE).collect()).await?;
        }
        left.extend(wanted);
        // They promised less than those that were verified last: they are worth no more.
        judged.extend(left.into_iter().map(|record| {
            let (record, mut matched) = self.unverified(subject, record);
            if let Some(matched) = &mut matched {
                matched.probability = matched.probability.min(at_most);
            }
            (record, matched)
        }));
        Ok(judged)
    }

    /// Verifies candidates.
    async fn wave(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        records: Vec<Arc<ImageRecord>>,
    ) -> Result<Vec<Judged>, EngineError> {
        let sources = join_all(records.into_iter().map(async |record| {
            let source = match self.features.get(&record.fingerprint.content_hash) {
                Some(known) => Ok(Source::Known(known)),
                None => self.thumbnail(&record).await.map(Source::Thumbnail),
            };
            (record, source)
        }))
        .await;
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let (engine, subject) = (Arc::clone(self), Arc::clone(subject));
        self.compute(move || {
            let verified = |(record, source)| engine.verified(&subject, record, source);
            sources.into_iter().map(verified).collect()
        })
        .await
    }

    fn verified(
        &self,
        subject: &Subject,
        record: Arc<ImageRecord>,
        source: Result<Source, EngineError>,
    ) -> Judged {
        match source.and_then(|source| self.features(&record, source)) {
            Ok(theirs) => {
                let features = [&**subject.features(&self.features), &*theirs];
                let (a, b) = (&subject.fingerprint, &record.fingerprint);
                let matched = self.cascade.judge_features(a, &subject.variants, b, features);
                (record, matched)
            }
            Err(error) => {
                // A damaged or missing thumbnail must not hide the other matches.
                tracing::warn!(%error, image = %record.id, "a candidate could not be verified");
                self.unverified(subject, record)
            }
        }
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

    /// Keypoints of a stored image, remembered from now on.
    fn features(&self, record: &ImageRecord, source: Source) -> Result<Arc<Features>, EngineError> {
        match source {
            Source::Known(features) => Ok(features),
            Source::Thumbnail(jpeg) => {
                let features = Arc::new(Features::of_thumbnail(&jpeg)?);
                self.features
                    .insert(record.fingerprint.content_hash, Arc::clone(&features));
                Ok(features)
            }
        }
    }
}
