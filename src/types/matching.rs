//! How strongly two images match, and which stage said so.

use std::fmt;
use std::str::FromStr;

/// Class of a match. Ordered: a stronger class is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchClass {
    /// Looks alike, not shown to be a copy. Never selected for deletion by any automatic policy.
    Similar,
    /// Part of the other image, or altered: crop, overlay, text, border, filter, collage, free rotation.
    Edited,
    /// Whole frame: resized, recompressed, converted, slight tone change, rotated by 90° or mirrored.
    NearIdentical,
    /// Same decoded pixels after orientation: other container or metadata.
    SamePixels,
    /// Same bytes.
    Identical,
}

/// Why a text is not a match class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a match class (identical, same_pixels, near_identical, edited, similar)")]
pub struct UnknownMatchClass {
    text: String,
}

impl MatchClass {
    /// All classes, weakest first.
    pub const ALL: [Self; 5] = [
        Self::Similar,
        Self::Edited,
        Self::NearIdentical,
        Self::SamePixels,
        Self::Identical,
    ];

    /// The class as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Similar => "similar",
            Self::Edited => "edited",
            Self::NearIdentical => "near_identical",
            Self::SamePixels => "same_pixels",
            Self::Identical => "identical",
        }
    }
}

impl fmt::Display for MatchClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for MatchClass {
    type Err = UnknownMatchClass;

    /// Accepts both spellings of a two-word class: `near_identical` and `near-identical`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spelled = text.replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == spelled)
            .ok_or_else(|| UnknownMatchClass {
                text: text.chars().take(40).collect(),
            })
    }
}

/// Stage of the cascade that decided a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Equal [`ContentHash`](super::ContentHash).
    Bytes,
    /// Equal [`PixelHash`](super::PixelHash).
    Pixels,
    /// PDQ distance of the whole frame or one of its eight dihedral variants.
    Pdq,
    /// Similarity of the embeddings alone.
    Embedding,
    /// Geometric verification: one warp explains the pair.
    Verification,
}

impl Stage {
    /// The stage as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Pixels => "pixels",
            Self::Pdq => "pdq",
            Self::Embedding => "embedding",
            Self::Verification => "verification",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_by_strength_and_round_trip() {
        assert!(MatchClass::Identical > MatchClass::SamePixels);
        assert!(MatchClass::Edited > MatchClass::Similar);
        for class in MatchClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        assert_eq!("near-identical".parse(), Ok(MatchClass::NearIdentical));
        assert!("same".parse::<MatchClass>().is_err());
    }
}
