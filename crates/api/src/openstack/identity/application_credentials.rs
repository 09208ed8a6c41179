//! `/v3/users/{id}/application_credentials` and `/v3/users/{id}/access_rules`.

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
use corten_iam::application_credential::{
    AccessRuleRef, ApplicationCredentialDetail, NewApplicationCredential, RoleRef,
};
use corten_model::ids::{RoleId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::access_rule::AccessRule;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/users/{user_id}/application_credentials",
            get(list).post(create),
        )
        .route(
            "/users/{user_id}/application_credentials/{id}",
            get(show).delete(delete),
        )
        .route("/users/{user_id}/access_rules", get(list_rules))
        .route(
            "/users/{user_id}/access_rules/{id}",
            get(show_rule).delete(delete_rule),
        )
}

#[derive(Deserialize)]
struct Create {
    application_credential: CreateCredential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateCredential {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    roles: Option<Vec<RoleBody>>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    unrestricted: Option<bool>,
    #[serde(default)]
    access_rules: Option<Vec<AccessRuleBody>>,
    /// Some clients repeat the project of the token here; it cannot be another.
    #[serde(default)]
    project_id: Option<String>,
}

/// A role by its id or name.
#[derive(Deserialize)]
pub struct RoleBody {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl RoleBody {
    pub fn reference(self) -> Result<RoleRef, Refusal> {
        match (self.id, self.name) {
            (Some(id), _) => Ok(RoleRef::Id(RoleId(id))),
            (None, Some(name)) => Ok(RoleRef::Name(name)),
            (None, None) => Err(Refusal::invalid("A role is given by its id or its name.")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessRuleBody {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path: Option<String>,
}

impl AccessRuleBody {
    fn reference(self) -> Result<AccessRuleRef, Refusal> {
        match (self.id, self.service, self.method, self.path) {
            (Some(id), None, None, None) => Ok(AccessRuleRef::Id(id)),
            (None, Some(service), Some(method), Some(path)) => Ok(AccessRuleRef::New {
                service,
                method,
                path,
            }),
            _ => Err(Refusal::invalid(
                "An access rule is given by its id, or by service, method and path.",
            )),
        }
    }
}

/// An expiry as a client writes it.
pub fn expiry(text: Option<String>) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    Timestamp::parse_iso8601(&text).map(Some).ok_or_else(|| {
        Refusal::invalid(format!(
            "expires_at '{text}' is not a date and time; write 2026-11-20T12:00:00.000000Z."
        ))
    })
}

fn render_rule(rule: &AccessRule) -> Value {
    json!({"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path})
}

fn render(base: &str, detail: &ApplicationCredentialDetail) -> Value {
    let credential = &detail.credential;
    let roles: Vec<Value> = detail
        .roles
        .iter()
        .map(|role| json!({"id": role.id, "name": role.name, "domain_id": role.domain_id}))
        .collect();
    let own = format!(
        "{base}/users/{}/application_credentials/{}",
        credential.user_id, credential.id
    );
    let mut body = json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "user_id": credential.user_id,
        "project_id": credential.project_id,
        "system": null,
        "roles": roles,
        "expires_at": credential.expires_at.map(|moment| moment.micros_bare()),
        "unrestricted": credential.unrestricted,
        "links": {"self": own},
    });
    if let Some(rules) = &detail.access_rules {
        body["access_rules"] = rules.iter().map(render_rule).collect();
    }
    body
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(user): Path<String>,
    Body(Create {
        application_credential,
    }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateCredential {
        name,
        description,
        secret,
        roles,
        expires_at,
        unrestricted,
        access_rules,
        project_id,
    } = application_credential;
    if let Some(project) = project_id
        && bearer.actor.project_id().map(|id| id.as_str()) != Some(project.as_str())
    {
        return Err(Refusal::invalid(
            "project_id is not the project of this token; get a token for that project.",
        )
        .into());
    }
    let new = NewApplicationCredential {
        name,
        description,
        secret,
        roles: roles
            .map(|roles| roles.into_iter().map(RoleBody::reference).collect())
            .transpose()?,
        expires_at: expiry(expires_at)?,
        unrestricted: unrestricted.unwrap_or(false),
        access_rules: access_rules
            .map(|rules| rules.into_iter().map(AccessRuleBody::reference).collect())
            .transpose()?,
    };
    let iam = &app.iam;
    let (detail, secret) = iam
        .create_application_credential(&bearer.actor, &bearer.token, &UserId(user), new)
        .await?;
    let mut body = render(&format!("{base}/identity/v3"), &detail);
    body["secret"] = json!(secret);
    Ok((
        StatusCode::CREATED,
        Json(json!({"application_credential": body})),
    ))
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(user): Path<String>,
    params: Params,
) -> Answer {
    let path = format!("/users/{user}/application_credentials");
    let details = app
        .iam
        .application_credentials(&bearer.actor, &UserId(user))
        .await?;
    let base = format!("{base}/identity/v3");
    let key = "application_credentials";
    let listing = Listing {
        base: &base,
        path: &path,
        key,
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(details.iter().map(|detail| render(&base, detail)).collect())?)
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((user, id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let detail = app
        .iam
        .application_credential(&bearer.actor, &UserId(user), &id)
        .await?;
    Ok(Json(
        json!({"application_credential": render(&format!("{base}/identity/v3"), &detail)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path((user, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .delete_application_credential(&bearer.actor, &bearer.token, &UserId(user), &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn linked_rule(base: &str, user: &str, rule: &AccessRule) -> Value {
    let mut body = render_rule(rule);
    body["links"] = json!({"self": format!("{base}/users/{user}/access_rules/{}", rule.id)});
    body
}

async fn list_rules(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(user): Path<String>,
    params: Params,
) -> Answer {
    let rules = app
        .iam
        .access_rules(&bearer.actor, &UserId(user.clone()))
        .await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/users/{user}/access_rules");
    let filters = &["service", "method", "path"];
    let listing = Listing {
        base: &base,
        path: &path,
        key: "access_rules",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        rules
            .iter()
            .map(|rule| linked_rule(&base, &user, rule))
            .collect(),
    )?)
}

async fn show_rule(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((user, id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let rule = app
        .iam
        .access_rule(&bearer.actor, &UserId(user.clone()), &id)
        .await?;
    Ok(Json(
        json!({"access_rule": linked_rule(&format!("{base}/identity/v3"), &user, &rule)}),
    ))
}

async fn delete_rule(
    State(app): State<App>,
    bearer: Bearer,
    Path((user, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .delete_access_rule(&bearer.actor, &UserId(user), &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
