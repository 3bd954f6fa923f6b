//! `/v1/collections/{collection}/search` and `/compare`

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::dto::{
    CompareDto, CompareForm, ComparedDto, MatchDto, MatchesDto, SearchDto, SearchForm, SearchParams,
    VerdictDto,
};
use super::error::Problem;
use super::extract::{Either, InCollection, Params};
use super::uploads::Files;
use crate::engine::{Probe, SearchOptions};
use crate::types::{ImageId, MatchClass};

/// Answers when the client does not say how many.
pub(super) const DEFAULT_K: usize = 20;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(search))
        .routes(routes!(compare))
}

/// Finds the images that match a file, or a stored image. Nothing is stored.
#[utoipa::path(post, path = "/v1/collections/{collection}/search", tag = "matching",
    params(("collection" = String, Path, description = "Name of the collection"), SearchParams),
    request_body(content((SearchForm = "multipart/form-data"), (SearchDto = "application/json"))),
    responses((status = OK, body = MatchesDto),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn search(
    State(api): State<Api>,
    InCollection(collection): InCollection,
    Params(params): Params<SearchParams>,
    body: Either<SearchDto>,
) -> Result<Json<MatchesDto>, Problem> {
    let options = search_options(&params, (DEFAULT_K, MatchClass::Similar), &api)?;
    let probe = match body {
        Either::Json(SearchDto { id }) => Probe::Stored(id.parse().map_err(Problem::of_text)?),
        Either::Form(form) => {
            let [file] = Files::new(form, api.engine.config().limits.clone())
                .exactly()
                .await?;
            Probe::File(file)
        }
    };
    let answer = api.engine.search(&collection, probe, options).await?;
    Ok(Json(MatchesDto {
        matches: MatchDto::list(&answer.matches, api.shown(&collection)),
        partial: answer.partial,
    }))
}

/// Compares two files, or two stored images.
#[utoipa::path(post, path = "/v1/collections/{collection}/compare", tag = "matching",
    params(("collection" = String, Path, description = "Name of the collection")),
    request_body(content((CompareForm = "multipart/form-data"), (CompareDto = "application/json"))),
    responses((status = OK, body = ComparedDto),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn compare(
    State(api): State<Api>,
    InCollection(collection): InCollection,
    body: Either<CompareDto>,
) -> Result<Json<ComparedDto>, Problem> {
    let [a, b] = match body {
        Either::Json(CompareDto { a, b }) => {
            let stored = |text: String| {
                text.parse::<ImageId>()
                    .map(Probe::Stored)
                    .map_err(Problem::of_text)
            };
            [stored(a)?, stored(b)?]
        }
        Either::Form(form) => {
            let files = Files::new(form, api.engine.config().limits.clone())
                .exactly::<2>()
                .await?;
            files.map(Probe::File)
        }
    };
    let matched = api.engine.compare(&collection, a, b).await?;
    Ok(Json(ComparedDto {
        matched: matched.as_ref().map(VerdictDto::new),
    }))
}

/// Checks a client's `k` and `level`; `defaults` stand for what it left out.
pub(super) fn search_options(
    params: &SearchParams,
    (k, level): (usize, MatchClass),
    api: &Api,
) -> Result<SearchOptions, Problem> {
    let most = api.engine.config().limits.max_k;
    match params.k.unwrap_or(k.min(most)) {
        k if (1..=most).contains(&k) => Ok(SearchOptions {
            k,
            level: params.level.map_or(level, MatchClass::from),
            deep: params.deep,
        }),
        k => Err(Problem::invalid(format!("k {k} is not within 1 to {most}"))),
    }
}
