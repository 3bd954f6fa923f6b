//! Errors as problem documents (RFC 9457). Every error that leaves the service has this form, the router's own included.

use std::any::Any;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::EngineError;
use crate::error::ErrorKind;

/// Media type of a problem document.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, after RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Names the kind of problem: `urn:doppel:problem:not_found`.
    #[serde(rename = "type")]
    #[schema(example = "urn:doppel:problem:not_found")]
    problem: String,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened, for a person.
    #[schema(example = "there is no collection \"holiday\"")]
    detail: String,
}

impl Problem {
    /// A problem that the engine's kinds do not cover: one of HTTP itself.
    pub(super) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            problem: format!("urn:doppel:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// A request that is well-formed and can never work.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::of_kind(ErrorKind::Invalid, detail)
    }

    /// A request that is not well-formed.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// A problem of one of the engine's kinds.
    pub(super) fn of_kind(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self::new(status_of(kind), kind.as_str(), detail)
    }

    /// Whether the body was of a type that the resource does not take.
    pub(super) fn is_unsupported(&self) -> bool {
        self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16()
    }

    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The status of each kind of error.
pub(super) const fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::Internal | ErrorKind::Corrupt) {
            tracing::error!(%error, %kind, "request failed");
        }
        Self::of_kind(kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status_code();
        let body = serde_json::to_vec(&self).expect("a problem is plain text and numbers");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Answer for an API path that is no resource.
pub(super) async fn no_such_resource(uri: Uri) -> Problem {
    Problem::of_kind(
        ErrorKind::NotFound,
        format!("there is no resource {}; /docs lists what there is", uri.path()),
    )
}

/// Fallback of a resource: a method that it does not have. The router adds `Allow`.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} does not answer {method}; the Allow header names the methods it has",
            uri.path()
        ),
    )
}

/// Answer to a handler that panicked: a defect, told without its insides.
#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
pub(super) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a handler panicked");
    Problem::of_kind(ErrorKind::Internal, "doppel made a mistake; its log says more").into_response()
}

/// Middleware: gives errors that others made as plain text (axum's own rejections, body limits) the form of a problem.
pub(super) async fn as_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let plain = match response.headers().get(CONTENT_TYPE) {
        None => true,
        Some(kind) => kind.as_bytes().starts_with(b"text/plain"),
    };
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // Such bodies are a sentence; one that is longer, or fails, says nothing worth keeping.
    let text = axum::body::to_bytes(body, 4096)
        .await
        .ok()
        .and_then(|b| String::from_utf8(b.to_vec()).ok());
    let detail = text.filter(|text| !text.trim().is_empty());
    let detail = detail.unwrap_or_else(|| status.canonical_reason().unwrap_or("error").to_lowercase());
    let mut problem = Problem::new(status, kind_of_status(status), detail.trim()).into_response();
    keep_headers(&parts.headers, problem.headers_mut());
    problem
}

/// Copies the headers that still hold for the rewritten answer.
fn keep_headers(from: &HeaderMap, to: &mut HeaderMap) {
    let describes_the_body = |name: &HeaderName| *name == CONTENT_TYPE || *name == CONTENT_LENGTH;
    for (name, value) in from.iter().filter(|(name, _)| !describes_the_body(name)) {
        if *name == ALLOW || !to.contains_key(name) {
            to.insert(name.clone(), value.clone());
        }
    }
}

fn kind_of_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound.as_str(),
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UNPROCESSABLE_ENTITY => ErrorKind::Invalid.as_str(),
        other if other.is_client_error() => "malformed",
        _ => ErrorKind::Internal.as_str(),
    }
}

/// Middleware: answers for a handler that takes longer than `limit`.
pub(super) async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    let safe = request.method().is_safe();
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let kind = if safe {
                ErrorKind::Unavailable
            } else {
                ErrorKind::OutcomeUnknown
            };
            Problem::of_kind(kind, format!("no answer within {} seconds", limit.as_secs_f32()))
                .into_response()
        }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
