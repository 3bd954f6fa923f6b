//! What a file holds beyond the picture that is compared.

/// What a file holds beyond the one opaque picture that is compared: its first frame, laid over white.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// More frames or pages.
    pub frames: bool,
    /// Pixels that are not opaque.
    pub transparency: bool,
}

/// Bits of [`Beyond::code`].
const FRAMES: u8 = 1;
const TRANSPARENCY: u8 = 2;

impl Beyond {
    /// Nothing: one opaque picture.
    pub const NOTHING: Self = Self {
        frames: false,
        transparency: false,
    };

    /// As files and log objects hold it: bit 0 more frames, bit 1 transparency.
    #[must_use]
    pub const fn code(self) -> u8 {
        (if self.frames { FRAMES } else { 0 }) | (if self.transparency { TRANSPARENCY } else { 0 })
    }

    /// What a [`code`](Self::code) says; bits that are not known are passed over.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        Self {
            frames: code & FRAMES != 0,
            transparency: code & TRANSPARENCY != 0,
        }
    }

    /// Whether an image with `other` that shows the same picture holds all of this. Frames are not compared, so no other
    /// file is known to hold them.
    #[must_use]
    pub const fn is_in(self, other: Self) -> bool {
        !self.frames && (!self.transparency || other.transparency)
    }
}
