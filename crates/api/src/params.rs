//! The query string, and where this request says the cloud is.

use crate::app::App;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use corten_model::refusal::Refusal;
use std::convert::Infallible;

/// The query parameters in the order they were sent; a name may come more than once.
#[derive(Debug, Clone, Default)]
pub struct Params(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl Params {
    pub fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The last value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. '{text}' is not a whole number >= 0"))
        })
    }

    /// A truth value, in any of the spellings of OpenStack's strict `bool_from_string`.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse_truth(text).map(Some).ok_or_else(|| {
            Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. '{text}' is neither true nor false"))
        })
    }

    /// The query string with some parameters replaced or removed (`None`), for a link to the next page.
    pub fn with(&self, changes: &[(&str, Option<&str>)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            if !changes.iter().any(|(changed, _)| changed == name) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in changes {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

/// OpenStack's spellings of true and false.
pub fn parse_truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// The address of the cloud as this client sees it, without a trailing slash: links in answers start with it.
pub struct BaseUrl(pub String);

impl FromRequestParts<App> for BaseUrl {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let scheme = header("x-forwarded-proto").unwrap_or("http");
        Ok(Self(match header("host") {
            Some(host) => format!("{scheme}://{host}"),
            None => app.public_url.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_link_keeps_the_filters_and_moves_the_marker() {
        let params = Params::of(&"/servers?limit=2&marker=a&name=x%20y".parse().unwrap());
        assert_eq!(
            params.with(&[("marker", Some("b"))]),
            "limit=2&name=x+y&marker=b"
        );
        assert_eq!(params.count("limit").unwrap(), Some(2));
        assert!(params.count("name").is_err());
    }
}
