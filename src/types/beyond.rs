//! What a file holds beyond the picture that is compared.

/// What a file holds beyond the one opaque picture that is compared: its first frame, laid over white.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// More frames or pages.
    pub frames: bool,
    /// Pixels that are not opaque.
    pub transparency: bool,
}

impl Beyond {
    /// Whether an image with `other` that shows the same picture holds all of this. Frames are not compared, so no other
    /// file is known to hold them.
    #[must_use]
    pub const fn is_in(self, other: Self) -> bool {
        !self.frames && (!self.transparency || other.transparency)
    }
}
