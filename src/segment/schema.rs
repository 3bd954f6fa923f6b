//! Records as Arrow columns, one row an image, rows by rising id.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeBinaryBuilder, FixedSizeListBuilder, Float32Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder, TimestampNanosecondBuilder, UInt8Builder, UInt32Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, TimestampMicrosecondType, TimestampNanosecondType, UInt8Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Made, SegmentError};
use crate::types::{
    Beyond, ContentHash, Embedding, ExifSummary, Fingerprint, ImageId, ImagePair, ImageRecord, Judgement,
    PdqHash, PixelHash,
};

/// Key of the schema's metadata under which the judgements stand, a JSON list.
const JUDGEMENTS: &str = "doppel.judgements";
/// Key under which it stands when the segment was made: epoch, full stop, step.
const MADE: &str = "doppel.made";

fn fields(dim: i32) -> Vec<Field> {
    let hash = || DataType::FixedSizeBinary(32);
    let tag = Field::new("item", DataType::Utf8, false);
    let component = Field::new("item", DataType::Float32, false);
    let column = |name: &str, kind| Field::new(name, kind, false);
    vec![
        column("id", DataType::FixedSizeBinary(16)),
        column("content_hash", hash()),
        column("pixel_hash", hash()),
        column("pdq", hash()),
        column("pdq_quality", DataType::UInt8),
        column("width", DataType::UInt32),
        column("height", DataType::UInt32),
        column("size", DataType::UInt64),
        column("format", DataType::Utf8),
        column(
            "created",
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ),
        column("name", DataType::Utf8),
        column("tags", DataType::List(tag.into())),
        Field::new("camera", DataType::Utf8, true),
        Field::new("taken", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        column("taken_centis", DataType::UInt8),
        column("embedding", DataType::FixedSizeList(component.into(), dim)),
        column("beyond", DataType::UInt8),
    ]
}

/// Place of the column that files before version 3 do not have: [`Beyond::code`].
const BEYOND: usize = 16;

/// One judgement in the schema's metadata.
#[derive(Serialize, Deserialize)]
struct JudgementText {
    low: String,
    high: String,
    verdict: String,
    at: DateTime<Utc>,
}

/// Nanoseconds since 1970 of a creation time; `None` outside the years 1677 to 2262.
fn nanos(time: DateTime<Utc>) -> Option<i64> {
    time.timestamp_nanos_opt()
}

/// The columns of a segment with these judgements, embeddings of `dim` components.
pub(super) fn schema(judgements: &[Judgement], made: Made, dim: usize) -> Result<SchemaRef, SegmentError> {
    let width = i32::try_from(dim).map_err(SegmentError::invalid)?;
    let judged: Vec<JudgementText> = judgements
        .iter()
        .map(|j| JudgementText {
            low: j.pair.low().to_string(),
            high: j.pair.high().to_string(),
            verdict: j.verdict.to_string(),
            at: j.at,
        })
        .collect();
    let judged = serde_json::to_string(&judged).map_err(SegmentError::invalid)?;
    let made = format!("{}.{}", made.epoch, made.step);
    let metadata = HashMap::from([(JUDGEMENTS.to_owned(), judged), (MADE.to_owned(), made)]);
    Ok(Arc::new(Schema::new_with_metadata(fields(width), metadata)))
}

/// Some rows as columns of a [`schema`] of embeddings of `dim` components.
pub(super) fn to_batch(
    records: &[Arc<ImageRecord>],
    schema: &SchemaRef,
    dim: usize,
) -> Result<RecordBatch, SegmentError> {
    let invalid = |error: ArrowError| SegmentError::invalid(error);
    let width = i32::try_from(dim).map_err(SegmentError::invalid)?;
    let n = records.len();
    let binary = |len: i32, value: fn(&ImageRecord) -> &[u8]| -> Result<ArrayRef, SegmentError> {
        let mut column = FixedSizeBinaryBuilder::with_capacity(n, len);
        for record in records {
            column.append_value(value(record)).map_err(invalid)?;
        }
        Ok(Arc::new(column.finish()))
    };
    let ids = binary(16, |r| r.id.as_bytes())?;
    let contents = binary(32, |r| r.fingerprint.content_hash.as_bytes())?;
    let pixels = binary(32, |r| r.fingerprint.pixel_hash.as_bytes())?;
    let pdqs = binary(32, |r| r.fingerprint.pdq.as_bytes())?;
    let mut quality = UInt8Builder::with_capacity(n);
    let mut widths = UInt32Builder::with_capacity(n);
    let mut heights = UInt32Builder::with_capacity(n);
    let mut sizes = UInt64Builder::with_capacity(n);
    let mut formats = StringBuilder::new();
    let mut created = TimestampNanosecondBuilder::with_capacity(n).with_timezone("UTC");
    let mut names = StringBuilder::new();
    let mut tags =
        ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
    let mut cameras = StringBuilder::new();
    let mut taken = TimestampMicrosecondBuilder::with_capacity(n);
    let mut centis = UInt8Builder::with_capacity(n);
    let mut beyond = UInt8Builder::with_capacity(n);
    let mut embeddings = FixedSizeListBuilder::new(Float32Builder::with_capacity(n * dim), width)
        .with_field(Field::new("item", DataType::Float32, false));
    for record in records {
        let print = &record.fingerprint;
        quality.append_value(print.pdq_quality);
        widths.append_value(print.width);
        heights.append_value(print.height);
        sizes.append_value(record.size);
        formats.append_value(record.format.as_str());
        created.append_value(
            nanos(record.created).ok_or_else(|| SegmentError::invalid("a creation time out of range"))?,
        );
        names.append_value(&record.name);
        for tag in &record.tags {
            tags.values().append_value(tag);
        }
        tags.append(true);
        cameras.append_option(print.exif.camera.as_deref());
        taken.append_option(print.exif.taken.map(|t| t.and_utc().timestamp_micros()));
        centis.append_value(print.exif.taken_centis);
        beyond.append_value(record.beyond.code());
        if print.embedding.dim() != dim {
            return Err(SegmentError::invalid(format!(
                "an embedding of {} components, not {dim}",
                print.embedding.dim()
            )));
        }
        embeddings.values().append_slice(print.embedding.as_slice());
        embeddings.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        ids,
        contents,
        pixels,
        pdqs,
        Arc::new(quality.finish()),
        Arc::new(widths.finish()),
        Arc::new(heights.finish()),
        Arc::new(sizes.finish()),
        Arc::new(formats.finish()),
        Arc::new(created.finish()),
        Arc::new(names.finish()),
        Arc::new(tags.finish()),
        Arc::new(cameras.finish()),
        Arc::new(taken.finish()),
        Arc::new(centis.finish()),
        Arc::new(embeddings.finish()),
        Arc::new(beyond.finish()),
    ];
    RecordBatch::try_new(schema.clone(), columns).map_err(invalid)
}

/// Columns that were checked to be of the right types and without nulls where there must be none; rows are read
/// where they lie.
pub(super) struct Rows {
    schema: SchemaRef,
    /// All but the last of the same length.
    batches: Vec<RecordBatch>,
    batch_rows: usize,
    len: usize,
    dim: usize,
}

impl Rows {
    /// Checks batches read from a file.
    pub(super) fn new(
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        dim: usize,
    ) -> Result<Self, SegmentError> {
        let width = i32::try_from(dim).map_err(SegmentError::corrupt)?;
        let expected = fields(width);
        let columns = schema.fields().iter().map(AsRef::as_ref);
        if !columns.clone().eq(&expected) && !columns.eq(&expected[..BEYOND]) {
            return Err(SegmentError::corrupt("its columns are not those of this format"));
        }
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Err(SegmentError::corrupt("no rows"));
        };
        let batch_rows = first.num_rows().max(1);
        let whole = batches.len() - 1;
        if batches[..whole]
            .iter()
            .any(|batch| batch.num_rows() != batch_rows)
            || last.num_rows() > batch_rows
        {
            return Err(SegmentError::corrupt("batches of rows of other lengths"));
        }
        Ok(Self {
            len: whole * batch_rows + last.num_rows(),
            schema,
            batches,
            batch_rows,
            dim,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// The batch with a row, and the row's place there.
    fn place(&self, row: usize) -> (Columns<'_>, usize) {
        (
            Columns(&self.batches[row / self.batch_rows]),
            row % self.batch_rows,
        )
    }

    pub(super) fn id(&self, row: usize) -> ImageId {
        let (columns, row) = self.place(row);
        ImageId::from_bytes(columns.fixed(0, row))
    }

    pub(super) fn pixel_hash(&self, row: usize) -> PixelHash {
        let (columns, row) = self.place(row);
        PixelHash::from_bytes(columns.fixed(2, row))
    }

    /// All PDQ hashes with their qualities.
    pub(super) fn pdqs(&self) -> impl Iterator<Item = (PdqHash, u8)> {
        self.batches.iter().flat_map(|batch| {
            let hashes = batch.column(3).as_fixed_size_binary().value_data();
            let (hashes, _) = hashes.as_chunks::<32>();
            let qualities = Columns(batch).number::<UInt8Type>(4).values();
            hashes
                .iter()
                .zip(qualities)
                .map(|(hash, &quality)| (PdqHash::from_bytes(*hash), quality))
        })
    }

    pub(super) fn embedding(&self, row: usize) -> &[f32] {
        let (columns, row) = self.place(row);
        &columns.embeddings()[row * self.dim..(row + 1) * self.dim]
    }

    pub(super) fn created(&self, row: usize) -> DateTime<Utc> {
        let (columns, row) = self.place(row);
        DateTime::from_timestamp_nanos(columns.number::<TimestampNanosecondType>(9).value(row))
    }

    /// One row as it was put in.
    pub(super) fn record(&self, row: usize) -> Result<ImageRecord, SegmentError> {
        let embedding = Embedding::from_stored(self.embedding(row)).map_err(SegmentError::corrupt)?;
        let created = self.created(row);
        let (columns, row) = self.place(row);
        let content_hash = ContentHash::from_bytes(columns.fixed(1, row));
        let tags = columns.0.column(11).as_list::<i32>().value(row);
        let camera = columns.0.column(12);
        let taken = columns.number::<TimestampMicrosecondType>(13);
        Ok(ImageRecord {
            id: ImageId::from(content_hash),
            name: columns.text(10, row).to_owned(),
            size: columns.number::<UInt64Type>(7).value(row),
            format: columns.text(8, row).parse().map_err(SegmentError::corrupt)?,
            beyond: columns.beyond(row),
            created,
            tags: tags
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect(),
            fingerprint: Fingerprint {
                content_hash,
                pixel_hash: PixelHash::from_bytes(columns.fixed(2, row)),
                pdq: PdqHash::from_bytes(columns.fixed(3, row)),
                pdq_quality: columns.number::<UInt8Type>(4).value(row),
                embedding,
                width: columns.number::<UInt32Type>(5).value(row),
                height: columns.number::<UInt32Type>(6).value(row),
                exif: ExifSummary {
                    camera: camera.is_valid(row).then(|| columns.text(12, row).to_owned()),
                    taken: taken
                        .is_valid(row)
                        .then(|| DateTime::from_timestamp_micros(taken.value(row)).map(|t| t.naive_utc()))
                        .flatten(),
                    taken_centis: columns.number::<UInt8Type>(14).value(row),
                },
            },
        })
    }

    /// When they were put in; `None` in files of before it was noted.
    pub(super) fn made(&self) -> Option<Made> {
        let (epoch, step) = self.schema.metadata().get(MADE)?.split_once('.')?;
        Some(Made {
            epoch: epoch.parse().ok()?,
            step: step.parse().ok()?,
        })
    }

    /// The judgements that were put in.
    pub(super) fn judgements(&self) -> Result<Vec<Judgement>, SegmentError> {
        let text = self
            .schema
            .metadata()
            .get(JUDGEMENTS)
            .map_or("[]", String::as_str);
        let judged: Vec<JudgementText> = serde_json::from_str(text).map_err(SegmentError::corrupt)?;
        judged
            .into_iter()
            .map(|j| {
                let low = j.low.parse().map_err(SegmentError::corrupt)?;
                let high = j.high.parse().map_err(SegmentError::corrupt)?;
                Ok(Judgement {
                    pair: ImagePair::new(low, high).ok_or_else(|| SegmentError::corrupt("a pair of one"))?,
                    verdict: j.verdict.parse().map_err(SegmentError::corrupt)?,
                    at: j.at,
                })
            })
            .collect()
    }
}

/// One batch, whose columns were checked.
#[derive(Clone, Copy)]
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn fixed<const N: usize>(self, column: usize, row: usize) -> [u8; N] {
        let bytes = self.0.column(column).as_fixed_size_binary().value(row);
        bytes.try_into().expect("the schema was checked")
    }

    fn number<T: ArrowPrimitiveType>(self, column: usize) -> &'a PrimitiveArray<T> {
        self.0.column(column).as_primitive()
    }

    fn text(self, column: usize, row: usize) -> &'a str {
        self.0.column(column).as_string::<i32>().value(row)
    }

    fn beyond(self, row: usize) -> Beyond {
        if self.0.num_columns() > BEYOND {
            Beyond::from_code(self.number::<UInt8Type>(BEYOND).value(row))
        } else {
            Beyond::NOTHING
        }
    }

    /// `[rows, dim]`.
    fn embeddings(self) -> &'a [f32] {
        self.0
            .column(15)
            .as_fixed_size_list()
            .values()
            .as_primitive::<Float32Type>()
            .values()
    }
}
