//! What goes in and out of the engine: plain values; the doors translate them.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeZone as _, Utc};

use super::EngineError;
use crate::dedup::Match;
use crate::shard::Damage;
use crate::types::{CollectionName, ImageId, ImageRecord, MatchClass};

/// One file of an upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The file's name, as the client gave it.
    pub name: String,
    /// The file.
    pub bytes: Bytes,
    /// Labels for the image.
    pub tags: Vec<String>,
}

/// What to do with an image that matches one in the collection (class `edited` or stronger). Identical bytes are never
/// stored twice, whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDuplicate {
    /// Store it, and list what it matches.
    #[default]
    Store,
    /// Do not store it.
    Reject,
    /// Do not store it; answer with the id of the best match.
    Link,
}

/// What became of an uploaded file.
#[derive(Debug)]
pub enum Outcome {
    /// Stored, under this id.
    Created(ImageId),
    /// The same bytes are there already, under this id.
    Duplicate(ImageId),
    /// Not stored: this image of the collection matches it best.
    Linked(ImageId),
    /// Not stored: it matches images of the collection.
    Rejected,
    /// Not stored.
    Failed(EngineError),
}

/// Answer for one uploaded file.
#[derive(Debug)]
pub struct Uploaded {
    /// The file's name, as the client gave it.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Images of the collection that match it, best first.
    pub matches: Vec<Found>,
}

/// An image that matches.
#[derive(Debug, Clone)]
pub struct Found {
    /// The image.
    pub record: Arc<ImageRecord>,
    /// How it matches.
    pub matched: Match,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Probe {
    /// An image of the collection; it is not part of the answer.
    Stored(ImageId),
    /// A file.
    File(Bytes),
}

/// How to search.
#[derive(Debug, Clone, Copy)]
pub struct SearchOptions {
    /// Most answers.
    pub k: usize,
    /// Weakest class of interest.
    pub level: MatchClass,
    /// Whether the parts of the image are searched for too.
    pub deep: bool,
}

/// Answer of a search.
#[derive(Debug)]
pub struct Answer {
    /// Best first.
    pub matches: Vec<Found>,
    /// Whether a shard did not answer, so that matches may be missing.
    pub partial: bool,
}

/// Part of a list, newest image first.
#[derive(Debug)]
pub struct Page {
    /// The images.
    pub images: Vec<Arc<ImageRecord>>,
    /// Where the next part starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// Place in a list of images: after the image of this time and id. Texts are stable for a client to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When the last image seen was acknowledged.
    pub created: DateTime<Utc>,
    /// Its id.
    pub id: ImageId,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.created.timestamp_micros(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let parts = text.split_once('-').and_then(|(time, id)| {
            let created = Utc
                .timestamp_micros(i64::from_str_radix(time, 16).ok()?)
                .single()?;
            Some(Self {
                created,
                id: id.parse().ok()?,
            })
        });
        parts.ok_or_else(|| EngineError::BadCursor {
            text: text.chars().take(60).collect(),
        })
    }
}

/// A collection and what is in it.
#[derive(Debug, Clone)]
pub struct CollectionInfo {
    /// Its name.
    pub name: CollectionName,
    /// Number of images.
    pub images: u64,
    /// Number of shards.
    pub shards: u16,
    /// Dimension of its embeddings.
    pub dim: usize,
    /// Model of its embeddings, as BLAKE3 of the weights.
    pub model: String,
    /// Whether uploaded files are kept.
    pub keep_originals: bool,
    /// Why it could not be opened; its images are not counted then.
    pub closed: Option<String>,
    /// What was found missing or damaged when it was opened; searches are partial then.
    pub damage: Vec<Damage>,
}

/// Options of a new collection; what is absent is as configured.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectionOptions {
    /// Number of shards.
    pub shards: Option<u16>,
    /// Whether uploaded files are kept.
    pub keep_originals: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_refuse_rubbish() {
        let cursor = Cursor {
            created: Utc
                .timestamp_micros(1_700_000_000_123_456)
                .single()
                .expect("a time"),
            id: ImageId::from_bytes([0x5a; 16]),
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor));
        for bad in ["", "-", "zz-00", "1-", "7fffffffffffffff-5a", &"9".repeat(500)] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?} was accepted");
        }
    }
}
