//! One span, one log line and one measurement per request, all under its request id.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use corten_model::ids::RequestId;
use std::time::Instant;
use tracing::Instrument;

/// Gives the request its id (or keeps the caller's, if it has the right form), and tells what became of it.
pub async fn trace(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get("x-openstack-request-id")
        .and_then(|value| value.to_str().ok());
    let request_id = given
        .and_then(RequestId::parse)
        .unwrap_or_else(RequestId::random);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(request_id.clone());
    let span = tracing::info_span!("request", id = %request_id);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    span.in_scope(
        || tracing::info!(%method, path, status, millis = elapsed.as_secs_f64() * 1e3, "answered"),
    );
    // A caller can make up methods, but not more lines of our metrics.
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let method = if known.contains(&method) {
        method.to_string()
    } else {
        "other".to_owned()
    };
    let labels = [
        ("method", method),
        ("route", route),
        ("status", status.to_string()),
    ];
    metrics::histogram!("corten_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&request_id.0) {
        response
            .headers_mut()
            .insert("x-openstack-request-id", value);
    }
    response
}
