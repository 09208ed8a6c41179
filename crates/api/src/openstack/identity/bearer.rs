//! Who asks, with everything the token says. Identity's own calls need more of it than other services' do.

use crate::app::App;
use crate::auth::request_id;
use crate::problem::Problem;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use corten_iam::TokenView;
use corten_iam::actor::Actor;
use corten_iam::validate::Visit;
use corten_model::refusal::Refusal;
use std::sync::Arc;

/// The bearer of the request's token. A handler that names this in its arguments cannot be reached without one.
pub struct Bearer {
    pub actor: Actor,
    pub token: Arc<TokenView>,
}

impl FromRequestParts<App> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let text = parts.headers.get("x-auth-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text.is_empty() {
            return Err(Refusal::unauthenticated("The request you have made requires authentication.").into());
        }
        let path = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
        let token = app.iam.admit(text, Visit { method: parts.method.as_str(), path }).await?;
        Ok(Self { actor: token.actor(request_id(parts)), token })
    }
}

/// The token that a call is about: `X-Subject-Token`.
pub struct SubjectToken(pub String);

impl FromRequestParts<App> for SubjectToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let text = parts.headers.get("x-subject-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text.is_empty() {
            return Err(Refusal::invalid("The header X-Subject-Token is missing; put the token in question there.").into());
        }
        Ok(Self(text.to_owned()))
    }
}
