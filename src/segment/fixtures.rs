//! Records for tests.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};

use super::{Built, Made, SegmentError, SegmentSpec, build};
use crate::types::{
    Beyond, ContentHash, Embedding, Epoch, ExifSummary, Fingerprint, ImageFormat, ImageId, ImagePair,
    ImageRecord, Judgement, PdqHash, PixelHash, Verdict,
};

/// Dimension of the fixtures' embeddings.
pub(crate) const DIM: usize = 8;

/// Hash of a number, as that of some file's bytes.
pub(crate) fn content(n: u64) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// Formats that the golden files have.
const FORMATS: usize = 13;

/// A record that differs from those of other numbers in everything.
pub(crate) fn record(n: u64) -> ImageRecord {
    // A few of them: what they hold is written in another way.
    let beyond = if n % 5 == 4 {
        1 + content(n).as_bytes()[1] % 3
    } else {
        0
    };
    let content_hash = content(n);
    let bytes = content_hash.as_bytes();
    let components: [f32; DIM] = std::array::from_fn(|i| f32::from(bytes[i]) - 127.5);
    let second = i64::try_from(n).expect("small");
    ImageRecord {
        id: ImageId::from(content_hash),
        name: format!("photo {n} ü.jpg"),
        size: 1000 + n,
        format: ImageFormat::ALL[usize::from(bytes[0]) % FORMATS],
        beyond: Beyond::from_code(beyond),
        created: DateTime::from_timestamp(1_700_000_000 + second, 123_456_789).expect("in range"),
        tags: (0..n % 3).map(|i| format!("tag {i}")).collect(),
        fingerprint: Fingerprint {
            content_hash,
            pixel_hash: PixelHash::from_bytes(*blake3::hash(bytes).as_bytes()),
            pdq: PdqHash::from_bytes(*blake3::hash(&bytes[1..]).as_bytes()),
            pdq_quality: 100,
            embedding: Embedding::normalised(&components).expect("has a direction"),
            width: 640,
            height: 480,
            exif: if n.is_multiple_of(2) {
                ExifSummary::default()
            } else {
                ExifSummary {
                    camera: Some("Maker Model".to_owned()),
                    taken: NaiveDate::from_ymd_opt(2020, 2, 29).and_then(|d| d.and_hms_opt(1, 2, 3)),
                    taken_centis: 42,
                }
            },
        },
    }
}

/// Many of them.
pub(crate) fn records(numbers: std::ops::Range<u64>) -> Vec<Arc<ImageRecord>> {
    numbers.map(|n| Arc::new(record(n))).collect()
}

/// Made by the third owner, as its 18th.
pub(crate) const MADE: Made = Made {
    epoch: Epoch::new(3),
    step: 17,
};

/// A segment of such records, in any order.
pub(crate) fn built(
    mut records: Vec<Arc<ImageRecord>>,
    judgements: &[Judgement],
    spec: SegmentSpec,
) -> Result<(Built, Bytes), SegmentError> {
    records.sort_unstable_by_key(|record| record.id);
    let mut file = Vec::new();
    let built = build(records.into_iter().map(Ok), judgements, MADE, spec, &mut file)?;
    Ok((built, file.into()))
}

/// "Not a duplicate" about two of them.
pub(crate) fn judgement(a: u64, b: u64) -> Judgement {
    Judgement {
        pair: ImagePair::new(content(a), content(b)).expect("different"),
        verdict: Verdict::NotDuplicate,
        at: DateTime::from_timestamp(1_700_000_000, 5000).expect("in range"),
    }
}
