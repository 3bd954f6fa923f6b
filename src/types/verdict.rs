//! What people say about two images. Keyed by content, so it survives moves, rescans and model upgrades.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::ContentHash;

/// Two different images, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImagePair {
    low: ContentHash,
    high: ContentHash,
}

impl ImagePair {
    /// The pair of two images; `None` when both are the same content.
    #[must_use]
    pub fn new(one: ContentHash, other: ContentHash) -> Option<Self> {
        match one.cmp(&other) {
            std::cmp::Ordering::Less => Some(Self {
                low: one,
                high: other,
            }),
            std::cmp::Ordering::Greater => Some(Self {
                low: other,
                high: one,
            }),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// The image with the lower hash, whose shard keeps what is said about the pair.
    #[must_use]
    pub fn low(&self) -> ContentHash {
        self.low
    }

    /// The image with the higher hash.
    #[must_use]
    pub fn high(&self) -> ContentHash {
        self.high
    }
}

/// A person's word on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// They are not duplicates: never show them as such again.
    NotDuplicate,
    /// They are duplicates, and both stay.
    KeepBoth,
    /// What was said before no longer holds.
    Withdrawn,
}

/// Why a text is not a verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a verdict (not_duplicate, keep_both, withdrawn)")]
pub struct UnknownVerdict {
    text: String,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 3] = [Self::NotDuplicate, Self::KeepBoth, Self::Withdrawn];

    /// The verdict as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotDuplicate => "not_duplicate",
            Self::KeepBoth => "keep_both",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or_else(|| UnknownVerdict {
                text: text.chars().take(40).collect(),
            })
    }
}

/// A verdict on a pair, and when it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The pair.
    pub pair: ImagePair,
    /// What was said.
    pub verdict: Verdict,
    /// When.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_no_order() {
        let [a, b] = [1, 2].map(|byte| ContentHash::from_bytes([byte; 32]));
        assert_eq!(ImagePair::new(a, b), ImagePair::new(b, a));
        assert_eq!(ImagePair::new(a, a), None);
    }

    #[test]
    fn verdicts_round_trip_through_text() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
        }
        assert!("maybe".parse::<Verdict>().is_err());
    }
}
