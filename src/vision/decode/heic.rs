//! HEIC, the photographs of many telephones, by `heic-decoder`: HEVC stills and grids of them, in safe Rust.

use heic_decoder::HeifError;
use image::{DynamicImage, RgbImage, RgbaImage};
use rayon::ThreadPoolBuilder;

use super::DecodeLimits;
use super::other::Picture;
use crate::types::ImageFormat;
use crate::vision::VisionError;
use crate::vision::error::FormatName;

/// Decodes the primary image, turned and cropped as its container says (ISO/IEC 23008-12).
pub(super) fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
    announce: impl FnOnce(u64),
) -> Result<Picture, VisionError> {
    let info = heic_decoder::probe(bytes).map_err(refusal)?;
    // what is cropped away is decoded too
    for (width, height) in [(info.coded_width, info.coded_height), (info.width, info.height)] {
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        limits.check(side(width), side(height))?;
    }
    announce(info.coded_width as u64 * info.coded_height as u64);
    let decoded = on_one_thread(|| heic_decoder::decode(bytes))?.map_err(refusal)?;
    let image = if decoded.alpha.is_some() {
        let rgba = decoded.to_rgba8().map_err(refusal)?;
        sides(rgba.width, rgba.height)
            .and_then(|(width, height)| RgbaImage::from_raw(width, height, rgba.data))
            .map(DynamicImage::ImageRgba8)
    } else {
        let rgb = decoded.to_rgb8().map_err(refusal)?;
        sides(rgb.width, rgb.height)
            .and_then(|(width, height)| RgbImage::from_raw(width, height, rgb.data))
            .map(DynamicImage::ImageRgb8)
    };
    Ok(Picture {
        image: image.ok_or_else(|| damaged("its sides do not fit its pixels".to_owned()))?,
        profile: decoded.metadata.icc_profile,
    })
}

/// The decoder shares the tiles of a picture out to rayon. A caller that is a worker itself would meanwhile take up other
/// images, and wait for pixels of the budget that it holds itself: here it waits for a thread that is a pool of its own.
fn on_one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, VisionError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let pool = ThreadPoolBuilder::new()
                .num_threads(1)
                .use_current_thread()
                .build();
            pool.map(|_pool| work())
        });
        thread.join()
    })
    .map_err(|_| damaged("the decoder gave up on it".to_owned()))?
    .map_err(|error| damaged(format!("no thread to decode it: {error}")))
}

fn sides(width: usize, height: usize) -> Option<(u32, u32)> {
    Some((width.try_into().ok()?, height.try_into().ok()?))
}

fn refusal(error: HeifError) -> VisionError {
    let format = FormatName(ImageFormat::Heic);
    match error {
        HeifError::Unsupported(what) => VisionError::Unsupported {
            what: format!("this kind of {format} ({what})"),
        },
        HeifError::Truncated { .. } => VisionError::Truncated {
            format,
            detail: error.to_string(),
        },
        _ => damaged(error.to_string()),
    }
}

fn damaged(detail: String) -> VisionError {
    VisionError::Damaged {
        format: FormatName(ImageFormat::Heic),
        detail,
    }
}
