//! `/os-hypervisors`: the hosts that carry virtual machines.

use super::microversion::Microversion;
use super::paging::{MAX_LIMIT, Page, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::HostId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::host;
use corten_store::Failure;
use corten_store::hosts::{CpuInfo, HostUsage, Resources};
use corten_store::instances::Instance;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-hypervisors", get(index))
        .route("/os-hypervisors/detail", get(detail))
        .route("/os-hypervisors/statistics", get(statistics))
        .route("/os-hypervisors/{id}", get(show))
        .route("/os-hypervisors/{id}/uptime", get(uptime))
        .route("/os-hypervisors/{id}/search", get(search))
        .route("/os-hypervisors/{id}/servers", get(servers))
}

fn brief(usage: &HostUsage, mv: Microversion, now: Timestamp) -> Value {
    json!({
        "id": if mv.at_least(53) { json!(usage.host.id) } else { json!(usage.host.number) },
        "hypervisor_hostname": usage.host.name,
        "state": if usage.agent.is_up(now) { "up" } else { "down" },
        "status": if usage.agent.service.enabled { "enabled" } else { "disabled" },
    })
}

fn full(usage: &HostUsage, mv: Microversion, now: Timestamp) -> Value {
    let HostUsage {
        host,
        agent,
        used,
        instances,
        generation: _,
    } = usage;
    let service = &agent.service;
    let mut view = brief(usage, mv, now);
    view["hypervisor_type"] = json!(host.facts.hypervisor_type);
    view["hypervisor_version"] = json!(host.facts.hypervisor_version);
    view["host_ip"] = json!(host.facts.address);
    view["service"] = json!({
        "id": if mv.at_least(53) { json!(service.id) } else { json!(service.number) },
        "host": service.host,
        "disabled_reason": service.disabled_reason,
    });
    if mv.at_least(88) {
        view["uptime"] = if agent.is_up(now) {
            json!(uptime_text(host.facts.booted_at, now))
        } else {
            Value::Null
        };
        return view;
    }
    let capacity = host.facts.capacity;
    let free = capacity.minus(*used);
    view["vcpus"] = json!(capacity.vcpus);
    view["memory_mb"] = json!(capacity.memory_mib);
    view["local_gb"] = json!(capacity.disk_gib);
    view["vcpus_used"] = json!(used.vcpus);
    view["memory_mb_used"] = json!(used.memory_mib);
    view["local_gb_used"] = json!(used.disk_gib);
    view["free_ram_mb"] = json!(free.memory_mib);
    view["free_disk_gb"] = json!(free.disk_gib);
    view["disk_available_least"] = json!(free.disk_gib);
    view["running_vms"] = json!(instances);
    view["current_workload"] = json!(0);
    let cpu = cpu_info(&host.facts.cpu);
    // Until 2.28 this was JSON inside a string.
    view["cpu_info"] = if mv.at_least(28) {
        cpu
    } else {
        json!(cpu.to_string())
    };
    view
}

fn cpu_info(cpu: &CpuInfo) -> Value {
    let CpuInfo {
        arch,
        vendor,
        model,
        sockets,
        cores,
        threads,
        features,
    } = cpu;
    json!({
        "arch": arch,
        "vendor": vendor,
        "model": model,
        "features": features,
        "topology": {"sockets": sockets, "cores": cores, "threads": threads, "cells": 1},
    })
}

/// As the `uptime` program writes it.
fn uptime_text(booted_at: Timestamp, now: Timestamp) -> String {
    let up = now.since(booted_at).as_secs();
    let (days, hours, minutes) = (up / 86_400, up / 3600 % 24, up / 60 % 60);
    let clock = now.micros_bare().get(11..19).unwrap_or_default().to_owned();
    format!("{clock} up {days} days, {hours}:{minutes:02}")
}

/// The form of a hypervisor in an answer.
type View = fn(&HostUsage, Microversion, Timestamp) -> Value;

/// What a list or a show asks for beside the hosts themselves, from 2.53 on.
#[derive(Default)]
struct Wanted {
    servers: bool,
    pattern: Option<String>,
}

impl Wanted {
    fn of(params: &Params, mv: Microversion, known: &[&str]) -> Result<Self, Refusal> {
        if !mv.at_least(53) {
            return Ok(Self::default());
        }
        only(params, known)?;
        let servers = params.truth("with_servers")?.unwrap_or(false);
        Ok(Self {
            servers,
            pattern: params.get("hypervisor_hostname_pattern").map(str::to_owned),
        })
    }
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(
        &app,
        &actor,
        mv,
        &base.0,
        &params,
        ("os-hypervisors", brief),
    )
    .await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(
        &app,
        &actor,
        mv,
        &base.0,
        &params,
        ("os-hypervisors/detail", full),
    )
    .await
}

async fn list(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &str,
    params: &Params,
    (path, view): (&str, View),
) -> Answer<Json<Value>> {
    let wanted = Wanted::of(
        params,
        mv,
        &[
            "limit",
            "marker",
            "hypervisor_hostname_pattern",
            "with_servers",
        ],
    )?;
    let page = if mv.at_least(33) {
        Page::of(params)?
    } else {
        Page {
            limit: MAX_LIMIT,
            marker: None,
        }
    };
    let all = host::list(&app.cx, actor).await?;
    if let Some(pattern) = &wanted.pattern {
        if params.get("limit").is_some() || page.marker.is_some() {
            return Err(Refusal::invalid(
                "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.",
            )
            .into());
        }
        let views = views(
            app,
            actor,
            mv,
            &matching(all, pattern)?,
            wanted.servers,
            view,
        )
        .await?;
        return Ok(Json(json!({"hypervisors": views})));
    }
    let id = |usage: &HostUsage| {
        if mv.at_least(53) {
            usage.host.id.to_string()
        } else {
            usage.host.number.to_string()
        }
    };
    let found = page.cut(all, id)?;
    let mut body =
        json!({"hypervisors": views(app, actor, mv, &found, wanted.servers, view).await?});
    if mv.at_least(33)
        && let Some(next) = page.next(base, path, params, found.len(), found.last().map(id))
    {
        body["hypervisors_links"] = next;
    }
    Ok(Json(body))
}

/// The hosts whose name has the pattern in it; 404 if none has.
fn matching(all: Vec<HostUsage>, pattern: &str) -> Result<Vec<HostUsage>, Refusal> {
    let pattern_lower = pattern.to_lowercase();
    let found: Vec<_> = all
        .into_iter()
        .filter(|usage| usage.host.name.to_lowercase().contains(&pattern_lower))
        .collect();
    if found.is_empty() {
        return Err(Refusal::not_found(format!(
            "No hypervisor matching '{pattern}' could be found."
        )));
    }
    Ok(found)
}

async fn views(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    hosts: &[HostUsage],
    with_servers: bool,
    view: View,
) -> Result<Vec<Value>, Failure> {
    let now = app.cx.now();
    let instances = if with_servers {
        let ids: Vec<_> = hosts.iter().map(|usage| usage.host.id).collect();
        host::instances_on(&app.cx, actor, &ids).await?
    } else {
        Vec::new()
    };
    Ok(hosts
        .iter()
        .map(|usage| {
            let mut view = view(usage, mv, now);
            let servers = servers_on(&instances, usage.host.id);
            // An empty list is shown from 2.75 on.
            if !servers.is_empty() || with_servers && mv.at_least(75) {
                view["servers"] = json!(servers);
            }
            view
        })
        .collect())
}

fn servers_on(instances: &[Instance], host: HostId) -> Vec<Value> {
    let here = instances
        .iter()
        .filter(|instance| instance.host_id == Some(host));
    here.map(|instance| json!({"uuid": instance.id, "name": instance.intent.name}))
        .collect()
}

/// The host with this id: a UUID from 2.53 on (400 for anything else), a number before.
async fn find(app: &App, actor: &Actor, mv: Microversion, id: &str) -> Result<HostUsage, Failure> {
    let all = host::list(&app.cx, actor).await?;
    let missing = || Refusal::not_found(format!("Hypervisor with ID '{id}' could not be found."));
    let found = if mv.at_least(53) {
        let id: HostId = id
            .parse()
            .map_err(|_| Refusal::invalid(format!("Invalid uuid {id}")))?;
        all.into_iter().find(|usage| usage.host.id == id)
    } else {
        let number: i64 = id.parse().map_err(|_| missing())?;
        all.into_iter().find(|usage| usage.host.number == number)
    };
    Ok(found.ok_or_else(missing)?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let wanted = Wanted::of(&params, mv, &["with_servers"])?;
    let usage = find(&app, &actor, mv, &id).await?;
    let mut views = views(&app, &actor, mv, &[usage], wanted.servers, full).await?;
    Ok(Json(json!({"hypervisor": views.pop()})))
}

async fn uptime(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(87)?;
    let usage = find(&app, &actor, mv, &id).await?;
    let now = app.cx.now();
    if !usage.agent.is_up(now) {
        return Err(Refusal::invalid(format!(
            "Compute service of {} is unavailable at this time.",
            usage.host.name
        ))
        .into());
    }
    let mut view = brief(&usage, mv, now);
    view["uptime"] = json!(uptime_text(usage.host.facts.booted_at, now));
    Ok(Json(json!({"hypervisor": view})))
}

async fn search(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(pattern): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(52)?;
    let found = matching(host::list(&app.cx, &actor).await?, &pattern)?;
    Ok(Json(
        json!({"hypervisors": views(&app, &actor, mv, &found, false, brief).await?}),
    ))
}

async fn servers(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(pattern): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(52)?;
    let found = matching(host::list(&app.cx, &actor).await?, &pattern)?;
    Ok(Json(
        json!({"hypervisors": views(&app, &actor, mv, &found, true, brief).await?}),
    ))
}

/// The sums over all hosts that are enabled.
async fn statistics(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_until(87)?;
    let mut all = host::list(&app.cx, &actor).await?;
    all.retain(|usage| usage.agent.service.enabled);
    let capacity = all.iter().fold(Resources::default(), |sum, usage| {
        sum.plus(usage.host.facts.capacity)
    });
    let used = all
        .iter()
        .fold(Resources::default(), |sum, usage| sum.plus(usage.used));
    let free = capacity.minus(used);
    Ok(Json(json!({"hypervisor_statistics": {
        "count": all.len(),
        "vcpus": capacity.vcpus,
        "memory_mb": capacity.memory_mib,
        "local_gb": capacity.disk_gib,
        "vcpus_used": used.vcpus,
        "memory_mb_used": used.memory_mib,
        "local_gb_used": used.disk_gib,
        "free_ram_mb": free.memory_mib,
        "free_disk_gb": free.disk_gib,
        "disk_available_least": free.disk_gib,
        "running_vms": all.iter().map(|usage| usage.instances).sum::<u64>(),
        "current_workload": 0,
    }})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_reads_as_people_know_it() {
        let now = Timestamp::parse_iso8601("2026-11-20T12:34:56Z").unwrap();
        let booted = Timestamp::parse_iso8601("2026-11-18T10:30:00Z").unwrap();
        assert_eq!(uptime_text(booted, now), "12:34:56 up 2 days, 2:04");
    }
}
