//! `/flavors/{id}/os-extra_specs`: what a flavor asks for beside its size.

use super::input::WordOrNumber;
use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::FlavorId;
use corten_model::refusal::Refusal;
use corten_operations::flavor;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/flavors/{id}/os-extra_specs",
            get(list_extra_specs).post(set_extra_specs),
        )
        .route(
            "/flavors/{id}/os-extra_specs/{key}",
            get(show_extra_spec)
                .put(update_extra_spec)
                .delete(unset_extra_spec),
        )
}

async fn list_extra_specs(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<FlavorId>,
) -> Answer<Json<Value>> {
    let flavor = flavor::show(&app.cx, &actor, &id).await?;
    Ok(Json(json!({"extra_specs": flavor.extra_specs})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraSpecsBody {
    extra_specs: BTreeMap<String, WordOrNumber>,
}

fn texts(specs: BTreeMap<String, WordOrNumber>) -> BTreeMap<String, String> {
    specs
        .into_iter()
        .map(|(key, value)| (key, value.into_text()))
        .collect()
}

async fn set_extra_specs(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<FlavorId>,
    Body(body): Body<ExtraSpecsBody>,
) -> Answer<Json<Value>> {
    let specs = texts(body.extra_specs);
    flavor::set_extra_specs(&app.cx, &actor, &id, specs.clone(), mv.at_least(86)).await?;
    Ok(Json(json!({"extra_specs": specs})))
}

async fn show_extra_spec(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, key)): Path<(FlavorId, String)>,
) -> Answer<Json<Map<String, Value>>> {
    let flavor = flavor::show(&app.cx, &actor, &id).await?;
    let value = flavor
        .extra_specs
        .get(&key)
        .ok_or_else(|| flavor::no_extra_spec(&id, &key))?;
    Ok(Json(Map::from_iter([(key, json!(value))])))
}

async fn update_extra_spec(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, key)): Path<(FlavorId, String)>,
    Body(body): Body<BTreeMap<String, WordOrNumber>>,
) -> Answer<Json<Value>> {
    let specs = texts(body);
    if specs.len() != 1 {
        return Err(Refusal::invalid(format!(
            "Expected exactly one extra spec, got {}",
            specs.len()
        ))
        .into());
    }
    if !specs.contains_key(&key) {
        return Err(Refusal::invalid("Request body and URI mismatch").into());
    }
    flavor::set_extra_specs(&app.cx, &actor, &id, specs.clone(), mv.at_least(86)).await?;
    Ok(Json(json!(specs)))
}

async fn unset_extra_spec(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, key)): Path<(FlavorId, String)>,
) -> Answer<()> {
    Ok(flavor::unset_extra_spec(&app.cx, &actor, &id, &key).await?)
}
