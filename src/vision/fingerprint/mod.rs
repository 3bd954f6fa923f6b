//! Hashes of an image: of its bytes, of its pixels, of its looks.

mod pdq;
mod phash;

use image::{GrayImage, RgbImage};

use crate::types::{ContentHash, PixelHash};

pub use pdq::{Pdq, pdq, pdq_dihedral};
pub use phash::phash;

/// BLAKE3 of a file's bytes.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// BLAKE3 of width and height (u32, little-endian) and the oriented RGB8 pixels, row by row.
#[must_use]
pub fn pixel_hash(image: &RgbImage) -> PixelHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&image.width().to_le_bytes());
    hasher.update(&image.height().to_le_bytes());
    hasher.update(image.as_raw());
    PixelHash::from_bytes(*hasher.finalize().as_bytes())
}

/// Identity of pixels that are not all opaque: of what they look like over white, and of how opaque they are.
pub(super) fn transparent_hash(over_white: &PixelHash, alpha: &GrayImage) -> PixelHash {
    let mut hasher = blake3::Hasher::new_derive_key("doppel 1 pixels with transparency");
    hasher.update(over_white.as_bytes());
    hasher.update(alpha.as_raw());
    PixelHash::from_bytes(*hasher.finalize().as_bytes())
}

/// Identity of the frames of a file, of which only the first is decoded: that of the file.
pub(super) fn frames_hash(bytes: &[u8]) -> PixelHash {
    let mut hasher =
        blake3::Hasher::new_derive_key("doppel 1 pixels of several frames, by the bytes of their file");
    hasher.update(bytes);
    PixelHash::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_hash_tells_shapes_apart() {
        let wide = RgbImage::new(4, 2);
        let tall = RgbImage::new(2, 4);
        assert_ne!(pixel_hash(&wide), pixel_hash(&tall));
        assert_eq!(pixel_hash(&wide), pixel_hash(&RgbImage::new(4, 2)));
        assert_eq!(
            content_hash(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
