//! Telling a file's format by its content. The name and its extension are never asked.

use super::raw::is_raw;
use crate::types::ImageFormat;
use crate::vision::VisionError;

/// Format of `bytes` by its signature.
///
/// TGA has no signature in front; only files with the footer of TGA version 2 are recognised.
///
/// # Errors
/// [`VisionError::Empty`], or [`VisionError::NotAnImage`] with what the content looks like instead.
pub fn sniff(bytes: &[u8]) -> Result<ImageFormat, VisionError> {
    if bytes.is_empty() {
        return Err(VisionError::Empty);
    }
    signature(bytes).ok_or_else(|| VisionError::NotAnImage {
        looks_like: describe(bytes),
    })
}

fn signature(bytes: &[u8]) -> Option<ImageFormat> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|b| b.starts_with(magic));
    let format = if starts(b"\xff\xd8\xff") {
        ImageFormat::Jpeg
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        ImageFormat::Png
    } else if starts(b"RIFF") && at(8, b"WEBP") {
        ImageFormat::WebP
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        ImageFormat::Gif
    } else if is_raw(bytes) {
        ImageFormat::Raw
    } else if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
        ImageFormat::Tiff
    } else if starts(b"qoif") {
        ImageFormat::Qoi
    } else if starts(b"BM") && is_bmp_header(bytes) {
        ImageFormat::Bmp
    } else if starts(b"\0\0\x01\0") {
        ImageFormat::Ico
    } else if is_pnm_header(bytes) {
        ImageFormat::Pnm
    } else if at(4, b"ftyp") {
        iso_media(bytes)?
    } else if starts(b"\xff\x0a") || starts(b"\0\0\0\x0cJXL \r\n\x87\n") {
        ImageFormat::Jxl
    } else if bytes.ends_with(b"TRUEVISION-XFILE.\0") {
        ImageFormat::Tga
    } else {
        return None;
    };
    Some(format)
}

/// "BM" alone would claim texts: the size of the info header (offset 14) must be one that exists.
fn is_bmp_header(bytes: &[u8]) -> bool {
    bytes
        .get(14..18)
        .is_some_and(|b| matches!(b, [12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// "P1" to "P7" followed by white space.
fn is_pnm_header(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..])
}

/// By the brands of a file type box (ISO/IEC 14496-12): the major one, or, where that names no codec, those beside it.
fn iso_media(bytes: &[u8]) -> Option<ImageFormat> {
    let of = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some(ImageFormat::Avif),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some(ImageFormat::Heic),
        _ => None,
    };
    let major = bytes.get(8..12)?;
    if !matches!(major, b"mif1" | b"msf1" | b"miaf") {
        return of(major);
    }
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let beside = bytes.get(16..size.min(bytes.len())).unwrap_or_default();
    let named = beside.as_chunks::<4>().0.iter().find_map(|brand| of(brand));
    named.or(Some(ImageFormat::Heic))
}

fn describe(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(512)];
    if head.iter().all(|&b| b == 0) {
        "the content is nothing but zeros"
    } else if head.starts_with(b"%PDF") {
        "the content is a PDF document"
    } else if head.starts_with(b"PK\x03\x04") {
        "the content is a ZIP archive"
    } else if head.get(4..8) == Some(b"ftyp") {
        "the content is a video or audio file"
    } else if is_text(head) {
        if head.windows(4).any(|w| w.eq_ignore_ascii_case(b"<svg")) {
            "the content is an SVG drawing, which has no pixels"
        } else if head.windows(5).any(|w| w.eq_ignore_ascii_case(b"<html")) {
            "the content is an HTML page"
        } else {
            "the content is text"
        }
    } else {
        "the content has no signature of a known image format"
    }
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // a character may be cut at the end of the head
        Err(e) => e.valid_up_to() + 4 > head.len() && e.error_len().is_none(),
    };
    valid
        && head
            .iter()
            .all(|&b| b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_formats_by_signature() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0..").ok(), Some(ImageFormat::Jpeg));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 ").ok(), Some(ImageFormat::WebP));
        assert_eq!(sniff(b"P6 2 2 255\n").ok(), Some(ImageFormat::Pnm));
        assert_eq!(sniff(b"\0\0\0\x1cftypavif").ok(), Some(ImageFormat::Avif));
        assert_eq!(
            sniff(b"\0\0\0\x18ftypmif1\0\0\0\0miafavif").ok(),
            Some(ImageFormat::Avif)
        );
        assert_eq!(
            sniff(b"\0\0\0\x18ftypmif1\0\0\0\0miafheic").ok(),
            Some(ImageFormat::Heic)
        );
        assert!(sniff(b"\0\0\0\x18ftypisom\0\0\0\0isomavc1").is_err());
    }

    #[test]
    fn says_what_the_content_looks_like() {
        let reason = |bytes: &[u8]| sniff(bytes).map_err(|e| e.to_string());
        assert_eq!(reason(b""), Err("the file is empty".to_owned()));
        assert_eq!(
            reason("a plain text, été".as_bytes()),
            Err("not an image: the content is text".to_owned())
        );
        assert_eq!(
            reason(b"BM is how this text starts"),
            Err("not an image: the content is text".to_owned())
        );
        assert_eq!(
            reason(&[0; 600]),
            Err("not an image: the content is nothing but zeros".to_owned())
        );
        assert!(reason(b"\x01\x02\x03").is_err_and(|r| r.contains("no signature")));
    }
}
