//! Definitions of metadata: `/v2/metadefs`.

mod bodies;
mod namespaces;
mod objects;
mod paging;
mod properties;
mod resource_types;
mod tags;

use crate::app::App;
use axum::Router;

pub fn routes() -> Router<App> {
    Router::new()
        .merge(namespaces::routes())
        .merge(objects::routes())
        .merge(properties::routes())
        .merge(tags::routes())
        .merge(resource_types::routes())
}
