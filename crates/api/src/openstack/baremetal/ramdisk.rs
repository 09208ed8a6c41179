//! What the ramdisk on a server asks and tells: `/lookup` and `/heartbeat`, and on the listener of provisioning networks
//! also its log, the image that it is to write, and the inventory of a server that nobody enrolled. It has no token of
//! identity's; a node that expects no ramdisk does not exist for it.

use super::kit::{Values, ident, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::body::{self, Body};
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::agent::{self, Beat, Found, HEARTBEAT_SECS};
use corten_operations::metal::discovery::offer;
use corten_operations::metal::discovery::report::{Facts, Report};
use corten_operations::metal::{Ident, deploy_image, port};
use corten_ramdisk::protocol::{
    AGENT_TOKEN_HEADER, BOOT_TOKEN_HEADER, LogLine, TOKEN_ALREADY_GIVEN,
};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;

/// How much of an image is read at once.
const CHUNK_BYTES: usize = 1 << 20;

pub fn routes() -> Router<App> {
    heartbeats().route("/lookup", get(lookup))
}

fn heartbeats() -> Router<App> {
    Router::new()
        .route("/heartbeat", post(heartbeat_without_path))
        .route("/heartbeat/{node}", post(heartbeat))
}

/// What only a ramdisk on a provisioning network finds.
pub(super) fn routes_on_site() -> Router<App> {
    heartbeats()
        .route("/lookup", get(lookup_on_site))
        .route("/continue_inspection", post(continue_inspection))
        .route("/ramdisk_log/{node}", post(log))
        .route("/ramdisk_image/{node}/{image}/{secret}", get(image))
}

/// Who asks: the addresses of its network cards, and the node's id if it knows it.
fn asker(params: &Params) -> Result<(Vec<String>, Option<&str>), Refusal> {
    let addresses = params.get("addresses").unwrap_or_default();
    // Cards that are no Ethernet cards have addresses of other forms.
    let addresses: Vec<String> = addresses
        .split(',')
        .filter_map(|address| port::mac(address.trim()).ok())
        .collect();
    let id = params.get("node_uuid");
    if addresses.is_empty() && id.is_none() {
        return Err(Refusal::not_found(
            "Neither addresses nor node_uuid say which node it is.",
        ));
    }
    Ok((addresses, id))
}

fn lookup_answer(node: Value, token: &str) -> Json<Value> {
    Json(json!({
        "node": node,
        "config": {
            "heartbeat_timeout": HEARTBEAT_SECS,
            "agent_token": token,
            "agent_token_required": true,
        },
    }))
}

async fn lookup(
    State(app): State<App>,
    _: Since<22>,
    BaseUrl(base): BaseUrl,
    headers: HeaderMap,
    params: Params,
) -> Answer<Json<Value>> {
    let (addresses, id) = asker(&params)?;
    let boot_token = text(&headers, BOOT_TOKEN_HEADER);
    let Found { node, token } = agent::lookup(&app.cx, &addresses, id, boot_token).await?;
    // Told once: whoever asks again is somebody else, or has lost it.
    let token = token.unwrap_or_else(|| TOKEN_ALREADY_GIVEN.to_owned());
    let shown = json!({
        "uuid": node.id,
        "properties": node.properties,
        "instance_info": node.instance_info,
        "driver_internal_info": {"agent_secret_token": token, "steps": node.steps},
        "links": links(&base, &format!("nodes/{}", node.id)),
    });
    Ok(lookup_answer(shown, &token))
}

/// The same on a provisioning network, where the stock agent asks too: without our header, and with the boot's token as its
/// own, which it shows in its heartbeats.
async fn lookup_on_site(
    State(app): State<App>,
    since: Since<22>,
    base: BaseUrl,
    headers: HeaderMap,
    params: Params,
) -> Answer<Json<Value>> {
    if headers.contains_key(BOOT_TOKEN_HEADER) {
        return lookup(State(app), since, base, headers, params).await;
    }
    let (addresses, id) = asker(&params)?;
    let node = agent::awaited(&app.cx, &addresses, id).await?;
    // What the stock agent cannot do without. All that it is to do comes with commands.
    let shown =
        json!({"uuid": node, "properties": {}, "instance_info": {}, "driver_internal_info": {}});
    Ok(lookup_answer(shown, TOKEN_ALREADY_GIVEN))
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
    let certificate = body.text("agent_verify_ca")?;
    if certificate.is_some() {
        version.acceptable_from(68, "The attribute 'agent_verify_ca'")?;
    }
    let beat = Beat {
        url,
        certificate,
        version: agent_version,
        token,
    };
    agent::heartbeat(&app.cx, &ident(version, &node), beat).await?;
    Ok(StatusCode::ACCEPTED)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What an unknown server is made of: it is offered for enrolment. The token is that of its boot, which is ours: who was not
/// booted here offers nothing.
async fn continue_inspection(
    State(app): State<App>,
    _: Since<84>,
    headers: HeaderMap,
    Body(mut body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let inventory = body
        .remove("inventory")
        .ok_or_else(|| Refusal::invalid("Mandatory field missing: 'inventory'."))?;
    let facts: Facts = body::read(inventory.clone())?;
    let report = Report::new(facts, inventory, body)?;
    let token = text(&headers, BOOT_TOKEN_HEADER);
    let node = offer::make(&app.cx, token, report).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"uuid": node}))))
}

/// Lines of a ramdisk's log, which become lines of ours.
async fn log(
    State(app): State<App>,
    Path(node): Path<String>,
    headers: HeaderMap,
    Body(lines): Body<Vec<LogLine>>,
) -> Answer<StatusCode> {
    let token = text(&headers, AGENT_TOKEN_HEADER).unwrap_or_default();
    let node = agent::of_token(&app.cx, &Ident::id(&node), token).await?;
    for LogLine {
        number,
        at_ms,
        level,
        text,
    } in lines
    {
        // What a server says is its own words: nothing of it is taken for ours.
        let text = text.escape_debug().to_string();
        tracing::info!(node = %node.id, number, at_ms, level, "ramdisk: {text}");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of the image that a node's server is to write.
async fn image(
    State(app): State<App>,
    Path((node, image, secret)): Path<(String, String, String)>,
) -> Answer<Response> {
    let nowhere = || Refusal::not_found("There is no such image for this server.");
    let (Ok(node), Ok(image)) = (node.parse(), image.parse()) else {
        return Err(nowhere().into());
    };
    let (file, bytes) = deploy_image::open(&app.cx, node, image, &secret).await?;
    let stream = ReaderStream::with_capacity(file, CHUNK_BYTES);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    Ok((headers, axum::body::Body::from_stream(stream)).into_response())
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
