//! Why an image could not be read or embedded, in words for a person.

use crate::error::ErrorKind;
use crate::types::ImageFormat;

/// Why `vision` refused a file or failed on it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VisionError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than the limit.
    #[error("{bytes} bytes exceed the limit of {limit} bytes")]
    FileTooLarge {
        /// Size of the file.
        bytes: u64,
        /// [`DecodeLimits::max_file_bytes`](super::DecodeLimits::max_file_bytes).
        limit: u64,
    },
    /// The content is of no image format known here.
    #[error("not an image: {looks_like}")]
    NotAnImage {
        /// What the content looks like instead.
        looks_like: &'static str,
    },
    /// An image of a format or a variant that this build does not decode.
    #[error("{what} is not supported")]
    Unsupported {
        /// The format or the variant.
        what: String,
    },
    /// The header announces more pixels than the limit.
    #[error("{width} × {height} pixels exceed the limit of {} megapixels", .max_pixels / 1_000_000)]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`DecodeLimits::max_pixels`](super::DecodeLimits::max_pixels).
        max_pixels: u64,
    },
    /// The header announces a side that is longer than the limit.
    #[error("{width} × {height} pixels exceed the limit of {max_side} pixels a side")]
    SideTooLong {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`DecodeLimits::max_side`](super::DecodeLimits::max_side).
        max_side: u32,
    },
    /// The header announces an image without pixels.
    #[error("the image has no pixels ({width} × {height})")]
    NoPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
    },
    /// The file ends before the image does.
    #[error("truncated {format}: {detail}")]
    Truncated {
        /// Format told by the first bytes.
        format: FormatName,
        /// The decoder's words.
        detail: String,
    },
    /// The file breaks the rules of its format.
    #[error("damaged {format}: {detail}")]
    Damaged {
        /// Format told by the first bytes.
        format: FormatName,
        /// The decoder's words.
        detail: String,
    },
    /// A weights file cannot be used.
    #[error("unusable weights: {detail}")]
    Weights {
        /// What is wrong with it.
        detail: String,
    },
    /// The network failed on an image, or gave a vector without direction.
    #[error("embedding failed: {detail}")]
    Embedding {
        /// What went wrong.
        detail: String,
    },
}

impl VisionError {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty
            | Self::FileTooLarge { .. }
            | Self::NotAnImage { .. }
            | Self::Unsupported { .. }
            | Self::TooManyPixels { .. }
            | Self::SideTooLong { .. }
            | Self::NoPixels { .. }
            | Self::Truncated { .. }
            | Self::Damaged { .. } => ErrorKind::Invalid,
            Self::Weights { .. } => ErrorKind::Corrupt,
            Self::Embedding { .. } => ErrorKind::Internal,
        }
    }
}

/// A format as people write it: "JPEG", "WebP".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatName(pub ImageFormat);

impl std::fmt::Display for FormatName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            ImageFormat::Jpeg => "JPEG",
            ImageFormat::Png => "PNG",
            ImageFormat::WebP => "WebP",
            ImageFormat::Gif => "GIF",
            ImageFormat::Bmp => "BMP",
            ImageFormat::Tiff => "TIFF",
            ImageFormat::Ico => "ICO",
            ImageFormat::Pnm => "PNM",
            ImageFormat::Qoi => "QOI",
            ImageFormat::Tga => "TGA",
            ImageFormat::Avif => "AVIF",
            ImageFormat::Heic => "HEIC",
            ImageFormat::Jxl => "JPEG XL",
            ImageFormat::Raw => "camera raw",
        })
    }
}
