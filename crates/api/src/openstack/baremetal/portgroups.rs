//! `/portgroups`: several network cards of a node that are one link.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::ports::in_groups;
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::Since;
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::PortGroupId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Narrow, access, node, port, port_group};
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

impl Served for PortGroup {
    const SCHEMA: Schema = Schema {
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
            ("dynamic_portgroup", 111),
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
        ("category", "/category"),
        ("mode", "/mode"),
        ("physical_network", "/physical_network"),
        ("standalone_ports_supported", "/standalone_ports"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
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
        } = self;
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
                // Each is made by a person.
                "dynamic_portgroup": false,
                "internal_info": internal_info,
                "links": links(base, &format!("portgroups/{id}")),
                "ports": links(base, &format!("portgroups/{id}/ports")),
            }),
            standard,
        )
    }

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut standard = self.standard.clone();
        standard.extra = values.object("extra")?;
        Ok(Self {
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
            ..self.clone()
        })
    }
}

async fn list(call: &Call, path: &str, detailed: bool, of: Option<&str>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<PortGroup>(detailed)?;
    let mut narrow = Narrow::default();
    if let Some(address) = call.params.get("address") {
        narrow.0.push(("address", vec![port::mac(address)?]));
    }
    if let Some(named) = of.or(call.params.get("node")) {
        let node = access::read_node(call.cx(), &call.actor, &call.ident(named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    if let Some(shards) = call.params.get("shard") {
        call.version.acceptable_from(106, "The parameter 'shard'")?;
        let shards = shards.split(',').map(str::to_owned).collect();
        let nodes = node::ids_with(call.cx(), "shard", shards).await?;
        narrow.0.push(("node_id", nodes));
    }
    if let Some(groups) = call.params.get("conductor_groups") {
        call.version
            .acceptable_from(99, "The parameter 'conductor_groups'")?;
        narrow.0.push(("node_id", in_groups(call, groups).await?));
    }
    let found = port_group::list(call.cx(), &call.actor, narrow, &listing.page).await?;
    Ok(call.page_of(("portgroups", path), &listing, &found))
}

async fn index(call: Call, _: Since<23>) -> Answer<Json<Value>> {
    list(&call, "portgroups", false, None).await
}

async fn detail(call: Call, _: Since<23>) -> Answer<Json<Value>> {
    list(&call, "portgroups/detail", true, None).await
}

async fn of_node(call: Call, _: Since<24>, Path(id): Path<String>) -> Answer<Json<Value>> {
    list(&call, &format!("nodes/{id}/portgroups"), false, Some(&id)).await
}

async fn of_node_detail(call: Call, _: Since<24>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let path = format!("nodes/{id}/portgroups/detail");
    list(&call, &path, true, Some(&id)).await
}

async fn show(call: Call, _: Since<23>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = port_group::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create(
    call: Call,
    _: Since<23>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    port::may_create(call.cx(), &call.actor)?;
    let id = new_id(&body, PortGroupId::random)?;
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => port::node_of(call.cx(), &call.ident(text)).await?,
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
        standard: Standard::new(Object::new(), call.cx().now()),
    };
    let mut document = call.requested(&plain, body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = port_group::create(call.cx(), &call.actor, plain.edited(document)?).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    _: Since<23>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &PortGroup| call.patched(before, body);
    let changed = port_group::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, _: Since<23>, Path(id): Path<String>) -> Answer<StatusCode> {
    port_group::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
