//! The metadata service: what a guest is told about itself, for whoever listens at 169.254.169.254 in its network.
//!
//! The listener says who asks with an [`Asker`] among the request's extensions; nothing in the request itself is
//! believed.

use crate::problem::status_of;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, OriginalUri, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use corten_model::ids::NetworkId;
use corten_operations::instance::guest_password;
use corten_operations::instance::metadata::{self, Content};
use corten_operations::{Context, error_text};
use corten_store::Failure;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// More than any password has.
const BODY_MAX: usize = 4096;
/// A guest that sends slower keeps no connection.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Who asks: an address in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    pub network_id: NetworkId,
    pub address: IpAddr,
}

/// Every path of the service.
pub fn router(cx: Arc<Context>) -> Router {
    Router::new().fallback(answer).with_state(cx)
}

async fn answer(
    State(cx): State<Arc<Context>>,
    asker: Option<Extension<Asker>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Response {
    if let Some(refused) = refused(&method, uri.path()) {
        return refused;
    }
    let Some(Extension(Asker {
        network_id,
        address,
    })) = asker
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match password(&method, body).await {
        Ok(None) => {}
        Ok(Some(password)) => {
            return posted(guest_password::post(&cx, network_id, address, &password).await);
        }
        Err(refused) => return refused,
    }
    let found = match metadata::of(&cx, network_id, address).await {
        Ok(found) => found.and_then(|metadata| metadata.at(uri.path())),
        Err(error) => {
            tracing::error!(error = %error_text(&error), %network_id, "cannot look up a guest's metadata");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    content(found)
}

/// A guest reads, and posts its password.
pub fn refused(method: &Method, path: &str) -> Option<Response> {
    let takes_password = metadata::takes_password(path);
    if [Method::GET, Method::HEAD].contains(method) || takes_password && *method == Method::POST {
        return None;
    }
    let allowed = if takes_password {
        "GET, HEAD, POST"
    } else {
        "GET, HEAD"
    };
    let allowed = [(header::ALLOW, HeaderValue::from_static(allowed))];
    Some((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response())
}

/// What a guest posts, if it does.
pub async fn password(method: &Method, body: Body) -> Result<Option<Bytes>, Response> {
    if *method != Method::POST {
        return Ok(None);
    }
    match timeout(BODY_LIMIT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(Some(bytes)),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

/// What a guest is told that posted its password.
pub(crate) fn posted(kept: Result<(), Failure>) -> Response {
    match kept {
        Ok(()) => StatusCode::OK.into_response(),
        Err(Failure::Refused(refusal)) => {
            (status_of(refusal.reason), refusal.message).into_response()
        }
        Err(error) => {
            tracing::error!(error = %error_text(&error), "cannot keep a guest's password");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A document, if there is one.
pub(crate) fn content(found: Option<Content>) -> Response {
    match found {
        Some(content) => {
            let kind = HeaderValue::from_static(content.media_type);
            ([(header::CONTENT_TYPE, kind)], content.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
