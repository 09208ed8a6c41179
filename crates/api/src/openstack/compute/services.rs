//! `/os-services`: the programs of the compute service.

use super::input::Truth;
use super::microversion::Microversion;
use super::paging::only;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::host::{self, ServiceChange, ServiceInZone, ServiceRef};
use corten_store::services::ServiceId;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-services", get(index))
        .route("/os-services/{id}", put(update).delete(delete))
}

fn view(ServiceInZone { seen, zone }: &ServiceInZone, mv: Microversion, now: Timestamp) -> Value {
    let service = &seen.service;
    let mut view = json!({
        "id": if mv.at_least(53) { json!(service.id) } else { json!(service.number) },
        "binary": service.program,
        "host": service.host,
        "zone": zone,
        "status": if service.enabled { "enabled" } else { "disabled" },
        "state": if seen.is_up(now) { "up" } else { "down" },
        "updated_at": seen.at.micros_bare(),
        "disabled_reason": service.disabled_reason,
    });
    if mv.at_least(11) {
        view["forced_down"] = json!(service.forced_down);
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(&params, &["host", "binary"])?;
    }
    let wants = |name: &str, value: &str| {
        params
            .get(name)
            .is_none_or(|wanted| wanted.is_empty() || wanted == value)
    };
    let mut services = host::list_services(&app.cx, &actor).await?;
    services.retain(|entry| {
        wants("host", &entry.seen.service.host) && wants("binary", &entry.seen.service.program)
    });
    let now = app.cx.now();
    Ok(Json(
        json!({"services": services.iter().map(|entry| view(entry, mv, now)).collect::<Vec<_>>()}),
    ))
}

/// The body of a change: by host and binary below 2.53, of the service in the path from then on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    host: Option<String>,
    binary: Option<String>,
    status: Option<Status>,
    disabled_reason: Option<String>,
    forced_down: Option<Truth>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Enabled,
    Disabled,
}

fn checked_reason(reason: Option<String>) -> Result<Option<String>, Refusal> {
    match reason {
        Some(text) if text.is_empty() || text.chars().count() > 255 => Err(Refusal::invalid(
            "Invalid input for field/attribute disabled_reason. It has 1 to 255 characters",
        )),
        other => Ok(other),
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    if !mv.at_least(53) {
        let (which, change, answer) = by_action(&id, body, mv)?;
        host::change_service(&app.cx, &actor, &which, change).await?;
        return Ok(Json(json!({"service": answer})));
    }
    let UpdateBody {
        host,
        binary,
        status,
        disabled_reason,
        forced_down,
    } = body;
    mv.takes_until(52, "host", host.is_some())?;
    mv.takes_until(52, "binary", binary.is_some())?;
    let change = ServiceChange {
        enabled: status.map(|status| matches!(status, Status::Enabled)),
        disabled_reason: checked_reason(disabled_reason)?,
        forced_down: forced_down.map(|truth| truth.0),
    };
    let changed =
        host::change_service(&app.cx, &actor, &ServiceRef::Id(service_id(&id)?), change).await?;
    Ok(Json(json!({"service": view(&changed, mv, app.cx.now())})))
}

fn service_id(text: &str) -> Result<ServiceId, Refusal> {
    Uuid::parse_str(text)
        .map(ServiceId)
        .map_err(|_| Refusal::invalid(format!("Invalid uuid {text}")))
}

/// `PUT /os-services/enable` and its like, below 2.53: which service, the change, and what the answer says.
fn by_action(
    action: &str,
    body: UpdateBody,
    mv: Microversion,
) -> Result<(ServiceRef, ServiceChange, Value), Refusal> {
    let UpdateBody {
        host,
        binary,
        status,
        disabled_reason,
        forced_down,
    } = body;
    mv.takes_from(53, "status", status.is_some())?;
    mv.takes_from(11, "forced_down", forced_down.is_some())?;
    let required = |field: &str, value: Option<String>| {
        value.filter(|text| !text.is_empty()).ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid input for field/attribute {field}. '{field}' is a required property"
            ))
        })
    };
    let (host, program) = (required("host", host)?, required("binary", binary)?);
    let mut answer = json!({"host": host, "binary": program});
    let mut change = ServiceChange::default();
    match action {
        "enable" => {
            change.enabled = Some(true);
            answer["status"] = json!("enabled");
        }
        "disable" => {
            change.enabled = Some(false);
            answer["status"] = json!("disabled");
        }
        "disable-log-reason" => {
            let reason = checked_reason(disabled_reason)?
                .ok_or_else(|| Refusal::invalid("Missing disabled reason field"))?;
            answer["status"] = json!("disabled");
            answer["disabled_reason"] = json!(reason);
            change = ServiceChange {
                enabled: Some(false),
                disabled_reason: Some(reason),
                forced_down: None,
            };
        }
        "force-down" if mv.at_least(11) => {
            let Truth(down) =
                forced_down.ok_or_else(|| Refusal::invalid("Missing forced_down field"))?;
            answer["forced_down"] = json!(down);
            change.forced_down = Some(down);
        }
        _ => return Err(Refusal::not_found("Unknown action")),
    }
    Ok((ServiceRef::Place { program, host }, change, answer))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let which = if mv.at_least(53) {
        ServiceRef::Id(service_id(&id)?)
    } else {
        let number = id.parse().map_err(|_| {
            Refusal::invalid(format!(
                "Invalid input received: id '{id}' must be an integer"
            ))
        })?;
        ServiceRef::Number(number)
    };
    host::delete_service(&app.cx, &actor, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(action: &str, body: &str, minor: u16) -> Result<ServiceChange, Refusal> {
        let body = crate::body::parse(body.as_bytes())?;
        by_action(action, body, Microversion::of(minor)).map(|(_, change, _)| change)
    }

    #[test]
    fn actions_below_2_53_name_host_and_binary() {
        let place = r#"{"host": "h", "binary": "nova-compute"}"#;
        assert_eq!(act("enable", place, 1).unwrap().enabled, Some(true));
        assert_eq!(act("disable", place, 1).unwrap().enabled, Some(false));
        assert!(
            act("disable-log-reason", place, 1)
                .unwrap_err()
                .message
                .contains("reason")
        );
        assert!(act("paint", place, 1).is_err());
        assert!(act("enable", r#"{"host": "h"}"#, 1).is_err());
        let down = r#"{"host": "h", "binary": "nova-compute", "forced_down": true}"#;
        assert!(act("force-down", down, 10).is_err());
        assert_eq!(act("force-down", down, 11).unwrap().forced_down, Some(true));
    }
}
