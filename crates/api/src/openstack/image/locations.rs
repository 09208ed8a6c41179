//! Where the bytes of an image are: `/v2/images/{id}/locations`. This cloud keeps them itself, so a location can
//! neither be given nor is it told to anybody but the administrator of the cloud.

use super::image_id;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::image;
use serde::Deserialize;
use serde_json::Value;

pub fn routes() -> Router<App> {
    Router::new().route("/images/{id}/locations", get(list).post(add))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLocation {
    url: String,
    #[serde(default)]
    #[allow(dead_code)]
    validation_data: Option<Value>,
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(
        image::locations(&app.cx, &actor, image_id(&id)?)
            .await?
            .into(),
    ))
}

async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(new): Body<NewLocation>,
) -> Answer<Json<Value>> {
    image::get(&app.cx, &actor, image_id(&id)?).await?;
    Err(Refusal::forbidden(format!(
        "http store must be enabled to use location API: this cloud keeps the data of images itself. Import {} by \
         web-download.",
        new.url
    ))
    .into())
}
