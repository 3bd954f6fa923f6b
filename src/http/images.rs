//! `/v1/collections/{collection}/images`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::dto::{
    ImageDto, ImagesDto, ListParams, MatchDto, MatchesDto, SearchParams, UploadForm, UploadParams,
    UploadedDto, UploadsDto,
};
use super::error::{Problem, status_of};
use super::extract::{Form, InCollection, OfImage, Params};
use super::search::{DEFAULT_K, search_options};
use super::uploads::Files;
use crate::engine::{IngestOptions, Outcome, Probe, Uploaded};
use crate::error::ErrorKind;
use crate::types::{ImageFormat, ImageId, MatchClass};

/// Images in a part of a list when the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Most images in a part of a list.
const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, upload))
        .routes(routes!(get, delete))
        .routes(routes!(thumbnail))
        .routes(routes!(file))
        .routes(routes!(matches))
}

/// Uploads images and answers what they match. One file that cannot be read does not fail the others; the answer has one
/// entry a file, in their order. What is answered as `created` is durable.
#[utoipa::path(post, path = "/v1/collections/{collection}/images", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), UploadParams),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = CREATED, description = "at least one image is new", body = UploadsDto),
        (status = OK, description = "nothing is new", body = UploadsDto),
        (status = UNPROCESSABLE_ENTITY, description = "no file could be read (429, 503 or 507 when files failed for want of room)", body = UploadsDto),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = PAYLOAD_TOO_LARGE, body = Problem, content_type = "application/problem+json"),
        (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, body = Problem, content_type = "application/problem+json")))]
async fn upload(
    State(api): State<Api>,
    InCollection(collection): InCollection,
    Params(params): Params<UploadParams>,
    Form(form): Form,
) -> Result<Response, Problem> {
    let options = IngestOptions {
        on_duplicate: params.on_duplicate.unwrap_or_default().into(),
        level: params.level.map_or(MatchClass::Edited, MatchClass::from),
    };
    let mut ingest = api.engine.ingest(&collection, options)?;
    let mut files = Files::new(form, api.engine.config().limits.clone());
    while let Some(part) = files.next().await? {
        ingest.push(part.name, part.upload).await;
    }
    let uploaded = ingest.finish().await;
    if uploaded.is_empty() {
        return Err(Problem::invalid("the form holds no file"));
    }
    let status = upload_status(&uploaded);
    let images = uploaded
        .into_iter()
        .map(|one| UploadedDto::new(one, api.shown(&collection)))
        .collect();
    let mut response = (status, Json(UploadsDto { images })).into_response();
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// 201 when an image is new, 200 when none is. When every file failed: 422, or the status of the first failure that
/// another try may mend.
fn upload_status(uploaded: &[Uploaded]) -> StatusCode {
    if uploaded
        .iter()
        .any(|one| matches!(one.outcome, Outcome::Created(_)))
    {
        return StatusCode::CREATED;
    }
    let failures = uploaded.iter().map(|one| match &one.outcome {
        Outcome::Failed(error) => Some(error.kind()),
        _ => None,
    });
    match failures.collect::<Option<Vec<ErrorKind>>>() {
        None => StatusCode::OK,
        Some(kinds) => status_of(
            kinds
                .into_iter()
                .find(|kind| *kind != ErrorKind::Invalid)
                .unwrap_or(ErrorKind::Invalid),
        ),
    }
}

/// The images of a collection, newest first.
#[utoipa::path(get, path = "/v1/collections/{collection}/images", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), ListParams),
    responses((status = OK, body = ImagesDto),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    InCollection(collection): InCollection,
    Params(params): Params<ListParams>,
) -> Result<Json<ImagesDto>, Problem> {
    let limit = page_limit(params.limit)?;
    let cursor = params.cursor.map(|text| text.parse()).transpose()?;
    let page = api.engine.list(&collection, cursor, limit)?;
    Ok(Json(ImagesDto {
        images: page
            .images
            .iter()
            .map(|record| ImageDto::new(record, api.shown(&collection)))
            .collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Checks a client's `limit`.
pub(super) fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => Err(Problem::invalid(format!(
            "limit {limit} is not within 1 to {MAX_LIMIT}"
        ))),
    }
}

/// One image.
#[utoipa::path(get, path = "/v1/collections/{collection}/images/{id}", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the image")),
    responses((status = OK, body = ImageDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Api>, OfImage(collection, id): OfImage) -> Result<Json<ImageDto>, Problem> {
    let record = api.engine.get(&collection, id)?;
    Ok(Json(ImageDto::new(&record, api.shown(&collection))))
}

/// Removes an image.
#[utoipa::path(delete, path = "/v1/collections/{collection}/images/{id}", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the image")),
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Api>, OfImage(collection, id): OfImage) -> Result<StatusCode, Problem> {
    api.engine.delete(&collection, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A JPEG of the image with a long side of at most 400 pixels.
#[utoipa::path(get, path = "/v1/collections/{collection}/images/{id}/thumbnail", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the image")),
    responses((status = OK, content_type = "image/jpeg", body = Vec<u8>), (status = NOT_MODIFIED),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn thumbnail(
    State(api): State<Api>,
    OfImage(collection, id): OfImage,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = api.engine.get(&collection, id)?;
    if is_fresh(&headers, id) {
        return Ok(not_modified(id));
    }
    let jpeg = api.engine.thumbnail(&record).await?;
    Ok(bytes_of(id, "image/jpeg", jpeg))
}

/// The uploaded file, where the collection keeps it.
#[utoipa::path(get, path = "/v1/collections/{collection}/images/{id}/file", tag = "images",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the image")),
    responses((status = OK, content_type = "image/*", body = Vec<u8>), (status = NOT_MODIFIED),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn file(
    State(api): State<Api>,
    OfImage(collection, id): OfImage,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = api.engine.get(&collection, id)?;
    let bytes = api.engine.original(&collection, &record).await?;
    if is_fresh(&headers, id) {
        return Ok(not_modified(id));
    }
    let mut response = bytes_of(id, media_type(record.format), bytes);
    if let Ok(value) = HeaderValue::from_str(&format!(
        "inline; filename*=UTF-8''{}",
        percent_encoded(&record.name)
    )) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What a stored image matches.
#[utoipa::path(get, path = "/v1/collections/{collection}/images/{id}/matches", tag = "matching",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the image"), SearchParams),
    responses((status = OK, body = MatchesDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn matches(
    State(api): State<Api>,
    OfImage(collection, id): OfImage,
    Params(params): Params<SearchParams>,
) -> Result<Json<MatchesDto>, Problem> {
    let options = search_options(&params, (DEFAULT_K, MatchClass::Edited), &api)?;
    let answer = api.engine.search(&collection, Probe::Stored(id), options).await?;
    Ok(Json(MatchesDto {
        matches: MatchDto::list(&answer.matches, api.shown(&collection)),
        partial: answer.partial,
    }))
}

fn entity_tag(id: ImageId) -> String {
    format!("\"{id}\"")
}

/// Whether the client holds this image already: an id names its bytes.
fn is_fresh(headers: &HeaderMap, id: ImageId) -> bool {
    let tag = entity_tag(id);
    let mut held = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    held.any(|list| {
        list.split(',')
            .any(|one| one.trim().trim_start_matches("W/") == tag)
    })
}

fn not_modified(id: ImageId) -> Response {
    let mut response = super::error::empty(StatusCode::NOT_MODIFIED);
    cache(&mut response, id);
    response
}

fn bytes_of(id: ImageId, media_type: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    cache(&mut response, id);
    response
}

/// Bytes under an id never change; they may be removed, so a browser asks again after an hour.
fn cache(response: &mut Response, id: ImageId) {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    let tag = HeaderValue::from_str(&entity_tag(id)).expect("an id is hexadecimal");
    response.headers_mut().insert(ETAG, tag);
}

const fn media_type(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::Png => "image/png",
        ImageFormat::WebP => "image/webp",
        ImageFormat::Gif => "image/gif",
        ImageFormat::Bmp => "image/bmp",
        ImageFormat::Tiff => "image/tiff",
        ImageFormat::Ico => "image/vnd.microsoft.icon",
        ImageFormat::Pnm => "image/x-portable-anymap",
        ImageFormat::Qoi => "image/qoi",
        ImageFormat::Tga => "image/x-tga",
        ImageFormat::Avif => "image/avif",
        ImageFormat::Heic => "image/heic",
        ImageFormat::Jxl => "image/jxl",
        // Every maker has a type of its own, and browsers show none of them.
        ImageFormat::Raw => "application/octet-stream",
    }
}

/// A file name as RFC 8187 wants it in a header.
fn percent_encoded(name: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    out
}
