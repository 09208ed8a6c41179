//! `/v3/users`.

use super::fields::given;
use super::listing::{Listing, with_extra};
use super::projects;
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_iam::user::{NewUser, UserChanges, UserFilter};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_store::identity::Extra;
use corten_store::identity::user::{User, UserOptions};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{user_id}", get(show).patch(update).delete(delete))
        .route("/users/{user_id}/password", post(change_password))
        .route("/users/{user_id}/projects", get(own_projects))
}

#[derive(Deserialize)]
struct Create {
    user: CreateUser,
}

#[derive(Deserialize)]
struct CreateUser {
    name: String,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    default_project_id: Option<ProjectId>,
    #[serde(default)]
    options: UserOptions,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    user: UpdateUser,
}

#[derive(Deserialize)]
struct UpdateUser {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(default, deserialize_with = "given")]
    password: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    default_project_id: Option<Option<ProjectId>>,
    #[serde(default)]
    options: Option<Map<String, Value>>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct ChangePassword {
    user: ChangePasswordUser,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePasswordUser {
    original_password: String,
    password: String,
}

pub fn render(base: &str, user: &User) -> Value {
    let expires_at = user
        .passwords
        .last()
        .and_then(|password| password.expires_at);
    let mut body = json!({
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": expires_at.map(|moment| moment.micros_bare()),
        "options": user.options,
        "links": {"self": format!("{base}/users/{}", user.id)},
    });
    if let Some(description) = &user.description {
        body["description"] = json!(description);
    }
    if let Some(project) = &user.default_project_id {
        body["default_project_id"] = json!(project);
    }
    with_extra(body, &user.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let filter = UserFilter {
        domain_id: params.get("domain_id").map(DomainId::from),
        name: params.get("name").map(str::to_owned),
    };
    let users = app.iam.users(&bearer.actor, filter).await?;
    let base = format!("{base}/identity/v3");
    let filters = &[
        "name",
        "enabled",
        "domain_id",
        "password_expires_at",
        "default_project_id",
    ];
    let listing = Listing {
        base: &base,
        path: "/users",
        key: "users",
        params: &params,
        filters,
    };
    Ok(listing.answer(users.iter().map(|user| render(&base, user)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { user }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateUser {
        name,
        domain_id,
        password,
        description,
        enabled,
        default_project_id,
        options,
        extra,
    } = user;
    let enabled = enabled.unwrap_or(true);
    let new = NewUser {
        name,
        domain_id,
        password,
        description,
        enabled,
        default_project_id,
        options,
        extra,
    };
    let user = app.iam.create_user(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"user": render(&format!("{base}/identity/v3"), &user)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let user = app.iam.user(&bearer.actor, &UserId(id)).await?;
    Ok(Json(
        json!({"user": render(&format!("{base}/identity/v3"), &user)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { user }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateUser {
        name,
        domain_id,
        password,
        description,
        enabled,
        default_project_id,
        options,
        extra,
    } = user;
    let changes = UserChanges {
        name,
        password,
        description,
        enabled,
        default_project_id,
        options,
        domain_id,
        extra,
    };
    let user = app
        .iam
        .update_user(&bearer.actor, &UserId(id), changes)
        .await?;
    Ok(Json(
        json!({"user": render(&format!("{base}/identity/v3"), &user)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_user(&bearer.actor, &UserId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// No token is asked for: the original password is the proof, and it may be one that has expired.
async fn change_password(
    State(app): State<App>,
    Path(id): Path<String>,
    Body(ChangePassword { user }): Body<ChangePassword>,
) -> Answer<StatusCode> {
    app.iam
        .change_password(&UserId(id), &user.original_password, &user.password)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn own_projects(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let projects = app
        .iam
        .projects_of_user(&bearer.actor, &UserId(id.clone()))
        .await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/users/{id}/projects");
    let filters = &["name", "enabled", "domain_id"];
    let listing = Listing {
        base: &base,
        path: &path,
        key: "projects",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        projects
            .iter()
            .map(|project| projects::render(&base, project))
            .collect(),
    )?)
}
