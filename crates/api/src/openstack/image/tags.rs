//! Tags of images: `/v2/images/{id}/tags/{tag}`.

use super::{attributes, image_id};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use corten_operations::image;

pub fn routes() -> Router<App> {
    Router::new().route("/images/{id}/tags/{tag}", put(add).delete(remove))
}

async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    image::add_tag(&app.cx, &actor, image_id(&id)?, attributes::tag_text(tag)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    image::remove_tag(&app.cx, &actor, image_id(&id)?, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
