//! Records as bytes: little-endian, lengths in front. What the entries of WAL objects are made of.

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::types::{
    Beyond, ContentHash, Embedding, ExifSummary, Fingerprint, ImageFormat, ImageId, ImagePair, ImageRecord,
    Judgement, PdqHash, PixelHash, Verdict,
};

/// The bytes do not hold what they should: cut short, or a value out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} is damaged")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads values off the front of a slice.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.array(what).map(i64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let len = self.u32(what)? as usize;
        std::str::from_utf8(self.take(len, what)?).map_err(|_| Malformed(what))
    }

    fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.u8(what)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed(what)),
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("checked at the door: names and tags are short");
    out.extend_from_slice(&len.to_le_bytes());
}

/// Appends a record. The id is not written: it is a prefix of the content hash; nor is what the file holds beyond its picture,
/// which stands before the records that have any.
pub(crate) fn put_record(out: &mut Vec<u8>, record: &ImageRecord) {
    let print = &record.fingerprint;
    out.extend_from_slice(print.content_hash.as_bytes());
    out.extend_from_slice(print.pixel_hash.as_bytes());
    out.extend_from_slice(print.pdq.as_bytes());
    out.push(print.pdq_quality);
    out.extend_from_slice(&print.width.to_le_bytes());
    out.extend_from_slice(&print.height.to_le_bytes());
    out.extend_from_slice(&record.size.to_le_bytes());
    put_text(out, record.format.as_str());
    put_time(out, record.created);
    put_text(out, &record.name);
    put_len(out, record.tags.len());
    for tag in &record.tags {
        put_text(out, tag);
    }
    match &print.exif.camera {
        None => out.push(0),
        Some(camera) => {
            out.push(1);
            put_text(out, camera);
        }
    }
    match print.exif.taken {
        None => out.push(0),
        Some(taken) => {
            out.push(1);
            put_time(out, taken.and_utc());
        }
    }
    out.push(print.exif.taken_centis);
    let components = print.embedding.as_slice();
    put_len(out, components.len());
    if cfg!(target_endian = "little") {
        out.extend_from_slice(bytemuck::cast_slice(components));
    } else {
        out.extend(components.iter().flat_map(|x| x.to_le_bytes()));
    }
}

/// Bytes of a record as the WAL holds it.
#[must_use]
pub fn record_bytes(record: &ImageRecord) -> usize {
    let mut out = Vec::new();
    put_record(&mut out, record);
    out.len()
}

/// Reads a record back, equal to what was put, as of a file that holds nothing beyond its picture.
pub(crate) fn read_record(from: &mut Reader<'_>) -> Result<ImageRecord, Malformed> {
    let content_hash = ContentHash::from_bytes(from.array("content hash")?);
    let pixel_hash = PixelHash::from_bytes(from.array("pixel hash")?);
    let pdq = PdqHash::from_bytes(from.array("PDQ hash")?);
    let pdq_quality = from.u8("PDQ quality")?;
    let width = from.u32("width")?;
    let height = from.u32("height")?;
    let size = from.u64("size")?;
    let format: ImageFormat = from.text("format")?.parse().map_err(|_| Malformed("format"))?;
    let created = read_time(from, "creation time")?;
    let name = from.text("name")?.to_owned();
    let tag_count = from.u32("tags")?;
    let tags = (0..tag_count)
        .map(|_| from.text("tags").map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let camera = from.optional("camera", |r| r.text("camera").map(str::to_owned))?;
    let taken: Option<NaiveDateTime> = from.optional("capture time", |r| {
        read_time(r, "capture time").map(|t| t.naive_utc())
    })?;
    let taken_centis = from.u8("capture time")?;
    let dim = from.u32("embedding")? as usize;
    let bytes = from.take(dim.saturating_mul(4), "embedding")?;
    let components: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let embedding = Embedding::from_stored(&components).map_err(|_| Malformed("embedding"))?;
    Ok(ImageRecord {
        id: ImageId::from(content_hash),
        name,
        size,
        format,
        beyond: Beyond::NOTHING,
        created,
        tags,
        fingerprint: Fingerprint {
            content_hash,
            pixel_hash,
            pdq,
            pdq_quality,
            embedding,
            width,
            height,
            exif: ExifSummary {
                camera,
                taken,
                taken_centis,
            },
        },
    })
}

fn put_time(out: &mut Vec<u8>, time: DateTime<Utc>) {
    out.extend_from_slice(&time.timestamp().to_le_bytes());
    out.extend_from_slice(&time.timestamp_subsec_nanos().to_le_bytes());
}

fn read_time(from: &mut Reader<'_>, what: &'static str) -> Result<DateTime<Utc>, Malformed> {
    let seconds = from.i64(what)?;
    let nanos = from.u32(what)?;
    DateTime::from_timestamp(seconds, nanos).ok_or(Malformed(what))
}

/// Appends a judgement.
pub(crate) fn put_judgement(out: &mut Vec<u8>, judgement: &Judgement) {
    out.extend_from_slice(judgement.pair.low().as_bytes());
    out.extend_from_slice(judgement.pair.high().as_bytes());
    put_text(out, judgement.verdict.as_str());
    put_time(out, judgement.at);
}

/// Reads a judgement back.
pub(crate) fn read_judgement(from: &mut Reader<'_>) -> Result<Judgement, Malformed> {
    let low = ContentHash::from_bytes(from.array("pair")?);
    let high = ContentHash::from_bytes(from.array("pair")?);
    let pair = ImagePair::new(low, high).ok_or(Malformed("pair"))?;
    let verdict: Verdict = from.text("verdict")?.parse().map_err(|_| Malformed("verdict"))?;
    let at = read_time(from, "time of a verdict")?;
    Ok(Judgement { pair, verdict, at })
}
