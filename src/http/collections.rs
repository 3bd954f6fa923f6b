//! `/v1/collections`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::dto::{CollectionDto, CollectionsDto, NewCollectionDto};
use super::error::Problem;
use super::extract::{InCollection, OptionalBody};
use crate::engine::CollectionOptions;

/// Most shards of a collection.
const MAX_SHARDS: u16 = 1024;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
}

/// All collections. `default` is there from the start.
#[utoipa::path(get, path = "/v1/collections", tag = "collections",
    responses((status = OK, body = CollectionsDto)))]
async fn list(State(api): State<Api>) -> Result<Json<CollectionsDto>, Problem> {
    let collections = api.engine.collections().await?;
    Ok(Json(CollectionsDto {
        collections: collections.into_iter().map(CollectionDto::from).collect(),
    }))
}

/// One collection.
#[utoipa::path(get, path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "Name of the collection")),
    responses((status = OK, body = CollectionDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn get(
    State(api): State<Api>,
    InCollection(name): InCollection,
) -> Result<Json<CollectionDto>, Problem> {
    Ok(Json(api.engine.collection(&name).await?.into()))
}

/// Creates a collection. Repeating it with the same options changes nothing.
#[utoipa::path(put, path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "1 to 64 of a-z, 0-9, '-', '_', starting with a letter or a digit")),
    request_body(content = Option<NewCollectionDto>),
    responses(
        (status = CREATED, description = "it is new", body = CollectionDto),
        (status = OK, description = "it was there", body = CollectionDto),
        (status = CONFLICT, description = "it is there with other options", body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn put(
    State(api): State<Api>,
    InCollection(name): InCollection,
    OptionalBody(options): OptionalBody<NewCollectionDto>,
) -> Result<(StatusCode, Json<CollectionDto>), Problem> {
    if options
        .shards
        .is_some_and(|shards| !(1..=MAX_SHARDS).contains(&shards))
    {
        return Err(Problem::invalid(format!("shards must be 1 to {MAX_SHARDS}")));
    }
    let options = CollectionOptions {
        shards: options.shards,
        keep_originals: options.keep_originals,
    };
    let (info, created) = api.engine.create_collection(&name, options).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(info.into())))
}

/// Removes a collection with all that is in it. `default` comes back empty.
#[utoipa::path(delete, path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "Name of the collection")),
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Api>, InCollection(name): InCollection) -> Result<StatusCode, Problem> {
    api.engine.delete_collection(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
