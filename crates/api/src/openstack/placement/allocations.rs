//! `/allocations` and `/usages`: what consumers hold. Every consumer is an instance.

use super::microversion::Microversion;
use super::query::only;
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{InstanceId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_operations::resource_provider;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/allocations/{consumer}", get(show))
        .route("/usages", get(usages))
}

/// The type of every consumer, from 1.38 on.
const CONSUMER_TYPE: &str = "INSTANCE";

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(consumer): Path<String>,
) -> Answer<Json<Value>> {
    let consumer: InstanceId = consumer.parse().map_err(|_| {
        Refusal::invalid(format!(
            "Malformed consumer_uuid: {consumer}. Expected a UUID"
        ))
    })?;
    let held = resource_provider::allocations_of(&app.cx, &actor, consumer).await?;
    let views: Map<_, _> = held
        .iter()
        .map(|held| {
            let view = json!({"generation": held.generation, "resources": held.amounts});
            (held.provider.clone(), view)
        })
        .collect();
    let mut body = json!({"allocations": views});
    // Who holds nothing is not known, not even by project.
    if let Some(allocation) = held.first() {
        if mv.at_least(12) {
            body["project_id"] = json!(allocation.project_id);
            body["user_id"] = json!(allocation.user_id);
        }
        if mv.at_least(28) {
            body["consumer_generation"] = json!(1);
        }
        if mv.at_least(38) {
            body["consumer_type"] = json!(CONSUMER_TYPE);
        }
    }
    Ok(Json(body))
}

async fn usages(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_from(9)?;
    let known = if mv.at_least(38) {
        &["project_id", "user_id", "consumer_type"][..]
    } else {
        &["project_id", "user_id"]
    };
    only(&params, known)?;
    let project = params
        .get("project_id")
        .ok_or_else(|| Refusal::invalid("'project_id' is a required query parameter"))?;
    let user = params.get("user_id").map(UserId::from);
    let (count, sums) =
        resource_provider::held_by(&app.cx, &actor, &ProjectId::from(project), user.as_ref())
            .await?;
    let mut sums: Map<_, _> = sums
        .into_iter()
        .map(|(class, amount)| (class, json!(amount)))
        .collect();
    if !mv.at_least(38) {
        return Ok(Json(json!({"usages": sums})));
    }
    sums.insert("consumer_count".to_owned(), json!(count));
    let wanted = params.get("consumer_type").unwrap_or("");
    let group = match wanted {
        "all" => "all",
        "" | CONSUMER_TYPE => CONSUMER_TYPE,
        _ => return Ok(Json(json!({"usages": {}}))),
    };
    Ok(Json(if count == 0 {
        json!({"usages": {}})
    } else {
        json!({"usages": {group: sums}})
    }))
}
