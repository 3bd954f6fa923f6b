//! The parts of an image that a deep search embeds beside the whole.
//!
//! One embedding stands for a whole picture. Of a small picture within a large one, in a collage or on a screen, little of it
//! is left; the embedding of a part about as large as the small picture has most of it.

use image::{RgbImage, imageops};

/// Parts along a side; neighbours overlap by half.
const STEPS: u32 = 3;

/// Images with a shorter side than this have no parts, pixels.
const SMALLEST: u32 = 64;

/// Nine parts of half the width and half the height of a preview, row by row; none of an image that is too small.
#[must_use]
pub fn parts(preview: &RgbImage) -> Vec<RgbImage> {
    let (width, height) = (preview.width() / 2, preview.height() / 2);
    if 2 * width.min(height) < SMALLEST {
        return Vec::new();
    }
    let at = |step: u32, whole: u32, part: u32| (whole - part) * step / (STEPS - 1);
    (0..STEPS * STEPS)
        .map(|i| {
            let (x, y) = (
                at(i % STEPS, preview.width(), width),
                at(i / STEPS, preview.height(), height),
            );
            imageops::crop_imm(preview, x, y, width, height).to_image()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_halves_that_cover_the_image() {
        let picture = RgbImage::from_fn(201, 100, |x, y| [x as u8, y as u8, 0].into());
        let parts = parts(&picture);
        assert_eq!(parts.len(), 9);
        assert!(parts.iter().all(|part| part.dimensions() == (100, 50)));
        let corners: Vec<[u8; 2]> = parts
            .iter()
            .map(|part| [part.get_pixel(0, 0)[0], part.get_pixel(0, 0)[1]])
            .collect();
        assert_eq!(corners[..4], [[0, 0], [50, 0], [101, 0], [0, 25]]);
        assert_eq!(parts[8].get_pixel(99, 49).0, [200, 99, 0]);
        assert!(super::parts(&RgbImage::new(300, 40)).is_empty());
    }
}
