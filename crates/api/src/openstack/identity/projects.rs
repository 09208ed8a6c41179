//! `/v3/projects`.

use super::domains::{Options, options};
use super::fields::given;
use super::listing::{Listing, with_extra};
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::project::{NewProject, ProjectChanges, ProjectFilter};
use corten_model::ids::{DomainId, ProjectId};
use corten_store::identity::Extra;
use corten_store::identity::project::Project;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/projects", get(list).post(create))
        .route(
            "/projects/{project_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    project: CreateProject,
}

#[derive(Deserialize)]
struct CreateProject {
    name: String,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(default)]
    parent_id: Option<ProjectId>,
    #[serde(default)]
    is_domain: Option<bool>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    project: UpdateProject,
}

#[derive(Deserialize)]
struct UpdateProject {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    domain_id: Option<Option<DomainId>>,
    #[serde(default, deserialize_with = "given")]
    parent_id: Option<Option<ProjectId>>,
    #[serde(default)]
    is_domain: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

pub fn render(base: &str, project: &Project) -> Value {
    let body = json!({
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "parent_id": project.parent_id,
        "is_domain": project.is_domain,
        "description": project.description,
        "enabled": project.enabled,
        "tags": project.tags,
        "options": options(project.immutable),
        "links": {"self": format!("{base}/projects/{}", project.id)},
    });
    with_extra(body, &project.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let filter = ProjectFilter {
        domain_id: params.get("domain_id").map(DomainId::from),
        parent_id: params.get("parent_id").map(ProjectId::from),
        name: params.get("name").map(str::to_owned),
        is_domain: params.truth("is_domain")?.unwrap_or(false),
    };
    let mut projects = app.iam.projects(&bearer.actor, filter).await?;
    projects.retain(|project| passes_tags(project, &params));
    let base = format!("{base}/identity/v3");
    let filters = &["name", "enabled", "domain_id", "parent_id"];
    let listing = Listing {
        base: &base,
        path: "/projects",
        key: "projects",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        projects
            .iter()
            .map(|project| render(&base, project))
            .collect(),
    )?)
}

/// `tags`, `tags-any`, `not-tags` and `not-tags-any`: lists of tags with commas between them.
fn passes_tags(project: &Project, params: &Params) -> bool {
    let has = |tag: &str| project.tags.iter().any(|one| one == tag);
    params.0.iter().all(|(name, value)| match name.as_str() {
        "tags" => value.split(',').all(has),
        "tags-any" => value.split(',').any(has),
        "not-tags" => !value.split(',').all(has),
        "not-tags-any" => !value.split(',').any(has),
        _ => true,
    })
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { project }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateProject {
        name,
        domain_id,
        parent_id,
        is_domain,
        description,
        enabled,
        tags,
        options,
        extra,
    } = project;
    let new = NewProject {
        name,
        domain_id,
        parent_id,
        is_domain: is_domain.unwrap_or(false),
        description,
        enabled: enabled.unwrap_or(true),
        tags,
        immutable: options.immutable.flatten(),
        extra,
    };
    let project = app.iam.create_project(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"project": render(&format!("{base}/identity/v3"), &project)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer<Json<Value>> {
    let base = format!("{base}/identity/v3");
    let project = app.iam.project(&bearer.actor, &ProjectId(id)).await?;
    let mut body = render(&base, &project);
    let asks = |name: &str| params.get(name).is_some();
    if asks("parents_as_list") || asks("parents_as_ids") {
        let parents = app.iam.parents(&project).await?;
        body["parents"] = if asks("parents_as_list") {
            parents
                .iter()
                .map(|one| json!({"project": render(&base, one)}))
                .collect()
        } else {
            parents_as_ids(&parents)
        };
    }
    if asks("subtree_as_list") || asks("subtree_as_ids") {
        let subtree = app.iam.subtree(&project).await?;
        body["subtree"] = if asks("subtree_as_list") {
            subtree
                .iter()
                .map(|one| json!({"project": render(&base, one)}))
                .collect()
        } else {
            subtree_as_ids(&project.id, &subtree)
        };
    }
    Ok(Json(json!({"project": body})))
}

/// Nearest first, each holding the one above it: `{"parent": {"grandparent": null}}`.
fn parents_as_ids(parents: &[Project]) -> Value {
    parents.iter().rev().fold(
        Value::Null,
        |above, project| json!({project.id.as_str(): above}),
    )
}

/// Each project holding those below it: `{"child": {"grandchild": null}}`.
fn subtree_as_ids(root: &ProjectId, subtree: &[Project]) -> Value {
    let below: Map<String, Value> = subtree
        .iter()
        .filter(|project| project.parent_id.as_ref() == Some(root))
        .map(|project| (project.id.0.clone(), subtree_as_ids(&project.id, subtree)))
        .collect();
    if below.is_empty() {
        Value::Null
    } else {
        Value::Object(below)
    }
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { project }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateProject {
        name,
        domain_id,
        parent_id,
        is_domain,
        description,
        enabled,
        tags,
        options,
        extra,
    } = project;
    let immutable = options.immutable;
    let changes = ProjectChanges {
        name,
        description,
        enabled,
        tags,
        immutable,
        domain_id,
        parent_id,
        is_domain,
        extra,
    };
    let project = app
        .iam
        .update_project(&bearer.actor, &ProjectId(id), changes)
        .await?;
    Ok(Json(
        json!({"project": render(&format!("{base}/identity/v3"), &project)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam
        .delete_project(&bearer.actor, &ProjectId(id))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
