//! Camera raw files: told from other files of the same container, and represented by the largest preview inside.
//!
//! What a sensor recorded is no picture before it is developed. Every camera puts a developed JPEG beside it, most of them at
//! full size: that is what is looked at.

#[cfg(feature = "raw")]
use super::jpeg::Jpeg;
use super::{DecodeLimits, PixelHash, VisionError};

/// Directories of a TIFF container that are looked through, at most.
const DIRECTORIES: usize = 64;
/// Embedded pictures that are looked at, at most.
#[cfg(feature = "raw")]
const PREVIEWS: usize = 64;

/// Whether the content is a camera raw file: by its signature, or by a TIFF directory that holds the samples of a sensor.
/// Sources: TIFF 6.0, TIFF/EP (ISO 12234-2), the DNG specification 1.7.
pub(super) fn is_raw(bytes: &[u8]) -> bool {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let is_crx = bytes.get(4..12) == Some(b"ftypcrx ");
    let by_signature = starts(b"FUJIFILMCCD-RAW") || starts(b"IIU\0") || starts(b"IIRO") || starts(b"IIRS");
    by_signature || starts(b"MMOR") || is_crx || (is_tiff(bytes) && holds_samples(bytes).unwrap_or(false))
}

fn is_tiff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*")
}

/// Whether a directory of a TIFF file is of a colour filter array, of linear samples, or of a DNG. `None` where it cannot be
/// read to its end.
fn holds_samples(bytes: &[u8]) -> Option<bool> {
    const PHOTOMETRIC: u16 = 262;
    const SUB_DIRECTORIES: u16 = 330;
    const DNG_VERSION: u16 = 50_706;
    const OF_A_SENSOR: [u32; 2] = [32_803, 34_892];
    // Canon's CR2 says so behind the header.
    if bytes.get(8..10) == Some(b"CR") {
        return Some(true);
    }
    let file = Numbers::of(bytes);
    let mut waiting = vec![file.long(4)?];
    for _ in 0..DIRECTORIES {
        let Some(at) = waiting.pop().filter(|at| *at != 0) else {
            if waiting.is_empty() {
                break;
            }
            continue;
        };
        let at = at as usize;
        let count = usize::from(file.short(at)?);
        for entry in (0..count).map(|i| at + 2 + 12 * i) {
            let (tag, kind, values) = (file.short(entry)?, file.short(entry + 2)?, file.long(entry + 4)?);
            match tag {
                DNG_VERSION => return Some(true),
                PHOTOMETRIC => {
                    let long = kind == 4;
                    let value = if long {
                        file.long(entry + 8)?
                    } else {
                        u32::from(file.short(entry + 8)?)
                    };
                    if OF_A_SENSOR.contains(&value) {
                        return Some(true);
                    }
                }
                // One offset stands in the entry itself, several elsewhere.
                SUB_DIRECTORIES if kind == 4 || kind == 13 => {
                    let list = if values == 1 {
                        entry + 8
                    } else {
                        file.long(entry + 8)? as usize
                    };
                    let offsets =
                        (0..(values as usize).min(DIRECTORIES)).map_while(|i| file.long(list + 4 * i));
                    waiting.extend(offsets);
                }
                _ => {}
            }
        }
        waiting.push(file.long(at + 2 + 12 * count)?);
    }
    Some(false)
}

/// Numbers of a TIFF file.
pub(super) struct Numbers<'a> {
    bytes: &'a [u8],
    pub(super) is_little: bool,
}

impl<'a> Numbers<'a> {
    /// In the order of bytes that the header says.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let is_little = bytes.starts_with(b"II");
        Self { bytes, is_little }
    }

    pub(super) fn short(&self, at: usize) -> Option<u16> {
        self.number(at).map(u16::from_le_bytes)
    }

    pub(super) fn long(&self, at: usize) -> Option<u32> {
        self.number(at).map(u32::from_le_bytes)
    }

    pub(super) fn wide(&self, at: usize) -> Option<u64> {
        self.number(at).map(u64::from_le_bytes)
    }

    /// The bytes of a number, the least first.
    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut number = *self.bytes.get(at..)?.first_chunk()?;
        if !self.is_little {
            number.reverse();
        }
        Some(number)
    }
}

/// What decides the pixels of a camera raw file is all of it: the preview is only how it looks.
pub(super) fn hash(bytes: &[u8]) -> PixelHash {
    let mut hasher = blake3::Hasher::new_derive_key("doppel 1 pixels of a camera raw file, by its bytes");
    hasher.update(bytes);
    PixelHash::from_bytes(*hasher.finalize().as_bytes())
}

/// This build leaves previews out.
#[cfg(not(feature = "raw"))]
pub(super) fn preview<'a>(_: &'a [u8], _: &DecodeLimits) -> Result<&'a [u8], VisionError> {
    Err(VisionError::Unsupported {
        what: "camera raw in this build".to_owned(),
    })
}

/// The largest JPEG inside: from its start to the end of the file.
///
/// # Errors
/// [`VisionError::Unsupported`] without one; the limit it is beyond, if all are beyond one.
#[cfg(feature = "raw")]
pub(super) fn preview<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<&'a [u8], VisionError> {
    let mut best: Option<(u64, &[u8])> = None;
    let mut refused = None;
    for at in memchr::memmem::find_iter(bytes, b"\xff\xd8\xff").take(PREVIEWS) {
        let inside = &bytes[at..];
        match Jpeg::open(inside, limits) {
            Ok(jpeg) if jpeg.is_picture() => {
                let pixels = u64::from(jpeg.width) * u64::from(jpeg.height);
                if best.is_none_or(|(most, _)| pixels > most) {
                    best = Some((pixels, inside));
                }
            }
            Err(error @ (VisionError::TooManyPixels { .. } | VisionError::SideTooLong { .. })) => {
                refused = Some(error)
            }
            // The samples of the sensor may be packed as JPEG does without loss, or look like the start of one by chance.
            Ok(_) | Err(_) => {}
        }
    }
    best.map(|(_, inside)| inside).ok_or_else(|| {
        refused.unwrap_or_else(|| VisionError::Unsupported {
            what: "a camera raw file without a preview".to_owned(),
        })
    })
}

#[cfg(all(test, feature = "raw"))]
mod tests {
    use image::RgbImage;
    use image::codecs::jpeg::JpegEncoder;

    use super::super::{Demand, PixelBudget, decode, sample, sniff};
    use super::*;
    use crate::types::ImageFormat;

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 2) as u8, (y * 2) as u8, 90])
        });
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90)
            .encode_image(&image)
            .expect("encodes");
        bytes
    }

    /// A TIFF file with a directory of `entries` (tag, value), a directory of samples below it, and `parts` behind them.
    fn tiff(is_little: bool, entries: &[(u16, u32)], sub: &[(u16, u32)], parts: &[Vec<u8>]) -> Vec<u8> {
        let short = |v: u16| {
            if is_little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let long = |v: u32| {
            if is_little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let mut bytes = if is_little {
            b"II*\0".to_vec()
        } else {
            b"MM\0*".to_vec()
        };
        bytes.extend(long(8));
        for entries in [entries, sub].into_iter().filter(|entries| !entries.is_empty()) {
            bytes.extend(short(u16::try_from(entries.len()).expect("few")));
            for &(tag, value) in entries {
                bytes.extend(short(tag));
                if tag == 330 {
                    bytes.extend([short(4).as_slice(), &long(1), &long(value)].concat());
                } else {
                    bytes.extend([short(3).as_slice(), &long(1), &short(value as u16), &[0, 0]].concat());
                }
            }
            bytes.extend(long(0));
        }
        bytes.extend(parts.concat());
        bytes
    }

    /// A thumbnail of 64 × 48 in the first directory, samples in one below it, and two previews.
    fn raw(is_little: bool) -> Vec<u8> {
        // The directory below begins behind the first: 8 + 2 + 2 × 12 + 4.
        let samples = vec![vec![0xff, 0xd8, 0xff, 0x00, 7, 9], vec![0x55; 4000]];
        let parts = [
            vec![jpeg(64, 48)],
            samples,
            vec![jpeg(320, 200)],
            vec![vec![3; 100]],
        ]
        .concat();
        tiff(is_little, &[(262, 2), (330, 38)], &[(262, 32_803)], &parts)
    }

    #[test]
    fn a_raw_file_is_its_largest_preview() {
        for is_little in [true, false] {
            let bytes = raw(is_little);
            assert_eq!(sniff(&bytes).ok(), Some(ImageFormat::Raw));
            let found = decode(&bytes, &DecodeLimits::default()).expect("has a preview");
            assert_eq!(
                (found.format, found.width, found.height),
                (ImageFormat::Raw, 320, 200)
            );
            assert_eq!(found.pixels.dimensions(), (320, 200));
        }
    }

    #[test]
    fn its_identity_is_the_file_and_not_the_preview() {
        let budget = PixelBudget::new(1 << 30);
        let hash = |bytes: &[u8]| {
            sample(bytes, &DecodeLimits::default(), Demand::Full, &budget)
                .expect("decodes")
                .pixel_hash
        };
        let bytes = raw(true);
        let mut other = bytes.clone();
        *other.last_mut().expect("not empty") ^= 1;
        assert_eq!(hash(&bytes), hash(&bytes.clone()));
        assert_ne!(hash(&bytes), hash(&other), "the samples differ");
        assert_ne!(
            hash(&bytes),
            hash(&jpeg(320, 200)),
            "the picture developed from it is another thing"
        );
    }

    #[test]
    fn other_tiff_files_are_none() {
        assert_eq!(
            sniff(&tiff(true, &[(262, 2)], &[], &[])).ok(),
            Some(ImageFormat::Tiff)
        );
        for cut in 0..60 {
            // Whatever is cut away, an answer comes.
            let _ = is_raw(&raw(true)[..cut]);
        }
        // A directory that follows itself.
        let mut ring = tiff(true, &[(262, 2)], &[], &[]);
        let end = ring.len();
        ring[end - 4..].copy_from_slice(&8u32.to_le_bytes());
        assert!(!is_raw(&ring));
    }

    #[test]
    fn without_a_preview_it_is_refused_by_name() {
        let bytes = tiff(true, &[(262, 32_803)], &[], &[vec![0x55; 100]]);
        let error = decode(&bytes, &DecodeLimits::default()).expect_err("nothing to see");
        assert!(error.to_string().contains("camera raw"), "{error}");
        let limits = DecodeLimits {
            max_pixels: 100,
            ..DecodeLimits::default()
        };
        let error = decode(&raw(true), &limits).expect_err("too large");
        assert!(matches!(error, VisionError::TooManyPixels { .. }), "{error}");
    }
}
