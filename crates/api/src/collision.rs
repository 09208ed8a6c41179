//! Requests that the database undid in favour of another are answered again from their beginning, so that nobody who
//! asks ever hears of a deadlock ([`corten_store::again`]).
//!
//! A request whose body is a stream of any size, an upload, is not kept and so is answered once; so is one that had
//! committed a part of its work.

use crate::app::App;
use crate::body::MAX_BODY_BYTES;
use crate::problem::Collided;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use corten_store::{Dialect, again};

/// The middleware.
pub async fn answer_again(State(app): State<App>, request: Request, next: Next) -> Response {
    let writes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let may_collide = app.cx.store.dialect() == Dialect::Postgres;
    if !may_collide || !writes || !is_kept(request.headers()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_BODY_BYTES).await else {
        // The client went away in the middle of its request.
        return next.run(Request::from_parts(parts, Body::empty())).await;
    };
    let ask = || {
        let request = Request::from_parts(parts.clone(), Body::from(Bytes::clone(&bytes)));
        next.clone().run(request)
    };
    again(ask, |response| {
        response.extensions().get::<Collided>().is_some()
    })
    .await
}

/// Is the body JSON, or none, and of a size that is known to be small?
fn is_kept(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_json =
        text(CONTENT_TYPE).is_none_or(|content| content.to_ascii_lowercase().contains("json"));
    let is_small = match text(CONTENT_LENGTH) {
        None => !headers.contains_key(TRANSFER_ENCODING),
        Some(length) => length
            .parse()
            .is_ok_and(|bytes: usize| bytes <= MAX_BODY_BYTES),
    };
    is_json && is_small
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        is_kept(&headers)
    }

    #[test]
    fn small_json_is_kept_and_streams_are_not() {
        assert!(kept(&[]));
        assert!(kept(&[
            ("content-type", "application/json"),
            ("content-length", "10")
        ]));
        assert!(kept(&[("content-length", "0")]));
        assert!(!kept(&[
            ("content-type", "application/octet-stream"),
            ("content-length", "10")
        ]));
        assert!(!kept(&[
            ("content-type", "application/json"),
            ("transfer-encoding", "chunked")
        ]));
        assert!(!kept(&[
            ("content-type", "application/json"),
            ("content-length", "1048577")
        ]));
    }
}
