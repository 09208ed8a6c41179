//! `/deploy_templates`: steps that a deployment runs besides its own.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::Allowed;
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::DeployTemplateId;
use corten_model::refusal::Refusal;
use corten_operations::metal::deploy_template;
use corten_store::metal::deploy_template::DeployTemplate;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/deploy_templates", get(index).post(create))
        .route(
            "/deploy_templates/{template}",
            get(show).patch(update).delete(delete),
        )
}

impl Served for DeployTemplate {
    const SCHEMA: Schema = Schema {
        one: "deploy template",
        fields: &[
            ("uuid", 55),
            ("name", 55),
            ("steps", 55),
            ("extra", 55),
            ("created_at", 55),
            ("updated_at", 55),
            ("links", 55),
        ],
        created: &["uuid", "name", "steps", "extra"],
        patched: &["name", "steps", "extra"],
        brief: &["uuid", "name", "links"],
    };
    const SORT_KEYS: SortKeys = &[("name", "name")];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            name,
            steps,
            standard,
        } = self;
        document(
            json!({
                "uuid": id,
                "name": name,
                "steps": steps,
                "links": links(base, &format!("deploy_templates/{id}")),
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
            name: values.required_text("name")?,
            steps: values.list("steps")?,
            standard,
        })
    }
}

async fn index(call: Call, _: Allowed<55>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<DeployTemplate>(false)?;
    let found = deploy_template::list(call.cx(), &call.actor, &listing.page).await?;
    let place = ("deploy_templates", "deploy_templates");
    Ok(call.page_of(place, &listing, &found))
}

async fn show(call: Call, _: Allowed<55>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = deploy_template::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

async fn create(
    call: Call,
    _: Allowed<55>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    deploy_template::may_write(call.cx(), &call.actor)?;
    let plain = DeployTemplate {
        id: new_id(&body, DeployTemplateId::random)?,
        name: String::new(),
        steps: Vec::new(),
        standard: Standard::new(Object::new(), call.cx().now()),
    };
    let wanted = plain.edited(call.requested(&plain, body)?)?;
    let made = deploy_template::create(call.cx(), &call.actor, wanted).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    _: Allowed<55>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &DeployTemplate| call.patched(before, body);
    let changed = deploy_template::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, _: Allowed<55>, Path(id): Path<String>) -> Answer<StatusCode> {
    deploy_template::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
