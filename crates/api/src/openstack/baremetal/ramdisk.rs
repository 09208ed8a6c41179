//! `/lookup` and `/heartbeat`: what the ramdisk on a server asks and tells. It has no token of identity's; a node that
//! expects no ramdisk does not exist for it.

use super::kit::{Values, ident, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::agent::{self, Found, HEARTBEAT_SECS};
use corten_operations::metal::port;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/lookup", get(lookup))
        .route("/heartbeat", post(heartbeat_without_path))
        .route("/heartbeat/{node}", post(heartbeat))
}

async fn lookup(
    State(app): State<App>,
    _: Since<22>,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let addresses = params.get("addresses").unwrap_or_default();
    // Cards that are no Ethernet cards have addresses of other forms.
    let addresses: Vec<String> = addresses
        .split(',')
        .filter_map(|address| port::mac(address.trim()).ok())
        .collect();
    let id = params.get("node_uuid");
    if addresses.is_empty() && id.is_none() {
        return Err(
            Refusal::not_found("Neither addresses nor node_uuid say which node it is.").into(),
        );
    }
    let Found { node, token } = agent::lookup(&app.cx, &addresses, id).await?;
    // Told once: whoever asks again is somebody else, or has lost it.
    let token = token.unwrap_or_else(|| "******".to_owned());
    let steps = &node.steps;
    Ok(Json(json!({
        "node": {
            "uuid": node.id,
            "properties": node.properties,
            "instance_info": node.instance_info,
            "driver_internal_info": {"agent_secret_token": token, "steps": steps},
            "links": links(&base, &format!("nodes/{}", node.id)),
        },
        "config": {
            "heartbeat_timeout": HEARTBEAT_SECS,
            "agent_token": token,
            "agent_token_required": true,
        },
    })))
}

async fn beat(
    app: &App,
    version: Version,
    node: Option<String>,
    body: Map<String, Value>,
) -> Answer<StatusCode> {
    let mut body = Values(body);
    let named = body.text("node_ident")?;
    let node = node
        .or(named)
        .ok_or_else(|| Refusal::invalid("Mandatory field missing: 'node_ident'."))?;
    let url = body.required_text("callback_url")?;
    let agent_version = body.text("agent_version")?;
    if agent_version.is_some() {
        version.acceptable_from(36, "The attribute 'agent_version'")?;
    }
    let token = body.text("agent_token")?;
    if token.is_some() {
        version.acceptable_from(62, "The attribute 'agent_token'")?;
    }
    agent::heartbeat(
        &app.cx,
        &ident(version, &node),
        &url,
        agent_version,
        token.as_deref(),
    )
    .await?;
    Ok(StatusCode::ACCEPTED)
}

async fn heartbeat(
    State(app): State<App>,
    _: Since<22>,
    version: Version,
    Path(node): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    beat(&app, version, Some(node), body).await
}

async fn heartbeat_without_path(
    State(app): State<App>,
    _: Since<22>,
    version: Version,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    beat(&app, version, None, body).await
}
