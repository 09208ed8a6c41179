//! Who asks: the `X-Auth-Token` header, turned into an [`Actor`].

use crate::app::App;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use corten_iam::actor::Actor;
use corten_model::ids::RequestId;
use corten_model::refusal::Refusal;

/// The bearer of the request's token. A handler that names this in its arguments cannot be reached without one.
pub struct Caller(pub Actor);

/// The text every OpenStack service answers without a token.
const NO_TOKEN: &str = "The request you have made requires authentication.";

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = parts.headers.get("x-auth-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if token.is_empty() {
            return Err(Refusal::unauthenticated(NO_TOKEN).into());
        }
        let request_id = request_id(parts);
        Ok(Self(app.iam.validate(token, request_id).await?))
    }
}

/// The id that [`crate::trace`] gave this request.
pub fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::random)
}
