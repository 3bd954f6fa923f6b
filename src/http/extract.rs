//! Parts of a request, refused as problem documents when they cannot be read.

use axum::extract::{FromRequest, FromRequestParts, Multipart, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::error::Problem;
use crate::types::{CollectionName, ImageId};

/// Query parameters; unknown ones are refused where `T` denies unknown fields.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|refused| Problem::malformed(format!("query: {}", innermost(&refused))))
    }
}

/// Largest JSON body in bytes. Lists of ids fit; files come as forms.
const MAX_JSON: usize = 1 << 20;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported("application/json"));
        }
        Ok(Self(parse(&read(request).await?)?))
    }
}

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let body = read(request).await?;
        match (body.is_empty(), json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => Ok(Self(parse(&body)?)),
            (false, false) => Err(unsupported("application/json")),
        }
    }
}

/// A multipart form.
pub(super) struct Form(pub(super) Multipart);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).is_none_or(|kind| kind != "multipart/form-data") {
            return Err(unsupported("multipart/form-data"));
        }
        let form = Multipart::from_request(request, state).await;
        form.map(Self).map_err(|refused| {
            Problem::malformed(format!("the form cannot be read: {}", refused.body_text()))
        })
    }
}

/// Either of the two ways to name images: by id in JSON, or as files of a form.
pub(super) enum Either<T> {
    Json(T),
    Form(Multipart),
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Either<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if is_json(request.headers()) {
            return Body::from_request(request, state)
                .await
                .map(|Body(json)| Self::Json(json));
        }
        match Form::from_request(request, state).await {
            Ok(Form(form)) => Ok(Self::Form(form)),
            Err(refused) if refused.is_unsupported() => {
                Err(unsupported("multipart/form-data or application/json"))
            }
            Err(refused) => Err(refused),
        }
    }
}

fn unsupported(wanted: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("the body must be {wanted}, and its Content-Type must say so"),
    )
}

/// The media type of the body, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json")
}

async fn read(request: Request) -> Result<Vec<u8>, Problem> {
    let (mut stream, mut body) = (request.into_body().into_data_stream(), Vec::new());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::malformed("the body ended early"))?;
        if body.len() + chunk.len() > MAX_JSON {
            let detail = format!("a JSON body may have {MAX_JSON} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Text that is no JSON is malformed; JSON of another shape can never work.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(format!("body: {error}")),
        _ => Problem::malformed(format!("body: {error}")),
    })
}

/// The collection in the path.
pub(super) struct InCollection(pub(super) CollectionName);

impl<S: Send + Sync> FromRequestParts<S> for InCollection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        Ok(Self(
            part(&names, "collection")?.parse().map_err(Problem::of_text)?,
        ))
    }
}

/// The collection and the image in the path.
pub(super) struct OfImage(pub(super) CollectionName, pub(super) ImageId);

impl<S: Send + Sync> FromRequestParts<S> for OfImage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = path(parts, state).await?;
        let collection = part(&names, "collection")?.parse().map_err(Problem::of_text)?;
        Ok(Self(
            collection,
            part(&names, "id")?.parse().map_err(Problem::of_text)?,
        ))
    }
}

impl Problem {
    /// A name or id that is spelled wrong: it can name nothing.
    pub(super) fn of_text(error: impl std::error::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<(String, String)>, Problem> {
    let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
        .await
        .map_err(|refused| Problem::malformed(refused.body_text()))?;
    Ok(names)
}

fn part<'a>(names: &'a [(String, String)], name: &str) -> Result<&'a str, Problem> {
    let found = names.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).ok_or_else(|| {
        Problem::of_kind(
            crate::error::ErrorKind::Internal,
            format!("the route has no {name}"),
        )
    })
}

/// The deepest cause: the part that names the field.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
