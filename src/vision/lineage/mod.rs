//! Which of two files of one picture was made from the other: what compression, overlays and clipped tones leave behind.
//!
//! For pairs of equal size that lie on each other pixel by pixel, where nothing else tells. Every sign is measured on both images
//! and names one of them as the later only where the other does not look the same.

mod lattice;
mod overlay;
#[cfg(test)]
mod tests;
mod tone;

use image::RgbImage;

pub use super::decode::Coded;

/// One image of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What shows that an image was made from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Its compression is the later one: it still carries the rounding of the other's.
    Recompressed,
    /// It looks drawn on where the images differ: edges and colours that the other one has not.
    LaidOver,
    /// Its brightest or darkest tones were cut off; the other one still tells them apart.
    Clipped,
    /// It has the cut-off tones of the other one, and not at the ends of the scale.
    Dulled,
}

impl Sign {
    /// The sign as a word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recompressed => "recompressed",
            Self::LaidOver => "laid_over",
            Self::Clipped => "clipped",
            Self::Dulled => "dulled",
        }
    }

    /// The sign as a clause for people, about the image that was made from the other.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Recompressed => "its compression is the later one",
            Self::LaidOver => "something was drawn over it",
            Self::Clipped => "its tones are cut off where the other has more",
            Self::Dulled => "it has the other's cut-off tones, dulled",
        }
    }
}

/// An image of a pair that was made from the other one, and what shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// The image.
    pub side: Side,
    /// What shows it.
    pub sign: Sign,
}

impl Later {
    /// The same with the images in the other order.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            side: self.side.other(),
            ..self
        }
    }
}

/// What the compressions of two files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressions {
    /// The image whose compression is the later one.
    pub later: Later,
    /// It was made from the other one: it carries its rounding. Without that all that is known is that the other was not made from it:
    /// both may have been made from a third.
    pub is_proof: bool,
}

/// What the compression of two files says. Both hold the same picture at the same size, but for what was edited.
#[must_use]
pub fn by_compression(a: &Coded, b: &Coded) -> Option<Compressions> {
    let verdict = lattice::later(a, b)?;
    Some(Compressions {
        later: Later {
            side: verdict.later,
            sign: Sign::Recompressed,
        },
        is_proof: verdict.is_made_from_other,
    })
}

/// What two previews of one size say: of other tones, or else drawn over in places.
#[must_use]
pub fn by_looks(a: &RgbImage, b: &RgbImage) -> Option<Later> {
    if a.dimensions() != b.dimensions() {
        return None;
    }
    if tone::is_other(a, b) {
        // Everything differs: what was drawn over it besides cannot be told.
        tone::later(a, b)
    } else {
        overlay::later(a, b)
    }
}
