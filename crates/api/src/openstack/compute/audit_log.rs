//! `/os-instance_usage_audit_log`: the hourly usage audits of hosts.
//!
//! Usage here is a fold of the transition log and needs no audits, so no host ever runs one: the report says so.

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::host;
use corten_store::Failure;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-instance_usage_audit_log", get(index))
        .route("/os-instance_usage_audit_log/{before}", get(show))
}

/// The period that Nova audits by default, in microseconds: a month of 30 days would drift, an hour does not.
const PERIOD: i64 = 3_600_000_000;

async fn report(app: &App, actor: &Actor, before: Timestamp) -> Result<Value, Failure> {
    let hosts: Vec<_> = host::list(&app.cx, actor)
        .await?
        .into_iter()
        .map(|usage| usage.host.name)
        .collect();
    let end = before.micros() - before.micros().rem_euclid(PERIOD);
    let text = |micros: i64| {
        Timestamp::from_micros(micros)
            .seconds_z()
            .replace('T', " ")
            .replace('Z', "")
    };
    Ok(json!({
        "period_beginning": text(end - PERIOD),
        "period_ending": text(end),
        "num_hosts": hosts.len(),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": hosts.len(),
        "hosts_not_run": hosts,
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": format!("0 of {} hosts done. 0 errors.", hosts.len()),
        "log": {},
    }))
}

async fn index(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let report = report(&app, &actor, app.cx.now()).await?;
    Ok(Json(json!({"instance_usage_audit_logs": report})))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(before): Path<String>,
) -> Answer<Json<Value>> {
    let has_form = before.len() >= 19 && before.as_bytes()[10] == b' ' && !before.ends_with('Z');
    let moment = if has_form {
        Timestamp::parse_iso8601(&before)
    } else {
        None
    };
    // Who may not see this is told so before what they sent is judged.
    let report = report(&app, &actor, moment.unwrap_or(app.cx.now())).await?;
    if moment.is_none() {
        return Err(Refusal::invalid(format!("Invalid timestamp for date {before}")).into());
    }
    Ok(Json(json!({"instance_usage_audit_log": report})))
}
