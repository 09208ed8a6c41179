//! `/events`: what a network service outside tells of the ports that nodes use.

use super::version::Since;
use crate::app::App;
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::problem::Answer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use corten_model::refusal::Refusal;
use corten_operations::metal::{access, port};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

pub fn routes() -> Router<App> {
    Router::new().route("/events", post(create))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    event: What,
    port_id: Uuid,
    mac_address: String,
    status: String,
    device_id: Option<Uuid>,
    #[serde(rename = "binding:host_id")]
    host_id: Option<Uuid>,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: Option<String>,
}

/// What becomes of a port.
#[derive(Debug, Deserialize)]
enum What {
    #[serde(rename = "network.bind_port")]
    Bind,
    #[serde(rename = "network.unbind_port")]
    Unbind,
    #[serde(rename = "network.delete_port")]
    Delete,
}

/// Nobody waits for these: the networks of this cloud are told, and tell, directly. What is well formed is noted in the log.
async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<54>,
    Body(body): Body<Value>,
) -> Answer<StatusCode> {
    access::may_post_events(&app.cx, &actor)?;
    let Told { events } = body::read(body)?;
    if events.is_empty() {
        return Err(Refusal::invalid("The list of events is empty: tell of one at least.").into());
    }
    for event in &events {
        port::mac(&event.mac_address)?;
    }
    for event in events {
        let Event {
            event,
            port_id,
            mac_address,
            status,
            device_id,
            host_id,
            vnic_type,
        } = event;
        tracing::debug!(
            ?event,
            %port_id,
            mac_address,
            status,
            ?device_id,
            ?host_id,
            ?vnic_type,
            "told of a port"
        );
    }
    Ok(StatusCode::NO_CONTENT)
}
