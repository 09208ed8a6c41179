//! `/ports`: the network cards of nodes.

use super::kit::{
    Asked, Listing, SortKeys, Values, document, ident, ident_since, links, listed, new_id, shown,
};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::Version;
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
use corten_model::ids::NodePortId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Ident, Narrow, access, port, port_group};
use corten_store::metal::port::NodePort;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/ports", get(index).post(create))
        .route("/ports/detail", get(detail))
        .route("/ports/{port}", get(show).patch(update).delete(delete))
        .route("/nodes/{node}/ports", get(of_node))
        .route("/nodes/{node}/ports/detail", get(of_node_detail))
        .route("/portgroups/{portgroup}/ports", get(of_group))
        .route("/portgroups/{portgroup}/ports/detail", get(of_group_detail))
}

const PORT: Schema = Schema {
    one: "port",
    fields: &[
        ("uuid", 1),
        ("address", 1),
        ("node_uuid", 1),
        ("extra", 1),
        ("internal_info", 18),
        ("local_link_connection", 19),
        ("pxe_enabled", 19),
        ("portgroup_uuid", 24),
        ("physical_network", 34),
        ("is_smartnic", 53),
        ("name", 88),
        ("description", 97),
        ("vendor", 100),
        ("category", 101),
        ("created_at", 1),
        ("updated_at", 1),
        ("links", 1),
    ],
    created: &[
        "uuid",
        "address",
        "node_uuid",
        "extra",
        "local_link_connection",
        "pxe_enabled",
        "portgroup_uuid",
        "physical_network",
        "is_smartnic",
        "name",
        "description",
        "vendor",
        "category",
    ],
    patched: &[
        "address",
        "node_uuid",
        "extra",
        "local_link_connection",
        "pxe_enabled",
        "portgroup_uuid",
        "physical_network",
        "is_smartnic",
        "name",
        "description",
        "vendor",
        "category",
    ],
    brief: &["uuid", "address", "links"],
};

const SORT_KEYS: SortKeys = &[
    ("address", "address"),
    ("name", "name"),
    ("node_uuid", "node_id"),
    ("portgroup_uuid", "port_group_id"),
];

fn port_document(base: &str, port: &NodePort) -> Map<String, Value> {
    let NodePort {
        id,
        node_id,
        address,
        port_group_id,
        name,
        description,
        vendor,
        category,
        local_link_connection,
        pxe_enabled,
        physical_network,
        is_smartnic,
        internal_info,
        shard: _,
        standard,
    } = port;
    document(
        json!({
            "uuid": id,
            "node_uuid": node_id,
            "address": address,
            "portgroup_uuid": port_group_id,
            "name": name,
            "description": description,
            "vendor": vendor,
            "category": category,
            "local_link_connection": local_link_connection,
            "pxe_enabled": pxe_enabled,
            "physical_network": physical_network,
            "is_smartnic": is_smartnic,
            "internal_info": internal_info,
            "links": links(base, &format!("ports/{id}")),
        }),
        standard,
    )
}

/// A port with what a document says of it.
fn edited(before: &NodePort, document: Map<String, Value>) -> Result<NodePort, Refusal> {
    let mut values = Values(document);
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    Ok(NodePort {
        node_id: values.required_id("node_uuid")?,
        address: port::mac(&values.required_text("address")?)?,
        port_group_id: values.id("portgroup_uuid")?,
        name: values.text("name")?,
        description: values.text("description")?,
        vendor: values.text("vendor")?,
        category: values.text("category")?,
        local_link_connection: values.object("local_link_connection")?,
        pxe_enabled: values.truth("pxe_enabled")?.unwrap_or(true),
        physical_network: values.text("physical_network")?,
        is_smartnic: values.truth("is_smartnic")?.unwrap_or_default(),
        standard,
        ..before.clone()
    })
}

async fn list(
    app: &App,
    actor: &Actor,
    asked: Asked<'_>,
    mut narrow: Narrow,
) -> Answer<Json<Value>> {
    let Asked {
        version,
        params,
        base,
        path,
        detailed,
    } = asked;
    let listing = Listing::read(version, params, &PORT, SORT_KEYS, detailed)?;
    if let Some(address) = params.get("address") {
        narrow.0.push(("address", vec![port::mac(address)?]));
    }
    if let Some(named) = params.get("node").or(params.get("node_uuid")) {
        let named = ident_since(version, 5, named);
        let node = access::read_node(&app.cx, actor, &named).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    if let Some(named) = params.get("portgroup") {
        version.acceptable_from(24, "The parameter 'portgroup'")?;
        let group = port_group::show(&app.cx, actor, &ident(version, named)).await?;
        narrow.0.push(("port_group_id", vec![group.id.to_string()]));
    }
    if let Some(shards) = params.get("shard") {
        version.acceptable_from(82, "The parameter 'shard'")?;
        let shards = shards.split(',').map(str::to_owned).collect();
        narrow.0.push(("shard", shards));
    }
    let found = port::list(&app.cx, actor, narrow, &listing.page).await?;
    let last = found.last().map(|port| port.id.to_string());
    let views = found
        .iter()
        .map(|port| PORT.view(version, port_document(&base.0, port), &listing.wanted))
        .collect();
    Ok(listed(
        "ports",
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
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: "ports",
        detailed: false,
    };
    list(&app, &actor, asked, Narrow::default()).await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: "ports/detail",
        detailed: true,
    };
    list(&app, &actor, asked, Narrow::default()).await
}

async fn ports_of_node(
    app: &App,
    actor: &Actor,
    asked: Asked<'_>,
    node: &Ident,
) -> Answer<Json<Value>> {
    let node = access::read_node(&app.cx, actor, node).await?;
    let narrow = Narrow(vec![("node_id", vec![node.id.to_string()])]);
    list(app, actor, asked, narrow).await
}

async fn of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("nodes/{id}/ports"),
        detailed: false,
    };
    ports_of_node(&app, &actor, asked, &ident_since(version, 5, &id)).await
}

async fn of_node_detail(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("nodes/{id}/ports/detail"),
        detailed: true,
    };
    ports_of_node(&app, &actor, asked, &ident_since(version, 5, &id)).await
}

async fn ports_of_group(
    app: &App,
    actor: &Actor,
    asked: Asked<'_>,
    group: &Ident,
) -> Answer<Json<Value>> {
    asked.version.exists_from(24)?;
    let group = port_group::show(&app.cx, actor, group).await?;
    let narrow = Narrow(vec![("port_group_id", vec![group.id.to_string()])]);
    list(app, actor, asked, narrow).await
}

async fn of_group(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("portgroups/{id}/ports"),
        detailed: false,
    };
    ports_of_group(&app, &actor, asked, &ident(version, &id)).await
}

async fn of_group_detail(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let asked = Asked {
        version,
        params: &params,
        base: &base,
        path: &format!("portgroups/{id}/ports/detail"),
        detailed: true,
    };
    ports_of_group(&app, &actor, asked, &ident(version, &id)).await
}

/// Ports have names from 1.88 on.
fn named(version: Version, id: &str) -> Ident {
    ident_since(version, 88, id)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = port::show(&app.cx, &actor, &named(version, &id)).await?;
    Ok(shown(
        version,
        &params,
        &PORT,
        port_document(&base, &found),
    )?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    port::may_create(&app.cx, &actor)?;
    let id = new_id(&body, NodePortId::random)?;
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => {
            port::node_of(&app.cx, &ident_since(version, 94, text)).await?
        }
        _ => return Err(Refusal::invalid("Mandatory field missing: 'node_uuid'.").into()),
    };
    let plain = port::blank(id, &node, String::new(), app.cx.now());
    let mut document = PORT.new_document(version, port_document(&base, &plain), body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = port::create(&app.cx, &actor, edited(&plain, document)?).await?;
    let view = PORT.view(version, port_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = port::update(&app.cx, &actor, &named(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document = PORT.patched_document(version, port_document(&base, before), &patch)?;
        edited(before, document)
    })
    .await?;
    let view = PORT.view(version, port_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    port::delete(&app.cx, &actor, &named(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
