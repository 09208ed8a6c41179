//! `/deploy_templates`: steps that a deployment runs besides its own.

use super::kit::{Listing, SortKeys, Values, document, ident, links, listed, new_id, shown};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::{Allowed, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
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

const TEMPLATE: Schema = Schema {
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

fn template_document(base: &str, template: &DeployTemplate) -> Map<String, Value> {
    let DeployTemplate {
        id,
        name,
        steps,
        standard,
    } = template;
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

fn edited(
    before: &DeployTemplate,
    document: Map<String, Value>,
) -> Result<DeployTemplate, Refusal> {
    let mut values = Values(document);
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    Ok(DeployTemplate {
        id: before.id,
        name: values.required_text("name")?,
        steps: values.list("steps")?,
        standard,
    })
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<55>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let listing = Listing::read(version, &params, &TEMPLATE, SORT_KEYS, false)?;
    let found = deploy_template::list(&app.cx, &actor, &listing.page).await?;
    let last = found.last().map(|template| template.id.to_string());
    let views = found
        .iter()
        .map(|one| TEMPLATE.view(version, template_document(&base.0, one), &listing.wanted))
        .collect();
    let name = "deploy_templates";
    Ok(listed(
        name,
        name,
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
    _: Allowed<55>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = deploy_template::show(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(shown(
        version,
        &params,
        &TEMPLATE,
        template_document(&base, &found),
    )?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<55>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    deploy_template::may_write(&app.cx, &actor)?;
    let plain = DeployTemplate {
        id: new_id(&body, DeployTemplateId::random)?,
        name: String::new(),
        steps: Vec::new(),
        standard: Standard::new(Object::new(), app.cx.now()),
    };
    let document = TEMPLATE.new_document(version, template_document(&base, &plain), body)?;
    let made = deploy_template::create(&app.cx, &actor, edited(&plain, document)?).await?;
    let view = TEMPLATE.view(version, template_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<55>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let named = ident(version, &id);
    let changed = deploy_template::update(&app.cx, &actor, &named, |before| {
        let patch = Patch::read(body)?;
        let document = template_document(&base, before);
        edited(
            before,
            TEMPLATE.patched_document(version, document, &patch)?,
        )
    })
    .await?;
    let view = TEMPLATE.view(version, template_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<55>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    deploy_template::delete(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
