//! The image service: Glance v2.

mod actions;
mod attributes;
mod cache;
mod data;
mod images;
mod info;
mod locations;
mod members;
mod metadefs;
mod patch;
mod query;
mod range;
mod schemas;
mod tags;
mod tasks;
mod versions;
mod view;

use crate::app::App;
use crate::problem::{Told, rendered_by};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_operations::image::no_such_image;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let v2 = Router::new()
        .merge(images::routes())
        .merge(data::routes())
        .merge(actions::routes())
        .merge(members::routes())
        .merge(tags::routes())
        .merge(locations::routes())
        .merge(tasks::routes())
        .merge(info::routes())
        .merge(cache::routes())
        .merge(schemas::routes())
        .merge(metadefs::routes());
    let routes = versions::routes().nest("/v2", v2).fallback(not_found);
    rendered_by(routes, error_body)
}

/// An image without an id is no image, and not the list of images that the address is without its last slash.
pub fn nameless() -> Router {
    let routes = Router::new().route("/image/v2/images/", any(not_found));
    rendered_by(routes, error_body)
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn error_body(status: StatusCode, told: &Told) -> Value {
    let title = status.canonical_reason().unwrap_or("Error");
    json!({"message": told.message, "code": format!("{} {title}", status.as_u16()), "title": title})
}

/// The id in a path. A name or any other text there is an image that does not exist.
fn image_id(text: &str) -> Result<ImageId, Refusal> {
    text.parse().map_err(|_| no_such_image(text))
}
