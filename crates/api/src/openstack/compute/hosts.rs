//! `/os-hosts`, which 2.43 dropped: an older view of services and hypervisors.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_operations::host::{self, ServiceChange, ServiceRef};
use corten_store::Failure;
use corten_store::hosts::{HostUsage, Resources};
use corten_store::services;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-hosts", get(index))
        .route("/os-hosts/{name}", get(show).put(update))
        .route("/os-hosts/{name}/{action}", get(power))
}

/// The last version with these routes.
const LAST: u16 = 42;

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    let zone = params.get("zone").filter(|zone| !zone.is_empty());
    let all = host::list_services(&app.cx, &actor).await?;
    let views: Vec<_> = all
        .iter()
        .filter(|entry| entry.seen.service.enabled && zone.is_none_or(|zone| zone == entry.zone))
        .map(|entry| {
            let service = &entry.seen.service;
            let topic = service
                .program
                .strip_prefix("nova-")
                .unwrap_or(&service.program);
            json!({"host_name": service.host, "service": topic, "zone": entry.zone})
        })
        .collect();
    Ok(Json(json!({"hosts": views})))
}

async fn find(app: &App, actor: &Actor, name: &str) -> Result<HostUsage, Failure> {
    let all = host::list(&app.cx, actor).await?;
    let found = all.into_iter().find(|usage| usage.host.name == name);
    Ok(found.ok_or_else(|| Refusal::no_such("Compute host", name))?)
}

fn resource(host: &str, project: &str, amount: Resources) -> Value {
    let Resources {
        vcpus,
        memory_mib,
        disk_gib,
    } = amount;
    json!({"resource": {"host": host, "project": project, "cpu": vcpus, "memory_mb": memory_mib, "disk_gb": disk_gib}})
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    let usage = find(&app, &actor, &name).await?;
    let instances = host::instances_on(&app.cx, &actor, &[usage.host.id]).await?;
    let mut projects: BTreeMap<String, Resources> = BTreeMap::new();
    for instance in &instances {
        let flavor = &instance.intent.flavor;
        let amount = Resources {
            vcpus: flavor.vcpus.unsigned_abs(),
            memory_mib: flavor.memory_mib.unsigned_abs(),
            disk_gib: (flavor.root_gib + flavor.ephemeral_gib).unsigned_abs(),
        };
        let sum = projects.entry(instance.project_id.to_string()).or_default();
        *sum = sum.plus(amount);
    }
    let most = projects
        .values()
        .fold(Resources::default(), |sum, amount| sum.plus(*amount));
    let mut views = vec![
        resource(&name, "(total)", usage.host.facts.capacity),
        resource(&name, "(used_now)", usage.used),
        resource(&name, "(used_max)", most),
    ];
    views.extend(
        projects
            .iter()
            .map(|(project, amount)| resource(&name, project, *amount)),
    );
    Ok(Json(json!({"host": views})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    status: Option<String>,
    maintenance_mode: Option<String>,
}

fn is_enable(field: &str, word: &str) -> Result<bool, Refusal> {
    match word.to_ascii_lowercase().as_str() {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {word}. It is one of enable, disable"
        ))),
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(name): Path<String>,
    Body(UpdateBody {
        status,
        maintenance_mode,
    }): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    let status = status.map(|word| is_enable("status", &word)).transpose()?;
    let maintenance = maintenance_mode
        .map(|word| is_enable("maintenance_mode", &word))
        .transpose()?;
    if status.is_none() && maintenance.is_none() {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute body. 'status' or 'maintenance_mode' is required",
        )
        .into());
    }
    find(&app, &actor, &name).await?;
    let (Some(enabled), None) = (status, maintenance) else {
        return Err(Refusal::not_implemented(
            "The requested functionality is not supported: disable the host with 'status', then move its servers.",
        )
        .into());
    };
    let which = ServiceRef::Place {
        program: services::COMPUTE.to_owned(),
        host: name.clone(),
    };
    host::change_service(
        &app.cx,
        &actor,
        &which,
        ServiceChange {
            enabled: Some(enabled),
            ..Default::default()
        },
    )
    .await?;
    Ok(Json(
        json!({"host": name, "status": if enabled { "enabled" } else { "disabled" }}),
    ))
}

/// Power actions on a hypervisor host itself: not ours to do.
async fn power(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((name, action)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    mv.exists_until(LAST)?;
    if !matches!(action.as_str(), "startup" | "shutdown" | "reboot") {
        return Err(Refusal::not_found("The resource could not be found.").into());
    }
    find(&app, &actor, &name).await?;
    Err(Refusal::not_implemented("The requested functionality is not supported: hypervisor hosts are not powered by this API.").into())
}
