//! Nova's microversions: which one a request asked for, and how a handler asks about it.
//!
//! [`negotiate`] reads the headers once per request and writes them on every answer. A handler takes a
//! [`Microversion`] among its arguments and then says what changed when:
//!
//! * `mv.at_least(61)` for a field or a behaviour that came with 2.61;
//! * `mv.exists_from(26)?` and `mv.exists_until(35)?` for a route that came with 2.26 or went after 2.35 (404 otherwise);
//! * `mv.takes_from(55, "description", sent)?` for a body field that came with 2.55 (400 otherwise).

use super::fault;
use crate::problem::Told;
use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use corten_model::ids::RequestId;
use corten_model::refusal::Refusal;
use std::convert::Infallible;
use std::fmt;

/// The header of the API working group: `OpenStack-API-Version: compute 2.100`. It wins over the older one.
const STANDARD_HEADER: &str = "openstack-api-version";
/// Nova's own, older header: `X-OpenStack-Nova-API-Version: 2.100`.
const LEGACY_HEADER: &str = "x-openstack-nova-api-version";

/// A version of the compute API that this cloud speaks: 2.`minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion {
    minor: u16,
}

impl Microversion {
    pub const MIN: Self = Self { minor: 1 };
    pub const MAX: Self = Self { minor: 100 };

    /// For tests and for code that renders as of a fixed version.
    pub const fn of(minor: u16) -> Self {
        Self { minor }
    }

    /// The request asked for 2.`minor` or newer.
    pub fn at_least(self, minor: u16) -> bool {
        self.minor >= minor
    }

    /// This route came with 2.`minor`; before, there is no such path.
    pub fn exists_from(self, minor: u16) -> Result<(), Refusal> {
        if self.at_least(minor) {
            Ok(())
        } else {
            Err(self.absent(&format!("came with 2.{minor}")))
        }
    }

    /// 2.`minor` is the last version that has this route.
    pub fn exists_until(self, minor: u16) -> Result<(), Refusal> {
        if self.minor <= minor {
            Ok(())
        } else {
            Err(self.absent(&format!("ended with 2.{minor}")))
        }
    }

    fn absent(self, rule: &str) -> Refusal {
        Refusal::not_found(format!(
            "The resource could not be found. It {rule} of the compute API; this request asked for {self}."
        ))
    }

    /// This body field came with 2.`minor`; `sent` says whether the body has it.
    pub fn takes_from(self, minor: u16, field: &str, sent: bool) -> Result<(), Refusal> {
        if sent && !self.at_least(minor) {
            Err(self.unexpected(field))
        } else {
            Ok(())
        }
    }

    /// 2.`minor` is the last version that takes this body field.
    pub fn takes_until(self, minor: u16, field: &str, sent: bool) -> Result<(), Refusal> {
        if sent && self.minor > minor {
            Err(self.unexpected(field))
        } else {
            Ok(())
        }
    }

    fn unexpected(self, field: &str) -> Refusal {
        Refusal::invalid(format!(
            "Additional properties are not allowed ('{field}' was unexpected): compute API {self} does not have it."
        ))
    }

    /// What the headers ask for.
    fn asked(headers: &HeaderMap) -> Result<Self, Unsupported> {
        let Some(text) = standard(headers).or_else(|| text_of(headers, LEGACY_HEADER)) else {
            return Ok(Self::MIN);
        };
        if text == "latest" {
            return Ok(Self::MAX);
        }
        let malformed = || Unsupported::Malformed(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        let (Some(major), Some(minor)) = (number(major), number(minor)) else {
            return Err(malformed());
        };
        match u16::try_from(minor) {
            Ok(minor)
                if major == 2 && Self { minor } >= Self::MIN && Self { minor } <= Self::MAX =>
            {
                Ok(Self { minor })
            }
            _ => Err(Unsupported::OutOfRange(text.to_owned())),
        }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}", self.minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Microversion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::MIN))
    }
}

/// Why a request's version is not served.
#[derive(Debug, PartialEq, Eq)]
enum Unsupported {
    Malformed(String),
    OutOfRange(String),
}

impl IntoResponse for Unsupported {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Malformed(text) => (
                StatusCode::BAD_REQUEST,
                format!(
                    "API Version String '{text}' is of invalid format. Must be of format MajorNum.MinorNum."
                ),
            ),
            Self::OutOfRange(text) => (
                StatusCode::NOT_ACCEPTABLE,
                format!(
                    "Version {text} is not supported by the API. Minimum is {} and maximum is {}.",
                    Microversion::MIN,
                    Microversion::MAX
                ),
            ),
        };
        (status, Json(fault(status, &Told::text(message)))).into_response()
    }
}

/// Reads the version a request asks for and writes it, and the request id, on whatever is answered.
pub async fn negotiate(mut request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().cloned();
    let mut response = if is_versioned(request.uri().path()) {
        match Microversion::asked(request.headers()) {
            Ok(version) => {
                request.extensions_mut().insert(version);
                let mut response = next.run(request).await;
                echo(response.headers_mut(), version);
                response
            }
            Err(unsupported) => unsupported.into_response(),
        }
    } else {
        next.run(request).await
    };
    if let Some(value) = request_id.and_then(|id| HeaderValue::from_str(&id.0).ok()) {
        response.headers_mut().insert("x-compute-request-id", value);
    }
    response
}

/// Only `/v2.1` has microversions; `/v2` is 2.1 whatever is asked.
fn is_versioned(path: &str) -> bool {
    path.strip_prefix("/compute")
        .unwrap_or(path)
        .split('/')
        .nth(1)
        == Some("v2.1")
}

fn echo(headers: &mut HeaderMap, version: Microversion) {
    if let Ok(value) = HeaderValue::from_str(&format!("compute {version}")) {
        headers.insert(STANDARD_HEADER, value);
    }
    if let Ok(value) = HeaderValue::from_str(&version.to_string()) {
        headers.insert(LEGACY_HEADER, value);
    }
    headers.append("vary", HeaderValue::from_static("OpenStack-API-Version"));
    headers.append(
        "vary",
        HeaderValue::from_static("X-OpenStack-Nova-API-Version"),
    );
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

/// The version for compute in the standard header, which may name several services: `compute 2.1, placement 1.0`.
fn standard(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(STANDARD_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.trim().split_once(char::is_whitespace))
        .rfind(|(service, _)| service.eq_ignore_ascii_case("compute"))
        .map(|(_, version)| version.trim())
}

/// A number written without sign and without leading zeros.
fn number(text: &str) -> Option<u32> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> Result<Microversion, Unsupported> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Microversion::asked(&headers)
    }

    #[test]
    fn no_header_means_the_lowest_version_and_latest_the_highest() {
        assert_eq!(asked(&[]), Ok(Microversion::MIN));
        assert_eq!(
            asked(&[(STANDARD_HEADER, "volume 3.71")]),
            Ok(Microversion::MIN)
        );
        assert_eq!(
            asked(&[(STANDARD_HEADER, "compute latest")]),
            Ok(Microversion::MAX)
        );
        assert_eq!(asked(&[(LEGACY_HEADER, "latest")]), Ok(Microversion::MAX));
    }

    #[test]
    fn either_header_is_understood_and_the_standard_one_wins() {
        assert_eq!(asked(&[(LEGACY_HEADER, "2.53")]), Ok(Microversion::of(53)));
        assert_eq!(
            asked(&[(LEGACY_HEADER, "2.53"), (STANDARD_HEADER, "compute 2.61")]),
            Ok(Microversion::of(61))
        );
        assert_eq!(
            asked(&[(STANDARD_HEADER, "placement 1.29, Compute 2.88")]),
            Ok(Microversion::of(88))
        );
    }

    #[test]
    fn what_is_not_served_is_told_apart_from_what_is_not_a_version() {
        for text in ["2.0", "2.101", "1.1", "3.1", "2.70000"] {
            assert_eq!(
                asked(&[(LEGACY_HEADER, text)]),
                Err(Unsupported::OutOfRange(text.to_owned()))
            );
        }
        for text in ["", "2", "2.x", "2.01", "-2.1", "2.1.1", "newest"] {
            assert_eq!(
                asked(&[(LEGACY_HEADER, text)]),
                Err(Unsupported::Malformed(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn routes_and_fields_come_and_go_with_versions() {
        let mv = Microversion::of(36);
        assert!(mv.at_least(36) && !mv.at_least(37));
        assert!(mv.exists_from(36).is_ok() && mv.exists_until(36).is_ok());
        assert_eq!(
            mv.exists_until(35).unwrap_err().reason,
            corten_model::refusal::Reason::NotFound
        );
        assert!(mv.exists_from(37).unwrap_err().message.contains("2.37"));
        assert!(mv.takes_from(37, "tags", false).is_ok());
        assert!(
            mv.takes_from(37, "tags", true)
                .unwrap_err()
                .message
                .contains("'tags' was unexpected")
        );
        assert!(mv.takes_until(35, "personality", true).is_err());
    }
}
