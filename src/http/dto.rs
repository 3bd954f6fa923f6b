//! The documents of the API. Only here do core values get a JSON form; field names are part of the contract (DESIGN §6).

mod collections;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub(super) use self::collections::{CollectionDto, CollectionsDto, NewCollectionDto};
use super::error::Problem;
use crate::engine::{self, Engine, Found};
use crate::types::{CollectionName, ImageRecord, MatchClass, Transform};

/// A stored image. Width and height are after orientation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImageDto {
    #[schema(example = "af1349b9f5f9a1a6a0404dea36dcc949")]
    id: String,
    /// The uploaded file's name.
    name: String,
    /// Bytes of the file.
    size: u64,
    width: u32,
    height: u32,
    #[schema(example = "jpeg")]
    format: &'static str,
    beyond: BeyondDto,
    /// BLAKE3 of the file, 64 hexadecimal digits.
    blake3: String,
    /// When the service acknowledged it.
    #[schema(value_type = String, format = DateTime)]
    created: DateTime<Utc>,
    collection: String,
    tags: Vec<String>,
    /// Absent parts were not in the file.
    exif: Option<ExifDto>,
    /// How little the image resembles a bank of other pictures, 0 to 1. A likeness to an image of low distinctiveness proves
    /// little: it looks like many. Null where the network came without a bank.
    distinctiveness: Option<f32>,
}

/// What a stored image is shown with.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) engine: &'a Engine,
    pub(super) collection: &'a CollectionName,
}

/// What the file holds beyond the one opaque picture that is compared: its first frame, laid over white. Matches say nothing of
/// it. All false for images that were stored before it was noted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BeyondDto {
    /// More frames or pages.
    frames: bool,
    /// Pixels that are not opaque.
    transparency: bool,
}

/// The part of EXIF that matching uses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExifDto {
    /// Maker and model.
    camera: Option<String>,
    /// Local time of the camera, without a zone.
    #[schema(value_type = Option<String>, example = "2024-05-01T12:30:00")]
    taken: Option<NaiveDateTime>,
}

impl ImageDto {
    pub(super) fn new(record: &ImageRecord, shown: Shown<'_>) -> Self {
        let print = &record.fingerprint;
        let exif = (print.exif.camera.is_some() || print.exif.taken.is_some()).then(|| ExifDto {
            camera: print.exif.camera.clone(),
            taken: print.exif.taken,
        });
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            size: record.size,
            width: print.width,
            height: print.height,
            format: record.format.as_str(),
            beyond: BeyondDto {
                frames: record.beyond.frames,
                transparency: record.beyond.transparency,
            },
            blake3: print.content_hash.to_string(),
            created: record.created,
            collection: shown.collection.to_string(),
            tags: record.tags.clone(),
            exif,
            distinctiveness: shown.engine.distinctiveness(record),
        }
    }
}

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImagesDto {
    /// Newest first.
    pub(super) images: Vec<ImageDto>,
    /// The `cursor` of the next part; null at the end.
    pub(super) next: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `next` of the part before; absent for the first.
    pub(super) cursor: Option<String>,
    /// Most images, 1 to 1000; 100 when absent.
    pub(super) limit: Option<usize>,
}

/// How strongly two images match, strongest first: `identical` (same bytes), `same_pixels`, `near_identical` (whole frame),
/// `edited` (part or altered), `similar` (not shown to be a copy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassDto {
    Identical,
    SamePixels,
    #[serde(alias = "near-identical")]
    NearIdentical,
    Edited,
    Similar,
}

impl From<MatchClass> for ClassDto {
    fn from(class: MatchClass) -> Self {
        match class {
            MatchClass::Identical => Self::Identical,
            MatchClass::SamePixels => Self::SamePixels,
            MatchClass::NearIdentical => Self::NearIdentical,
            MatchClass::Edited => Self::Edited,
            MatchClass::Similar => Self::Similar,
        }
    }
}

impl From<ClassDto> for MatchClass {
    fn from(class: ClassDto) -> Self {
        match class {
            ClassDto::Identical => Self::Identical,
            ClassDto::SamePixels => Self::SamePixels,
            ClassDto::NearIdentical => Self::NearIdentical,
            ClassDto::Edited => Self::Edited,
            ClassDto::Similar => Self::Similar,
        }
    }
}

/// Affine map in relative units (0 to 1 along each side) from the image asked about to the match.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransformDto {
    /// Row-major 2×3: `x' = m[0]·x + m[1]·y + m[2]`, `y' = m[3]·x + m[4]·y + m[5]`.
    #[schema(value_type = Vec<f64>, min_items = 6, max_items = 6)]
    matrix: [f64; 6],
    /// Degrees, counter-clockwise, −180 to 180, after undoing a mirror.
    rotation: f32,
    /// In pixels of the originals; 0.5 means that the match shows the content at half the size.
    scale: f32,
    /// Whether the match shows the image mirrored.
    mirrored: bool,
}

impl From<Transform> for TransformDto {
    fn from(transform: Transform) -> Self {
        Self {
            matrix: transform.matrix,
            rotation: transform.rotation,
            scale: transform.scale,
            mirrored: transform.mirrored,
        }
    }
}

/// An image of the collection that matches.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MatchDto {
    pub(super) id: String,
    /// The uploaded file's name.
    name: String,
    class: ClassDto,
    /// Calibrated probability that it is a copy, 0 to 1.
    probability: f32,
    /// Cosine of the embeddings, −1 to 1.
    similarity: f32,
    /// Stage of the cascade that decided: `bytes`, `pixels`, `pdq`, `embedding`, `verification`.
    #[schema(example = "verification")]
    stage: &'static str,
    /// Where the content lies in the match, when that is known.
    transform: Option<TransformDto>,
    /// Share of the smaller picture that the other shows, 0 to 1, when that is known.
    overlap: Option<f32>,
    /// What the decision rests on; which members there are depends on the stage.
    #[schema(value_type = Object)]
    evidence: serde_json::Value,
    /// The image itself.
    image: ImageDto,
}

impl MatchDto {
    pub(super) fn new(found: &Found, shown: Shown<'_>) -> Self {
        let verdict = VerdictDto::new(&found.matched);
        Self {
            id: found.record.id.to_string(),
            name: found.record.name.clone(),
            class: verdict.class,
            probability: verdict.probability,
            similarity: verdict.similarity,
            stage: verdict.stage,
            transform: verdict.transform,
            overlap: verdict.overlap,
            evidence: verdict.evidence,
            image: ImageDto::new(&found.record, shown),
        }
    }

    pub(super) fn list(found: &[Found], shown: Shown<'_>) -> Vec<Self> {
        found.iter().map(|one| Self::new(one, shown)).collect()
    }
}

/// How two images match.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictDto {
    class: ClassDto,
    /// Calibrated probability that one is a copy of the other, 0 to 1.
    probability: f32,
    /// Cosine of the embeddings, −1 to 1.
    similarity: f32,
    /// Stage of the cascade that decided.
    #[schema(example = "verification")]
    stage: &'static str,
    /// From the first image to the second, when that is known.
    transform: Option<TransformDto>,
    /// Share of the smaller picture that the other shows, 0 to 1, when that is known.
    overlap: Option<f32>,
    /// What the decision rests on; which members there are depends on the stage.
    #[schema(value_type = Object)]
    evidence: serde_json::Value,
}

impl VerdictDto {
    pub(super) fn new(matched: &crate::dedup::Match) -> Self {
        Self {
            class: matched.class.into(),
            probability: matched.probability,
            similarity: matched.similarity.get(),
            stage: matched.stage.as_str(),
            transform: matched.transform.map(TransformDto::from),
            overlap: matched.overlap,
            evidence: super::evidence::to_json(&matched.evidence),
        }
    }
}

/// What to do with an upload that matches an image of the collection.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnDuplicateDto {
    /// Store it, and list what it matches.
    #[default]
    Store,
    /// Do not store it.
    Reject,
    /// Do not store it; answer with the id of the best match.
    Link,
}

impl From<OnDuplicateDto> for engine::OnDuplicate {
    fn from(choice: OnDuplicateDto) -> Self {
        match choice {
            OnDuplicateDto::Store => Self::Store,
            OnDuplicateDto::Reject => Self::Reject,
            OnDuplicateDto::Link => Self::Link,
        }
    }
}

/// How to treat an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadParams {
    /// What to do with a file that matches an image of the collection in class `edited` or stronger; `store` when absent.
    /// Identical bytes are never stored twice. A file that holds more frames, or transparency, than the images that it matches
    /// is stored whatever is said here.
    #[param(inline)]
    pub(super) on_duplicate: Option<OnDuplicateDto>,
    /// Weakest class to list in `matches`; `edited` when absent.
    #[param(inline)]
    pub(super) level: Option<ClassDto>,
}

/// What became of an uploaded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum UploadStatusDto {
    /// Stored.
    Created,
    /// The same bytes were there already; `id` is theirs.
    Duplicate,
    /// Not stored; `id` is that of the best match.
    Linked,
    /// Not stored, because it matches.
    Rejected,
    /// Not stored; `error` says why.
    Failed,
}

/// Answer for one uploaded file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadedDto {
    /// The file's name.
    name: String,
    /// Null when the file was rejected or failed.
    id: Option<String>,
    pub(super) status: UploadStatusDto,
    /// Images that it matches, best first.
    matches: Vec<MatchDto>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

impl UploadedDto {
    pub(super) fn new(uploaded: engine::Uploaded, shown: Shown<'_>) -> Self {
        use engine::Outcome;
        let (status, id, error) = match uploaded.outcome {
            Outcome::Created(id) => (UploadStatusDto::Created, Some(id), None),
            Outcome::Duplicate(id) => (UploadStatusDto::Duplicate, Some(id), None),
            Outcome::Linked(id) => (UploadStatusDto::Linked, Some(id), None),
            Outcome::Rejected => (UploadStatusDto::Rejected, None, None),
            Outcome::Failed(error) => (UploadStatusDto::Failed, None, Some(Problem::from(error))),
        };
        Self {
            matches: MatchDto::list(&uploaded.matches, shown),
            name: uploaded.name,
            id: id.map(|id| id.to_string()),
            status,
            error,
        }
    }
}

/// Answer to an upload: one entry a file, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadsDto {
    pub(super) images: Vec<UploadedDto>,
}

/// Form of an upload, for the API's description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct UploadForm {
    /// One or more image files, under any name.
    #[schema(value_type = Vec<String>, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
    /// Labels for the files that follow, separated by commas.
    tags: Option<String>,
}

/// A search by a stored image.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchDto {
    /// Id of an image of the collection; it is not part of the answer.
    pub(super) id: String,
}

/// Form of a search by a file, for the API's description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct SearchForm {
    /// The image.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// How fresh an answer must be. One node always answers from all that it acknowledged; the levels differ on a cluster.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ConsistencyDto {
    /// Everything acknowledged before the request.
    Strong,
    /// Everything this client saw acknowledged.
    Session,
    /// At most seconds old.
    #[default]
    Bounded,
    /// Whatever is there.
    Eventual,
}

/// How to search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParams {
    /// Most answers; 20 when absent, 1000 at most unless configured otherwise.
    pub(super) k: Option<usize>,
    /// Weakest class to answer; `similar` when absent.
    #[param(inline)]
    pub(super) level: Option<ClassDto>,
    /// Whether nine overlapping parts of the image are searched for too, which finds pictures that it contains; takes about
    /// twice as long.
    #[serde(default)]
    pub(super) deep: bool,
    /// How fresh the answer must be; one node is always `strong`.
    #[param(inline)]
    #[expect(
        dead_code,
        reason = "accepted and checked; one node answers every level with the strongest"
    )]
    pub(super) consistency: Option<ConsistencyDto>,
}

/// Answer of a search.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MatchesDto {
    /// Best first.
    pub(super) matches: Vec<MatchDto>,
    /// Whether a shard did not answer, so that matches may be missing.
    pub(super) partial: bool,
}

/// Two stored images to compare.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompareDto {
    /// Id of the first image.
    pub(super) a: String,
    /// Id of the second image.
    pub(super) b: String,
}

/// Form of a comparison of two files, for the API's description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct CompareForm {
    /// The two images, under any names.
    #[schema(value_type = Vec<String>, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// Answer of a comparison.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ComparedDto {
    /// How they match; null when they do not.
    #[serde(rename = "match")]
    pub(super) matched: Option<VerdictDto>,
}
