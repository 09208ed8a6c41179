//! What goes wrong: a [`Failure`] on its way out, and its rendering in each service's own error body.
//!
//! A handler returns [`Problem`]; it becomes a response that carries the refusal. The layer of the service it passes
//! on its way out ([`rendered_by`]) writes the body. So a handler need not know which service it serves, and what the
//! router itself refuses (no such path, no such method) gets the service's body too.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use corten_model::error_text;
use corten_model::refusal::{Reason, Refusal};
use corten_store::Failure;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;

/// A request that failed.
#[derive(Debug)]
pub struct Problem(pub Failure);

/// What a handler ends with.
pub type Answer<T = Response> = Result<T, Problem>;

impl<E: Into<Failure>> From<E> for Problem {
    fn from(failure: E) -> Self {
        Self(failure.into())
    }
}

/// Carried by a failed response until its service's layer writes the body.
#[derive(Debug, Clone)]
struct Unrendered(Refusal);

/// Carried by a response whose request the database undid in favour of another.
#[derive(Debug, Clone)]
pub struct Collided;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refusal = match self.0 {
            Failure::Refused(refusal) => refusal,
            trouble => {
                tracing::error!(error = %error_text(&trouble), "request failed");
                let mut response = unrendered(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Refusal::unavailable(
                        "Unexpected trouble in the control plane; the request changed nothing. Give the \
                         administrator the request id of this answer: the log has the cause.",
                    ),
                );
                if matches!(&trouble, Failure::Store(error) if error.is_collision()) {
                    response.extensions_mut().insert(Collided);
                }
                return response;
            }
        };
        unrendered(status_of(refusal.reason), refusal)
    }
}

fn unrendered(status: StatusCode, refusal: Refusal) -> Response {
    let mut response = status.into_response();
    response.extensions_mut().insert(Unrendered(refusal));
    response
}

pub(crate) fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::Invalid => StatusCode::BAD_REQUEST,
        Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
        Reason::Forbidden | Reason::OverQuota => StatusCode::FORBIDDEN,
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Reason::Conflict => StatusCode::CONFLICT,
        Reason::Gone => StatusCode::GONE,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        Reason::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// How one service writes an error: the JSON body for a status and what was refused.
pub type ErrorBody = fn(StatusCode, &Told) -> Value;

/// What the caller is told.
#[derive(Debug, Clone)]
pub struct Told {
    pub message: String,
    /// The API's own name of the rule, where there is one.
    pub name: Option<&'static str>,
}

impl Told {
    /// A text alone.
    pub fn text(message: String) -> Self {
        Self {
            message,
            name: None,
        }
    }
}

/// Wraps a service's routes so that everything that fails in them leaves in that service's error body.
pub fn rendered_by<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    body: ErrorBody,
) -> Router<S> {
    routes
        .layer(from_fn(refuse_nul))
        .layer(CatchPanicLayer::new())
        .layer(map_response(move |response: Response| async move {
            render(response, body)
        }))
}

/// No id or name holds U+0000, and PostgreSQL cannot even look for one.
async fn refuse_nul(request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path().contains("%00") || uri.query().is_some_and(|query| query.contains("%00")) {
        return Problem::from(Refusal::invalid(
            "No address of this API may hold the character U+0000.",
        ))
        .into_response();
    }
    next.run(request).await
}

fn render(mut response: Response, body: ErrorBody) -> Response {
    let status = response.status();
    let told = match response.extensions_mut().remove::<Unrendered>() {
        Some(Unrendered(refusal)) => Told {
            message: refusal.message,
            name: refusal.name,
        },
        None if is_bare_error(&response) => Told::text(bare_message(status).to_owned()),
        None => return response,
    };
    let json = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .remove(axum::http::header::CONTENT_LENGTH);
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_TYPE, json);
    *response.body_mut() = Body::from(body(status, &told).to_string());
    response
}

fn bare_message(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "The resource could not be found.",
        StatusCode::METHOD_NOT_ALLOWED => "The method is not allowed for this resource.",
        other => other.canonical_reason().unwrap_or("Error"),
    }
}

/// An error that the router or a layer made, without a body of its own.
fn is_bare_error(response: &Response) -> bool {
    let status = response.status();
    let is_json = response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    (status.is_client_error() || status.is_server_error()) && !is_json
}
