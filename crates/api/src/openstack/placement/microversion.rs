//! Placement's microversions: 1.0 to 1.39, in the header `OpenStack-API-Version: placement 1.N`.

use super::body;
use crate::problem::Told;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, LAST_MODIFIED};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use corten_model::ids::RequestId;
use corten_model::refusal::Refusal;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt;
use std::time::SystemTime;

const HEADER: &str = "openstack-api-version";
/// No error body is longer.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A version of Placement that this cloud speaks: 1.`minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion {
    minor: u16,
}

impl Microversion {
    pub const MIN: Self = Self { minor: 0 };
    pub const MAX: Self = Self { minor: 39 };

    #[cfg(test)]
    pub fn of(minor: u16) -> Self {
        Self { minor }
    }

    pub fn at_least(self, minor: u16) -> bool {
        self.minor >= minor
    }

    /// This route came with 1.`minor`.
    pub fn exists_from(self, minor: u16) -> Result<(), Refusal> {
        if self.at_least(minor) {
            return Ok(());
        }
        Err(Refusal::not_found(format!(
            "The resource could not be found. It came with 1.{minor}; this request asked for {self}."
        )))
    }

    /// `None` for a version that is not served, with its text.
    fn asked(headers: &HeaderMap) -> Result<Self, String> {
        let values = headers
            .get_all(HEADER)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let parts = values
            .flat_map(|value| value.split(','))
            .filter_map(|part| part.trim().split_once(' '));
        let asked = parts
            .filter(|(service, _)| service.eq_ignore_ascii_case("placement"))
            .reduce(|_, last| last);
        let Some((_, text)) = asked else {
            return Ok(Self::MIN);
        };
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::MAX);
        }
        let minor = text
            .strip_prefix("1.")
            .filter(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()));
        match minor.and_then(|minor| minor.parse().ok()) {
            Some(minor) if (Self { minor }) <= Self::MAX => Ok(Self { minor }),
            _ => Err(text.to_owned()),
        }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Microversion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::MIN))
    }
}

/// Reads the version a request asks for, writes it on what is answered, and completes error bodies.
pub async fn negotiate(mut request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().cloned();
    let is_read = request.method() == Method::GET;
    let asked = Microversion::asked(request.headers());
    let version = *asked.as_ref().unwrap_or(&Microversion::MIN);
    let mut response = match asked {
        Ok(version) => {
            request.extensions_mut().insert(version);
            next.run(request).await
        }
        Err(text) => unacceptable(&text),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = complete(response, version, request_id).await;
    } else if is_read && version.at_least(15) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(value) = HeaderValue::from_str(&now) {
            response.headers_mut().insert(LAST_MODIFIED, value);
        }
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if let Ok(value) = HeaderValue::from_str(&format!("placement {version}")) {
        response.headers_mut().insert(HEADER, value);
    }
    response
        .headers_mut()
        .append("vary", HeaderValue::from_static("openstack-api-version"));
    response
}

fn unacceptable(text: &str) -> Response {
    let status = StatusCode::NOT_ACCEPTABLE;
    let detail = format!(
        "Unacceptable version header: {text}. Minimum is {} and maximum is {}.",
        Microversion::MIN,
        Microversion::MAX
    );
    let mut error = body(status, &Told::text(detail));
    error["errors"][0]["min_version"] = json!(Microversion::MIN.to_string());
    error["errors"][0]["max_version"] = json!(Microversion::MAX.to_string());
    (status, Json(error)).into_response()
}

/// Adds the request id and, from 1.23 on, an error code.
async fn complete(
    response: Response,
    version: Microversion,
    request_id: Option<RequestId>,
) -> Response {
    let (mut parts, content) = response.into_parts();
    let bytes = to_bytes(content, MAX_ERROR_BYTES).await.unwrap_or_default();
    let content = match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut error) if error["errors"][0].is_object() => {
            error["errors"][0]["request_id"] = json!(request_id);
            if version.at_least(23) {
                error["errors"][0]["code"] = json!("placement.undefined_code");
            }
            parts.headers.remove(CONTENT_LENGTH);
            Body::from(error.to_string())
        }
        _ => Body::from(bytes),
    };
    Response::from_parts(parts, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Microversion, String> {
        Microversion::asked(&HeaderMap::from_iter([(
            HEADER.parse().unwrap(),
            HeaderValue::from_str(text).unwrap(),
        )]))
    }

    #[test]
    fn versions_are_read_from_the_standard_header() {
        assert_eq!(
            Microversion::asked(&HeaderMap::new()),
            Ok(Microversion::MIN)
        );
        assert_eq!(asked("placement 1.29"), Ok(Microversion::of(29)));
        assert_eq!(
            asked("compute 2.1, placement latest"),
            Ok(Microversion::MAX)
        );
        assert_eq!(asked("compute 2.1"), Ok(Microversion::MIN));
        for wrong in [
            "placement 1.40",
            "placement 2.0",
            "placement new",
            "placement 1.x",
        ] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
