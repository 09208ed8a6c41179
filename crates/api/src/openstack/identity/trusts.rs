//! `/v3/OS-TRUST/trusts`.

use super::application_credentials::{RoleBody, expiry};
use super::listing::Listing;
use super::roles;
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::trust::{NewTrust, TrustDetail};
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::trust::Trust;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/OS-TRUST/trusts", get(list).post(create))
        .route("/OS-TRUST/trusts/", get(list).post(create))
        .route("/OS-TRUST/trusts/{trust_id}", get(show).delete(delete))
        .route("/OS-TRUST/trusts/{trust_id}/roles", get(list_roles))
        .route(
            "/OS-TRUST/trusts/{trust_id}/roles/{role_id}",
            get(show_role),
        )
}

#[derive(Deserialize)]
struct Create {
    trust: CreateTrust,
}

#[derive(Deserialize)]
struct CreateTrust {
    trustor_user_id: UserId,
    trustee_user_id: UserId,
    impersonation: bool,
    #[serde(default)]
    project_id: Option<ProjectId>,
    #[serde(default)]
    roles: Vec<RoleBody>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    remaining_uses: Option<i64>,
    #[serde(default)]
    allow_redelegation: Option<bool>,
    #[serde(default)]
    redelegation_count: Option<i64>,
}

fn summary(base: &str, trust: &Trust) -> Value {
    json!({
        "id": trust.id,
        "trustor_user_id": trust.trustor_user_id,
        "trustee_user_id": trust.trustee_user_id,
        "project_id": trust.project_id,
        "impersonation": trust.impersonation,
        "expires_at": trust.expires_at.map(|moment| moment.micros_z()),
        "remaining_uses": trust.remaining_uses,
        "redelegation_count": trust.redelegation_count,
        "redelegated_trust_id": trust.redelegated_trust_id,
        "deleted_at": trust.deleted_at.map(|moment| moment.micros_z()),
        "links": {"self": format!("{base}/OS-TRUST/trusts/{}", trust.id)},
    })
}

fn render(base: &str, detail: &TrustDetail) -> Value {
    let mut body = summary(base, &detail.trust);
    body["roles"] = detail
        .roles
        .iter()
        .map(|role| roles::render(base, role))
        .collect();
    let own = format!("{base}/OS-TRUST/trusts/{}/roles", detail.trust.id);
    body["roles_links"] = json!({"self": own, "next": null, "previous": null});
    body
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let trustor = params.get("trustor_user_id").map(UserId::from);
    let trustee = params.get("trustee_user_id").map(UserId::from);
    let trusts = app
        .iam
        .trusts(
            &bearer.actor,
            &bearer.token,
            trustor.as_ref(),
            trustee.as_ref(),
        )
        .await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: "/OS-TRUST/trusts",
        key: "trusts",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(trusts.iter().map(|trust| summary(&base, trust)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { trust }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let new = NewTrust {
        trustor_user_id: trust.trustor_user_id,
        trustee_user_id: trust.trustee_user_id,
        project_id: trust.project_id,
        impersonation: trust.impersonation,
        roles: trust
            .roles
            .into_iter()
            .map(RoleBody::reference)
            .collect::<Result<_, _>>()?,
        expires_at: expiry(trust.expires_at)?,
        remaining_uses: trust.remaining_uses,
        allow_redelegation: trust.allow_redelegation.unwrap_or(false),
        redelegation_count: trust.redelegation_count,
    };
    let detail = app
        .iam
        .create_trust(&bearer.actor, &bearer.token, new)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"trust": render(&format!("{base}/identity/v3"), &detail)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let detail = app.iam.trust(&bearer.actor, &bearer.token, &id).await?;
    Ok(Json(
        json!({"trust": render(&format!("{base}/identity/v3"), &detail)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam
        .delete_trust(&bearer.actor, &bearer.token, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_roles(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let detail = app.iam.trust(&bearer.actor, &bearer.token, &id).await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/OS-TRUST/trusts/{id}/roles");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "roles",
        params: &params,
        filters: &[],
    };
    Ok(listing.answer(
        detail
            .roles
            .iter()
            .map(|role| roles::render(&base, role))
            .collect(),
    )?)
}

async fn show_role(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((id, role)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let detail = app.iam.trust(&bearer.actor, &bearer.token, &id).await?;
    let found = detail.roles.iter().find(|one| one.id.as_str() == role);
    let found = found
        .ok_or_else(|| Refusal::not_found(format!("Trust {id} does not lend role {role}.")))?;
    Ok(Json(
        json!({"role": roles::render(&format!("{base}/identity/v3"), found)}),
    ))
}
