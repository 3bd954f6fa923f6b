//! A picture as its file codes it: brightness in the grid of its blocks, and how coarsely they were rounded.

use super::jpeg::Jpeg;
use super::{DecodeLimits, guarded, other, segments};
use crate::types::ImageFormat;
use crate::vision::VisionError;

/// Brightness of a picture at full size, not turned, with what its compression rounded to.
#[derive(Debug, Clone)]
pub struct Coded {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Brightness, 0 to 255, rows from the top.
    pub luma: Vec<u8>,
    /// Steps of the 8×8 cosine transform's coefficients, rows of frequencies from the lowest (a JPEG file); `None` where nothing
    /// was lost.
    pub steps: Option<[u16; 64]>,
}

/// Reads the brightness of a file that is a JPEG or that loses nothing; `None` for any other, whose rounding leaves no grid.
///
/// # Errors
/// As [`decode`](super::decode()).
pub fn coded(bytes: &[u8], limits: &DecodeLimits) -> Result<Option<Coded>, VisionError> {
    guarded(bytes, limits, |format| match format {
        ImageFormat::Jpeg => {
            let Some(steps) = segments::luma_steps(bytes) else {
                return Ok(None);
            };
            Ok(Jpeg::open(bytes, limits)?
                .luma()?
                .map(|(width, height, luma)| Coded {
                    width,
                    height,
                    luma,
                    steps: Some(steps),
                }))
        }
        ImageFormat::Raw => Ok(None),
        _ if format.is_lossy() => Ok(None),
        _ => {
            let pixels = other::decode(format, bytes, limits, |_| ())?.pixels;
            let level = |&[r, g, b]: &[u8; 3]| {
                let sum = 19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b);
                ((sum + (1 << 15)) >> 16) as u8
            };
            Ok(Some(Coded {
                width: pixels.width() as usize,
                height: pixels.height() as usize,
                luma: pixels.as_raw().as_chunks().0.iter().map(level).collect(),
                steps: None,
            }))
        }
    })
}
