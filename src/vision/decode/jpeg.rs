//! JPEG by libjpeg-turbo, at full size or shrunk while it is decoded.

use image::RgbImage;
use image::metadata::Orientation;
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor};

use super::super::error::FormatName;
use super::colour::Conversion;
use super::{DecodeLimits, Demand, segments, spare};
use crate::types::{ImageFormat, PixelHash};
use crate::vision::VisionError;

/// Most scans of a progressive file. Encoders write about ten; a small file with thousands of scans over a large
/// image would keep the decoder busy for minutes.
const MAX_SCANS: u32 = 200;

/// Warnings of libjpeg that say nothing about the pixels. All others mean that part of the image is missing or wrong.
const HARMLESS: [&str; 4] = [
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
    "bad ICC marker",
];

/// A JPEG whose header was read and found within the limits.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decompressor: Decompressor,
    header: DecompressHeader,
    /// The profile of a colour space other than sRGB, and the way out of it.
    profile: Option<(Vec<u8>, Conversion)>,
    /// As stored, not yet oriented.
    pub(super) width: u32,
    pub(super) height: u32,
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Self, VisionError> {
        let mut decompressor = Decompressor::new().map_err(|e| refusal(&e))?;
        let header = decompressor.read_header(bytes).map_err(|e| refusal(&e))?;
        let side = |x: usize| u32::try_from(x).unwrap_or(u32::MAX);
        let (width, height) = (side(header.width), side(header.height));
        limits.check(width, height)?;
        decompressor.set_scan_limit(MAX_SCANS).map_err(|e| refusal(&e))?;
        Ok(Self {
            bytes,
            decompressor,
            header,
            profile: segments::icc_profile(bytes).and_then(|icc| {
                let conversion = Conversion::of(&icc)?;
                Some((icc, conversion))
            }),
            width,
            height,
        })
    }

    /// Whether it is a picture as cameras show it, and no samples packed without loss.
    #[cfg(feature = "raw")]
    pub(super) fn is_picture(&self) -> bool {
        !self.header.is_lossless
    }

    /// Pixels in memory while the file is decoded for `demand`; a progressive file is held whole.
    pub(super) fn pixels_held(&self, demand: Demand) -> u64 {
        let scaled = if self.header.is_progressive {
            self.header
        } else {
            self.header.scaled(self.scale(demand))
        };
        (scaled.width * scaled.height) as u64
    }

    /// The strongest reduction that still gives what is asked for. Halves, quarters and eighths have fast paths in
    /// libjpeg-turbo, other ratios do not.
    fn scale(&self, demand: Demand) -> ScalingFactor {
        let (long, short) = match demand {
            Demand::Full => return ScalingFactor::ONE,
            Demand::AtLeast { long, short } => (long as usize, short as usize),
        };
        let enough = |scale: &ScalingFactor| {
            let scaled = self.header.scaled(*scale);
            scaled.width.max(scaled.height) >= long && scaled.width.min(scaled.height) >= short
        };
        [
            ScalingFactor::ONE_EIGHTH,
            ScalingFactor::ONE_QUARTER,
            ScalingFactor::ONE_HALF,
        ]
        .into_iter()
        .find(|scale| !self.header.is_lossless && enough(scale))
        .unwrap_or(ScalingFactor::ONE)
    }

    /// Decodes to RGB, not yet oriented.
    ///
    /// CMYK and YCCK are taken as Adobe writes them (inverted, 255 is no ink), as every viewer does; RGB of another colour
    /// space becomes sRGB.
    pub(super) fn decode(mut self, demand: Demand) -> Result<RgbImage, VisionError> {
        let scale = self.scale(demand);
        self.decompressor
            .set_scaling_factor(scale)
            .map_err(|e| refusal(&e))?;
        let DecompressHeader { width, height, .. } = self.header.scaled(scale);
        let inked = matches!(self.header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let format = if inked {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGB
        };
        let pitch = width * format.size();
        let mut pixels = spare::buffer(pitch * height);
        let target = Image {
            pixels: pixels.as_mut_slice(),
            width,
            pitch,
            height,
            format,
        };
        match self.decompressor.decompress(self.bytes, target) {
            Err(turbojpeg::Error::TurboJpegError(text)) if HARMLESS.iter().any(|h| text.contains(h)) => {}
            other => other.map_err(|e| refusal(&e))?,
        }
        if inked {
            pixels = rgb_of_inverted_cmyk(&pixels);
        }
        let side = |x: usize| u32::try_from(x).expect("no larger than the header's side, which is a u32");
        let mut image = RgbImage::from_raw(side(width), side(height), pixels)
            .expect("three bytes were decoded for each pixel");
        if let Some((_, conversion)) = &self.profile {
            conversion.apply(&mut image);
        }
        Ok(image)
    }

    /// Width, height and brightness as stored, without a colour profile; `None` where the file does not hold brightness apart.
    pub(super) fn luma(mut self) -> Result<Option<(usize, usize, Vec<u8>)>, VisionError> {
        let has_luma = matches!(self.header.colorspace, Colorspace::YCbCr | Colorspace::Gray);
        if !has_luma || self.header.is_lossless {
            return Ok(None);
        }
        let (width, height) = (self.header.width, self.header.height);
        let mut pixels = vec![0; width * height];
        let target = Image {
            pixels: pixels.as_mut_slice(),
            width,
            pitch: width,
            height,
            format: PixelFormat::GRAY,
        };
        match self.decompressor.decompress(self.bytes, target) {
            Err(turbojpeg::Error::TurboJpegError(text)) if HARMLESS.iter().any(|h| text.contains(h)) => {}
            other => other.map_err(|e| refusal(&e))?,
        }
        Ok(Some((width, height, pixels)))
    }

    /// Hash of all that decides the pixels: the file without its metadata segments, the colour space, the orientation, and
    /// the colour profile where it is not sRGB.
    ///
    /// Equal hashes mean equal pixels. Files with equal pixels can differ here (other Huffman tables, other container);
    /// they are matched by their looks then.
    pub(super) fn stream_hash(&self, orientation: Orientation) -> PixelHash {
        let mut hasher =
            blake3::Hasher::new_derive_key("doppel 1 pixels of a large JPEG, by its compressed data");
        hasher.update(&[self.header.colorspace as u8, orientation.to_exif()]);
        if let Some((icc, _)) = &self.profile {
            hasher.update(icc);
        }
        for part in segments::essential(self.bytes) {
            hasher.update(part);
        }
        PixelHash::from_bytes(*hasher.finalize().as_bytes())
    }
}

fn rgb_of_inverted_cmyk(cmyk: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(cmyk.len() / 4 * 3);
    for &[c, m, y, k] in cmyk.as_chunks::<4>().0 {
        for ink in [c, m, y] {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a product of bytes over 255 is a byte"
            )]
            rgb.push(((u32::from(ink) * u32::from(k) + 127) / 255) as u8);
        }
    }
    rgb
}

/// Sorts libjpeg's words into truncated, unsupported and damaged.
fn refusal(error: &turbojpeg::Error) -> VisionError {
    let format = FormatName(ImageFormat::Jpeg);
    let turbojpeg::Error::TurboJpegError(text) = error else {
        return VisionError::Damaged {
            format,
            detail: error.to_string(),
        };
    };
    let detail = text
        .trim_start_matches("tj3DecompressHeader(): ")
        .trim_start_matches("tj3Decompress8(): ")
        .to_owned();
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&[
        "remature end of",
        "Could not determine",
        "Missing SOS",
        "Empty input",
    ]) {
        VisionError::Truncated { format, detail }
    } else if says(&["Unsupported", "not supported", "precision"]) {
        VisionError::Unsupported {
            what: format!("this kind of JPEG ({detail})"),
        }
    } else {
        VisionError::Damaged { format, detail }
    }
}
