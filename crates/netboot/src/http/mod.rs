//! Gives out boot files and virtual-media images over HTTP/1.1: GET and HEAD, one range at a time, entity tags.
//!
//! BMCs read an image in thousands of small ranges, and keep what they read; the tag tells them whether it still holds.

mod body;

use crate::content::Content;
use crate::event::Events;
use crate::shelf::{Found, Missing, Shelf};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(crate) struct Site {
    pub shelf: Arc<Shelf>,
    pub events: Events,
}

/// Serves until it is dropped. Connections that are open then go on until their request is answered, and are closed when
/// the other end of `until` goes.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Site,
    until: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/{*path}", get(give))
        .with_state(site)
        .into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async move {
        // The other end says nothing; it goes.
        let _ = until.await;
    };
    axum::serve(listener, routes)
        .with_graceful_shutdown(stopped)
        .await
}

async fn give(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let found = match site.shelf.find(&path, peer.ip()).await {
        Ok(found) => found,
        Err(missing) => return refuse(&path, &missing),
    };
    answer(found, &method, &headers, peer.ip(), site.events)
}

fn refuse(path: &str, missing: &Missing) -> Response {
    let status = match missing {
        Missing::Nowhere => StatusCode::NOT_FOUND,
        Missing::NotYours { .. } => StatusCode::FORBIDDEN,
        Missing::Directory(_) => StatusCode::SERVICE_UNAVAILABLE,
        Missing::Unreadable { .. } | Missing::Media(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    // An image's name is a secret.
    let path = if path.starts_with("media/") {
        "media/…"
    } else {
        path
    };
    tracing::warn!(path, cause = ?missing, "a boot file is not given: {missing}");
    (status, format!("{missing}\n")).into_response()
}

fn answer(
    found: Found,
    method: &Method,
    headers: &HeaderMap,
    from: IpAddr,
    events: Events,
) -> Response {
    let tag = format!("\"{}\"", found.content.tag());
    let asked = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let matches = |list: &str| list.split(',').any(|item| item.trim() == tag);
    if asked(header::IF_NONE_MATCH).is_some_and(matches) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    // A range of what has changed since would be joined to what was read before it.
    let still = asked(header::IF_RANGE).is_none_or(|held| held == tag);
    let wanted = asked(header::RANGE).filter(|_| still);
    let length = found.content.length();
    let (status, range) = match part(wanted, &found.content) {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::NotThere => {
            let limit = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, limit).into_response();
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, tag)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        let place = format!("bytes {first}-{last}/{length}");
        response = response.header(header::CONTENT_RANGE, place);
    }
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(body::reported(found, range, from, events)),
    };
    response
        .body(body)
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

enum Part {
    Whole,
    Range(Range<u64>),
    NotThere,
}

/// What a `Range` header asks for (RFC 9110, section 14.2). One that is not understood, or that asks for several, is ignored
/// as the section allows.
fn part(header: Option<&str>, content: &Content) -> Part {
    let Some(ranges) = header.and_then(|text| http_range_header::parse_range_header(text).ok())
    else {
        return Part::Whole;
    };
    match ranges.validate(content.length()).as_deref() {
        Ok([range]) => Part::Range(*range.start()..*range.end() + 1),
        Ok(_) => Part::Whole,
        Err(_) => Part::NotThere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(header: &str) -> Option<Range<u64>> {
        match part(Some(header), &Content::memory("0123456789")) {
            Part::Whole => Some(0..10),
            Part::Range(range) => Some(range),
            Part::NotThere => None,
        }
    }

    #[test]
    fn one_range_is_given_and_no_more_than_is_there() {
        assert_eq!(range("bytes=2-4"), Some(2..5));
        assert_eq!(range("bytes=7-"), Some(7..10));
        assert_eq!(range("bytes=-3"), Some(7..10));
        assert_eq!(range("bytes=7-100"), Some(7..10));
        assert_eq!(range("bytes=10-"), None);
        assert_eq!(range("lines=1-2"), Some(0..10));
    }
}
