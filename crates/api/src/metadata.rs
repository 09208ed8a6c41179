//! The metadata service: what a guest is told about itself, for whoever listens at 169.254.169.254 in its network.
//!
//! The listener says who asks with an [`Asker`] among the request's extensions; nothing in the request itself is
//! believed.

use axum::Router;
use axum::extract::{Extension, OriginalUri, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use corten_model::ids::NetworkId;
use corten_operations::instance::metadata::{self, Content};
use corten_operations::{Context, error_text};
use std::net::IpAddr;
use std::sync::Arc;

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
) -> Response {
    if let Some(refused) = only_reads(&method) {
        return refused;
    }
    let Some(Extension(Asker {
        network_id,
        address,
    })) = asker
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let found = match metadata::of(&cx, network_id, address).await {
        Ok(found) => found.and_then(|metadata| metadata.at(uri.path())),
        Err(error) => {
            tracing::error!(error = %error_text(&error), %network_id, "cannot look up a guest's metadata");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    content(found)
}

/// Nothing else is answered.
pub fn only_reads(method: &Method) -> Option<Response> {
    let reads = [Method::GET, Method::HEAD].contains(method);
    let allowed = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
    (!reads).then(|| (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response())
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
