//! `/os-console-auth-tokens`: what a console's token opens, for consoles served by somebody else. Ours are served by
//! this program (`/consoles`), so the token is told to exist or not, and where it leads.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::service_calls;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/os-console-auth-tokens/{token}", get(show))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(token): Path<String>,
) -> Answer<Json<Value>> {
    service_calls::check(&app.cx, &actor)?;
    if !mv.at_least(31) {
        return Err(Refusal::invalid(
            "Until 2.30 this told of RDP consoles only, which do not exist here: ask with 2.31 or newer.",
        )
        .into());
    }
    let console = service_calls::console(&app.cx, &actor, &token).await?;
    let address = url::Url::parse(&app.public_url).ok();
    let port = address
        .and_then(|url| url.port_or_known_default())
        .unwrap_or(80);
    Ok(Json(json!({"console": {
        "instance_uuid": console.instance_id,
        "host": console.host,
        "port": port,
        "internal_access_path": format!("/consoles/{}", console.kind),
    }})))
}
