//! `/v3/OS-EP-FILTER`: groups of endpoints, and which endpoints a project sees.

use super::fields::given;
use super::listing::Listing;
use super::{endpoints, projects};
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::endpoint_filter::{EndpointGroupChanges, Filters};
use corten_model::ids::ProjectId;
use corten_store::identity::endpoint_filter::{EndpointGroup, Selection};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let filter = Router::new()
        .route("/endpoint_groups", get(list).post(create))
        .route(
            "/endpoint_groups/{group_id}",
            get(show).patch(update).delete(delete),
        )
        .route(
            "/endpoint_groups/{group_id}/endpoints",
            get(endpoints_in_group),
        )
        .route(
            "/endpoint_groups/{group_id}/projects",
            get(projects_with_group),
        )
        .route(
            "/endpoint_groups/{group_id}/projects/{project_id}",
            get(check_group).put(select_group).delete(deselect_group),
        )
        .route(
            "/endpoints/{endpoint_id}/projects",
            get(projects_with_endpoint),
        )
        .route(
            "/projects/{project_id}/endpoints",
            get(endpoints_of_project),
        )
        .route(
            "/projects/{project_id}/endpoint_groups",
            get(groups_of_project),
        )
        .route(
            "/projects/{project_id}/endpoints/{endpoint_id}",
            get(check_endpoint)
                .put(select_endpoint)
                .delete(deselect_endpoint),
        );
    Router::new().nest("/OS-EP-FILTER", filter)
}

#[derive(Deserialize)]
struct Create {
    endpoint_group: CreateGroup,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateGroup {
    name: String,
    #[serde(default)]
    description: Option<String>,
    filters: Filters,
}

#[derive(Deserialize)]
struct Update {
    endpoint_group: UpdateGroup,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateGroup {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    filters: Option<Filters>,
}

fn render(base: &str, group: &EndpointGroup) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "filters": group.filters,
        "links": {"self": format!("{base}/OS-EP-FILTER/endpoint_groups/{}", group.id)},
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let groups = app.iam.endpoint_groups(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let path = "/OS-EP-FILTER/endpoint_groups";
    let listing = Listing {
        base: &base,
        path,
        key: "endpoint_groups",
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(groups.iter().map(|group| render(&base, group)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { endpoint_group }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateGroup {
        name,
        description,
        filters,
    } = endpoint_group;
    let group = app
        .iam
        .create_endpoint_group(&bearer.actor, name, description, filters)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"endpoint_group": render(&format!("{base}/identity/v3"), &group)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let group = app.iam.endpoint_group(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"endpoint_group": render(&format!("{base}/identity/v3"), &group)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { endpoint_group }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateGroup {
        name,
        description,
        filters,
    } = endpoint_group;
    let changes = EndpointGroupChanges {
        name,
        description,
        filters,
    };
    let group = app
        .iam
        .update_endpoint_group(&bearer.actor, &id, changes)
        .await?;
    Ok(Json(
        json!({"endpoint_group": render(&format!("{base}/identity/v3"), &group)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_endpoint_group(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn endpoints_in_group(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let found = app.iam.endpoints_in_group(&bearer.actor, &id).await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/OS-EP-FILTER/endpoint_groups/{id}/endpoints");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "endpoints",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(
        found
            .iter()
            .map(|endpoint| endpoints::render(&base, endpoint))
            .collect(),
    )?)
}

async fn projects_with(
    app: App,
    bearer: Bearer,
    base: String,
    path: String,
    params: Params,
    what: Selection,
) -> Answer {
    let found = app.iam.projects_with(&bearer.actor, &what).await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "projects",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(
        found
            .iter()
            .map(|project| projects::render(&base, project))
            .collect(),
    )?)
}

async fn projects_with_group(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let path = format!("/OS-EP-FILTER/endpoint_groups/{id}/projects");
    projects_with(
        app,
        bearer,
        base,
        path,
        params,
        Selection::EndpointGroup(id),
    )
    .await
}

async fn projects_with_endpoint(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let path = format!("/OS-EP-FILTER/endpoints/{id}/projects");
    projects_with(app, bearer, base, path, params, Selection::Endpoint(id)).await
}

async fn endpoints_of_project(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let found = app
        .iam
        .selected_endpoints(&bearer.actor, &ProjectId(id.clone()))
        .await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/OS-EP-FILTER/projects/{id}/endpoints");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "endpoints",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(
        found
            .iter()
            .map(|endpoint| endpoints::render(&base, endpoint))
            .collect(),
    )?)
}

async fn groups_of_project(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let found = app
        .iam
        .selected_groups(&bearer.actor, &ProjectId(id.clone()))
        .await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/OS-EP-FILTER/projects/{id}/endpoint_groups");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "endpoint_groups",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(found.iter().map(|group| render(&base, group)).collect())?)
}

async fn check_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, project)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .check_selected(
            &bearer.actor,
            &ProjectId(project),
            Selection::EndpointGroup(group),
        )
        .await?;
    Ok(StatusCode::OK)
}

async fn select_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, project)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .select(
            &bearer.actor,
            &ProjectId(project),
            Selection::EndpointGroup(group),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deselect_group(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, project)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .deselect(
            &bearer.actor,
            &ProjectId(project),
            Selection::EndpointGroup(group),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check_endpoint(
    State(app): State<App>,
    bearer: Bearer,
    Path((project, endpoint)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .check_selected(
            &bearer.actor,
            &ProjectId(project),
            Selection::Endpoint(endpoint),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn select_endpoint(
    State(app): State<App>,
    bearer: Bearer,
    Path((project, endpoint)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .select(
            &bearer.actor,
            &ProjectId(project),
            Selection::Endpoint(endpoint),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deselect_endpoint(
    State(app): State<App>,
    bearer: Bearer,
    Path((project, endpoint)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .deselect(
            &bearer.actor,
            &ProjectId(project),
            Selection::Endpoint(endpoint),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
