//! `/os-server-external-events`: other services tell what happened to a server.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use corten_model::ids::InstanceId;
use corten_model::refusal::Refusal;
use corten_operations::service_calls;
use corten_store::instances::Instance;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/os-server-external-events", post(create))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    events: Vec<Event>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Event {
    name: String,
    server_uuid: InstanceId,
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Failed,
    Completed,
    InProgress,
}

/// What can happen, since which version, and whether it says to what by its tag.
const EVENTS: [(&str, u16, bool); 8] = [
    ("network-changed", 1, false),
    ("network-vif-plugged", 1, false),
    ("network-vif-unplugged", 1, false),
    ("network-vif-deleted", 1, false),
    ("volume-extended", 51, true),
    ("power-update", 76, true),
    ("accelerator-request-bound", 82, true),
    ("volume-reimaged", 93, true),
];

impl Event {
    fn check(&self, mv: Microversion) -> Result<(), Refusal> {
        if self
            .tag
            .as_ref()
            .is_some_and(|tag| tag.chars().count() > 255)
        {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute tag. It has at most 255 characters",
            ));
        }
        if EVENTS
            .iter()
            .any(|(name, since, _)| *name == self.name && mv.at_least(*since))
        {
            return Ok(());
        }
        let names: Vec<_> = EVENTS
            .iter()
            .filter(|(_, since, _)| mv.at_least(*since))
            .map(|(name, ..)| *name)
            .collect();
        Err(Refusal::invalid(format!(
            "Invalid input for field/attribute name. Value: {}. It is one of {}",
            self.name,
            names.join(", ")
        )))
    }

    /// The code of this event's part of the answer.
    fn code(&self, server: Option<&Instance>) -> u16 {
        let needs_tag = EVENTS
            .iter()
            .any(|(name, _, needs_tag)| *name == self.name && *needs_tag);
        match server {
            None => 404,
            Some(_) if needs_tag && self.tag.is_none() => 400,
            Some(server) if server.host_id.is_none() => 422,
            Some(_) => 200,
        }
    }
}

/// 200 if every event found its server, else 207 with a code for each.
async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(CreateBody { events }): Body<CreateBody>,
) -> Answer<(StatusCode, Json<Value>)> {
    if events.is_empty() {
        return Err(
            Refusal::invalid("Invalid input for field/attribute events. [] is too short").into(),
        );
    }
    for event in &events {
        event.check(mv)?;
    }
    let ids: Vec<_> = events.iter().map(|event| event.server_uuid).collect();
    let servers = service_calls::servers(&app.cx, &actor, &ids).await?;
    let mut all_well = true;
    let mut answers = Vec::new();
    for event in &events {
        let code = event.code(servers.iter().find(|server| server.id == event.server_uuid));
        all_well &= code == 200;
        let status = if code == 200 {
            Status::Completed
        } else {
            Status::Failed
        };
        let mut answer = json!(Event {
            status: Some(status),
            ..event.clone()
        });
        answer["code"] = json!(code);
        answers.push(answer);
    }
    let status = if all_well {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok((status, Json(json!({"events": answers}))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, tag: Option<&str>) -> Event {
        Event {
            name: name.to_owned(),
            server_uuid: InstanceId::random(),
            status: None,
            tag: tag.map(str::to_owned),
        }
    }

    #[test]
    fn events_came_with_microversions_and_some_need_a_tag() {
        assert!(
            event("network-changed", None)
                .check(Microversion::MIN)
                .is_ok()
        );
        assert!(
            event("volume-extended", None)
                .check(Microversion::of(50))
                .is_err()
        );
        assert!(
            event("volume-extended", None)
                .check(Microversion::of(51))
                .is_ok()
        );
        assert!(event("earthquake", None).check(Microversion::MAX).is_err());
        assert_eq!(event("network-changed", None).code(None), 404);
    }
}
