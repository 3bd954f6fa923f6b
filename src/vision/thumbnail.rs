//! The small JPEG that is stored beside every image, shown in the gallery and used to verify matches.

use image::RgbImage;
use turbojpeg::{Compressor, Decompressor, Image, OutputBuf, PixelFormat, Subsamp, YuvImage};

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

/// What the JPEG of a thumbnail holds, without the way to colours and back.
pub(super) struct Samples {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Luma, one byte a pixel, rows from the top.
    pub(super) luma: Vec<u8>,
    /// Blue and red difference, one byte for 2×2 pixels, fewer at the right and at the bottom.
    pub(super) chroma: [Vec<u8>; 2],
}

/// The samples of what [`encode`] wrote; `None` for any other JPEG, and for a damaged one.
pub(super) fn samples(bytes: &[u8]) -> Option<Samples> {
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    let side = THUMBNAIL_SIDE as usize;
    if header.subsamp != Subsamp::Sub2x2 || header.is_progressive || header.width.max(header.height) > side {
        return None;
    }
    let (width, height) = (header.width, header.height);
    let halves = width.div_ceil(2) * height.div_ceil(2);
    // Whole blocks of 2×2: an odd side has one more in memory.
    let stride = width.next_multiple_of(2);
    let mut pixels = vec![0; 6 * halves];
    let output = YuvImage {
        pixels: pixels.as_mut_slice(),
        width,
        align: 1,
        height,
        subsamp: header.subsamp,
    };
    decompressor.decompress_to_yuv(bytes, output).ok()?;
    let red = pixels.split_off(5 * halves);
    let blue = pixels.split_off(4 * halves);
    if stride > width {
        for y in 1..height {
            pixels.copy_within(y * stride..y * stride + width, y * width);
        }
    }
    pixels.truncate(width * height);
    pixels.shrink_to_fit();
    Some(Samples {
        width,
        height,
        luma: pixels,
        chroma: [blue, red],
    })
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
