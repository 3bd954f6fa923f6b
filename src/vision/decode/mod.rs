//! Any image file to oriented 8-bit RGB.
//!
//! The format is told by the content. Limits are checked against the header before pixels are allocated. EXIF
//! orientation is always applied, other colour spaces become sRGB, alpha is laid over white, 16 bits become 8, animations
//! give their first frame, camera raw files their largest preview.
//! A file that ends early or breaks its format's rules is refused: a half-grey image must never be compared.

#[cfg(feature = "avif")]
mod avif;
mod budget;
mod coded;
mod colour;
mod frames;
#[cfg(feature = "heic")]
mod heic;
mod jpeg;
mod other;
mod raw;
mod segments;
mod sniff;
mod spare;

pub use coded::{Coded, coded};
pub use sniff::sniff;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::error::FormatName;
use super::profile::Part;
use super::{VisionError, exif, fingerprint, resize};
use crate::types::{Beyond, ExifSummary, ImageFormat, PixelHash};
use jpeg::Jpeg;

pub(super) use budget::PixelBudget;
pub(super) use spare::keep;

/// JPEG files above this many pixels are not decoded at full size to be analysed.
///
/// Their [`PixelHash`] is taken over the compressed data instead: equal hashes still mean equal pixels, and a file whose
/// metadata was edited still has an equal hash, but a lossless copy in another container is found by its looks.
const FULL_DECODE_PIXELS: u64 = 2_000_000;

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
    /// Oriented pixels, alpha over white, first frame; smaller than the file's when that was allowed.
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

impl Decoded {
    /// The pixels squashed to `side` × `side` by area, as a network takes them.
    #[must_use]
    pub fn squashed(&self, side: u32) -> RgbImage {
        resize::squash(&self.pixels, side, side)
    }

    /// Turns pixels the way they are to be seen; `stored` are the sides in the file.
    fn oriented(
        pixels: RgbImage,
        stored: (u32, u32),
        orientation: Orientation,
        (format, exif): (ImageFormat, ExifSummary),
    ) -> Self {
        let (width, height) = match orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (stored.1, stored.0),
            _ => stored,
        };
        Self {
            pixels: orient(pixels.into(), orientation).into_rgb8(),
            width,
            height,
            format,
            exif,
        }
    }
}

/// Size at which an image is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// As it is in the file.
    Full,
    /// May be shrunk while it is decoded, down to these sides.
    AtLeast {
        /// Longer side in pixels.
        long: u32,
        /// Shorter side in pixels.
        short: u32,
    },
}

/// What analysing an image needs: pixels that may be shrunk already, and the identity of the full ones.
pub(super) struct Sampled {
    /// The image, with `pixels` at full size or shrunk; width and height are those of the full size.
    pub(super) decoded: Decoded,
    /// Identity of the oriented pixels at full size, with their transparency; files of several frames have one of their own.
    pub(super) pixel_hash: PixelHash,
    /// What of the file is not in `decoded`.
    pub(super) beyond: Beyond,
}

impl Sampled {
    /// An image that was decoded at full size, with the hash of its pixels.
    fn hashed(decoded: Decoded) -> Self {
        Self {
            pixel_hash: Part::Hash.count(|| fingerprint::pixel_hash(&decoded.pixels)),
            decoded,
            beyond: Beyond::default(),
        }
    }
}

/// Decodes a file at its full size.
///
/// # Errors
/// Any decoding variant of [`VisionError`]; each one's text is a reason for a person. Never panics on content.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, VisionError> {
    decode_to(bytes, limits, Demand::Full)
}

/// Decodes a file at a size that is cheap to reach: JPEG files are halved, quartered or eighthed while they are
/// decoded as long as `demand` is met, all others come at full size.
///
/// # Errors
/// As [`decode`].
pub fn decode_to(bytes: &[u8], limits: &DecodeLimits, demand: Demand) -> Result<Decoded, VisionError> {
    guarded(bytes, limits, |format| {
        let picture = picture(format, bytes, limits)?;
        let (orientation, exif) = read_exif(format, bytes, picture);
        let (pixels, stored) = match format {
            ImageFormat::Jpeg | ImageFormat::Raw => {
                let jpeg = Jpeg::open(picture, limits)?;
                let stored = (jpeg.width, jpeg.height);
                (jpeg.decode(demand)?, stored)
            }
            _ => {
                let pixels = other::decode(format, bytes, limits, |_| ())?.pixels;
                let stored = pixels.dimensions();
                (pixels, stored)
            }
        };
        Ok(Decoded::oriented(pixels, stored, orientation, (format, exif)))
    })
}

/// Decodes a file to be analysed: large JPEG files no larger than `demand` asks, all others at full size.
///
/// # Errors
/// As [`decode`].
pub(super) fn sample(
    bytes: &[u8],
    limits: &DecodeLimits,
    demand: Demand,
    budget: &PixelBudget,
) -> Result<Sampled, VisionError> {
    guarded(bytes, limits, |format| {
        let picture = Part::Decode.count(|| picture(format, bytes, limits))?;
        let (orientation, exif) = Part::Decode.count(|| read_exif(format, bytes, picture));
        let turned = |pixels, stored| Decoded::oriented(pixels, stored, orientation, (format, exif));
        if !matches!(format, ImageFormat::Jpeg | ImageFormat::Raw) {
            let (decoded, alpha) = Part::Decode.count(|| {
                let mut held = None;
                let flat = other::decode(format, bytes, limits, |count| held = Some(budget.take(count)))?;
                let stored = flat.pixels.dimensions();
                let alpha = flat
                    .alpha
                    .map(|alpha| orient(alpha.into(), orientation).into_luma8());
                Ok((turned(flat.pixels, stored), alpha))
            })?;
            let mut sampled = Sampled::hashed(decoded);
            sampled.beyond = Beyond {
                frames: frames::several(format, bytes),
                transparency: alpha.is_some(),
            };
            if sampled.beyond.frames {
                sampled.pixel_hash = fingerprint::frames_hash(bytes);
            } else if let Some(alpha) = alpha {
                sampled.pixel_hash = fingerprint::transparent_hash(&sampled.pixel_hash, &alpha);
            }
            return Ok(sampled);
        }
        let jpeg = Part::Decode.count(|| Jpeg::open(picture, limits))?;
        let stored = (jpeg.width, jpeg.height);
        let is_large = u64::from(stored.0) * u64::from(stored.1) > FULL_DECODE_PIXELS;
        let demand = if is_large { demand } else { Demand::Full };
        let stream_hash = if format == ImageFormat::Raw {
            Some(Part::Hash.count(|| raw::hash(bytes)))
        } else {
            is_large.then(|| Part::Hash.count(|| jpeg.stream_hash(orientation)))
        };
        let decoded = Part::Decode.count(|| {
            let _held = budget.take(jpeg.pixels_held(demand));
            jpeg.decode(demand).map(|pixels| turned(pixels, stored))
        })?;
        Ok(match stream_hash {
            Some(pixel_hash) => Sampled {
                decoded,
                pixel_hash,
                beyond: Beyond::default(),
            },
            None => Sampled::hashed(decoded),
        })
    })
}

/// The file itself, or the preview in a camera raw file.
fn picture<'a>(format: ImageFormat, bytes: &'a [u8], limits: &DecodeLimits) -> Result<&'a [u8], VisionError> {
    match format {
        ImageFormat::Raw => raw::preview(bytes, limits),
        _ => Ok(bytes),
    }
}

/// Tells the format and runs a decoder on it, a panic of which is an error like any other.
fn guarded<T>(
    bytes: &[u8],
    limits: &DecodeLimits,
    decode: impl FnOnce(ImageFormat) -> Result<T, VisionError>,
) -> Result<T, VisionError> {
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
    catch_unwind(AssertUnwindSafe(|| decode(format))).unwrap_or_else(|_| {
        Err(VisionError::Damaged {
            format: FormatName(format),
            detail: "the decoder gave up on it".to_owned(),
        })
    })
}

/// EXIF of a file, or of the `picture` inside where the container says nothing. Formats that turn a picture by properties of
/// their own have done so when it is decoded, whatever EXIF says (ISO/IEC 23000-22, 18181-2).
fn read_exif(format: ImageFormat, bytes: &[u8], picture: &[u8]) -> (Orientation, ExifSummary) {
    let found = exif::read(bytes);
    match format {
        ImageFormat::Raw if found == (Orientation::NoTransforms, ExifSummary::default()) => {
            exif::read(picture)
        }
        ImageFormat::Avif | ImageFormat::Heic | ImageFormat::Jxl => (Orientation::NoTransforms, found.1),
        _ => found,
    }
}

fn orient(mut image: DynamicImage, orientation: Orientation) -> DynamicImage {
    image.apply_orientation(orientation);
    image
}

#[cfg(all(test, feature = "avif", feature = "heic", feature = "jxl"))]
mod samples;
#[cfg(test)]
mod tests;
