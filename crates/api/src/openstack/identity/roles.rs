//! `/v3/roles` and what they imply.

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
use axum::routing::{get, head};
use axum::{Json, Router};
use corten_iam::role::{Inference, NewRole, RoleChanges};
use corten_model::ids::{DomainId, RoleId};
use corten_store::identity::Extra;
use corten_store::identity::role::Role;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let implication = head(check_implied)
        .get(show_implied)
        .put(imply)
        .delete(stop_implying);
    Router::new()
        .route("/roles", get(list).post(create))
        .route("/roles/{role_id}", get(show).patch(update).delete(delete))
        .route("/roles/{prior_role}/implies", get(list_implied))
        .route("/roles/{prior_role}/implies/{implied_role}", implication)
        .route("/role_inferences", get(inferences))
}

#[derive(Deserialize)]
struct Create {
    role: CreateRole,
}

#[derive(Deserialize)]
struct CreateRole {
    name: String,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    role: UpdateRole,
}

#[derive(Deserialize)]
struct UpdateRole {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    domain_id: Option<Option<DomainId>>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    options: Options,
    #[serde(flatten)]
    extra: Extra,
}

pub fn render(base: &str, role: &Role) -> Value {
    let body = json!({
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain_id,
        "description": role.description,
        "options": options(role.immutable),
        "links": {"self": format!("{base}/roles/{}", role.id)},
    });
    with_extra(body, &role.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let domain = params.get("domain_id").map(DomainId::from);
    let roles = app
        .iam
        .roles(&bearer.actor, domain.as_ref(), params.get("name"))
        .await?;
    let base = format!("{base}/identity/v3");
    let filters = &["name", "domain_id"];
    let listing = Listing {
        base: &base,
        path: "/roles",
        key: "roles",
        params: &params,
        filters,
    };
    Ok(listing.answer(roles.iter().map(|role| render(&base, role)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { role }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateRole {
        name,
        domain_id,
        description,
        options,
        extra,
    } = role;
    let new = NewRole {
        name,
        domain_id,
        description,
        immutable: options.immutable.flatten(),
        extra,
    };
    let role = app.iam.create_role(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"role": render(&format!("{base}/identity/v3"), &role)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let role = app.iam.role(&bearer.actor, &RoleId(id)).await?;
    Ok(Json(
        json!({"role": render(&format!("{base}/identity/v3"), &role)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { role }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateRole {
        name,
        domain_id,
        description,
        options,
        extra,
    } = role;
    let changes = RoleChanges {
        name,
        description,
        immutable: options.immutable,
        domain_id,
        extra,
    };
    let role = app
        .iam
        .update_role(&bearer.actor, &RoleId(id), changes)
        .await?;
    Ok(Json(
        json!({"role": render(&format!("{base}/identity/v3"), &role)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_role(&bearer.actor, &RoleId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn reference(base: &str, role: &Role) -> Value {
    json!({"id": role.id, "name": role.name, "links": {"self": format!("{base}/roles/{}", role.id)}})
}

/// A role with the list of those it implies.
fn all_implied(base: &str, inference: &Inference) -> Value {
    let implied: Vec<Value> = inference
        .implied
        .iter()
        .map(|role| reference(base, role))
        .collect();
    json!({"prior_role": reference(base, &inference.prior), "implies": implied})
}

/// A role with the one it implies.
fn one_implied(base: &str, inference: &Inference) -> Value {
    let prior = &inference.prior;
    let implied = inference.implied.first();
    let own = format!(
        "{base}/roles/{}/implies/{}",
        prior.id,
        implied.map_or("", |role| role.id.as_str())
    );
    json!({
        "role_inference": {
            "prior_role": reference(base, prior),
            "implies": implied.map(|role| reference(base, role)),
        },
        "links": {"self": own},
    })
}

async fn list_implied(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(prior): Path<String>,
) -> Answer<Json<Value>> {
    let inference = app.iam.inference(&bearer.actor, &RoleId(prior)).await?;
    let base = format!("{base}/identity/v3");
    let own = format!("{base}/roles/{}/implies", inference.prior.id);
    Ok(Json(
        json!({"role_inference": all_implied(&base, &inference), "links": {"self": own}}),
    ))
}

async fn show_implied(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((prior, implied)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let inference = app
        .iam
        .implication(&bearer.actor, &RoleId(prior), &RoleId(implied))
        .await?;
    Ok(Json(one_implied(
        &format!("{base}/identity/v3"),
        &inference,
    )))
}

async fn check_implied(
    State(app): State<App>,
    bearer: Bearer,
    Path((prior, implied)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .implication(&bearer.actor, &RoleId(prior), &RoleId(implied))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn imply(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((prior, implied)): Path<(String, String)>,
) -> Answer<(StatusCode, Json<Value>)> {
    let inference = app
        .iam
        .imply(&bearer.actor, &RoleId(prior), &RoleId(implied))
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(one_implied(&format!("{base}/identity/v3"), &inference)),
    ))
}

async fn stop_implying(
    State(app): State<App>,
    bearer: Bearer,
    Path((prior, implied)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .stop_implying(&bearer.actor, &RoleId(prior), &RoleId(implied))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn inferences(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
) -> Answer<Json<Value>> {
    let all = app.iam.inferences(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let rendered: Vec<Value> = all.iter().map(|one| all_implied(&base, one)).collect();
    Ok(Json(
        json!({"role_inferences": rendered, "links": {"self": format!("{base}/role_inferences")}}),
    ))
}
