//! `/volume`: the volumes of a storage system that nodes have, and under which names they ask for them.

use super::kit::{
    Listing, SortKeys, Values, document, ident, ident_since, links, listed, new_id, shown,
};
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

fn routes_of<T: Served>() -> Router<App> {
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

/// What the two resources show.
trait Served: Volume {
    const COLLECTION: &'static str;
    const SCHEMA: Schema;
    const SORT_KEYS: SortKeys;

    fn blank(body: &Map<String, Value>, node: NodeId, now: Timestamp) -> Result<Self, Refusal>;
    fn document(&self, base: &str) -> Map<String, Value>;
    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal>;
}

impl Served for VolumeConnector {
    const COLLECTION: &'static str = "connectors";
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

    fn blank(body: &Map<String, Value>, node: NodeId, now: Timestamp) -> Result<Self, Refusal> {
        Ok(Self {
            id: new_id(body, VolumeConnectorId::random)?,
            node_id: node,
            kind: String::new(),
            connector_id: String::new(),
            standard: Standard::new(Object::new(), now),
        })
    }

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

impl Served for VolumeTarget {
    const COLLECTION: &'static str = "targets";
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
    const SORT_KEYS: SortKeys = &[("node_uuid", "node_id"), ("boot_index", "boot_index")];

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

async fn root(Caller(_): Caller, _: Since<32>, BaseUrl(base): BaseUrl) -> Json<Value> {
    root_links(&base, "volume")
}

async fn root_of_node(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    access::read_node(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(root_links(&base, &format!("nodes/{id}/volume")))
}

async fn list<T: Served>(
    app: &App,
    actor: &Actor,
    version: Version,
    base: &BaseUrl,
    params: &Params,
    path: &str,
    node: Option<&str>,
) -> Answer<Json<Value>> {
    let listing = Listing::read(version, params, &T::SCHEMA, T::SORT_KEYS, false)?;
    let mut narrow = Narrow::default();
    if let Some(named) = node.or(params.get("node")) {
        let node = access::read_node(&app.cx, actor, &ident(version, named)).await?;
        narrow.0.push(("node_id", vec![node.id.to_string()]));
    }
    let found = volume::list::<T>(&app.cx, actor, narrow, &listing.page).await?;
    let last = found.last().map(T::id);
    let views = found
        .iter()
        .map(|one| T::SCHEMA.view(version, one.document(&base.0), &listing.wanted))
        .collect();
    Ok(listed(
        T::COLLECTION,
        path,
        views,
        last,
        &listing.page,
        params,
        base,
    ))
}

async fn index<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let path = format!("volume/{}", T::COLLECTION);
    list::<T>(&app, &actor, version, &base, &params, &path, None).await
}

async fn of_node<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let path = format!("nodes/{id}/volume/{}", T::COLLECTION);
    list::<T>(&app, &actor, version, &base, &params, &path, Some(&id)).await
}

/// Volumes have no names.
fn named(version: Version, id: &str) -> Ident {
    ident_since(version, u16::MAX, id)
}

async fn show<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = volume::show::<T>(&app.cx, &actor, &named(version, &id)).await?;
    Ok(shown(version, &params, &T::SCHEMA, found.document(&base))?)
}

async fn create<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let node = match body.get("node_uuid") {
        Some(Value::String(text)) => port::node_of(&app.cx, &ident(version, text)).await?,
        _ => return Err(Refusal::invalid("Mandatory field missing: 'node_uuid'.").into()),
    };
    let plain = T::blank(&body, node.id, app.cx.now())?;
    let mut document = T::SCHEMA.new_document(version, plain.document(&base), body)?;
    document.insert("node_uuid".to_owned(), json!(node.id));
    let made = volume::create(&app.cx, &actor, plain.edited(document)?).await?;
    let view = T::SCHEMA.view(version, made.document(&base), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = volume::update::<T>(&app.cx, &actor, &named(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document = T::SCHEMA.patched_document(version, before.document(&base), &patch)?;
        before.edited(document)
    })
    .await?;
    let view = T::SCHEMA.view(version, changed.document(&base), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete<T: Served>(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<32>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    volume::delete::<T>(&app.cx, &actor, &named(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
