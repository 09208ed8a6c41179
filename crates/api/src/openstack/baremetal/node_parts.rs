//! What a node's record says in pages of their own: maintenance, validation, traits, VIFs, inventory.

use super::kit::{Values, ident};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete as del, get, put};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::metal::driver::KINDS;
use corten_operations::metal::vif::{self, Onto};
use corten_operations::metal::{access, node, traits, validate};
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
        .route("/nodes/{node}/inventory", get(inventory))
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
    let mut body = Values(body);
    let vif = body.required_text("id")?;
    let onto = onto(&mut body, version)?;
    vif::attach(&app.cx, &actor, &named, &vif, &onto).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The card that a request names, from 1.67 on.
fn onto(body: &mut Values, version: Version) -> Result<Onto, Refusal> {
    let (port, group) = (body.text("port_uuid")?, body.text("portgroup_uuid")?);
    if (port.is_some() || group.is_some()) && !version.at_least(67) {
        return Err(Refusal::invalid(
            "port_uuid and portgroup_uuid are known from version 1.67 on: ask for it, or leave them out.",
        ));
    }
    match (port, group) {
        (Some(_), Some(_)) => Err(Refusal::invalid(
            "port_uuid and portgroup_uuid are both given: a VIF is attached to one of them.",
        )),
        (Some(port), None) => Ok(Onto::Port(port)),
        (None, Some(group)) => Ok(Onto::PortGroup(group)),
        (None, None) => Ok(Onto::Free),
    }
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
