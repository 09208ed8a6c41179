//! `/runbooks`: lists of steps for cleaning and service that an operator wrote down once.

use super::kit::{Listing, SortKeys, Values, document, ident, links, listed, new_id, shown};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::{Allowed, Since, Version};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::ids::RunbookId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Narrow, runbook};
use corten_store::metal::runbook::Runbook;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/runbooks", get(index).post(create))
        .route(
            "/runbooks/{runbook}",
            get(show).patch(update).delete(delete),
        )
        .route(
            "/runbooks/{runbook}/traits",
            get(list_traits).put(set_traits).delete(clear_traits),
        )
        .route(
            "/runbooks/{runbook}/traits/{trait}",
            put(add_trait).delete(remove_trait),
        )
}

const RUNBOOK: Schema = Schema {
    one: "runbook",
    fields: &[
        ("uuid", 92),
        ("name", 92),
        ("steps", 92),
        ("disable_ramdisk", 92),
        ("extra", 92),
        ("public", 92),
        ("owner", 92),
        ("description", 112),
        ("traits", 112),
        ("created_at", 92),
        ("updated_at", 92),
        ("links", 92),
    ],
    created: &[
        "uuid",
        "name",
        "steps",
        "disable_ramdisk",
        "extra",
        "public",
        "owner",
        "description",
    ],
    patched: &[
        "name",
        "steps",
        "disable_ramdisk",
        "extra",
        "public",
        "owner",
        "description",
    ],
    brief: &["uuid", "name", "public", "owner", "links"],
};

const SORT_KEYS: SortKeys = &[("name", "name"), ("owner", "owner"), ("public", "public")];

fn runbook_document(base: &str, runbook: &Runbook) -> Map<String, Value> {
    let Runbook {
        id,
        name,
        description,
        steps,
        traits,
        public,
        owner,
        disable_ramdisk,
        standard,
    } = runbook;
    document(
        json!({
            "uuid": id,
            "name": name,
            "description": description,
            "steps": steps,
            "traits": traits,
            "public": public,
            "owner": owner,
            "disable_ramdisk": disable_ramdisk,
            "links": links(base, &format!("runbooks/{id}")),
        }),
        standard,
    )
}

fn edited(before: &Runbook, document: Map<String, Value>) -> Result<Runbook, Refusal> {
    let mut values = Values(document);
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    Ok(Runbook {
        id: before.id,
        name: values.required_text("name")?,
        description: values.text("description")?,
        steps: values.list("steps")?,
        traits: before.traits.clone(),
        public: values.truth("public")?.unwrap_or_default(),
        owner: values.text("owner")?,
        disable_ramdisk: values.truth("disable_ramdisk")?.unwrap_or_default(),
        standard,
    })
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<92>,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let listing = Listing::read(version, &params, &RUNBOOK, SORT_KEYS, false)?;
    let mut narrow = Narrow::default();
    if let Some(owner) = params.get("owner").or(params.get("project")) {
        narrow.0.push(("owner", vec![owner.to_owned()]));
    }
    let found = runbook::list(&app.cx, &actor, narrow, &listing.page).await?;
    let last = found.last().map(|runbook| runbook.id.to_string());
    let views = found
        .iter()
        .map(|one| RUNBOOK.view(version, runbook_document(&base.0, one), &listing.wanted))
        .collect();
    let name = "runbooks";
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
    _: Allowed<92>,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = runbook::show(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(shown(
        version,
        &params,
        &RUNBOOK,
        runbook_document(&base, &found),
    )?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<92>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    runbook::may_create(&app.cx, &actor, body.get("owner").and_then(Value::as_str))?;
    let plain = Runbook {
        id: new_id(&body, RunbookId::random)?,
        name: String::new(),
        description: None,
        steps: Vec::new(),
        traits: BTreeSet::new(),
        public: false,
        owner: None,
        disable_ramdisk: false,
        standard: Standard::new(Object::new(), app.cx.now()),
    };
    let document = RUNBOOK.new_document(version, runbook_document(&base, &plain), body)?;
    let made = runbook::create(&app.cx, &actor, edited(&plain, document)?).await?;
    let view = RUNBOOK.view(version, runbook_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<92>,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = runbook::update(&app.cx, &actor, &ident(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document = runbook_document(&base, before);
        edited(before, RUNBOOK.patched_document(version, document, &patch)?)
    })
    .await?;
    let view = RUNBOOK.view(version, runbook_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Allowed<92>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    runbook::delete(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<112>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = runbook::show(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(Json(json!({ "traits": found.traits })))
}

async fn set_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<112>,
    version: Version,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    runbook::set_traits(&app.cx, &actor, &ident(version, &id), |traits| {
        *traits = Values(body).texts("traits")?.into_iter().collect();
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_traits(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<112>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    runbook::set_traits(&app.cx, &actor, &ident(version, &id), |traits| {
        traits.clear();
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_trait(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<112>,
    version: Version,
    Path((id, word)): Path<(String, String)>,
) -> Answer<StatusCode> {
    runbook::set_traits(&app.cx, &actor, &ident(version, &id), |traits| {
        traits.insert(word);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_trait(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<112>,
    version: Version,
    Path((id, word)): Path<(String, String)>,
) -> Answer<StatusCode> {
    runbook::set_traits(&app.cx, &actor, &ident(version, &id), |traits| {
        if traits.remove(&word) {
            return Ok(());
        }
        Err(Refusal::not_found(format!(
            "The runbook doesn't have a trait '{word}'."
        )))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
