//! `/os-availability-zone`: the zones, and for administrators what runs in them.

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::time::Timestamp;
use corten_operations::host::{self, INTERNAL_ZONE};
use corten_store::services::Seen;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-availability-zone", get(index))
        .route("/os-availability-zone/detail", get(detail))
}

/// A zone is available while one of its services is enabled.
fn is_available(services: &[Seen]) -> bool {
    services.iter().any(|seen| seen.service.enabled)
}

fn zone(name: &str, available: bool, hosts: Value) -> Value {
    json!({"zoneName": name, "zoneState": {"available": available}, "hosts": hosts})
}

async fn index(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let zones = host::zones(&app.cx, &actor).await?;
    let shown = zones.iter().filter(|(name, _)| *name != INTERNAL_ZONE);
    let views: Vec<_> = shown
        .map(|(name, services)| zone(name, is_available(services), Value::Null))
        .collect();
    Ok(Json(json!({"availabilityZoneInfo": views})))
}

async fn detail(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let zones = host::zones_in_detail(&app.cx, &actor).await?;
    let now = app.cx.now();
    let views: Vec<_> = zones
        .iter()
        .map(|(name, services)| {
            let available = is_available(services);
            zone(
                name,
                available,
                if available {
                    hosts(services, now)
                } else {
                    Value::Null
                },
            )
        })
        .collect();
    Ok(Json(json!({"availabilityZoneInfo": views})))
}

fn hosts(services: &[Seen], now: Timestamp) -> Value {
    let mut hosts = Map::new();
    for seen in services.iter().filter(|seen| seen.service.enabled) {
        let programs = hosts
            .entry(seen.service.host.clone())
            .or_insert_with(|| json!({}));
        programs[&seen.service.program] = json!({"available": seen.is_up(now), "active": true, "updated_at": seen.at.micros_bare()});
    }
    Value::Object(hosts)
}
