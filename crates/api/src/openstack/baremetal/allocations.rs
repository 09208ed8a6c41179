//! `/allocations`: nodes set aside for whoever asked for one of their kind.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::{Allowed, Since};
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
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

impl Served for NodeAllocation {
    const SCHEMA: Schema = Schema {
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
        ("last_error", "/last_error"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
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
        } = self;
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

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut edited = self.clone();
        edited.name = values.text("name")?;
        edited.standard.extra = values.object("extra")?;
        Ok(edited)
    }
}

async fn index(call: Call, _: Allowed<52>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<NodeAllocation>(false)?;
    let mut narrow = Narrow::default();
    for name in ["resource_class", "state", "owner"] {
        if let Some(value) = call.params.get(name) {
            narrow.0.push((name, vec![value.to_owned()]));
        }
    }
    if let Some(named) = call.params.get("node") {
        let node = access::read_node(call.cx(), &call.actor, &call.ident(named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    let found = allocation::list(call.cx(), &call.actor, narrow, &listing.page).await?;
    Ok(call.page_of(("allocations", "allocations"), &listing, &found))
}

async fn show(call: Call, _: Allowed<52>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = allocation::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn of_node(call: Call, _: Since<52>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = allocation::of_node(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create(
    call: Call,
    _: Allowed<52>,
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
        standard: Standard::new(Object::new(), call.cx().now()),
    };
    let mut values = Values(call.requested(&plain, body)?);
    plain.name = values.text("name")?;
    plain.resource_class = values.text("resource_class")?;
    plain.traits = values.texts("traits")?.into_iter().collect();
    plain.owner = values.text("owner")?;
    plain.standard.extra = values.object("extra")?;
    let candidates: Vec<Ident> = values
        .texts("candidate_nodes")?
        .iter()
        .map(|text| call.ident(text))
        .collect();
    let backfill = values.text("node")?.map(|text| call.ident(&text));
    let made = allocation::create(
        call.cx(),
        &call.actor,
        plain,
        &candidates,
        backfill.as_ref(),
    )
    .await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    _: Since<57>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &NodeAllocation| call.patched(before, body);
    let changed = allocation::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, _: Allowed<52>, Path(id): Path<String>) -> Answer<StatusCode> {
    allocation::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_of_node(call: Call, _: Since<52>, Path(id): Path<String>) -> Answer<StatusCode> {
    let found = allocation::of_node(call.cx(), &call.actor, &call.ident(&id)).await?;
    allocation::delete(call.cx(), &call.actor, &Ident::id(found.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
