//! `/servers/{id}/os-instance-actions`: the operations on a server and the transitions each caused.

use super::{find, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::{self, Page};
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::instance::history::{self, Action, Event};
use corten_store::Failure;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/os-instance-actions", get(list))
        .route("/servers/{id}/os-instance-actions/{request_id}", get(show))
}

fn brief(action: &Action, mv: Microversion) -> Value {
    let mut body = json!({
        "action": action.name,
        "instance_uuid": action.instance_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": action.started.micros_bare(),
        "message": action.message,
    });
    if mv.at_least(58) {
        body["updated_at"] = json!(action.updated.micros_bare());
    }
    body
}

fn event(event: &Event, mv: Microversion, sees_details: bool) -> Value {
    let mut body = json!({
        "event": event.name,
        "start_time": event.started.micros_bare(),
        "finish_time": event.finished.map(Timestamp::micros_bare),
        "result": event.result,
    });
    if sees_details {
        body["traceback"] = Value::Null;
    }
    if mv.at_least(62) {
        body["hostId"] = json!("");
        if sees_details {
            body["host"] = Value::Null;
        }
    }
    if mv.at_least(84) {
        body["details"] = json!(event.details);
    }
    body
}

/// What was done to a server; below 2.21 only to one that is still there.
async fn actions(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    id: &str,
) -> Result<Vec<Action>, Failure> {
    if !mv.at_least(21) {
        find(app, actor, id).await?;
    }
    history::actions(&app.cx, actor, parse_id(id)?).await
}

fn moment(params: &Params, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let moment = Timestamp::parse_iso8601(text).ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid input for query parameters {name}. Value: {text}. It is not a date and time"
        ))
    })?;
    Ok(Some(moment))
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    params: Params,
) -> Answer<Json<Value>> {
    if mv.at_least(58) {
        let known: &[&str] = match mv.at_least(66) {
            true => &["limit", "marker", "changes-since", "changes-before"],
            false => &["limit", "marker", "changes-since"],
        };
        paging::only(&params, known)?;
    }
    let mut actions = actions(&app, &actor, mv, &id).await?;
    if !mv.at_least(58) {
        let all: Vec<_> = actions.iter().map(|action| brief(action, mv)).collect();
        return Ok(Json(json!({"instanceActions": all})));
    }
    let since = moment(&params, "changes-since")?;
    let before = moment(&params, "changes-before")?;
    if let (Some(since), Some(before)) = (since, before)
        && since > before
    {
        let rule = "The value of changes-since must be less than or equal to changes-before.";
        return Err(Refusal::invalid(rule).into());
    }
    actions.retain(|action| {
        since.is_none_or(|since| action.updated >= since)
            && before.is_none_or(|before| action.updated <= before)
    });
    let page = Page::of(&params)?;
    let actions = page.cut(actions, |action| action.request_id.to_string())?;
    let mut body = json!({"instanceActions": actions.iter().map(|action| brief(action, mv)).collect::<Vec<_>>()});
    let path = format!("servers/{id}/os-instance-actions");
    let last = actions.last().map(|action| action.request_id.to_string());
    if let Some(links) = page.next(&base, &path, &params, actions.len(), last) {
        body["links"] = links;
    }
    Ok(Json(body))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, request_id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let actions = actions(&app, &actor, mv, &id).await?;
    let action = actions
        .into_iter()
        .find(|action| action.request_id.0 == request_id)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Action for request_id {request_id} on instance {id} not found"
            ))
        })?;
    let mut body = brief(&action, mv);
    // Before 2.51 only administrators see the events.
    if mv.at_least(51) || actor.is_admin() {
        let events = history::events(&app.cx, &action).await?;
        body["events"] = events
            .iter()
            .map(|found| event(found, mv, actor.is_admin()))
            .collect();
    }
    Ok(Json(json!({"instanceAction": body})))
}
