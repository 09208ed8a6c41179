//! `/resource_providers`: hosts and bare-metal nodes, what they have, and what of it is taken.

use super::microversion::Microversion;
use super::query::{Filter, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::resource_provider::{self, Inventory, Provider};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/resource_providers", get(index))
        .route("/resource_providers/{id}", get(show))
        .route("/resource_providers/{id}/inventories", get(inventories))
        .route(
            "/resource_providers/{id}/inventories/{class}",
            get(inventory),
        )
        .route("/resource_providers/{id}/usages", get(usages))
        .route("/resource_providers/{id}/allocations", get(allocations))
        .route("/resource_providers/{id}/aggregates", get(aggregates))
        .route("/resource_providers/{id}/traits", get(traits))
}

/// The parts of a provider and the version each came with.
const PARTS: [(&str, u16); 6] = [
    ("inventories", 0),
    ("usages", 0),
    ("aggregates", 1),
    ("traits", 6),
    ("allocations", 11),
    ("", 0),
];

fn view(provider: &Provider, mv: Microversion) -> Value {
    let id = &provider.id;
    let path = format!("/placement/resource_providers/{id}");
    let links: Vec<_> = PARTS
        .iter()
        .filter(|(_, since)| mv.at_least(*since))
        .map(|(part, _)| match *part {
            "" => json!({"rel": "self", "href": path}),
            part => json!({"rel": part, "href": format!("{path}/{part}")}),
        })
        .collect();
    let mut view = json!({
        "uuid": id,
        "name": provider.name,
        "generation": provider.generation,
        "links": links,
    });
    if mv.at_least(14) {
        view["parent_provider_uuid"] = Value::Null;
        view["root_provider_uuid"] = json!(id);
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    let known = [
        ("name", 0),
        ("uuid", 0),
        ("member_of", 3),
        ("resources", 4),
        ("in_tree", 14),
        ("required", 18),
    ];
    let known: Vec<_> = known
        .iter()
        .filter(|(_, since)| mv.at_least(*since))
        .map(|(name, _)| *name)
        .collect();
    only(&params, &known)?;
    let filter = Filter::of(&params)?;
    let is = |name: &str, value: &str| {
        params
            .get(name)
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let mut providers = resource_provider::list(&app.cx, &actor).await?;
    providers.retain(|provider| {
        // No provider has another below it: a tree is its root.
        is("uuid", &provider.id)
            && is("in_tree", &provider.id)
            && filter.wants(provider)
            && params.get("name").is_none_or(|name| name == provider.name)
    });
    let views: Vec<_> = providers
        .iter()
        .map(|provider| view(provider, mv))
        .collect();
    Ok(Json(json!({"resource_providers": views})))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(view(
        &resource_provider::show(&app.cx, &actor, &id).await?,
        mv,
    )))
}

fn inventory_view(inventory: &Inventory) -> Value {
    let Inventory {
        class: _,
        total,
        reserved,
        allocation_ratio,
        limit: _,
        used: _,
    } = inventory;
    json!({
        "total": total,
        "reserved": reserved,
        "allocation_ratio": allocation_ratio,
        "min_unit": 1,
        "max_unit": (*total).max(1),
        "step_size": 1,
    })
}

async fn inventories(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    let views: Map<_, _> = provider
        .inventories
        .iter()
        .map(|inventory| (inventory.class.clone(), inventory_view(inventory)))
        .collect();
    Ok(Json(
        json!({"inventories": views, "resource_provider_generation": provider.generation}),
    ))
}

async fn inventory(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, class)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    let found = provider
        .inventories
        .iter()
        .find(|inventory| inventory.class == class);
    let found = found
        .ok_or_else(|| Refusal::not_found(format!("No inventory of class {class} for {id}")))?;
    let mut view = inventory_view(found);
    view["resource_provider_generation"] = json!(provider.generation);
    Ok(Json(view))
}

async fn usages(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    let used = provider.inventories.iter();
    let used: Map<_, _> = used
        .map(|inventory| (inventory.class.clone(), json!(inventory.used)))
        .collect();
    Ok(Json(json!({
        "usages": used,
        "resource_provider_generation": provider.generation,
    })))
}

async fn allocations(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    let held = resource_provider::allocations_on(&app.cx, &actor, &provider).await?;
    let views: Map<_, _> = held
        .iter()
        .map(|held| {
            (
                held.consumer.to_string(),
                json!({"resources": held.amounts}),
            )
        })
        .collect();
    Ok(Json(
        json!({"allocations": views, "resource_provider_generation": provider.generation}),
    ))
}

async fn aggregates(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_from(1)?;
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    let mut view = json!({"aggregates": provider.aggregates});
    if mv.at_least(19) {
        view["resource_provider_generation"] = json!(provider.generation);
    }
    Ok(Json(view))
}

async fn traits(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_from(6)?;
    let provider = resource_provider::show(&app.cx, &actor, &id).await?;
    Ok(Json(
        json!({"traits": provider.traits, "resource_provider_generation": provider.generation}),
    ))
}
