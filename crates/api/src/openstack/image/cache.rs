//! The cache of images of an API server: `/v2/cache`. There is none, because every API server of this cloud reads the
//! files of images itself; so the answer is that of a Glance without a cache.

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, Problem};
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post, put};
use corten_model::refusal::Refusal;
use corten_operations::image;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/cache", get(absent).delete(absent))
        .route("/cache/", get(absent).delete(absent))
        .route("/cache/{id}", put(absent).merge(delete(absent)))
        .route("/cache/nodes/{id}", get(absent))
        .route("/cache/clean", post(absent))
        .route("/cache/prune", post(absent))
}

async fn absent(State(app): State<App>, Caller(actor): Caller) -> Answer<Problem> {
    image::check_cache(&app.cx, &actor)?;
    Err(Refusal::not_found(
        "Caching via API is not supported at this site: there is no cache to fill or clear.",
    )
    .into())
}
