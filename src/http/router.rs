//! All routes, and what surrounds each of them.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::HeaderName;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::any;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use super::visitors::{Visitors, admit};
use super::{Api, assets, collections, error, groups, images, jobs, search, service};
use crate::config::Limits;
use crate::telemetry::names;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "doppel",
        description = "Finds duplicate images. Upload an image and get its duplicates; search, compare, review groups.\n\n\
            Errors are problem documents (RFC 9457); their `type` ends in the kind of error, which says what to do."
    ),
    tags(
        (name = "images", description = "Upload, list, read and remove images"),
        (name = "matching", description = "Search and compare"),
        (name = "groups", description = "Review duplicates"),
        (name = "collections", description = "Collections of images"),
        (name = "jobs", description = "Work in the background"),
        (name = "service", description = "Health and metrics"),
    )
)]
struct Description;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(images::routes())
        .merge(search::routes())
        .merge(groups::routes())
        .merge(collections::routes())
        .merge(jobs::routes())
        .merge(service::routes())
}

/// The OpenAPI document of the service.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// The whole service: API, its description, gallery.
pub fn router(api: Api) -> Router {
    let config = api.engine.config();
    let limits = config.limits.clone();
    let visitors = Visitors::new(config.listen, &config.allowed_hosts);
    let (routes, description) = routes().split_for_parts();
    let all = routes
        .with_state(api)
        .route("/v1", any(error::no_such_resource))
        .route("/v1/{*path}", any(error::no_such_resource))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", description))
        .merge(assets::router())
        .layer(middleware::from_fn(move |request, next| {
            admit(visitors.clone(), request, next)
        }));
    surround(all, &limits)
}

/// What every request passes, outermost last.
pub(super) fn surround(routes: Router, limits: &Limits) -> Router {
    let body_limit = usize::try_from(limits.max_request_bytes).unwrap_or(usize::MAX);
    let patience = limits.request_timeout;
    routes
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn(move |request, next| {
            error::in_time(patience, request, next)
        }))
        .layer(middleware::from_fn(error::as_problem))
        .layer(middleware::from_fn(measure))
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
}

fn span(request: &Request) -> tracing::Span {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// Middleware: counts answers and their time by route, never by path.
async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!(names::HTTP_SECONDS, "route" => route.clone()).record(started.elapsed());
    metrics::counter!(names::HTTP_REQUESTS, "method" => method, "route" => route, "status" => status)
        .increment(1);
    response
}
