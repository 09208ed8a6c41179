//! `/allocations`: nodes set aside for whoever asked for one of their kind.

use super::kit::{Listing, SortKeys, Values, document, ident, links, listed, new_id, shown};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::{Allowed, Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::NodeAllocationId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Ident, Narrow, access, allocation};
use corten_store::metal::allocation::{AllocationState, NodeAllocation};
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/allocations", get(index).post(create))
        .route(
            "/allocations/{allocation}",
            get(show).patch(update).delete(delete),
        )
        .route(
            "/nodes/{node}/allocation",
            get(of_node).delete(delete_of_node),
        )
}

const ALLOCATION: Schema = Schema {
    one: "allocation",
    fields: &[
        ("uuid", 52),
        ("name", 52),
        ("resource_class", 52),
        ("traits", 52),
        ("candidate_nodes", 52),
        ("node_uuid", 52),
        ("state", 52),
        ("last_error", 52),
        ("extra", 52),
        ("owner", 60),
        ("node", 58),
        ("created_at", 52),
        ("updated_at", 52),
        ("links", 52),
    ],
    created: &[
        "uuid",
        "name",
        "resource_class",
        "traits",
        "candidate_nodes",
        "extra",
        "owner",
        "node",
    ],
    patched: &["name", "extra"],
    brief: &[
        "uuid",
        "name",
        "resource_class",
        "traits",
        "candidate_nodes",
        "node_uuid",
        "state",
        "last_error",
        "extra",
        "owner",
        "created_at",
        "updated_at",
        "links",
    ],
};

const SORT_KEYS: SortKeys = &[
    ("name", "name"),
    ("node_uuid", "node_id"),
    ("resource_class", "resource_class"),
    ("state", "state"),
    ("owner", "owner"),
];

fn allocation_document(base: &str, allocation: &NodeAllocation) -> Map<String, Value> {
    let NodeAllocation {
        id,
        name,
        resource_class,
        traits,
        candidates,
        node_id,
        state,
        last_error,
        owner,
        standard,
    } = allocation;
    document(
        json!({
            "uuid": id,
            "name": name,
            "resource_class": resource_class,
            "traits": traits,
            "candidate_nodes": candidates,
            "node_uuid": node_id,
            "state": state.as_str(),
            "last_error": last_error,
            "owner": owner,
            "links": links(base, &format!("allocations/{id}")),
        }),
        standard,
    )
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<52>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let listing = Listing::read(version, &params, &ALLOCATION, SORT_KEYS, false)?;
    let mut narrow = Narrow::default();
    for (name, column) in [
        ("resource_class", "resource_class"),
        ("state", "state"),
        ("owner", "owner"),
    ] {
        if let Some(value) = params.get(name) {
            narrow.0.push((column, vec![value.to_owned()]));
        }
    }
    if let Some(named) = params.get("node") {
        let node = access::read_node(&app.cx, &actor, &ident(version, named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    let found = allocation::list(&app.cx, &actor, narrow, &listing.page).await?;
    let last = found.last().map(|allocation| allocation.id.to_string());
    let views = found
        .iter()
        .map(|one| ALLOCATION.view(version, allocation_document(&base.0, one), &listing.wanted))
        .collect();
    Ok(listed(
        "allocations",
        "allocations",
        views,
        last,
        &listing.page,
        &params,
        &base,
    ))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<52>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = allocation::show(&app.cx, &actor, &ident(version, &id)).await?;
    let document = allocation_document(&base, &found);
    Ok(shown(version, &params, &ALLOCATION, document)?)
}

async fn of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<52>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = allocation::of_node(&app.cx, &actor, &ident(version, &id)).await?;
    let document = allocation_document(&base, &found);
    Ok(shown(version, &params, &ALLOCATION, document)?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<52>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let mut plain = NodeAllocation {
        id: new_id(&body, NodeAllocationId::random)?,
        name: None,
        resource_class: None,
        traits: BTreeSet::new(),
        candidates: Vec::new(),
        node_id: None,
        state: AllocationState::Allocating,
        last_error: None,
        owner: None,
        standard: Standard::new(Object::new(), app.cx.now()),
    };
    let document = allocation_document(&base, &plain);
    let mut values = Values(ALLOCATION.new_document(version, document, body)?);
    plain.name = values.text("name")?;
    plain.resource_class = values.text("resource_class")?;
    plain.traits = values.texts("traits")?.into_iter().collect();
    plain.owner = values.text("owner")?;
    plain.standard.extra = values.object("extra")?;
    let candidates: Vec<Ident> = values
        .texts("candidate_nodes")?
        .iter()
        .map(|text| ident(version, text))
        .collect();
    let backfill = values.text("node")?.map(|text| ident(version, &text));
    let made = allocation::create(&app.cx, &actor, plain, &candidates, backfill.as_ref()).await?;
    let view = ALLOCATION.view(version, allocation_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<57>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = allocation::update(&app.cx, &actor, &ident(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document = allocation_document(&base, before);
        let mut values = Values(ALLOCATION.patched_document(version, document, &patch)?);
        let mut allocation = before.clone();
        allocation.name = values.text("name")?;
        allocation.standard.extra = values.object("extra")?;
        Ok::<_, Refusal>(allocation)
    })
    .await?;
    let view = ALLOCATION.view(version, allocation_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<52>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    allocation::delete(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<52>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let found = allocation::of_node(&app.cx, &actor, &ident(version, &id)).await?;
    allocation::delete(&app.cx, &actor, &Ident::id(found.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
