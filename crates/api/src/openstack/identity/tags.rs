//! `/v3/projects/{id}/tags`.

use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::project::ProjectChanges;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_store::identity::project::Project;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/projects/{project_id}/tags",
            get(list).put(replace).delete(clear),
        )
        .route(
            "/projects/{project_id}/tags/{tag}",
            get(check).put(add).delete(remove),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tags {
    tags: Vec<String>,
}

async fn set(app: &App, bearer: &Bearer, id: ProjectId, tags: Vec<String>) -> Answer<Project> {
    let changes = ProjectChanges {
        tags: Some(tags),
        ..ProjectChanges::default()
    };
    Ok(app.iam.update_project(&bearer.actor, &id, changes).await?)
}

fn render(base: &str, project: &Project) -> Json<Value> {
    let own = format!("{base}/identity/v3/projects/{}/tags", project.id);
    Json(json!({"tags": project.tags, "links": {"next": null, "self": own, "previous": null}}))
}

fn absent(project: &ProjectId, tag: &str) -> Refusal {
    Refusal::not_found(format!(
        "Could not find project tag {tag} on project {project}."
    ))
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(render(
        &base,
        &app.iam.project(&bearer.actor, &ProjectId(id)).await?,
    ))
}

async fn replace(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Tags { tags }): Body<Tags>,
) -> Answer<Json<Value>> {
    Ok(render(
        &base,
        &set(&app, &bearer, ProjectId(id), tags).await?,
    ))
}

async fn clear(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    set(&app, &bearer, ProjectId(id), Vec::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check(
    State(app): State<App>,
    bearer: Bearer,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let project = app.iam.project(&bearer.actor, &ProjectId(id)).await?;
    if !project.tags.contains(&tag) {
        return Err(absent(&project.id, &tag).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn add(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<Response> {
    let location = format!("{base}/identity/v3/projects/{id}/tags/{tag}");
    let mut tags = app
        .iam
        .project(&bearer.actor, &ProjectId(id.clone()))
        .await?
        .tags;
    if !tags.contains(&tag) {
        tags.push(tag);
    }
    set(&app, &bearer, ProjectId(id), tags).await?;
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

async fn remove(
    State(app): State<App>,
    bearer: Bearer,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let project = app.iam.project(&bearer.actor, &ProjectId(id)).await?;
    let mut tags = project.tags;
    let Some(index) = tags.iter().position(|one| *one == tag) else {
        return Err(absent(&project.id, &tag).into());
    };
    tags.remove(index);
    set(&app, &bearer, project.id, tags).await?;
    Ok(StatusCode::NO_CONTENT)
}
