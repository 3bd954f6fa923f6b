//! Whether a file holds more pictures than the first, told from its structure: animations, documents of many pages.

use super::raw::Numbers;
use crate::types::ImageFormat;

/// Directories of a TIFF file that are looked through, at most.
const DIRECTORIES: usize = 64;

/// Whether there are more frames or pages than the one that is decoded. Where the structure cannot be walked to its end,
/// what was seen of it counts.
pub(super) fn several(format: ImageFormat, bytes: &[u8]) -> bool {
    let found = match format {
        ImageFormat::Gif => gif(bytes),
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Tiff => tiff(bytes),
        ImageFormat::Avif | ImageFormat::Heic => sequence(bytes),
        #[cfg(feature = "jxl")]
        ImageFormat::Jxl => jxl(bytes),
        _ => None,
    };
    found.unwrap_or(false)
}

/// By the blocks of a GIF file (GIF89a, section 11 on).
fn gif(bytes: &[u8]) -> Option<bool> {
    const EXTENSION: u8 = 0x21;
    const IMAGE: u8 = 0x2c;
    let table = |flags: u8| {
        if flags & 0x80 == 0 {
            0
        } else {
            3 << ((flags & 7) + 1)
        }
    };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut images = 0;
    loop {
        match *bytes.get(at)? {
            EXTENSION => at += 2,
            IMAGE => {
                images += 1;
                if images > 1 {
                    return Some(true);
                }
                // the descriptor, its table, and the width of the codes
                at += 11 + table(*bytes.get(at + 9)?);
            }
            _ => return Some(false),
        }
        // blocks, up to an empty one
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
}

/// By the chunk that makes a PNG file an animation; it stands in front of the pixels (PNG, third edition, 11.3.6).
fn png(bytes: &[u8]) -> Option<bool> {
    let mut at = 8;
    loop {
        let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
        match bytes.get(at + 4..at + 8)? {
            b"acTL" => return Some(u32::from_be_bytes(*bytes.get(at + 8..)?.first_chunk()?) > 1),
            b"IDAT" => return Some(false),
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
}

/// By the flag of an animation in the extended header (RFC 9649, 2.7).
fn webp(bytes: &[u8]) -> Option<bool> {
    Some(bytes.get(12..16)? == b"VP8X" && bytes.get(20)? & 2 != 0)
}

/// By the directories behind the first that are pages: not those of smaller versions and masks (TIFF 6.0, tag 254).
fn tiff(bytes: &[u8]) -> Option<bool> {
    const KIND: u16 = 254;
    const SMALLER_OR_MASK: u32 = 1 | 4;
    let file = Numbers::of(bytes);
    let is_big = file.short(2)? == 43;
    // Offsets of a BigTIFF file have eight bytes; files that are read here fit into memory.
    let number = |at| {
        if is_big {
            file.wide(at)
        } else {
            file.long(at).map(u64::from)
        }
    };
    let (header, count_bytes, entry_bytes, value) = if is_big { (8, 8, 20, 12) } else { (4, 2, 12, 8) };
    let mut at = usize::try_from(number(header)?).ok()?;
    for directory in 0..DIRECTORIES {
        if at == 0 {
            break;
        }
        let count = usize::from(file.short(if is_big && !file.is_little { at + 6 } else { at })?);
        let entries = (0..count).map(|i| at + count_bytes + entry_bytes * i);
        let kind = entries
            .into_iter()
            .find(|&entry| file.short(entry) == Some(KIND))
            .and_then(|entry| file.long(entry + value));
        let next = number(at + count_bytes + entry_bytes * count)?;
        if directory > 0 && kind.unwrap_or(0) & SMALLER_OR_MASK == 0 {
            return Some(true);
        }
        at = usize::try_from(next).ok()?;
    }
    Some(false)
}

/// By the brands of a file type box that stand for image sequences (ISO/IEC 23008-12, 23000-22).
fn sequence(bytes: &[u8]) -> Option<bool> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let brands = bytes.get(8..size.min(bytes.len()))?.as_chunks::<4>().0;
    Some(
        brands
            .iter()
            .any(|brand| matches!(brand, b"avis" | b"msf1" | b"hevc" | b"hevx")),
    )
}

/// By the image header.
#[cfg(feature = "jxl")]
fn jxl(bytes: &[u8]) -> Option<bool> {
    let mut image = jxl_oxide::JxlImage::builder().build_uninit();
    image.feed_bytes(bytes).ok()?;
    match image.try_init().ok()? {
        jxl_oxide::InitializeResult::Initialized(image) => {
            Some(image.image_header().metadata.animation.is_some() && image.num_loaded_keyframes() > 1)
        }
        jxl_oxide::InitializeResult::NeedMoreData(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_tiff_count_and_its_smaller_versions_do_not() {
        // A directory of one entry, that of the kind, at `at`.
        let directory = |kind: u8, next: u32| {
            let mut bytes = vec![1, 0, 254, 0, 4, 0, 1, 0, 0, 0, kind, 0, 0, 0];
            bytes.extend(next.to_le_bytes());
            bytes
        };
        let file = |kinds: &[u8]| {
            let mut bytes = b"II*\0\x08\0\0\0".to_vec();
            for (i, kind) in kinds.iter().enumerate() {
                let end = bytes.len() + 18;
                let next = if i + 1 < kinds.len() { end } else { 0 };
                bytes.extend(directory(*kind, u32::try_from(next).expect("small")));
            }
            bytes
        };
        let several = |kinds: &[u8]| several(ImageFormat::Tiff, &file(kinds));
        assert!(several(&[0, 0]) && several(&[2, 2]) && several(&[0, 1, 0]));
        assert!(!several(&[0]) && !several(&[0, 1, 1]) && !several(&[0, 4, 5]));
        // A chain that leads nowhere, or in a circle, ends.
        let whole = file(&[0, 1, 1]);
        for cut in 0..whole.len() {
            assert!(!super::several(ImageFormat::Tiff, &whole[..cut]));
        }
        let mut circle = file(&[1]);
        let end = circle.len() - 4;
        circle[end] = 8;
        assert!(!super::several(ImageFormat::Tiff, &circle));
    }
}
