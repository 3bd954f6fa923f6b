//! `/v1/collections/{collection}/groups`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::dto::{ClassDto, ImageDto, MatchDto, Shown};
use super::error::Problem;
use super::extract::{Body, InCollection, OfImage, Params};
use super::images::page_limit;
use crate::engine::{Group, Resolution};
use crate::types::{ImageId, MatchClass};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(resolve))
}

/// Which groups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GroupParams {
    /// Weakest class that holds a group together; `edited` when absent.
    #[param(inline)]
    level: Option<ClassDto>,
    /// `next` of the part before; absent for the first.
    cursor: Option<String>,
    /// Most groups, 1 to 1000; 100 when absent.
    limit: Option<usize>,
}

/// A keeper and its copies.
#[derive(Debug, Serialize, ToSchema)]
struct GroupDto {
    /// The keeper's id.
    id: String,
    /// The image that the default policy keeps: most pixels, then most bytes, then the oldest.
    keeper: ImageDto,
    /// The others, each with its match as seen from the keeper.
    members: Vec<MatchDto>,
}

impl GroupDto {
    fn new(group: &Group, shown: Shown<'_>) -> Self {
        Self {
            id: group.keeper.id.to_string(),
            keeper: ImageDto::new(&group.keeper, shown),
            members: MatchDto::list(&group.members, shown),
        }
    }
}

/// Part of the groups.
#[derive(Debug, Serialize, ToSchema)]
struct GroupsDto {
    /// Newest keeper first.
    groups: Vec<GroupDto>,
    /// The `cursor` of the next part; null at the end.
    next: Option<String>,
    /// Number of groups in all.
    total: usize,
    /// Images whose matches have been looked for.
    checked: u64,
    /// Images in the collection.
    images: u64,
    /// Whether all images have been checked. If not, a `dedup` job is at it, and groups may still be missing.
    complete: bool,
}

/// What a person decided about a group. Ids are those of the group's images; none may be named twice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolutionDto {
    /// Copies that all stay, and are not shown as a group again.
    #[serde(default)]
    keep: Vec<String>,
    /// Images to delete. When these are all copies of the group, `keep` or `not_duplicates` must name what stays.
    #[serde(default)]
    remove: Vec<String>,
    /// Images that are no copies of the others; remembered by content.
    #[serde(default)]
    not_duplicates: Vec<String>,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
struct ResolvedDto {
    /// Images deleted.
    removed: Vec<String>,
    /// Pairs whose verdict is remembered.
    judged: usize,
}

/// Groups of duplicates. Never chains: every member matches its keeper.
#[utoipa::path(get, path = "/v1/collections/{collection}/groups", tag = "groups",
    params(("collection" = String, Path, description = "Name of the collection"), GroupParams),
    responses((status = OK, body = GroupsDto), (status = NOT_FOUND, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    InCollection(collection): InCollection,
    Params(params): Params<GroupParams>,
) -> Result<Json<GroupsDto>, Problem> {
    let level = params.level.map_or(MatchClass::Edited, MatchClass::from);
    let limit = page_limit(params.limit)?;
    let cursor = params.cursor.map(|text| text.parse()).transpose()?;
    let page = api.engine.groups(&collection, level, cursor, limit)?;
    Ok(Json(GroupsDto {
        groups: page
            .groups
            .iter()
            .map(|group| GroupDto::new(group, api.shown(&collection)))
            .collect(),
        next: page.next.map(|cursor| cursor.to_string()),
        total: page.total,
        checked: page.checked,
        images: page.images,
        complete: page.checked == page.images,
    }))
}

/// Carries out a decision: verdicts are remembered first, then images are deleted.
#[utoipa::path(post, path = "/v1/collections/{collection}/groups/{id}/resolve", tag = "groups",
    params(("collection" = String, Path, description = "Name of the collection"), ("id" = String, Path, description = "Id of the group")),
    request_body = ResolutionDto,
    responses((status = OK, body = ResolvedDto),
        (status = CONFLICT, description = "the group has changed", body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json")))]
async fn resolve(
    State(api): State<Api>,
    OfImage(collection, id): OfImage,
    Body(decision): Body<ResolutionDto>,
) -> Result<Json<ResolvedDto>, Problem> {
    let ids = |texts: Vec<String>| {
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<ImageId>, _>>()
    };
    let resolution = Resolution {
        keep: ids(decision.keep).map_err(Problem::of_text)?,
        remove: ids(decision.remove).map_err(Problem::of_text)?,
        not_duplicates: ids(decision.not_duplicates).map_err(Problem::of_text)?,
    };
    let resolved = api.engine.resolve(&collection, id, &resolution).await?;
    Ok(Json(ResolvedDto {
        removed: resolved.removed.iter().map(ToString::to_string).collect(),
        judged: resolved.judged,
    }))
}
