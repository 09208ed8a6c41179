//! The token that a call is about; who makes the call is [`crate::auth::Bearer`].

use crate::app::App;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use corten_model::refusal::Refusal;

/// The token that a call is about: `X-Subject-Token`.
pub struct SubjectToken(pub String);

impl FromRequestParts<App> for SubjectToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let text = parts
            .headers
            .get("x-subject-token")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if text.is_empty() {
            return Err(Refusal::invalid(
                "The header X-Subject-Token is missing; put the token in question there.",
            )
            .into());
        }
        Ok(Self(text.to_owned()))
    }
}
