//! `/floatingips/{id}/port_forwardings`.

use super::kit::{self, Collection};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{FloatingIpId, PortForwardingId, PortId};
use corten_model::refusal::Refusal;
use corten_operations::network::port_forwarding::{self, NewPortForwarding, PortForwardingChange};
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port_forwarding::PortForwarding;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/floatingips/{floating_ip}/port_forwardings",
            get(index).post(create),
        )
        .route(
            "/floatingips/{floating_ip}/port_forwardings/{id}",
            get(show).put(update).delete(delete),
        )
}

const FORWARDINGS: Collection<'static> = Collection {
    one: "port_forwarding",
    many: "port_forwardings",
    heeded: &[],
    fields: &[
        "id",
        "protocol",
        "external_port",
        "internal_port",
        "internal_port_id",
        "internal_ip_address",
        "external_port_range",
        "internal_port_range",
        "description",
    ],
};

fn view(forwarding: &PortForwarding) -> Value {
    let range = |port: u16| format!("{port}:{port}");
    json!({
        "id": forwarding.id,
        "protocol": forwarding.protocol,
        "external_port": forwarding.external_port,
        "external_port_range": range(forwarding.external_port),
        "internal_port": forwarding.internal_port,
        "internal_port_range": range(forwarding.internal_port),
        "internal_port_id": forwarding.port_id,
        "internal_ip_address": forwarding.internal_address,
        "description": forwarding.standard.description,
    })
}

fn floating(id: &str) -> Result<FloatingIpId, Refusal> {
    kit::id_of::<FloatingIp, FloatingIpId>(id)
}

fn ids(floating_ip: &str, id: &str) -> Result<(FloatingIpId, PortForwardingId), Refusal> {
    let id = kit::id_of::<PortForwarding, PortForwardingId>(id)?;
    Ok((floating(floating_ip)?, id))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
    Path(floating_ip): Path<String>,
) -> Answer {
    let found = port_forwarding::list(&app.cx, &actor, floating(&floating_ip)?).await?;
    Ok(FORWARDINGS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path((floating_ip, id)): Path<(String, String)>,
) -> Answer {
    let (floating_ip, id) = ids(&floating_ip, &id)?;
    let found = port_forwarding::show(&app.cx, &actor, floating_ip, id).await?;
    Ok(FORWARDINGS.show(&params, view(&found)))
}

/// One port, told as a number or as a range of that port alone.
fn one_port(
    field: &str,
    number: Option<i64>,
    range: Option<String>,
) -> Result<Option<u16>, Refusal> {
    let refuse = |why: String| {
        Err(Refusal::invalid(format!(
            "Invalid input for {field}. Reason: {why}."
        )))
    };
    let port = |number: i64| u16::try_from(number).ok().filter(|port| *port > 0);
    let of_range = match &range {
        None => None,
        Some(text) => {
            let (first, last) = text.split_once(':').unwrap_or((text, text));
            match (
                first.parse().ok().and_then(port),
                last.parse().ok().and_then(port),
            ) {
                (Some(first), Some(last)) if first == last => Some(first),
                (Some(_), Some(_)) => {
                    return refuse(format!(
                        "'{text}' is a range of several ports: this cloud forwards one port each; make a forwarding \
                         for every port"
                    ));
                }
                _ => {
                    return refuse(format!(
                        "'{text}' is not a port from 1 to 65535, or a range of it"
                    ));
                }
            }
        }
    };
    match (number, of_range) {
        (None, of_range) => Ok(of_range),
        (Some(number), of_range) => match port(number) {
            None => refuse(format!("'{number}' is not in range 1 to 65535")),
            Some(port) if of_range.is_some_and(|other| other != port) => {
                refuse(format!("'{number}' and the range do not say the same"))
            }
            Some(port) => Ok(Some(port)),
        },
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| {
        Refusal::invalid(format!(
            "Failed to parse request. Required attribute '{field}' not specified"
        ))
    })
}

/// The body of a create and of an update.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedForwarding {
    protocol: Option<String>,
    #[serde(default, deserialize_with = "kit::number")]
    external_port: Option<i64>,
    external_port_range: Option<String>,
    #[serde(default, deserialize_with = "kit::number")]
    internal_port: Option<i64>,
    internal_port_range: Option<String>,
    internal_port_id: Option<PortId>,
    internal_ip_address: Option<IpAddr>,
    description: Option<String>,
}

impl AskedForwarding {
    fn change(self) -> Result<PortForwardingChange, Refusal> {
        let Self {
            protocol,
            external_port,
            external_port_range,
            internal_port,
            internal_port_range,
            internal_port_id,
            internal_ip_address,
            description,
        } = self;
        Ok(PortForwardingChange {
            description: kit::text("description", description)?,
            protocol,
            external_port: one_port("external_port", external_port, external_port_range)?,
            internal_port: one_port("internal_port", internal_port, internal_port_range)?,
            port_id: internal_port_id,
            internal_address: internal_ip_address,
        })
    }

    fn complete(self) -> Result<NewPortForwarding, Refusal> {
        let PortForwardingChange {
            description,
            protocol,
            external_port,
            internal_port,
            port_id,
            internal_address,
        } = self.change()?;
        Ok(NewPortForwarding {
            description: description.unwrap_or_default(),
            protocol: required("protocol", protocol)?,
            external_port: required("external_port", external_port)?,
            internal_port: required("internal_port", internal_port)?,
            port_id: required("internal_port_id", port_id)?,
            internal_address,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(floating_ip): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let floating_ip = floating(&floating_ip)?;
    let new = kit::only::<AskedForwarding>(body, "port_forwarding")?.complete()?;
    let made = port_forwarding::create(&app.cx, &actor, floating_ip, new).await?;
    let body = json!({"port_forwarding": view(&made)});
    Ok((StatusCode::CREATED, Json(body)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((floating_ip, id)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let (floating_ip, id) = ids(&floating_ip, &id)?;
    let change = kit::only::<AskedForwarding>(body, "port_forwarding")?.change()?;
    let forwarding = port_forwarding::update(&app.cx, &actor, floating_ip, id, change).await?;
    Ok(Json(json!({"port_forwarding": view(&forwarding)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((floating_ip, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let (floating_ip, id) = ids(&floating_ip, &id)?;
    port_forwarding::delete(&app.cx, &actor, floating_ip, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
