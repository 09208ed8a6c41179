//! `/volume`: the volumes of a storage system that nodes have, and under which names they ask for them.

use super::kit::{SortKeys, Values, document, links, new_id};
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
use corten_model::ids::{NodeId, VolumeConnectorId, VolumeTargetId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::metal::volume::{self, Volume};
use corten_operations::metal::{Ident, Narrow, access, port};
use corten_store::metal::volume_connector::VolumeConnector;
use corten_store::metal::volume_target::VolumeTarget;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/volume", get(root))
        .route("/nodes/{node}/volume", get(root_of_node))
        .merge(routes_of::<VolumeConnector>())
        .merge(routes_of::<VolumeTarget>())
}

fn routes_of<T: Kept>() -> Router<App> {
    let path = format!("/volume/{}", T::COLLECTION);
    Router::new()
        .route(&path, get(index::<T>).post(create::<T>))
        .route(
            &format!("{path}/{{volume}}"),
            get(show::<T>).patch(update::<T>).delete(delete::<T>),
        )
        .route(
            &format!("/nodes/{{node}}/volume/{}", T::COLLECTION),
            get(of_node::<T>),
        )
}

/// What tells the two resources apart.
trait Kept: Served + Volume {
    const COLLECTION: &'static str;

    fn blank(body: &Map<String, Value>, node: NodeId, now: Timestamp) -> Result<Self, Refusal>;
}

impl Kept for VolumeConnector {
    const COLLECTION: &'static str = "connectors";

    fn blank(body: &Map<String, Value>, node: NodeId, now: Timestamp) -> Result<Self, Refusal> {
        Ok(Self {
            id: new_id(body, VolumeConnectorId::random)?,
            node_id: node,
            kind: String::new(),
            connector_id: String::new(),
            standard: Standard::new(Object::new(), now),
        })
    }
}

impl Served for VolumeConnector {
    const SCHEMA: Schema = Schema {
        one: "volume connector",
        fields: &[
            ("uuid", 32),
            ("node_uuid", 32),
            ("type", 32),
            ("connector_id", 32),
            ("extra", 32),
            ("created_at", 32),
            ("updated_at", 32),
            ("links", 32),
        ],
        created: &["uuid", "node_uuid", "type", "connector_id", "extra"],
        patched: &["node_uuid", "type", "connector_id", "extra"],
        brief: &["uuid", "node_uuid", "type", "connector_id", "links"],
    };
    const SORT_KEYS: SortKeys = &[
        ("node_uuid", "node_id"),
        ("type", "kind"),
        ("connector_id", "connector_id"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            node_id,
            kind,
            connector_id,
            standard,
        } = self;
        document(
            json!({
                "uuid": id,
                "node_uuid": node_id,
                "type": kind,
                "connector_id": connector_id,
                "links": links(base, &format!("volume/connectors/{id}")),
            }),
            standard,
        )
    }

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut standard = self.standard.clone();
        standard.extra = values.object("extra")?;
        Ok(Self {
            id: self.id,
            node_id: values.required_id("node_uuid")?,
            kind: values.required_text("type")?,
            connector_id: values.required_text("connector_id")?,
            standard,
        })
    }
}

impl Kept for VolumeTarget {
    const COLLECTION: &'static str = "targets";

    fn blank(body: &Map<String, Value>, node: NodeId, now: Timestamp) -> Result<Self, Refusal> {
        Ok(Self {
            id: new_id(body, VolumeTargetId::random)?,
            node_id: node,
            volume_type: String::new(),
            volume_id: String::new(),
            boot_index: 0,
            properties: Object::new(),
            standard: Standard::new(Object::new(), now),
        })
    }
}

impl Served for VolumeTarget {
    const SCHEMA: Schema = Schema {
        one: "volume target",
        fields: &[
            ("uuid", 32),
            ("node_uuid", 32),
            ("volume_type", 32),
            ("volume_id", 32),
            ("boot_index", 32),
            ("properties", 32),
            ("extra", 32),
            ("created_at", 32),
            ("updated_at", 32),
            ("links", 32),
        ],
        created: &[
            "uuid",
            "node_uuid",
            "volume_type",
            "volume_id",
            "boot_index",
            "properties",
            "extra",
        ],
        patched: &[
            "node_uuid",
            "volume_type",
            "volume_id",
            "boot_index",
            "properties",
            "extra",
        ],
        brief: &[
            "uuid",
            "node_uuid",
            "volume_type",
            "volume_id",
            "boot_index",
            "links",
        ],
    };
    const SORT_KEYS: SortKeys = &[
        ("node_uuid", "node_id"),
        ("boot_index", "boot_index"),
        ("volume_id", "/volume_id"),
        ("volume_type", "/volume_type"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            node_id,
            volume_type,
            volume_id,
            boot_index,
            properties,
            standard,
        } = self;
        document(
            json!({
                "uuid": id,
                "node_uuid": node_id,
                "volume_type": volume_type,
                "volume_id": volume_id,
                "boot_index": boot_index,
                "properties": properties,
                "links": links(base, &format!("volume/targets/{id}")),
            }),
            standard,
        )
    }

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut standard = self.standard.clone();
        standard.extra = values.object("extra")?;
        let properties = values.object("properties")?;
        if let Some(key) = properties
            .keys()
            .find(|key| key.contains("password") || key.contains("secret"))
        {
            return Err(Refusal::invalid(format!(
                "properties/{key} is a secret, and secrets of volumes are not kept sealed yet: leave it out."
            )));
        }
        Ok(Self {
            id: self.id,
            node_id: values.required_id("node_uuid")?,
            volume_type: values.required_text("volume_type")?,
            volume_id: values.required_text("volume_id")?,
            boot_index: values
                .number("boot_index")?
                .ok_or_else(|| Refusal::invalid("Mandatory field missing: 'boot_index'."))?,
            properties,
            standard,
        })
    }
}

fn root_links(base: &str, path: &str) -> Json<Value> {
    Json(json!({
        "links": links(base, path),
        "connectors": links(base, &format!("{path}/connectors")),
        "targets": links(base, &format!("{path}/targets")),
    }))
}

async fn root(call: Call, _: Since<32>) -> Json<Value> {
    root_links(&call.base, "volume")
}

async fn root_of_node(call: Call, _: Since<32>, Path(id): Path<String>) -> Answer<Json<Value>> {
    access::read_node(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(root_links(&call.base, &format!("nodes/{id}/volume")))
}

async fn list<T: Kept>(call: &Call, path: &str, node: Option<&str>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<T>(false)?;
    let mut narrow = Narrow::default();
    if let Some(named) = node.or(call.params.get("node")) {
        let node = access::read_node(call.cx(), &call.actor, &call.ident(named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    let found = volume::list::<T>(call.cx(), &call.actor, narrow, &listing.page).await?;
    Ok(call.page_of((T::COLLECTION, path), &listing, &found))
}

async fn index<T: Kept>(call: Call, _: Since<32>) -> Answer<Json<Value>> {
    list::<T>(&call, &format!("volume/{}", T::COLLECTION), None).await
}

async fn of_node<T: Kept>(call: Call, _: Since<32>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let path = format!("nodes/{id}/volume/{}", T::COLLECTION);
    list::<T>(&call, &path, Some(&id)).await
}

/// Volumes have no names.
fn named(call: &Call, id: &str) -> Ident {
    call.ident_since(u16::MAX, id)
}

async fn show<T: Kept>(call: Call, _: Since<32>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = volume::show::<T>(call.cx(), &call.actor, &named(&call, &id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create<T: Kept>(
    call: Call,
    _: Since<32>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => port::node_of(call.cx(), &call.ident(text)).await?,
        _ => return Err(Refusal::invalid("Mandatory field missing: 'node_uuid'.").into()),
    };
    let plain = T::blank(&body, node.id, call.cx().now())?;
    let mut document = call.requested(&plain, body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = volume::create(call.cx(), &call.actor, plain.edited(document)?).await?;
    Ok(call.made(&made))
}

async fn update<T: Kept>(
    call: Call,
    _: Since<32>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &T| call.patched(before, body);
    let changed = volume::update::<T>(call.cx(), &call.actor, &named(&call, &id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete<T: Kept>(call: Call, _: Since<32>, Path(id): Path<String>) -> Answer<StatusCode> {
    volume::delete::<T>(call.cx(), &call.actor, &named(&call, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
