//! Keystone v3: a file per resource, a small function per HTTP operation.
//!
//! What the resources share: [`bearer`] (who asks, with everything the token says), [`listing`] (filters, pages and
//! links of a collection), [`fields`] (fields of an update that can be absent, null or given).

mod application_credentials;
mod auth;
mod auth_body;
mod consumers;
mod credentials;
mod domain_config;
mod domains;
mod ec2;
mod endpoint_filter;
mod endpoints;
mod fields;
mod grants;
mod groups;
mod limits;
mod listing;
mod policies;
mod projects;
mod regions;
mod registered_limits;
mod role_assignments;
mod roles;
mod services;
mod subject_token;
mod tags;
mod token_body;
mod trusts;
mod users;
mod versions;

use crate::app::App;
use crate::problem::{Told, rendered_by};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{VARY, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde_json::{Value, json};

/// Everything under `/identity`.
pub fn routes() -> Router<App> {
    let v3 = Router::new()
        .merge(auth::routes())
        .merge(domains::routes())
        .merge(domain_config::routes())
        .merge(projects::routes())
        .merge(tags::routes())
        .merge(users::routes())
        .merge(groups::routes())
        .merge(roles::routes())
        .merge(grants::routes())
        .merge(role_assignments::routes())
        .merge(application_credentials::routes())
        .merge(credentials::routes())
        .merge(ec2::routes())
        .merge(regions::routes())
        .merge(services::routes())
        .merge(endpoints::routes())
        .merge(endpoint_filter::routes())
        .merge(policies::routes())
        .merge(consumers::routes())
        .merge(trusts::routes())
        .merge(limits::routes())
        .merge(registered_limits::routes());
    let routes = Router::new().merge(versions::routes()).nest("/v3", v3);
    rendered_by(routes, error_body).layer(from_fn(with_headers))
}

/// Keystone's error body.
fn error_body(status: StatusCode, told: &Told) -> Value {
    let title = status.canonical_reason().unwrap_or("Error");
    json!({"error": {"code": status.as_u16(), "message": told.message, "title": title}})
}

/// `Vary` on every answer, and on a 401 where to log in (RFC 9110, section 11.6.1).
async fn with_headers(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost")
        .to_owned();
    let mut response = next.run(request).await;
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("X-Auth-Token"));
    if unauthorized
        && let Ok(challenge) =
            HeaderValue::from_str(&format!("Keystone uri=\"http://{host}/identity\""))
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
