//! `/v3/limits`.

use super::fields::given;
use super::listing::Listing;
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::limit::{LimitDetail, MODEL, NewLimit};
use corten_model::ids::{DomainId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::identity::limit::LimitTarget;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/limits", get(list).post(create))
        .route("/limits/model", get(model))
        .route("/limits/{id}", get(show).patch(update).delete(delete))
}

#[derive(Deserialize)]
struct Create {
    limits: Vec<CreateLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateLimit {
    #[serde(default)]
    project_id: Option<ProjectId>,
    #[serde(default)]
    domain_id: Option<DomainId>,
    service_id: String,
    #[serde(default)]
    region_id: Option<String>,
    resource_name: String,
    resource_limit: i64,
    #[serde(default)]
    description: Option<String>,
}

impl CreateLimit {
    fn read(self) -> Result<NewLimit, Refusal> {
        let Self {
            project_id,
            domain_id,
            service_id,
            region_id,
            resource_name,
            resource_limit,
            description,
        } = self;
        let target = match (project_id, domain_id) {
            (Some(project), None) => LimitTarget::Project(project),
            (None, Some(domain)) => LimitTarget::Domain(domain),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Refusal::invalid(
                    "A limit is for a project_id or for a domain_id, one of the two.",
                ));
            }
        };
        Ok(NewLimit {
            target,
            service_id,
            region_id,
            resource_name,
            resource_limit,
            description,
        })
    }
}

#[derive(Deserialize)]
struct Update {
    limit: UpdateLimit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateLimit {
    #[serde(default)]
    resource_limit: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
}

fn render(base: &str, detail: &LimitDetail) -> Value {
    let LimitDetail { limit, registered } = detail;
    let (project, domain) = match &limit.target {
        LimitTarget::Project(id) => (Some(id), None),
        LimitTarget::Domain(id) => (None, Some(id)),
    };
    json!({
        "id": limit.id,
        "project_id": project,
        "domain_id": domain,
        "service_id": registered.service_id,
        "region_id": registered.region_id,
        "resource_name": registered.resource_name,
        "resource_limit": limit.resource_limit,
        "description": limit.description,
        "links": {"self": format!("{base}/limits/{}", limit.id)},
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let limits = app.iam.limits(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &[
        "service_id",
        "region_id",
        "resource_name",
        "project_id",
        "domain_id",
    ];
    let listing = Listing {
        base: &base,
        path: "/limits",
        key: "limits",
        params: &params,
        filters,
    };
    Ok(listing.answer(limits.iter().map(|limit| render(&base, limit)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { limits }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let new = limits
        .into_iter()
        .map(CreateLimit::read)
        .collect::<Result<_, _>>()?;
    let limits = app.iam.create_limits(&bearer.actor, new).await?;
    let base = format!("{base}/identity/v3");
    let rendered: Vec<Value> = limits.iter().map(|limit| render(&base, limit)).collect();
    Ok((StatusCode::CREATED, Json(json!({"limits": rendered}))))
}

async fn model(_: Bearer) -> Json<Value> {
    let (name, description) = MODEL;
    Json(json!({"model": {"name": name, "description": description}}))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let limit = app.iam.limit(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"limit": render(&format!("{base}/identity/v3"), &limit)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { limit }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateLimit {
        resource_limit,
        description,
    } = limit;
    let limit = app
        .iam
        .update_limit(&bearer.actor, &id, resource_limit, description)
        .await?;
    Ok(Json(
        json!({"limit": render(&format!("{base}/identity/v3"), &limit)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_limit(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
