//! `/v3/groups` and their members.

use super::fields::given;
use super::listing::{Listing, with_extra};
use super::users;
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::group::{GroupChanges, NewGroup};
use corten_model::ids::{DomainId, GroupId, UserId};
use corten_store::identity::Extra;
use corten_store::identity::group::Group;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/groups", get(list).post(create))
        .route("/groups/{group_id}", get(show).patch(update).delete(delete))
        .route("/groups/{group_id}/users", get(members))
        .route(
            "/groups/{group_id}/users/{user_id}",
            get(check_member).put(add_member).delete(remove_member),
        )
        .route("/users/{user_id}/groups", get(of_user))
}

#[derive(Deserialize)]
struct Create {
    group: CreateGroup,
}

#[derive(Deserialize)]
struct CreateGroup {
    name: String,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(default)]
    description: Option<String>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    group: UpdateGroup,
}

#[derive(Deserialize)]
struct UpdateGroup {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    domain_id: Option<DomainId>,
    #[serde(flatten)]
    extra: Extra,
}

fn render(base: &str, group: &Group) -> Value {
    let body = json!({
        "id": group.id,
        "name": group.name,
        "domain_id": group.domain_id,
        "description": group.description,
        "links": {"self": format!("{base}/groups/{}", group.id)},
    });
    with_extra(body, &group.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let domain = params.get("domain_id").map(DomainId::from);
    let groups = app
        .iam
        .groups(&bearer.actor, domain.as_ref(), params.get("name"))
        .await?;
    let base = format!("{base}/identity/v3");
    let filters = &["name", "domain_id"];
    let listing = Listing {
        base: &base,
        path: "/groups",
        key: "groups",
        params: &params,
        filters,
    };
    Ok(listing.answer(groups.iter().map(|group| render(&base, group)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { group }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateGroup {
        name,
        domain_id,
        description,
        extra,
    } = group;
    let group = app
        .iam
        .create_group(
            &bearer.actor,
            NewGroup {
                name,
                domain_id,
                description,
                extra,
            },
        )
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"group": render(&format!("{base}/identity/v3"), &group)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let group = app.iam.group(&bearer.actor, &GroupId(id)).await?;
    Ok(Json(
        json!({"group": render(&format!("{base}/identity/v3"), &group)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { group }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateGroup {
        name,
        description,
        domain_id,
        extra,
    } = group;
    let changes = GroupChanges {
        name,
        description,
        domain_id,
        extra,
    };
    let group = app
        .iam
        .update_group(&bearer.actor, &GroupId(id), changes)
        .await?;
    Ok(Json(
        json!({"group": render(&format!("{base}/identity/v3"), &group)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_group(&bearer.actor, &GroupId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn members(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let users = app.iam.members(&bearer.actor, &GroupId(id.clone())).await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/groups/{id}/users");
    let filters = &["name", "enabled", "domain_id"];
    let listing = Listing {
        base: &base,
        path: &path,
        key: "users",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        users
            .iter()
            .map(|user| users::render(&base, user))
            .collect(),
    )?)
}

async fn of_user(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let groups = app
        .iam
        .groups_of_user(&bearer.actor, &UserId(id.clone()))
        .await?;
    let base = format!("{base}/identity/v3");
    let path = format!("/users/{id}/groups");
    let listing = Listing {
        base: &base,
        path: &path,
        key: "groups",
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(groups.iter().map(|group| render(&base, group)).collect())?)
}

async fn check_member(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, user)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .check_member(&bearer.actor, &GroupId(group), &UserId(user))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_member(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, user)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .add_member(&bearer.actor, &GroupId(group), &UserId(user))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_member(
    State(app): State<App>,
    bearer: Bearer,
    Path((group, user)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .remove_member(&bearer.actor, &GroupId(group), &UserId(user))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
