//! Every format but JPEG: most by the `image` crate, the pixels of still WebP by libwebp, which takes half the time for
//! them, JPEG XL by `jxl-oxide`, HEIC and AVIF by rooms of their own.

use std::error::Error;
use std::io::{Cursor, ErrorKind};

use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage, RgbaImage};

use super::super::error::FormatName;
use super::DecodeLimits;
use super::colour::Conversion;
use crate::types::ImageFormat;
use crate::vision::VisionError;

/// A picture as its decoder left it.
pub(super) struct Picture {
    /// Pixels of any kind.
    pub(super) image: DynamicImage,
    /// ICC profile of their colours.
    pub(super) profile: Option<Vec<u8>>,
}

/// A picture laid over white.
pub(super) struct Flat {
    pub(super) pixels: RgbImage,
    /// How opaque each pixel was, unless all were.
    pub(super) alpha: Option<GrayImage>,
}

/// Decodes to RGB over white, not yet oriented by EXIF. `announce` is told the number of pixels before they are allocated.
pub(super) fn decode(
    format: ImageFormat,
    bytes: &[u8],
    limits: &DecodeLimits,
    announce: impl FnOnce(u64),
) -> Result<Flat, VisionError> {
    let picture = match format {
        #[cfg(feature = "avif")]
        ImageFormat::Avif => super::avif::decode(bytes, limits, announce)?,
        #[cfg(feature = "heic")]
        ImageFormat::Heic => super::heic::decode(bytes, limits, announce)?,
        ImageFormat::Ico => match png_in_icon(bytes) {
            Some(png) => by_image(ImageFormat::Png, png, limits, announce)?,
            None => by_image(format, bytes, limits, announce)?,
        },
        _ => by_image(format, bytes, limits, announce)?,
    };
    let mut flat = over_white(picture.image);
    if let Some(conversion) = picture.profile.and_then(|icc| Conversion::of(&icc)) {
        conversion.apply(&mut flat.pixels);
    }
    Ok(flat)
}

/// The largest picture of an icon file, if it is a PNG: `image` takes only those with transparency.
fn png_in_icon(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?));
    let entries = bytes.get(6..)?.as_chunks::<16>().0.iter().take(count);
    // 0 stands for 256
    let side = |side: u8| u32::from(side.wrapping_sub(1)) + 1;
    let largest = entries.max_by_key(|entry| (side(entry[0]) * side(entry[1]), entry[6]))?;
    let number = |at: usize| {
        let number = largest.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*number)).ok()
    };
    let (length, start) = (number(8)?, number(12)?);
    let picture = bytes.get(start..start.checked_add(length)?)?;
    picture.starts_with(b"\x89PNG").then_some(picture)
}

fn by_image(
    format: ImageFormat,
    bytes: &[u8],
    limits: &DecodeLimits,
    announce: impl FnOnce(u64),
) -> Result<Picture, VisionError> {
    let refuse = |error: ImageError| refusal(format, &error);
    let mut allocation = Limits::default();
    // sixteen bytes are the widest pixel (four f32 channels)
    allocation.max_alloc = Some(limits.max_pixels.saturating_mul(16));
    let mut decoder = open(format, bytes, allocation)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    announce(u64::from(width) * u64::from(height));
    // a profile that cannot be read says nothing about the pixels
    let profile = decoder.icc_profile().ok().flatten();
    let still_webp = (format == ImageFormat::WebP).then(|| webp(bytes)).flatten();
    let image = match still_webp {
        Some(image) => image,
        // what libwebp leaves: animations, and files that are refused here with a reason
        None => DynamicImage::from_decoder(decoder).map_err(refuse)?,
    };
    Ok(Picture { image, profile })
}

/// A decoder that has read the header.
fn open(
    format: ImageFormat,
    bytes: &[u8],
    allocation: Limits,
) -> Result<Box<dyn ImageDecoder + '_>, VisionError> {
    let refuse = |error: ImageError| refusal(format, &error);
    #[cfg(feature = "jxl")]
    if format == ImageFormat::Jxl {
        // the decoder shows as much as there is
        let image = jxl_oxide::JxlImage::builder()
            .read(bytes)
            .map_err(|error| VisionError::Damaged {
                format: FormatName(format),
                detail: error.to_string(),
            })?;
        if !image.is_loading_done() {
            return Err(VisionError::Truncated {
                format: FormatName(format),
                detail: "its last frame is not whole".to_owned(),
            });
        }
        let mut decoder = jxl_oxide::integration::JxlDecoder::new(bytes).map_err(refuse)?;
        decoder.set_limits(allocation).map_err(refuse)?;
        return Ok(Box::new(decoder));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), decoder_of(format)?);
    reader.limits(allocation);
    Ok(Box::new(reader.into_decoder().map_err(refuse)?))
}

/// The pixels of a WebP file without animation; `None` when libwebp cannot decode it.
fn webp(bytes: &[u8]) -> Option<DynamicImage> {
    let image = webp::Decoder::new(bytes).decode()?;
    let (width, height) = (image.width(), image.height());
    if image.is_alpha() {
        RgbaImage::from_raw(width, height, image.to_vec()).map(DynamicImage::ImageRgba8)
    } else {
        RgbImage::from_raw(width, height, image.to_vec()).map(DynamicImage::ImageRgb8)
    }
}

fn decoder_of(format: ImageFormat) -> Result<image::ImageFormat, VisionError> {
    Ok(match format {
        ImageFormat::Jpeg => image::ImageFormat::Jpeg,
        ImageFormat::Png => image::ImageFormat::Png,
        ImageFormat::WebP => image::ImageFormat::WebP,
        ImageFormat::Gif => image::ImageFormat::Gif,
        ImageFormat::Bmp => image::ImageFormat::Bmp,
        ImageFormat::Tiff => image::ImageFormat::Tiff,
        ImageFormat::Ico => image::ImageFormat::Ico,
        ImageFormat::Pnm => image::ImageFormat::Pnm,
        ImageFormat::Qoi => image::ImageFormat::Qoi,
        ImageFormat::Tga => image::ImageFormat::Tga,
        ImageFormat::Avif | ImageFormat::Heic | ImageFormat::Jxl | ImageFormat::Raw => {
            return Err(VisionError::Unsupported {
                what: format!("{} in this build", FormatName(format)),
            });
        }
    })
}

/// Lays alpha over white; 16-bit and float channels become 8-bit.
fn over_white(image: DynamicImage) -> Flat {
    if !image.color().has_alpha() {
        return Flat {
            pixels: image.into_rgb8(),
            alpha: None,
        };
    }
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for &[r, g, b, a] in rgba.as_raw().as_chunks::<4>().0 {
        let alpha = u32::from(a);
        for channel in [r, g, b] {
            let mixed = (u32::from(channel) * alpha + 255 * (255 - alpha) + 127) / 255;
            #[expect(clippy::cast_possible_truncation, reason = "a mean of two bytes is a byte")]
            rgb.push(mixed as u8);
        }
    }
    let alphas = || rgba.as_raw().iter().skip(3).step_by(4).copied();
    let alpha = alphas()
        .any(|a| a != u8::MAX)
        .then(|| GrayImage::from_raw(width, height, alphas().collect()).expect("one byte for each pixel"));
    Flat {
        pixels: RgbImage::from_raw(width, height, rgb).expect("three bytes were pushed for each pixel"),
        alpha,
    }
}

fn refusal(format: ImageFormat, error: &ImageError) -> VisionError {
    let name = FormatName(format);
    let detail = innermost(error);
    match error {
        ImageError::Unsupported(_) => VisionError::Unsupported {
            what: format!("this kind of {name} ({detail})"),
        },
        _ if ends_early(error) => VisionError::Truncated { format: name, detail },
        _ => VisionError::Damaged { format: name, detail },
    }
}

/// The words of the deepest cause: those above repeat the format's name.
fn innermost(error: &ImageError) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof)
        {
            return true;
        }
        let text = error.to_string().to_lowercase();
        if [
            "unexpected end",
            "unexpected eof",
            "truncated",
            "not enough data",
            "failed to fill whole buffer",
            "no more bytes",
        ]
        .iter()
        .any(|words| text.contains(words))
        {
            return true;
        }
        cause = error.source();
    }
    false
}
