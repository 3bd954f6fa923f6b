//! Any image file to oriented 8-bit RGB.
//!
//! The format is told by the content. Limits are checked against the header before pixels are allocated. EXIF
//! orientation is always applied, alpha is laid over white, 16 bits become 8, animations give their first frame.
//! A file that ends early or breaks its format's rules is refused: a half-grey image must never be compared.

mod jpeg;
mod other;
mod sniff;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::error::FormatName;
use super::{VisionError, exif};
use crate::types::{ExifSummary, ImageFormat};

/// Bounds on what is read; a file beyond any of them is refused from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels of an image (width × height).
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Largest file in bytes.
    pub max_file_bytes: u64,
}

impl Default for DecodeLimits {
    /// 100 megapixels, 30,000 pixels a side, 256 MiB.
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_side: 30_000,
            max_file_bytes: 256 << 20,
        }
    }
}

impl DecodeLimits {
    /// Checks dimensions found in a header.
    fn check(&self, width: u32, height: u32) -> Result<(), VisionError> {
        if width == 0 || height == 0 {
            Err(VisionError::NoPixels { width, height })
        } else if u64::from(width) * u64::from(height) > self.max_pixels {
            Err(VisionError::TooManyPixels {
                width,
                height,
                max_pixels: self.max_pixels,
            })
        } else if width.max(height) > self.max_side {
            Err(VisionError::SideTooLong {
                width,
                height,
                max_side: self.max_side,
            })
        } else {
            Ok(())
        }
    }
}

/// A decoded image.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Oriented pixels, alpha over white, first frame.
    pub pixels: RgbImage,
    /// Width of the oriented image in the file.
    pub width: u32,
    /// Height of the oriented image in the file.
    pub height: u32,
    /// Format told by the content.
    pub format: ImageFormat,
    /// Camera and time.
    pub exif: ExifSummary,
}

/// Decodes a file at its full size.
///
/// # Errors
/// Any decoding variant of [`VisionError`]; each one's text is a reason for a person. Never panics on content.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, VisionError> {
    let size = bytes.len() as u64;
    if size > limits.max_file_bytes {
        return Err(VisionError::FileTooLarge {
            bytes: size,
            limit: limits.max_file_bytes,
        });
    }
    let format = sniff::sniff(bytes)?;
    // The decoders are third-party code fed with hostile bytes: a panic in one of them is a damaged file, not the end
    // of the process. They hold nothing across the unwind but their own buffers.
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, limits))).unwrap_or_else(|_| {
        Err(VisionError::Damaged {
            format: FormatName(format),
            detail: "the decoder gave up on it".to_owned(),
        })
    })
}

fn decode_as(format: ImageFormat, bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, VisionError> {
    let pixels = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, limits)?,
        ImageFormat::Avif | ImageFormat::Heic | ImageFormat::Jxl => {
            return Err(VisionError::Unsupported {
                what: FormatName(format).to_string(),
            });
        }
        _ => other::decode(format, bytes, limits)?,
    };
    let (orientation, exif) = exif::read(bytes);
    let pixels = orient(pixels, orientation);
    let (width, height) = pixels.dimensions();
    Ok(Decoded {
        pixels,
        width,
        height,
        format,
        exif,
    })
}

fn orient(pixels: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return pixels;
    }
    let mut image = DynamicImage::ImageRgb8(pixels);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

#[cfg(test)]
mod tests;
