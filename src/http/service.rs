//! `/livez`, `/readyz`, `/metrics`, `/v1/cluster`

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::error::Problem;
use crate::error::ErrorKind;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(cluster))
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = OK, body = String)))]
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests should come here: every collection is open, and the service is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses((status = OK, body = String), (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json")))]
async fn readyz(State(api): State<Api>) -> Result<&'static str, Problem> {
    if api.stopping.is_cancelled() {
        return Err(Problem::of_kind(ErrorKind::Unavailable, "doppel is stopping"));
    }
    Ok("ok\n")
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = OK, content_type = "text/plain", body = String)))]
async fn metrics(State(api): State<Api>) -> Response {
    api.engine.measure();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        api.metrics.render(),
    )
        .into_response()
}

/// This node and its cluster.
#[derive(Debug, Serialize, ToSchema)]
struct ClusterDto {
    /// Name of the cluster.
    cluster: String,
    /// All nodes known.
    nodes: Vec<NodeDto>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
struct NodeDto {
    id: String,
    /// Version of its doppel.
    version: &'static str,
    /// Shards that it owns.
    shards: usize,
    /// Images in them.
    images: u64,
}

/// The cluster as this node sees it.
#[utoipa::path(get, path = "/v1/cluster", tag = "service", responses((status = OK, body = ClusterDto)))]
async fn cluster(State(api): State<Api>) -> Result<Json<ClusterDto>, Problem> {
    let collections = api.engine.collections().await?;
    let config = api.engine.config();
    Ok(Json(ClusterDto {
        cluster: config.cluster.clone(),
        nodes: vec![NodeDto {
            id: config.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            shards: collections.iter().map(|c| usize::from(c.shards)).sum(),
            images: collections.iter().map(|c| c.images).sum(),
        }],
    }))
}
