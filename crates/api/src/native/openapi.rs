//! `/v1/openapi.json`: the description of the native API, OpenAPI 3.1. It needs no token, as it tells nothing of a cloud.

use super::{instances, new_instance, nodes, operations, public_ips};
use crate::app::App;
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/openapi.json", get(show))
}

/// The scheme that operations name in their `security`.
pub(super) const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Corten",
        description = "The native API: instances of both classes in the catalogue's words, the operations that change \
                       them, and what bare-metal nodes print. Tokens come from the identity API (POST /identity/v3/auth/tokens)."
    ),
    paths(
        instances::list,
        instances::show,
        instances::timeline,
        new_instance::create,
        nodes::console_log,
        operations::list,
        operations::show,
        operations::cancel,
        public_ips::attach,
        public_ips::detach,
        show
    )
)]
struct Native;

/// The description, whole.
pub fn description() -> Description {
    let mut description = Native::openapi();
    let header = ApiKey::Header(ApiKeyValue::new("X-Auth-Token"));
    description
        .components
        .get_or_insert_default()
        .add_security_scheme(TOKEN, SecurityScheme::ApiKey(header));
    description
}

/// This description.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value))
)]
async fn show() -> Json<Description> {
    Json(description())
}
