//! Ironic's microversions: 1.1 to 1.115, in the header `X-OpenStack-Ironic-API-Version`.

use super::body;
use crate::problem::{Problem, Told};
use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use corten_model::refusal::Refusal;
use std::convert::Infallible;
use std::fmt;

const HEADER: HeaderName = HeaderName::from_static("x-openstack-ironic-api-version");
const HEADER_MIN: HeaderName = HeaderName::from_static("x-openstack-ironic-api-minimum-version");
const HEADER_MAX: HeaderName = HeaderName::from_static("x-openstack-ironic-api-maximum-version");
/// What clients of every service send too: `baremetal 1.N`.
const COMMON: HeaderName = HeaderName::from_static("openstack-api-version");

/// A version of Ironic's API that this cloud speaks: 1.`minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    minor: u16,
}

impl Version {
    pub const MIN: Self = Self { minor: 1 };
    pub const MAX: Self = Self { minor: 115 };

    pub fn at_least(self, minor: u16) -> bool {
        self.minor >= minor
    }

    /// What came with 1.`minor` does not exist before.
    pub fn exists_from(self, minor: u16) -> Result<(), Refusal> {
        if self.at_least(minor) {
            return Ok(());
        }
        Err(Refusal::not_found(format!(
            "The resource could not be found. It came with 1.{minor}; this request asked for {self}."
        )))
    }

    /// What came with 1.`minor` may not be used before.
    pub fn acceptable_from(self, minor: u16, what: impl fmt::Display) -> Result<(), Refusal> {
        if self.at_least(minor) {
            return Ok(());
        }
        Err(Refusal::not_acceptable(format!(
            "{what} came with version 1.{minor} of the API, and this request asked for {self}."
        )))
    }

    /// The text, for a version that is not served.
    fn asked(headers: &HeaderMap) -> Result<Self, String> {
        let own = headers.get(&HEADER).and_then(|value| value.to_str().ok());
        // Each service's version may come in a header of its own.
        let common = headers
            .get_all(&COMMON)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|part| part.trim().split_once(' '))
            .find(|(service, _)| service.eq_ignore_ascii_case("baremetal"))
            .map(|(_, version)| version);
        let Some(text) = own.or(common).map(str::trim) else {
            return Ok(Self::MIN);
        };
        if text == "latest" {
            return Ok(Self::MAX);
        }
        let minor = text
            .strip_prefix("1.")
            .filter(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|minor| minor.parse().ok())
            .map(|minor| Self { minor })
            .filter(|version| (Self::MIN..=Self::MAX).contains(version));
        minor.ok_or_else(|| text.to_owned())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::MIN))
    }
}

/// A route that came with 1.`MINOR`. It stands behind the caller in a handler's arguments: who has no token learns
/// nothing of versions.
pub struct Since<const MINOR: u16>;

impl<S: Send + Sync, const MINOR: u16> FromRequestParts<S> for Since<MINOR> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let version = parts.extensions.get().copied().unwrap_or(Version::MIN);
        version.exists_from(MINOR)?;
        Ok(Self)
    }
}

/// The same for a resource whose changes are answered with 405 before it came.
pub struct Allowed<const MINOR: u16>;

impl<S: Send + Sync, const MINOR: u16> FromRequestParts<S> for Allowed<MINOR> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let version = parts.extensions.get().copied().unwrap_or(Version::MIN);
        match version.exists_from(MINOR) {
            Ok(()) => Ok(Self),
            Err(refusal) if parts.method == Method::GET => {
                Err(Problem::from(refusal).into_response())
            }
            Err(_) => Err(StatusCode::METHOD_NOT_ALLOWED.into_response()),
        }
    }
}

/// Reads the version a request asks for and writes it, with the first and the last that there are, on what is answered.
pub async fn negotiate(mut request: Request, next: Next) -> Response {
    let asked = Version::asked(request.headers());
    let (version, mut response) = match asked {
        Ok(version) => {
            request.extensions_mut().insert(version);
            (version.to_string(), next.run(request).await)
        }
        Err(text) => {
            let response = unacceptable(&text);
            (text, response)
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (HEADER, version.clone()),
        (HEADER_MIN, Version::MIN.to_string()),
        (HEADER_MAX, Version::MAX.to_string()),
        (COMMON, format!("baremetal {version}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.append(
        "vary",
        HeaderValue::from_static("X-OpenStack-Ironic-API-Version, OpenStack-API-Version"),
    );
    response
}

fn unacceptable(text: &str) -> Response {
    let status = StatusCode::NOT_ACCEPTABLE;
    let told = Told::text(format!(
        "Version {text} was requested but is not supported by this service. The supported version range is: [{}, {}].",
        Version::MIN,
        Version::MAX
    ));
    (status, Json(body(status, &told))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &'static str, value: &'static str) -> Result<String, String> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        Version::asked(&headers).map(|version| version.to_string())
    }

    #[test]
    fn a_version_is_read_from_either_header_and_must_be_one_that_is_served() {
        const OWN: &str = "x-openstack-ironic-api-version";
        assert_eq!(asked(OWN, "1.50").unwrap(), "1.50");
        assert_eq!(asked(OWN, "latest").unwrap(), "1.115");
        assert_eq!(
            asked("openstack-api-version", "compute 2.1, baremetal 1.9").unwrap(),
            "1.9"
        );
        assert_eq!(asked("x-other", "1.50").unwrap(), "1.1");
        for wrong in ["1.0", "1.116", "2.1", "1.+5", "x"] {
            assert_eq!(asked(OWN, wrong).unwrap_err(), wrong);
        }
    }
}
