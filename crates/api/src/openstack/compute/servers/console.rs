//! Console log, remote consoles and diagnostics of a server.

use super::actions::Action;
use super::{fields, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::Whole;
use crate::openstack::compute::microversion::Microversion;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_host::{ConsoleKind, Diagnostics, Power};
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_operations::instance::{capability, console};
use corten_store::Failure;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/remote-consoles", post(remote))
        .route("/servers/{id}/diagnostics", get(diagnostics))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    /// All that is kept, if it is left out, null or -1.
    length: Option<Whole>,
}

/// `os-getConsoleOutput`.
pub(super) async fn output(action: &Action<'_>, arguments: Output) -> Answer<Response> {
    let lines = match arguments.length.map(|Whole(length)| length) {
        None | Some(-1) => None,
        Some(length) => Some(usize::try_from(length).map_err(|_| {
            Refusal::invalid(format!("Invalid input for field/attribute length. Value: {length}. {length} is less than the minimum of -1"))
        })?),
    };
    let log = console::log(&action.app.cx, action.actor, action.id, lines).await?;
    Ok(Json(json!({"output": log})).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Legacy {
    r#type: String,
}

/// `os-getVNCConsole` and the like, up to 2.5.
pub(super) async fn legacy(action: &Action<'_>, name: &str, arguments: Legacy) -> Answer<Response> {
    let types: &[&str] = match name {
        "os-getVNCConsole" => &["novnc", "xvpvnc"],
        "os-getSPICEConsole" => &["spice-html5"],
        "os-getSerialConsole" => &["serial"],
        _ => &["rdp-html5"],
    };
    let r#type = arguments.r#type.as_str();
    if !types.contains(&r#type) {
        return Err(unknown("type", r#type, types).into());
    }
    let kind = match r#type {
        "novnc" => ConsoleKind::Vnc,
        "serial" => ConsoleKind::Serial,
        other => {
            let (app, actor) = (action.app, action.actor);
            capability::check(&app.cx, actor, action.id, Command::RemoteConsole).await?;
            return Err(unavailable(other).into());
        }
    };
    let url = url(action.app, action.actor, action.base, action.id, kind).await?;
    Ok(Json(json!({"console": {"type": r#type, "url": url}})).into_response())
}

fn unknown(field: &str, value: &str, known: &[&str]) -> Refusal {
    Refusal::invalid(format!(
        "Invalid input for field/attribute {field}. Value: {value}. '{value}' is not one of {known:?}"
    ))
}

fn unavailable(name: &str) -> Refusal {
    Refusal::invalid(format!(
        "Unavailable console type {name}. The types here are novnc and serial."
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteBody {
    #[serde(deserialize_with = "fields::object")]
    remote_console: Remote,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remote {
    protocol: String,
    r#type: String,
}

/// From 2.6 on.
async fn remote(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<RemoteBody>,
) -> Answer<Json<Value>> {
    mv.exists_from(6)?;
    let Remote { protocol, r#type } = body.remote_console;
    let newer = |least: u16, name: &'static str| mv.at_least(least).then_some(name);
    let protocols: Vec<_> = ["vnc", "spice", "serial", "rdp"]
        .into_iter()
        .chain(newer(8, "mks"))
        .collect();
    if !protocols.contains(&protocol.as_str()) {
        return Err(unknown("protocol", &protocol, &protocols).into());
    }
    let types = ["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"];
    let types: Vec<_> = types
        .into_iter()
        .chain(newer(8, "webmks"))
        .chain(newer(99, "spice-direct"))
        .collect();
    if !types.contains(&r#type.as_str()) {
        return Err(unknown("type", &r#type, &types).into());
    }
    let kind = match (protocol.as_str(), r#type.as_str()) {
        ("vnc", "novnc") => ConsoleKind::Vnc,
        ("serial", "serial") => ConsoleKind::Serial,
        _ => {
            capability::check(&app.cx, &actor, parse_id(&id)?, Command::RemoteConsole).await?;
            return Err(unavailable(&r#type).into());
        }
    };
    let url = url(&app, &actor, &base, parse_id(&id)?, kind).await?;
    Ok(Json(
        json!({"remote_console": {"protocol": protocol, "type": r#type, "url": url}}),
    ))
}

/// The address of a console with a one-time token in it.
async fn url(
    app: &App,
    actor: &Actor,
    base: &str,
    id: InstanceId,
    kind: ConsoleKind,
) -> Result<String, Failure> {
    let token = console::grant(&app.cx, actor, id, kind).await?;
    let websocket = base.replacen("http", "ws", 1);
    Ok(match kind {
        ConsoleKind::Serial => format!("{websocket}/consoles/serial?token={token}"),
        // As noVNC's own page takes it: where the socket is, with its token.
        ConsoleKind::Vnc => {
            format!("{base}/consoles/vnc?path=consoles%2Fvnc%2Fsocket%3Ftoken%3D{token}")
        }
    })
}

async fn diagnostics(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let (_, figures) = console::diagnostics(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(Json(if mv.at_least(48) {
        structured(&figures)
    } else {
        flat(&figures)
    }))
}

fn power_word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Paused => "paused",
        Power::Shutdown => "shutdown",
        Power::Crashed => "crashed",
        Power::Suspended => "suspended",
    }
}

/// The form of 2.48.
fn structured(figures: &Diagnostics) -> Value {
    let cpus: Vec<_> = figures
        .cpus
        .iter()
        .map(|cpu| json!({"id": cpu.id, "time": cpu.time_ns, "utilisation": null}))
        .collect();
    let disks: Vec<_> = figures
        .disks
        .iter()
        .map(|disk| {
            json!({
                "read_bytes": disk.read_bytes, "read_requests": disk.read_requests,
                "write_bytes": disk.write_bytes, "write_requests": disk.write_requests,
                "errors_count": disk.errors,
            })
        })
        .collect();
    let nics: Vec<_> = figures
        .nics
        .iter()
        .map(|nic| {
            json!({
                "mac_address": nic.mac,
                "rx_octets": nic.rx_octets, "rx_packets": nic.rx_packets, "rx_errors": nic.rx_errors,
                "rx_drop": nic.rx_drop, "rx_rate": null,
                "tx_octets": nic.tx_octets, "tx_packets": nic.tx_packets, "tx_errors": nic.tx_errors,
                "tx_drop": nic.tx_drop, "tx_rate": null,
            })
        })
        .collect();
    json!({
        "state": power_word(figures.power),
        "driver": "libvirt",
        "hypervisor": "qemu",
        "hypervisor_os": std::env::consts::OS,
        "uptime": figures.uptime_secs,
        "config_drive": figures.config_drive,
        "num_cpus": cpus.len(),
        "num_disks": disks.len(),
        "num_nics": nics.len(),
        "memory_details": {"maximum": figures.memory_maximum_mib, "used": figures.memory_used_mib},
        "cpu_details": cpus,
        "disk_details": disks,
        "nic_details": nics,
    })
}

/// The form before 2.48: one flat object in the words of the hypervisor.
fn flat(figures: &Diagnostics) -> Value {
    let mut body = Map::new();
    for cpu in &figures.cpus {
        body.insert(format!("cpu{}_time", cpu.id), json!(cpu.time_ns));
    }
    for disk in &figures.disks {
        body.insert(format!("{}_read", disk.name), json!(disk.read_bytes));
        body.insert(format!("{}_read_req", disk.name), json!(disk.read_requests));
        body.insert(format!("{}_write", disk.name), json!(disk.write_bytes));
        body.insert(
            format!("{}_write_req", disk.name),
            json!(disk.write_requests),
        );
        body.insert(format!("{}_errors", disk.name), json!(disk.errors));
    }
    body.insert(
        "memory".to_owned(),
        json!(figures.memory_maximum_mib * 1024),
    );
    body.insert(
        "memory-rss".to_owned(),
        json!(figures.memory_used_mib * 1024),
    );
    Value::Object(body)
}
