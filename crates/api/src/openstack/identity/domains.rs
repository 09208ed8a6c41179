//! `/v3/domains`.

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
use corten_iam::domain::{DomainChanges, NewDomain};
use corten_model::ids::DomainId;
use corten_store::identity::Extra;
use corten_store::identity::project::Project;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/domains", get(list).post(create))
        .route(
            "/domains/{domain_id}",
            get(show).patch(update).delete(delete),
        )
}

/// Keystone's resource options of domains, projects and roles.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default, deserialize_with = "given")]
    pub immutable: Option<Option<bool>>,
}

#[derive(Deserialize)]
struct Create {
    domain: CreateDomain,
}

#[derive(Deserialize)]
struct CreateDomain {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    explicit_domain_id: Option<String>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    domain: UpdateDomain,
}

#[derive(Deserialize)]
struct UpdateDomain {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

pub fn render(base: &str, domain: &Project) -> Value {
    let options = options(domain.immutable);
    let body = json!({
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": options,
        "links": {"self": format!("{base}/domains/{}", domain.id)},
    });
    with_extra(body, &domain.extra)
}

/// The options that are set.
pub fn options(immutable: Option<bool>) -> Value {
    immutable.map_or_else(|| json!({}), |immutable| json!({"immutable": immutable}))
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let domains = app.iam.domains(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &["name", "enabled"];
    let listing = Listing {
        base: &base,
        path: "/domains",
        key: "domains",
        params: &params,
        filters,
    };
    Ok(listing.answer(domains.iter().map(|domain| render(&base, domain)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { domain }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateDomain {
        name,
        description,
        enabled,
        explicit_domain_id,
        options,
        extra,
    } = domain;
    let id = explicit_domain_id
        .map(|id| id.parse::<DomainId>())
        .transpose();
    let new = NewDomain {
        id: id.map_err(corten_model::refusal::Refusal::invalid)?,
        name,
        description,
        enabled: enabled.unwrap_or(true),
        immutable: options.immutable.flatten(),
        extra,
    };
    let domain = app.iam.create_domain(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"domain": render(&format!("{base}/identity/v3"), &domain)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let domain = app.iam.domain(&bearer.actor, &DomainId(id)).await?;
    Ok(Json(
        json!({"domain": render(&format!("{base}/identity/v3"), &domain)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { domain }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateDomain {
        name,
        description,
        enabled,
        options,
        extra,
    } = domain;
    let changes = DomainChanges {
        name,
        description,
        enabled,
        immutable: options.immutable,
        extra,
    };
    let domain = app
        .iam
        .update_domain(&bearer.actor, &DomainId(id), changes)
        .await?;
    Ok(Json(
        json!({"domain": render(&format!("{base}/identity/v3"), &domain)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_domain(&bearer.actor, &DomainId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
