//! What a node's record says in pages of their own: maintenance, validation, traits, VIFs, history, inventory, firmware,
//! BIOS settings.

use super::kit::{Values, date, ident, ident_since, links};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete as del, get, put};
use axum::{Json, Router};
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState};
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::driver::KINDS;
use corten_operations::metal::watch::POWER_FAILURE;
use corten_operations::metal::{access, node, traits, validate, vif};
use corten_store::metal::node::POWER_SUBJECT;
use corten_store::transitions::Transition;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/nodes/{node}/maintenance",
            put(set_maintenance).delete(clear_maintenance),
        )
        .route("/nodes/{node}/validate", get(validated))
        .route(
            "/nodes/{node}/traits",
            get(list_traits).put(set_traits).delete(clear_traits),
        )
        .route(
            "/nodes/{node}/traits/{trait}",
            put(add_trait).delete(remove_trait),
        )
        .route(
            "/nodes/{node}/vifs",
            get(list_vifs).post(attach_vif).delete(no_vif),
        )
        .route("/nodes/{node}/vifs/{vif}", del(detach_vif))
        .route("/nodes/{node}/history", get(history))
        .route("/nodes/{node}/history/{event}", get(history_event))
        .route("/nodes/{node}/inventory", get(inventory))
        .route("/nodes/{node}/firmware", get(firmware))
        .route("/nodes/{node}/bios", get(bios))
        .route("/nodes/{node}/bios/{setting}", get(bios_setting))
        .route("/nodes/{node}/vendor_passthru/methods", get(methods))
}

async fn set_maintenance(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    let reason = Values(body).text("reason")?;
    node::maintain(&app.cx, &actor, &ident(version, &id), true, reason).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn clear_maintenance(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    node::maintain(&app.cx, &actor, &ident(version, &id), false, None).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn validated(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = validate::validate(&app.cx, &actor, &ident(version, &id)).await?;
    let shown = found.into_iter().filter(|(kind, _)| {
        let since = KINDS.iter().find(|(known, _)| known == kind);
        // Those of the first release were always validated.
        since.is_some_and(|(_, since)| *since <= 31 || version.at_least(*since))
    });
    let verdicts: Map<String, Value> = shown
        .map(|(kind, problem)| {
            let verdict = match problem {
                None => json!({"result": true}),
                Some(reason) => json!({"result": false, "reason": reason}),
            };
            (kind.to_owned(), verdict)
        })
        .collect();
    Ok(Json(Value::Object(verdicts)))
}

async fn list_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    version.acceptable_from(37, "The traits of nodes")?;
    let found = traits::list(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(Json(json!({ "traits": found })))
}

async fn set_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    if !version.at_least(37) {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let named = ident(version, &id);
    access::may_write(&app.cx, &actor, &named).await?;
    if !body.contains_key("traits") {
        return Err(Refusal::invalid("Mandatory field missing: 'traits'.").into());
    }
    let wanted = Values(body).texts("traits")?.into_iter().collect();
    traits::set(&app.cx, &actor, &named, wanted).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn add_trait(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path((id, word)): Path<(String, String)>,
) -> Answer {
    if !version.at_least(37) {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    traits::add(&app.cx, &actor, &ident(version, &id), word).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_trait(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<37>,
    version: Version,
    Path((id, word)): Path<(String, String)>,
) -> Answer<StatusCode> {
    traits::remove(&app.cx, &actor, &ident(version, &id), &word).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<37>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    traits::clear(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_vifs(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<28>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = vif::list(&app.cx, &actor, &ident(version, &id)).await?;
    let vifs: Vec<_> = found.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(Json(json!({ "vifs": vifs })))
}

async fn attach_vif(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<28>,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    let named = ident(version, &id);
    access::may_operate(&app.cx, &actor, &named).await?;
    let vif = Values(body).required_text("id")?;
    vif::attach(&app.cx, &actor, &named, &vif).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn detach_vif(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<28>,
    version: Version,
    Path((id, vif)): Path<(String, String)>,
) -> Answer<StatusCode> {
    vif::detach(&app.cx, &actor, &ident(version, &id), &vif).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which one is to be detached must be said.
async fn no_vif(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<28>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    access::may_operate(&app.cx, &actor, &ident(version, &id)).await?;
    Err(Refusal::invalid("Which VIF is to be detached is not said: name it in the path.").into())
}

/// One change of state as an event of a node's history.
fn event(
    version: Version,
    base: &str,
    id: &str,
    conductor: Option<&str>,
    transition: &Transition,
    detailed: bool,
) -> Value {
    let state = transition.to.parse::<ProvisionState>().ok();
    let failed = state.and_then(|state| state.row()).map(|row| row.kind)
        == Some(NodeStateKind::Failed)
        || transition.to == POWER_FAILURE;
    let from = transition.from.as_deref().unwrap_or("nothing");
    let mut view = json!({
        "uuid": transition.id,
        "created_at": date(Some(transition.at)),
        "severity": if failed { "ERROR" } else { "INFO" },
        "event": format!("{from} to {}: {}", transition.to, transition.why),
        "links": links(base, &format!("nodes/{id}/history/{}", transition.id)),
    });
    if detailed {
        let is_power = transition.subject_kind == POWER_SUBJECT;
        view["event_type"] = if is_power { "power" } else { "provision" }.into();
        view["conductor"] = json!(conductor);
        view["user"] = json!(transition.origin.user_id);
        view["updated_at"] = Value::Null;
        if version.at_least(113) {
            view["request_id"] = json!(transition.origin.request_id);
        }
        if version.at_least(115) {
            view["duration_seconds"] = json!(transition.lasted_micros / 1_000_000);
        }
    }
    view
}

async fn history(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<78>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let named = ident(version, &id);
    let found = node::history(&app.cx, &actor, &named).await?;
    let node = access::read_node(&app.cx, &actor, &named).await?;
    let conductors = Assignment::read(&app.cx).await?;
    let detailed = params.truth("detail")?.unwrap_or_default();
    let limit = params
        .count("limit")?
        .filter(|limit| *limit > 0)
        .unwrap_or(1000);
    let marker = params.get("marker");
    let after = match marker {
        None => 0,
        Some(marker) => found
            .iter()
            .position(|event| event.id.to_string() == marker)
            .map(|index| index + 1)
            .ok_or_else(|| Refusal::invalid(format!("The marker {marker} is no event.")))?,
    };
    let page: Vec<_> = found.iter().skip(after).take(limit).collect();
    let views: Vec<_> = page
        .iter()
        .map(|one| event(version, &base, &id, conductors.of(node.id), one, detailed))
        .collect();
    let mut answer = json!({ "history": views });
    if let Some(last) = page.last().filter(|_| after + page.len() < found.len()) {
        let last = last.id.to_string();
        let query = params.with(&[("marker", Some(&last))]);
        answer["next"] = format!("{base}/baremetal/v1/nodes/{id}/history?{query}").into();
    }
    Ok(Json(answer))
}

async fn history_event(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<78>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path((id, wanted)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let named = ident(version, &id);
    let found = node::history(&app.cx, &actor, &named).await?;
    let node = access::read_node(&app.cx, &actor, &named).await?;
    let conductors = Assignment::read(&app.cx).await?;
    let one = found
        .iter()
        .find(|event| event.id.to_string() == wanted)
        .ok_or_else(|| Refusal::no_such("Node history record", &wanted))?;
    let conductor = conductors.of(node.id);
    Ok(Json(event(version, &base, &id, conductor, one, true)))
}

async fn inventory(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<81>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let inventory = node.inspection.inventory.ok_or_else(|| {
        Refusal::not_found(format!(
            "Node {} has no inventory: inspect it first.",
            node.id
        ))
    })?;
    Ok(Json(json!({
        "inventory": inventory,
        "plugin_data": node.inspection.plugin_data.unwrap_or_else(|| json!({})),
    })))
}

async fn firmware(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<86>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let found = node.firmware.iter().map(|item| {
        json!({
            "component": item.component,
            "initial_version": item.initial_version,
            "current_version": item.current_version,
            "last_version_flashed": item.last_version_flashed,
            "created_at": date(Some(item.created_at)),
            "updated_at": date(item.updated_at),
        })
    });
    Ok(Json(json!({"firmware": found.collect::<Vec<_>>()})))
}

fn bios_view(base: &str, id: &str, setting: &corten_store::metal::node::BiosSetting) -> Value {
    json!({
        "name": setting.name,
        "value": setting.value,
        "created_at": date(Some(setting.seen_at)),
        "updated_at": Value::Null,
        "links": links(base, &format!("nodes/{id}/bios/{}", setting.name)),
    })
}

async fn bios(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<40>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let found = node
        .bios
        .iter()
        .map(|setting| bios_view(&base, &id, setting));
    Ok(Json(json!({"bios": found.collect::<Vec<_>>()})))
}

async fn bios_setting(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<40>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path((id, name)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    let found = node.bios.iter().find(|setting| setting.name == name);
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!(
            "Node {} doesn't have a BIOS setting '{name}'.",
            node.id
        ))
    })?;
    Ok(Json(json!({ name: bios_view(&base, &id, found) })))
}

/// No driver here has methods of its vendor's.
async fn methods(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    access::may_pass_through(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    Ok(Json(json!({})))
}
