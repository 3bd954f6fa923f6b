//! Close-ups: where thumbnails are too small to tell one text from another, the files themselves are compared. Of stored images
//! that takes a collection that keeps originals.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::collections::Collection;
use super::search::Subject;
use crate::dedup::Match;
use crate::shard::media::MediaKind;
use crate::types::{ContentHash, Fingerprint};
use crate::vision::verify::{CLOSE_UP_SIDE, Features, close_up};
use crate::vision::{Demand, decode_to};

impl Engine {
    /// What the cascade says of a pair by close-ups of both files; `found`, what it said by thumbnails, where these were large
    /// enough or a file is not there. `file` is the other one, where it has just come in.
    pub(super) async fn closer(
        self: &Arc<Self>,
        collection: &Collection,
        subject: &Arc<Subject>,
        other: &Fingerprint,
        file: Option<Bytes>,
        found: Option<Match>,
    ) -> Option<Match> {
        if !found.as_ref().is_some_and(Match::wants_close_up) {
            return found;
        }
        let file = match file {
            Some(file) => Some(file),
            None => self.kept(collection, &other.content_hash).await,
        };
        // First of all: without it there is no point in decoding the other one.
        let Some(file) = file else { return found };
        let mine = subject
            .close_up
            .get_or_init(|| async {
                let file = match &subject.file {
                    Some(file) => Some(file.clone()),
                    None => self.kept(collection, &subject.fingerprint.content_hash).await,
                };
                self.seen_closer(file?).await
            })
            .await;
        let Some(mine) = mine.clone() else { return found };
        let Some(theirs) = self.seen_closer(file).await else {
            return found;
        };
        let (engine, subject, other) = (Arc::clone(self), Arc::clone(subject), other.clone());
        let judged = self.compute(move || {
            let (a, features) = (&subject.fingerprint, [&*mine, &*theirs]);
            engine
                .cascade
                .judge_features(a, &subject.variants, &other, features)
        });
        judged.await.unwrap_or(found)
    }

    /// The file of a stored image, where its collection keeps files.
    async fn kept(&self, collection: &Collection, content: &ContentHash) -> Option<Bytes> {
        if !collection.keeps_originals() {
            return None;
        }
        let found = self.media.get(MediaKind::Original, content).await;
        found
            .inspect_err(|error| tracing::warn!(%error, image = %content, "an original could not be read"))
            .ok()
            .flatten()
    }

    /// Features of a file at the size of a close-up; `None` when it can no longer be read.
    async fn seen_closer(&self, file: Bytes) -> Option<Arc<Features>> {
        let limits = self.limits;
        let demand = Demand::AtLeast {
            long: CLOSE_UP_SIDE,
            short: 1,
        };
        let seen = self.compute(move || {
            let decoded = decode_to(&file, &limits, demand).ok()?;
            Some(Arc::new(Features::extract(&close_up(&decoded.pixels))))
        });
        seen.await.ok().flatten()
    }
}
