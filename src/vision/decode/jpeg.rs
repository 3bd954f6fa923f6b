//! JPEG by libjpeg-turbo.

use image::RgbImage;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

use super::super::error::FormatName;
use super::DecodeLimits;
use crate::types::ImageFormat;
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

/// Decodes to RGB, not yet oriented.
///
/// CMYK and YCCK are taken as Adobe writes them (inverted, 255 is no ink), as every viewer does.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, VisionError> {
    let mut decompressor = Decompressor::new().map_err(|e| refusal(&e))?;
    let header = decompressor.read_header(bytes).map_err(|e| refusal(&e))?;
    let side = |x: usize| u32::try_from(x).unwrap_or(u32::MAX);
    let (width, height) = (side(header.width), side(header.height));
    limits.check(width, height)?;
    decompressor.set_scan_limit(MAX_SCANS).map_err(|e| refusal(&e))?;

    let inked = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let format = if inked {
        PixelFormat::CMYK
    } else {
        PixelFormat::RGB
    };
    let pitch = header.width * format.size();
    let mut pixels = vec![0; pitch * header.height];
    let target = Image {
        pixels: pixels.as_mut_slice(),
        width: header.width,
        pitch,
        height: header.height,
        format,
    };
    match decompressor.decompress(bytes, target) {
        Err(turbojpeg::Error::TurboJpegError(text)) if HARMLESS.iter().any(|h| text.contains(h)) => {}
        other => other.map_err(|e| refusal(&e))?,
    }
    if inked {
        pixels = rgb_of_inverted_cmyk(&pixels);
    }
    Ok(RgbImage::from_raw(width, height, pixels).expect("three bytes were decoded for each pixel"))
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
        .trim_start_matches("tj3Decompress8(): ");
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&[
        "Premature end of",
        "premature end of",
        "Could not determine",
        "Missing SOS",
        "Empty input",
    ]) {
        VisionError::Truncated {
            format,
            detail: detail.to_owned(),
        }
    } else if says(&[
        "Unsupported",
        "not supported",
        "Unsupported JPEG data precision",
        "precision",
    ]) {
        VisionError::Unsupported {
            what: format!("this kind of JPEG ({detail})"),
        }
    } else {
        VisionError::Damaged {
            format,
            detail: detail.to_owned(),
        }
    }
}
