//! Which projects an image is shared with: `/v2/images/{id}/members`.

use super::image_id;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_operations::image;
use corten_store::images::ImageMember;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images/{id}/members", get(list).post(create))
        .route(
            "/images/{id}/members/{member}",
            get(show).put(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    member: String,
}

#[derive(Deserialize)]
struct Update {
    status: String,
}

fn render(row: &ImageMember) -> Value {
    let ImageMember {
        image_id,
        member,
        status,
        created_at,
        updated_at,
    } = row;
    json!({
        "image_id": image_id,
        "member_id": member,
        "status": status.as_str(),
        "created_at": created_at.seconds_z(),
        "updated_at": updated_at.seconds_z(),
        "schema": "/v2/schemas/member",
    })
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let members = image::members(&app.cx, &actor, image_id(&id)?).await?;
    let members: Vec<_> = members.iter().map(render).collect();
    Ok(Json(
        json!({"members": members, "schema": "/v2/schemas/members"}),
    ))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Create>,
) -> Answer<Json<Value>> {
    let length = body.member.chars().count();
    if !(1..=255).contains(&length) {
        return Err(Refusal::invalid(format!(
            "A member is a project id of 1 to 255 characters, not {length}."
        ))
        .into());
    }
    let row = image::add_member(&app.cx, &actor, image_id(&id)?, ProjectId(body.member)).await?;
    Ok(Json(render(&row)))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, member)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let row = image::get_member(&app.cx, &actor, image_id(&id)?, &ProjectId(member)).await?;
    Ok(Json(render(&row)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, member)): Path<(String, String)>,
    Body(body): Body<Update>,
) -> Answer<Json<Value>> {
    let status = body.status.parse().map_err(|()| {
        Refusal::invalid(format!(
            "Incorrect request: status '{}' is not one of pending, accepted, rejected.",
            body.status
        ))
    })?;
    let row = image::set_member_status(&app.cx, &actor, image_id(&id)?, &ProjectId(member), status)
        .await?;
    Ok(Json(render(&row)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, member)): Path<(String, String)>,
) -> Answer<StatusCode> {
    image::remove_member(&app.cx, &actor, image_id(&id)?, &ProjectId(member)).await?;
    Ok(StatusCode::NO_CONTENT)
}
