//! `/servers/{id}/os-interface`, `/ips` and `/os-security-groups`: the cards of a server and what they are known by.

use super::{fields, find, networks, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::security_groups;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::{NetworkId, PortId};
use corten_model::refusal::Refusal;
use corten_operations::instance::addresses::{self as wirings, Shown, Wiring};
use corten_operations::instance::interface::{self, Interface};
use corten_operations::instance::networks::Asked;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/ips", get(ips))
        .route("/servers/{id}/ips/{network}", get(ips_of_network))
        .route("/servers/{id}/os-security-groups", get(groups))
        .route("/servers/{id}/os-interface", get(list).post(attach))
        .route(
            "/servers/{id}/os-interface/{port}",
            get(show).delete(detach),
        )
}

fn address(shown: &Shown) -> Map<String, Value> {
    let mut fields = Map::new();
    let version = if shown.address.is_ipv4() { 4 } else { 6 };
    fields.insert("version".to_owned(), json!(version));
    fields.insert("addr".to_owned(), json!(shown.address));
    fields
}

/// The addresses of a server body, by network; the whole body tells of each what it is.
pub(super) fn addresses(wiring: &Wiring, whole: bool) -> Value {
    let one = |shown: &Shown| {
        let mut fields = address(shown);
        if whole {
            let kind = if shown.is_floating {
                "floating"
            } else {
                "fixed"
            };
            fields.insert("OS-EXT-IPS:type".to_owned(), json!(kind));
            let mac = json!(shown.mac_address);
            fields.insert("OS-EXT-IPS-MAC:mac_addr".to_owned(), mac);
        }
        Value::Object(fields)
    };
    let networks = wiring.networks.iter();
    networks
        .map(|(name, shown)| (name.clone(), shown.iter().map(one).collect()))
        .collect::<Map<String, Value>>()
        .into()
}

async fn wiring(app: &App, actor: &Actor, id: &str) -> Answer<Wiring> {
    let instance = find(app, actor, id).await?;
    let shown = std::slice::from_ref(&instance);
    let mut found = wirings::of(&app.cx, shown).await?;
    Ok(found.remove(&instance.id).unwrap_or_default())
}

async fn ips(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let wiring = wiring(&app, &actor, &id).await?;
    Ok(Json(json!({"addresses": addresses(&wiring, false)})))
}

async fn ips_of_network(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, network)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let wiring = wiring(&app, &actor, &id).await?;
    let all = addresses(&wiring, false);
    match all.get(&network) {
        Some(shown) => Ok(Json(json!({ network: shown }))),
        None => Err(Refusal::not_found(format!(
            "Instance {id} is not a member of network {network}: its addresses are listed by network."
        ))
        .into()),
    }
}

/// The groups of the server's ports, as whole groups.
async fn groups(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = interface::list(&app.cx, &actor, parse_id(&id)?).await?;
    let ids: BTreeSet<_> = found
        .iter()
        .flat_map(|found| found.port.security_groups.iter().copied())
        .collect();
    let shown = security_groups::these(&app, &actor, ids).await?;
    Ok(Json(json!({"security_groups": shown})))
}

fn view(mv: Microversion, interface: &Interface) -> Value {
    let port = &interface.port;
    let mut view = json!({
        "port_id": port.id,
        "port_state": if port.up && port.enabled { "ACTIVE" } else { "DOWN" },
        "net_id": port.network_id,
        "mac_addr": port.mac_address,
        "fixed_ips": port.addresses,
    });
    if mv.at_least(70) {
        view["tag"] = json!(interface.nic.tag);
    }
    view
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = interface::list(&app.cx, &actor, parse_id(&id)?).await?;
    let views: Vec<_> = found.iter().map(|interface| view(mv, interface)).collect();
    Ok(Json(json!({"interfaceAttachments": views})))
}

fn port_id(text: &str) -> Result<PortId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::not_found(format!("Port id {text} could not be found.")))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, port)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let id = parse_id(&id)?;
    // Whose server it is comes first: what others have does not exist.
    find(&app, &actor, &id.to_string()).await?;
    let interface = interface::show(&app.cx, &actor, id, port_id(&port)?).await?;
    Ok(Json(json!({"interfaceAttachment": view(mv, &interface)})))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attach {
    #[serde(
        rename = "interfaceAttachment",
        default,
        deserialize_with = "fields::given"
    )]
    attachment: Option<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attachment {
    #[serde(default, deserialize_with = "fields::given")]
    net_id: Option<NetworkId>,
    #[serde(default, deserialize_with = "fields::given")]
    port_id: Option<PortId>,
    #[serde(default, deserialize_with = "fields::given")]
    fixed_ips: Option<Vec<FixedIp>>,
    #[serde(default, deserialize_with = "fields::given")]
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    ip_address: IpAddr,
}

/// What is asked for, as of the microversion.
fn asked(mv: Microversion, body: Attach) -> Result<Asked, Refusal> {
    let Attachment {
        net_id,
        port_id,
        fixed_ips,
        tag,
    } = body.attachment.unwrap_or_default();
    mv.takes_from(49, "tag", tag.is_some())?;
    let rule = if port_id.is_some() && net_id.is_some() {
        Some("Must not input both network_id and port_id")
    } else if fixed_ips.is_some() && net_id.is_none() {
        Some("Must input network_id when request IP address")
    } else if fixed_ips.as_ref().is_some_and(|ips| ips.len() != 1) {
        Some("Invalid input for field/attribute fixed_ips: it holds one address")
    } else if tag
        .as_ref()
        .is_some_and(|tag| !networks::is_tag(&json!(tag)))
    {
        Some(
            "Invalid input for field/attribute tag: it has 1 to 60 characters, none of them '/' or ','",
        )
    } else {
        None
    };
    match rule {
        Some(rule) => Err(Refusal::invalid(rule)),
        None => Ok(Asked {
            network_id: net_id,
            port_id,
            fixed_ip: fixed_ips.and_then(|ips| Some(ips.first()?.ip_address)),
            tag,
        }),
    }
}

async fn attach(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(body): Body<Attach>,
) -> Answer<Json<Value>> {
    let asked = asked(mv, body)?;
    let interface = interface::attach(&app.cx, &actor, parse_id(&id)?, asked).await?;
    Ok(Json(json!({"interfaceAttachment": view(mv, &interface)})))
}

async fn detach(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, port)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let id = parse_id(&id)?;
    find(&app, &actor, &id.to_string()).await?;
    interface::detach(&app.cx, &actor, id, port_id(&port)?).await?;
    Ok(StatusCode::ACCEPTED)
}
