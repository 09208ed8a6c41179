//! `/runbooks`: lists of steps for cleaning and service that an operator wrote down once.

use super::kit::{SortKeys, Values, document, links, new_id};
use super::schema::Schema;
use super::served::{Call, Served};
use super::version::{Allowed, Since, Version};
use crate::app::App;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::ids::RunbookId;
use corten_model::refusal::Refusal;
use corten_operations::metal::{Narrow, runbook, traits};
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

impl Served for Runbook {
    const SCHEMA: Schema = Schema {
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
    const SORT_KEYS: SortKeys = &[
        ("name", "name"),
        ("owner", "owner"),
        ("public", "public"),
        ("description", "/description"),
        ("disable_ramdisk", "/disable_ramdisk"),
    ];

    fn document(&self, base: &str) -> Map<String, Value> {
        let Self {
            id,
            name,
            description,
            steps,
            traits,
            public,
            owner,
            disable_ramdisk,
            standard,
        } = self;
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

    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal> {
        let mut values = Values(document);
        let mut standard = self.standard.clone();
        standard.extra = values.object("extra")?;
        Ok(Self {
            id: self.id,
            name: values.required_text("name")?,
            description: values.text("description")?,
            steps: values.list("steps")?,
            traits: self.traits.clone(),
            public: values.truth("public")?.unwrap_or_default(),
            owner: values.text("owner")?,
            disable_ramdisk: values.truth("disable_ramdisk")?.unwrap_or_default(),
            standard,
        })
    }
}

async fn index(call: Call, _: Allowed<92>) -> Answer<Json<Value>> {
    let listing = call.listing_of::<Runbook>(false)?;
    let mut narrow = Narrow::default();
    if let Some(owner) = call.params.get("owner").or(call.params.get("project")) {
        narrow.0.push(("owner", vec![owner.to_owned()]));
    }
    let public = call.params.truth("public")?;
    let found = runbook::list(call.cx(), &call.actor, narrow, public, &listing.page).await?;
    Ok(call.page_of(("runbooks", "runbooks"), &listing, &found))
}

async fn show(call: Call, _: Allowed<92>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = runbook::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(call.shown_of(&found)?)
}

/// Before it had traits of its own, a runbook's name was the trait of the nodes that it was for.
fn check_name(version: Version, name: &str) -> Result<(), Refusal> {
    if version.at_least(112) {
        return Ok(());
    }
    traits::check(name)
}

async fn create(
    call: Call,
    _: Allowed<92>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let owner = body.get("owner").and_then(Value::as_str);
    runbook::may_create(call.cx(), &call.actor, owner)?;
    let plain = Runbook {
        id: new_id(&body, RunbookId::random)?,
        name: String::new(),
        description: None,
        steps: Vec::new(),
        traits: BTreeSet::new(),
        public: false,
        owner: None,
        disable_ramdisk: false,
        standard: Standard::new(Object::new(), call.cx().now()),
    };
    let wanted = plain.edited(call.requested(&plain, body)?)?;
    check_name(call.version, &wanted.name)?;
    let made = runbook::create(call.cx(), &call.actor, wanted).await?;
    Ok(call.made(&made))
}

async fn update(
    call: Call,
    _: Allowed<92>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let edit = |before: &Runbook| {
        let wanted = call.patched(before, body)?;
        check_name(call.version, &wanted.name)?;
        Ok(wanted)
    };
    let changed = runbook::update(call.cx(), &call.actor, &call.ident(&id), edit).await?;
    Ok(call.whole(&changed))
}

async fn delete(call: Call, _: Allowed<92>, Path(id): Path<String>) -> Answer<StatusCode> {
    runbook::delete(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_traits(call: Call, _: Since<112>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = runbook::show(call.cx(), &call.actor, &call.ident(&id)).await?;
    Ok(Json(json!({ "traits": found.traits })))
}

async fn change_traits(
    call: &Call,
    id: &str,
    change: impl FnOnce(&mut BTreeSet<String>) -> Result<(), Refusal> + Send,
) -> Answer<StatusCode> {
    runbook::set_traits(call.cx(), &call.actor, &call.ident(id), change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_traits(
    call: Call,
    _: Since<112>,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    change_traits(&call, &id, |traits| {
        *traits = Values(body).texts("traits")?.into_iter().collect();
        Ok(())
    })
    .await
}

async fn clear_traits(call: Call, _: Since<112>, Path(id): Path<String>) -> Answer<StatusCode> {
    change_traits(&call, &id, |traits| {
        traits.clear();
        Ok(())
    })
    .await
}

async fn add_trait(
    call: Call,
    _: Since<112>,
    Path((id, word)): Path<(String, String)>,
) -> Answer<StatusCode> {
    change_traits(&call, &id, |traits| {
        traits.insert(word);
        Ok(())
    })
    .await
}

async fn remove_trait(
    call: Call,
    _: Since<112>,
    Path((id, word)): Path<(String, String)>,
) -> Answer<StatusCode> {
    change_traits(&call, &id, |traits| {
        traits.remove(&word);
        Ok(())
    })
    .await
}
