//! HTTP in, HTTP out: the OpenStack APIs under one listener, one path prefix per service.
//!
//! A handler parses, calls the floor below and renders; no business rule lives here. What every request has in common
//! is in this folder: [`app`] (the state), [`auth`] (who asks), [`body`] and [`params`] (what was sent), [`problem`]
//! (what goes wrong), [`trace`] (request ids, logs, metrics). Each OpenStack service has a folder under [`openstack`];
//! [`native`] is our own API. [`metadata`] is for guests and [`agents`] for hosts on other machines; these
//! have listeners of their own.

pub mod agents;
pub mod app;
pub mod auth;
pub mod body;
mod collision;
pub mod consoles;
pub mod health;
pub mod metadata;
pub mod native;
pub mod openstack;
pub mod params;
pub mod problem;
mod strict;
pub mod trace;

pub use app::App;
pub use problem::{Answer, Problem};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tower::Layer as _;
use tower_http::normalize_path::NormalizePathLayer;

/// Everything that is served, ready to listen.
pub fn router(app: App) -> Router {
    let router = routes()
        .layer(from_fn_with_state(app.clone(), collision::answer_again))
        .layer(from_fn(trace::trace))
        .with_state(app);
    // `/compute/` and `/compute` are one address.
    let router = NormalizePathLayer::trim_trailing_slash().layer(router);
    Router::new()
        .merge(openstack::image::nameless())
        .fallback_service(openstack::baremetal::one_address(router))
}

/// Every route there is.
pub fn routes() -> Router<App> {
    Router::new()
        .merge(health::routes())
        .merge(consoles::routes())
        .nest("/v1", native::routes())
        .nest("/identity", openstack::identity::routes())
        .nest("/image", openstack::image::routes())
        .nest("/compute", openstack::compute::routes())
        .nest("/network", openstack::network::routes())
        .nest("/placement", openstack::placement::routes())
        .nest("/baremetal", openstack::baremetal::routes())
}
