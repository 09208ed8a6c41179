//! Who asks: the `X-Auth-Token` header, turned into an [`Actor`].

use crate::app::App;
use crate::problem::Problem;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use corten_iam::TokenView;
use corten_iam::actor::Actor;
use corten_iam::validate::Visit;
use corten_model::ids::RequestId;
use corten_model::refusal::Refusal;
use std::sync::Arc;

/// The text every OpenStack service answers without a token.
const NO_TOKEN: &str = "The request you have made requires authentication.";

/// The bearer of the request's token. A handler that names this in its arguments cannot be reached without one.
pub struct Caller(pub Actor);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Bearer { actor, token: _ } = Bearer::from_request_parts(parts, app).await?;
        Ok(Self(actor))
    }
}

/// The same with everything the token says, for identity's own calls.
pub struct Bearer {
    pub actor: Actor,
    pub token: Arc<TokenView>,
}

impl FromRequestParts<App> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get("x-auth-token");
        let text = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if text.is_empty() {
            return Err(Refusal::unauthenticated(NO_TOKEN).into());
        }
        let original = parts.extensions.get::<OriginalUri>();
        let path = original.map_or(parts.uri.path(), |uri| uri.path());
        let visit = Visit {
            method: parts.method.as_str(),
            path,
        };
        let token = app.iam.admit(text, visit).await?;
        Ok(Self {
            actor: token.actor(request_id(parts)),
            token,
        })
    }
}

/// The id that [`crate::trace`] gave this request.
pub fn request_id(parts: &Parts) -> RequestId {
    parts
        .extensions
        .get::<RequestId>()
        .cloned()
        .unwrap_or_else(RequestId::random)
}
