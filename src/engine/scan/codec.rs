//! The bytes of the cache's values, little-endian. The cache's version covers them; redb checks their integrity.

use super::intake::Known;
use crate::types::{
    Beyond, ContentHash, Embedding, ExifSummary, Fingerprint, ImageFormat, PdqHash, PixelHash,
};
use crate::vision::Palette;

/// Size, time of modification and content hash of a file.
pub(super) fn encode_file(size: u64, modified: i64, content: &ContentHash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend(size.to_le_bytes());
    bytes.extend(modified.to_le_bytes());
    bytes.extend(content.as_bytes());
    bytes
}

/// The content hash, if size and time are still the same.
pub(super) fn file_entry(bytes: &[u8], size: u64, modified: i64) -> Option<ContentHash> {
    let mut reader = Reader(bytes);
    let same = reader.array().map(u64::from_le_bytes)? == size
        && reader.array().map(i64::from_le_bytes)? == modified;
    let content = ContentHash::from_bytes(reader.array()?);
    (same && modified != 0).then_some(content)
}

/// An analysis; the content hash is the key and not repeated.
pub(super) fn encode(known: &Known) -> Vec<u8> {
    let print = &known.fingerprint;
    let mut bytes = Vec::with_capacity(660 + 4 * print.embedding.dim());
    bytes.extend(print.pixel_hash.as_bytes());
    for variant in &known.variants {
        bytes.extend(variant.as_bytes());
    }
    bytes.push(print.pdq_quality);
    bytes.extend(known.palette.as_bytes());
    bytes.extend(print.width.to_le_bytes());
    bytes.extend(print.height.to_le_bytes());
    text(&mut bytes, known.format.as_str());
    bytes.push(known.beyond.code());
    text(&mut bytes, print.exif.camera.as_deref().unwrap_or(""));
    let taken = print.exif.taken.map_or(i64::MIN, |t| t.and_utc().timestamp());
    bytes.extend(taken.to_le_bytes());
    bytes.push(print.exif.taken_centis);
    for component in print.embedding.as_slice() {
        bytes.extend(component.to_le_bytes());
    }
    bytes
}

/// `None` for bytes that were not written by [`encode`]: the image is then analysed anew.
pub(super) fn decode(content: &ContentHash, bytes: &[u8]) -> Option<Known> {
    let mut reader = Reader(bytes);
    let pixel_hash = PixelHash::from_bytes(reader.array()?);
    let mut variants = [PdqHash::from_bytes([0; 32]); 8];
    for variant in &mut variants {
        *variant = PdqHash::from_bytes(reader.array()?);
    }
    let [pdq_quality] = reader.array()?;
    let palette = Palette::from_bytes(reader.array()?);
    let width = reader.array().map(u32::from_le_bytes)?;
    let height = reader.array().map(u32::from_le_bytes)?;
    let format: ImageFormat = reader.text()?.parse().ok()?;
    let [beyond] = reader.array()?;
    let camera = reader.text().filter(|c| !c.is_empty()).map(str::to_owned);
    let taken = reader.array().map(i64::from_le_bytes)?;
    let taken = chrono::DateTime::from_timestamp(taken, 0).map(|t| t.naive_utc());
    let [taken_centis] = reader.array()?;
    let (components, rest) = reader.0.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let components: Vec<f32> = components.iter().map(|c| f32::from_le_bytes(*c)).collect();
    Some(Known {
        fingerprint: Fingerprint {
            content_hash: *content,
            pixel_hash,
            pdq: variants[0],
            pdq_quality,
            embedding: Embedding::normalised(&components).ok()?,
            width,
            height,
            exif: ExifSummary {
                camera,
                taken,
                taken_centis,
            },
        },
        variants,
        palette,
        format,
        beyond: Beyond::from_code(beyond),
    })
}

/// A text of at most 255 bytes, cut at a character, with its length in front.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    bytes.push(u8::try_from(end).expect("at most 255"));
    bytes.extend(&text.as_bytes()[..end]);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let [len] = self.array()?;
        let (text, tail) = self.0.split_at_checked(usize::from(len))?;
        self.0 = tail;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analyses_round_trip() {
        let components: Vec<f32> = (0..256).map(|i| (i as f32).sin()).collect();
        let variants = std::array::from_fn(|i| PdqHash::from_bytes([i as u8; 32]));
        let content = ContentHash::from_bytes([7; 32]);
        let known = Known {
            fingerprint: Fingerprint {
                content_hash: content,
                pixel_hash: PixelHash::from_bytes([9; 32]),
                pdq: variants[0],
                pdq_quality: 77,
                embedding: Embedding::normalised(&components).expect("a direction"),
                width: 4000,
                height: 3000,
                exif: ExifSummary {
                    camera: Some("Camera Ä 1".repeat(40)),
                    taken: chrono::DateTime::from_timestamp(1_600_000_000, 0).map(|t| t.naive_utc()),
                    taken_centis: 42,
                },
            },
            variants,
            palette: Palette::from_bytes(std::array::from_fn(|i| i as u8)),
            format: ImageFormat::WebP,
            beyond: Beyond {
                frames: false,
                transparency: true,
            },
        };
        let bytes = encode(&known);
        let mut back = decode(&content, &bytes).expect("it was just written");
        assert!(
            back.fingerprint
                .exif
                .camera
                .as_ref()
                .is_some_and(|c| c.len() <= 255)
        );
        let cosine = back
            .fingerprint
            .embedding
            .similarity(&known.fingerprint.embedding)
            .get();
        assert!(cosine > 0.999_999);
        back.fingerprint.exif.camera = known.fingerprint.exif.camera.clone();
        back.fingerprint.embedding = known.fingerprint.embedding.clone();
        assert_eq!(back.fingerprint, known.fingerprint);
        assert_eq!((back.variants, back.beyond), (known.variants, known.beyond));
        assert!(decode(&content, &bytes[..bytes.len() - 1]).is_none() && decode(&content, &[]).is_none());
        let file = encode_file(5, 6, &content);
        assert_eq!(file_entry(&file, 5, 6), Some(content));
        assert_eq!(file_entry(&file, 5, 7), None);
    }
}
