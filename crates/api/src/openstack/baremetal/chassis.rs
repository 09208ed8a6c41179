//! `/chassis`: racks and other things that hold nodes.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::schema::Schema;
use super::served::{Call, Served};
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ChassisId;
use corten_model::refusal::Refusal;
use corten_operations::metal::chassis;
use corten_store::metal::chassis::Chassis;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/chassis", get(index).post(create))
        .route("/chassis/detail", get(detail))
        .route("/chassis/{chassis}", get(show).patch(update).delete(delete))
}

impl Served for Chassis {
    const SCHEMA: Schema = Schema {
        one: "chassis",
        fields: &[
            ("uuid", 1),
            ("description", 1),
            ("extra", 1),
            ("nodes", 1),
            ("created_at", 1),
            ("updated_at", 1),
            ("links", 1),
        ],
        created: &["uuid", "description", "extra"],
        patched: &["description", "extra"],
        brief: &["uuid", "description", "links"],
    };
    const SORT_KEYS: SortKeys = &[("description", "description")];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            description,
            standard,
        } = self;
        document(
            json!({
                "uuid": id,
                "description": description,
                "links": links(base, &format!("chassis/{id}")),
                "nodes": links(base, &format!("chassis/{id}/nodes")),
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
            description: values.text("description")?,
            standard,
        })
    }
}

async fn list(call: &Call, path: &str, detailed: bool) -> Answer<Json<Value>> {
    let listing = call.listing_of::<Chassis>(detailed)?;
    let found = chassis::list(call.cx(), &call.actor, &listing.page).await?;
    Ok(call.page_of(("chassis", path), &listing, &found))
}

async fn index(call: Call) -> Answer<Json<Value>> {
    list(&call, "chassis", false).await
}

async fn detail(call: Call) -> Answer<Json<Value>> {
    list(&call, "chassis/detail", true).await
}

async fn show(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = chassis::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create(
    call: Call,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let plain = Chassis {
        id: new_id(&body, ChassisId::random)?,
        description: None,
        standard: Standard::new(Object::new(), call.cx().now()),
    };
    let wanted = plain.edited(call.requested(&plain, body)?)?;
    let made = chassis::create(call.cx(), &call.actor, wanted).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &Chassis| call.patched(before, body);
    let changed = chassis::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, Path(id): Path<String>) -> Answer<StatusCode> {
    chassis::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
