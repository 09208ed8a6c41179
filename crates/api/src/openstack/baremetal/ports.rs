//! `/ports`: the network cards of nodes.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::Version;
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::NodePortId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Ident, Narrow, access, node, port, port_group};
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

impl Served for NodePort {
    const SCHEMA: Schema = Schema {
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
            ("available_for_dynamic_portgroup", 111),
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
            "available_for_dynamic_portgroup",
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
            "available_for_dynamic_portgroup",
        ],
        brief: &["uuid", "address", "links"],
    };
    const SORT_KEYS: SortKeys = &[
        ("address", "address"),
        ("name", "name"),
        ("node_uuid", "node_id"),
        ("portgroup_uuid", "port_group_id"),
        ("category", "/category"),
        ("description", "/description"),
        ("is_smartnic", "/is_smartnic"),
        ("physical_network", "/physical_network"),
        ("pxe_enabled", "/pxe_enabled"),
        ("vendor", "/vendor"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
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
        } = self;
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
                // No portgroup is made but by a person, and a person may put any port into one.
                "available_for_dynamic_portgroup": true,
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

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut standard = self.standard.clone();
        standard.extra = values.object("extra")?;
        if values.truth("available_for_dynamic_portgroup")? == Some(false) {
            return Err(Refusal::invalid(
                "available_for_dynamic_portgroup cannot be false: this cloud makes no portgroup by itself that a port could be \
                 kept out of. Leave it out, or set it to true.",
            ));
        }
        Ok(Self {
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
            ..self.clone()
        })
    }
}

async fn list(call: &Call, path: &str, detailed: bool, mut narrow: Narrow) -> Answer<Json<Value>> {
    let Call {
        actor,
        version,
        params,
        ..
    } = call;
    let listing = call.listing_of::<NodePort>(detailed)?;
    if let Some(address) = params.get("address") {
        narrow.0.push(("address", vec![port::mac(address)?]));
    }
    if let Some(named) = params.get("node").or(params.get("node_uuid")) {
        let named = call.ident_since(5, named);
        let node = access::read_node(call.cx(), actor, &named).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    if let Some(named) = params.get("portgroup") {
        version.acceptable_from(24, "The parameter 'portgroup'")?;
        let group = port_group::show(call.cx(), actor, &call.ident(named)).await?;
        narrow.0.push(("port_group_id", vec![group.id.to_string()]));
    }
    if let Some(shards) = params.get("shard") {
        version.acceptable_from(82, "The parameter 'shard'")?;
        let shards = shards.split(',').map(str::to_owned).collect();
        narrow.0.push(("shard", shards));
    }
    if let Some(groups) = params.get("conductor_groups") {
        version.acceptable_from(99, "The parameter 'conductor_groups'")?;
        narrow.0.push(("node_id", in_groups(call, groups).await?));
    }
    if let Some(words) = params.get("description_contains") {
        version.acceptable_from(97, "The parameter 'description_contains'")?;
        let fitting = port::with_words(call.cx(), words).await?;
        narrow.0.push(("id", fitting));
    }
    let found = port::list(call.cx(), actor, narrow, &listing.page).await?;
    Ok(call.page_of(("ports", path), &listing, &found))
}

/// The ids of the nodes of these conductor groups, of which there may be several in one parameter.
pub async fn in_groups(call: &Call, groups: &str) -> Answer<Vec<String>> {
    let groups = groups.split(',').map(|group| group.trim().to_lowercase());
    Ok(node::ids_with(call.cx(), "conductor_group", groups.collect()).await?)
}

async fn index(call: Call) -> Answer<Json<Value>> {
    list(&call, "ports", false, Narrow::default()).await
}

async fn detail(call: Call) -> Answer<Json<Value>> {
    list(&call, "ports/detail", true, Narrow::default()).await
}

async fn ports_of_node(call: &Call, id: &str) -> Answer<Narrow> {
    let node = access::read_node(call.cx(), &call.actor, &call.ident_since(5, id)).await?;
    Ok(Narrow(vec![("node_id", vec![node.id.to_string()])]))
}

async fn of_node(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrow = ports_of_node(&call, &id).await?;
    list(&call, &format!("nodes/{id}/ports"), false, narrow).await
}

async fn of_node_detail(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrow = ports_of_node(&call, &id).await?;
    list(&call, &format!("nodes/{id}/ports/detail"), true, narrow).await
}

async fn ports_of_group(call: &Call, id: &str) -> Answer<Narrow> {
    call.version.exists_from(24)?;
    let group = port_group::show(call.cx(), &call.actor, &call.ident(id)).await?;
    Ok(Narrow(vec![("port_group_id", vec![group.id.to_string()])]))
}

async fn of_group(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrow = ports_of_group(&call, &id).await?;
    list(&call, &format!("portgroups/{id}/ports"), false, narrow).await
}

async fn of_group_detail(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrow = ports_of_group(&call, &id).await?;
    list(
        &call,
        &format!("portgroups/{id}/ports/detail"),
        true,
        narrow,
    )
    .await
}

/// Ports have names from 1.88 on.
fn named(call: &Call, id: &str) -> Ident {
    call.ident_since(88, id)
}

async fn show(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = port::show(call.cx(), &call.actor, &named(&call, &id)).await?;
    Ok(call.shown_of(&found)?)
}

/// A key of a port's link that came with a version of its own.
const NETWORK_TYPE: &str = "network_type";

fn check_link(version: Version, link: Option<&Map<String, Value>>) -> Result<(), Refusal> {
    if link.is_some_and(|link| link.contains_key(NETWORK_TYPE)) {
        version.acceptable_from(64, "The attribute 'local_link_connection/network_type'")?;
    }
    Ok(())
}

async fn create(
    call: Call,
    Body(mut body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    port::may_create(call.cx(), &call.actor)?;
    let id = new_id(&body, NodePortId::random)?;
    let link = body.get("local_link_connection");
    check_link(call.version, link.and_then(Value::as_object))?;
    if let Some(ident) = body.remove("node_ident") {
        call.version
            .acceptable_from(94, "The attribute 'node_ident'")?;
        if body.contains_key("node_uuid") {
            return Err(Refusal::invalid(
                "node_ident and node_uuid are both given: name the node by one of them.",
            )
            .into());
        }
        body.insert("node_uuid".to_owned(), ident);
    }
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => port::node_of(call.cx(), &call.ident_since(94, text)).await?,
        _ => return Err(Refusal::invalid("Mandatory field missing: 'node_uuid'.").into()),
    };
    let plain = port::blank(id, &node, String::new(), call.cx().now());
    let mut document = call.requested(&plain, body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = port::create(call.cx(), &call.actor, plain.edited(document)?).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &NodePort| {
        let port = call.patched(before, body)?;
        let is_new = !before.local_link_connection.contains_key(NETWORK_TYPE);
        check_link(
            call.version,
            Some(&port.local_link_connection).filter(|_| is_new),
        )?;
        Ok(port)
    };
    let changed = port::update(call.cx(), &call.actor, &named(&call, &id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, Path(id): Path<String>) -> Answer<StatusCode> {
    port::delete(call.cx(), &call.actor, &named(&call, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
