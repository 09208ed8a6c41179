//! `/portgroups`: several network cards of a node that are one link.

use super::kit::{Asked, Listing, SortKeys, Values, document, ident, links, listed, new_id, shown};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::{Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::PortGroupId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Narrow, access, port, port_group};
use corten_store::metal::port_group::PortGroup;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/portgroups", get(index).post(create))
        .route("/portgroups/detail", get(detail))
        .route(
            "/portgroups/{portgroup}",
            get(show).patch(update).delete(delete),
        )
        .route("/nodes/{node}/portgroups", get(of_node))
        .route("/nodes/{node}/portgroups/detail", get(of_node_detail))
}

const GROUP: Schema = Schema {
    one: "portgroup",
    fields: &[
        ("uuid", 23),
        ("name", 23),
        ("address", 23),
        ("node_uuid", 23),
        ("standalone_ports_supported", 23),
        ("internal_info", 23),
        ("extra", 23),
        ("mode", 26),
        ("properties", 26),
        ("physical_network", 102),
        ("category", 103),
        ("ports", 24),
        ("created_at", 23),
        ("updated_at", 23),
        ("links", 23),
    ],
    created: &[
        "uuid",
        "name",
        "address",
        "node_uuid",
        "standalone_ports_supported",
        "extra",
        "mode",
        "properties",
        "physical_network",
        "category",
    ],
    patched: &[
        "name",
        "address",
        "node_uuid",
        "standalone_ports_supported",
        "extra",
        "mode",
        "properties",
        "physical_network",
        "category",
    ],
    brief: &["uuid", "name", "address", "links"],
};

const SORT_KEYS: SortKeys = &[
    ("address", "address"),
    ("name", "name"),
    ("node_uuid", "node_id"),
];

fn group_document(base: &str, group: &PortGroup) -> Map<String, Value> {
    let PortGroup {
        id,
        node_id,
        address,
        name,
        mode,
        properties,
        standalone_ports,
        physical_network,
        category,
        internal_info,
        standard,
    } = group;
    document(
        json!({
            "uuid": id,
            "node_uuid": node_id,
            "address": address,
            "name": name,
            "mode": mode,
            "properties": properties,
            "standalone_ports_supported": standalone_ports,
            "physical_network": physical_network,
            "category": category,
            "internal_info": internal_info,
            "links": links(base, &format!("portgroups/{id}")),
            "ports": links(base, &format!("portgroups/{id}/ports")),
        }),
        standard,
    )
}

/// A port group with what a document says of it.
fn edited(before: &PortGroup, document: Map<String, Value>) -> Result<PortGroup, Refusal> {
    let mut values = Values(document);
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    Ok(PortGroup {
        node_id: values.required_id("node_uuid")?,
        address: values
            .text("address")?
            .map(|text| port::mac(&text))
            .transpose()?,
        name: values.text("name")?,
        mode: values
            .text("mode")?
            .unwrap_or_else(|| port_group::MODES[0].to_owned()),
        properties: values.object("properties")?,
        standalone_ports: values.truth("standalone_ports_supported")?.unwrap_or(true),
        physical_network: values.text("physical_network")?,
        category: values.text("category")?,
        standard,
        ..before.clone()
    })
}

async fn list(
    app: &App,
    actor: &Actor,
    asked: Asked<'_>,
    node: Option<&str>,
) -> Answer<Json<Value>> {
    let Asked {
        version,
        params,
        base,
        path,
        detailed,
    } = asked;
    let listing = Listing::read(version, params, &GROUP, SORT_KEYS, detailed)?;
    let mut narrow = Narrow::default();
    if let Some(address) = params.get("address") {
        narrow.0.push(("address", vec![port::mac(address)?]));
    }
    if let Some(named) = node.or(params.get("node")) {
        let node = access::read_node(&app.cx, actor, &ident(version, named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    let found = port_group::list(&app.cx, actor, narrow, &listing.page).await?;
    let last = found.last().map(|group| group.id.to_string());
    let views = found
        .iter()
        .map(|group| GROUP.view(version, group_document(&base.0, group), &listing.wanted))
        .collect();
    Ok(listed(
        "portgroups",
        path,
        views,
        last,
        &listing.page,
        params,
        base,
    ))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: "portgroups",
        detailed: false,
    };
    list(&app, &actor, asked, None).await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: "portgroups/detail",
        detailed: true,
    };
    list(&app, &actor, asked, None).await
}

async fn of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<24>,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("nodes/{id}/portgroups"),
        detailed: false,
    };
    list(&app, &actor, asked, Some(&id)).await
}

async fn of_node_detail(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<24>,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("nodes/{id}/portgroups/detail"),
        detailed: true,
    };
    list(&app, &actor, asked, Some(&id)).await
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = port_group::show(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(shown(
        version,
        &params,
        &GROUP,
        group_document(&base, &found),
    )?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    port::may_create(&app.cx, &actor)?;
    let id = new_id(&body, PortGroupId::random)?;
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => port::node_of(&app.cx, &ident(version, text)).await?,
        _ => return Err(Refusal::invalid("Mandatory field missing: 'node_uuid'.").into()),
    };
    let plain = PortGroup {
        id,
        node_id: node.id,
        address: None,
        name: None,
        mode: port_group::MODES[0].to_owned(),
        properties: Object::new(),
        standalone_ports: true,
        physical_network: None,
        category: None,
        internal_info: Object::new(),
        standard: Standard::new(Object::new(), app.cx.now()),
    };
    let mut document = GROUP.new_document(version, group_document(&base, &plain), body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = port_group::create(&app.cx, &actor, edited(&plain, document)?).await?;
    let view = GROUP.view(version, group_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = port_group::update(&app.cx, &actor, &ident(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document = GROUP.patched_document(version, group_document(&base, before), &patch)?;
        edited(before, document)
    })
    .await?;
    let view = GROUP.view(version, group_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<23>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    port_group::delete(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
