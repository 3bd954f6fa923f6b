//! The small JPEG that is stored beside every image, shown in the gallery and used to verify matches.

use image::RgbImage;
use turbojpeg::{Compressor, Image, OutputBuf, PixelFormat, Subsamp};

use super::{DecodeLimits, VisionError, resize};

/// Longest side of a thumbnail, in pixels.
pub const THUMBNAIL_SIDE: u32 = 400;

/// JPEG quality of a thumbnail.
const QUALITY: i32 = 85;

/// The preview of an image: shrunk by area to at most [`THUMBNAIL_SIDE`] a side, or as it is when smaller.
#[must_use]
pub fn preview(image: &RgbImage) -> RgbImage {
    resize::fit(image, THUMBNAIL_SIDE)
}

/// Encodes a preview as a baseline JPEG of quality 85, 4:2:0.
///
/// # Errors
/// [`VisionError::Unsupported`] when the encoder refuses the image: no pixels, or a side above 65,500 of them.
pub fn encode(preview: &RgbImage) -> Result<Vec<u8>, VisionError> {
    let refused = |error: turbojpeg::Error| VisionError::Unsupported {
        what: format!(
            "a thumbnail of {} × {} pixels ({error})",
            preview.width(),
            preview.height()
        ),
    };
    let mut compressor = Compressor::new().map_err(refused)?;
    compressor.set_quality(QUALITY).map_err(refused)?;
    compressor.set_subsamp(Subsamp::Sub2x2).map_err(refused)?;
    let image = Image {
        pixels: preview.as_raw().as_slice(),
        width: preview.width() as usize,
        pitch: preview.width() as usize * 3,
        height: preview.height() as usize,
        format: PixelFormat::RGB,
    };
    let mut output = OutputBuf::new_owned();
    compressor.compress(image, &mut output).map_err(refused)?;
    Ok(output.to_vec())
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// As [`decode`](super::decode()).
pub fn decode(bytes: &[u8]) -> Result<RgbImage, VisionError> {
    super::decode(bytes, &DecodeLimits::default()).map(|decoded| decoded.pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_within_jpeg_loss() {
        #[expect(clippy::cast_possible_truncation, reason = "test pattern")]
        let image = RgbImage::from_fn(1000, 500, |x, y| image::Rgb([(x / 4) as u8, (y / 2) as u8, 90]));
        let small = preview(&image);
        assert_eq!(small.dimensions(), (400, 200));
        let back = decode(&encode(&small).expect("encodes")).expect("decodes");
        assert_eq!(back.dimensions(), (400, 200));
        for (a, b) in small.pixels().zip(back.pixels()) {
            assert!(a.0.iter().zip(b.0).all(|(&a, b)| a.abs_diff(b) < 12));
        }
        let tiny = preview(&RgbImage::new(3, 2));
        assert_eq!(
            decode(&encode(&tiny).expect("encodes"))
                .expect("decodes")
                .dimensions(),
            (3, 2)
        );
    }
}
