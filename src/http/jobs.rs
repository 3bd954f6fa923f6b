//! `/v1/jobs`

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::error::Problem;
use super::extract::Body;
use crate::engine::{JobInfo, JobKind};
use crate::types::CollectionName;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(get, cancel))
        .routes(routes!(events))
}

/// What a job does.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum JobKindDto {
    /// Finds the matches of every image, so that the groups are complete.
    Dedup,
    /// Removes deleted rows and merges small segments.
    Compact,
}

/// A job to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewJobDto {
    kind: JobKindDto,
    /// The collection to work on; `default` when absent.
    #[serde(default)]
    collection: Option<String>,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
struct JobDto {
    id: String,
    #[schema(example = "dedup")]
    kind: &'static str,
    collection: String,
    /// `running`, `done`, `failed` or `cancelled`.
    #[schema(example = "running")]
    state: &'static str,
    /// Steps done.
    done: u64,
    /// Steps in all, as far as known.
    total: u64,
    /// Why it failed.
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    started: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended: Option<DateTime<Utc>>,
}

impl From<&JobInfo> for JobDto {
    fn from(info: &JobInfo) -> Self {
        Self {
            id: info.id.to_string(),
            kind: info.kind.as_str(),
            collection: info.collection.to_string(),
            state: info.state.as_str(),
            done: info.done,
            total: info.total,
            error: info.error.clone(),
            started: info.started,
            ended: info.ended,
        }
    }
}

/// Jobs, latest first.
#[derive(Debug, Serialize, ToSchema)]
struct JobsDto {
    jobs: Vec<JobDto>,
}

/// Starts a job. One of its kind that is running on the collection already is answered instead.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = NewJobDto,
    responses((status = ACCEPTED, body = JobDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn start(
    State(api): State<Api>,
    Body(job): Body<NewJobDto>,
) -> Result<(StatusCode, Json<JobDto>), Problem> {
    let collection = match job.collection {
        Some(name) => name.parse().map_err(Problem::of_text)?,
        None => CollectionName::default_collection(),
    };
    let kind = match job.kind {
        JobKindDto::Dedup => JobKind::Dedup,
        JobKindDto::Compact => JobKind::Compact,
    };
    let info = api.engine.start_job(kind, &collection)?;
    Ok((StatusCode::ACCEPTED, Json(JobDto::from(&info))))
}

/// Jobs of this node since it started, latest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses((status = OK, body = JobsDto)))]
async fn list(State(api): State<Api>) -> Json<JobsDto> {
    Json(JobsDto {
        jobs: api.engine.jobs().iter().map(JobDto::from).collect(),
    })
}

/// A job as it is now.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path, description = "Id of the job")),
    responses((status = OK, body = JobDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<JobDto>, Problem> {
    let follow = api.engine.follow_job(&job)?;
    let info = follow.borrow().clone();
    Ok(Json(JobDto::from(&info)))
}

/// Asks a job to stop. What it has done stays done.
#[utoipa::path(delete, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path, description = "Id of the job")),
    responses((status = ACCEPTED, body = JobDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn cancel(
    State(api): State<Api>,
    Path(job): Path<String>,
) -> Result<(StatusCode, Json<JobDto>), Problem> {
    let info = api.engine.cancel_job(&job)?;
    Ok((StatusCode::ACCEPTED, Json(JobDto::from(&info))))
}

/// A job's changes as server-sent events named `job`, the present state first; ends with the job.
#[utoipa::path(get, path = "/v1/jobs/{job}/events", tag = "jobs", params(("job" = String, Path, description = "Id of the job")),
    responses((status = OK, content_type = "text/event-stream", body = JobDto),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn events(
    State(api): State<Api>,
    Path(job): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let follow = api.engine.follow_job(&job)?;
    let stopping = api.stopping.clone();
    let changes = changes(follow).take_until(stopping.cancelled_owned());
    let events = changes.map(|info| {
        let event = Event::default().event("job").json_data(JobDto::from(&info));
        Ok(event.unwrap_or_else(|error| Event::default().comment(error.to_string())))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The present state, then each later one; the state in which the job ended is the last.
fn changes(follow: watch::Receiver<JobInfo>) -> impl Stream<Item = JobInfo> {
    stream::unfold(Some((follow, false)), |state| async move {
        let (mut follow, seen_first) = state?;
        if seen_first && follow.changed().await.is_err() {
            return None;
        }
        let info = follow.borrow_and_update().clone();
        let rest = info.ended.is_none().then_some((follow, true));
        Some((info, rest))
    })
}
