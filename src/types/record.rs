//! What is known of one stored image.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Beyond, ContentHash, Embedding, ImageId, PdqHash, PixelHash};

/// File format that an image was decoded from, told by its content and never by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the format it names")]
pub enum ImageFormat {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Ico,
    Pnm,
    Qoi,
    Tga,
    Avif,
    Heic,
    Jxl,
    Raw,
}

/// Why a text is not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image format known here")]
pub struct UnknownFormat {
    text: String,
}

impl ImageFormat {
    /// All formats.
    pub const ALL: [Self; 14] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Ico,
        Self::Pnm,
        Self::Qoi,
        Self::Tga,
        Self::Avif,
        Self::Heic,
        Self::Jxl,
        Self::Raw,
    ];

    /// The format as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Ico => "ico",
            Self::Pnm => "pnm",
            Self::Qoi => "qoi",
            Self::Tga => "tga",
            Self::Avif => "avif",
            Self::Heic => "heic",
            Self::Jxl => "jxl",
            Self::Raw => "raw",
        }
    }
}

impl ImageFormat {
    /// Whether writing the format usually loses detail, so that pixels read from it were made by it.
    #[must_use]
    pub const fn is_lossy(self) -> bool {
        match self {
            Self::Jpeg | Self::WebP | Self::Avif | Self::Heic | Self::Jxl => true,
            Self::Png
            | Self::Gif
            | Self::Bmp
            | Self::Tiff
            | Self::Ico
            | Self::Pnm
            | Self::Qoi
            | Self::Tga
            | Self::Raw => false,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ImageFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| UnknownFormat {
                text: text.chars().take(40).collect(),
            })
    }
}

/// The part of a file's EXIF data that matching uses or that people search by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExifSummary {
    /// Maker and model of the camera, as one text.
    pub camera: Option<String>,
    /// `DateTimeOriginal`, in the camera's local time (EXIF has no zone there).
    pub taken: Option<NaiveDateTime>,
    /// Hundredths of a second of `taken` (`SubSecTimeOriginal`), 0 when unknown.
    pub taken_centis: u8,
}

/// Everything about an image that matching compares. Dimensions are after orientation.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    /// BLAKE3 of the file.
    pub content_hash: ContentHash,
    /// BLAKE3 of the oriented pixels.
    pub pixel_hash: PixelHash,
    /// PDQ of the oriented image.
    pub pdq: PdqHash,
    /// PDQ's quality, 0 to 100: below 50 the image is too featureless for its hash to mean anything.
    pub pdq_quality: u8,
    /// CNN embedding.
    pub embedding: Embedding,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Camera and time.
    pub exif: ExifSummary,
}

/// One image of a collection, as stored in WAL and segments.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Identity: a prefix of the content hash.
    pub id: ImageId,
    /// The uploaded file's name.
    pub name: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Format of the file.
    pub format: ImageFormat,
    /// What the file holds beyond the picture that is compared; nothing in records of before it was noted.
    pub beyond: Beyond,
    /// When the image was acknowledged.
    pub created: DateTime<Utc>,
    /// Labels given by the uploader.
    pub tags: Vec<String>,
    /// What matching compares.
    pub fingerprint: Fingerprint,
}
