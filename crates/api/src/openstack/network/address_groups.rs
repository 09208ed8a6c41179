//! `/address-groups`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::ids::{AddressGroupId, ProjectId};
use corten_model::refusal::Refusal;
use corten_operations::network::address_group::{self, AddressGroupChange, NewAddressGroup};
use corten_operations::network::rbac_policy::Shown;
use corten_store::network::address_group::AddressGroup;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/address-groups", get(index).post(create))
        .route("/address-groups/{id}", get(show).put(update).delete(delete))
        .route("/address-groups/{id}/add_addresses", put(add))
        .route("/address-groups/{id}/remove_addresses", put(remove))
}

const GROUPS: Collection<'static> = Collection {
    one: "address_group",
    many: "address_groups",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "shared",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown<AddressGroup>) -> Value {
    let view = json!({
        "id": shown.resource.id,
        "addresses": shown.resource.addresses,
        "shared": shown.shared,
    });
    let mut view = with_standard(view, &shown.resource.standard);
    if let Value::Object(fields) = &mut view {
        fields.remove("tags");
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = address_group::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(GROUPS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<AddressGroup, AddressGroupId>(&id)?;
    let found = address_group::show(&app.cx, &actor, id).await?;
    Ok(GROUPS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateGroup {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
}

impl CreateGroup {
    fn checked(self) -> Result<NewAddressGroup, Refusal> {
        let Self {
            project_id,
            tenant_id,
            name,
            description,
            addresses,
        } = self;
        Ok(NewAddressGroup {
            project_id: kit::project(project_id, tenant_id)?,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            addresses: kit::ranges("addresses", &addresses)?,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateGroup>(body, "address_group", "address_groups")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateGroup::checked)
        .collect::<Result<_, _>>()?;
    let made = address_group::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(
        views,
        asked.is_bulk,
        "address_group",
        "address_groups",
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateGroup {
    name: Option<String>,
    description: Option<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<AddressGroup, AddressGroupId>(&id)?;
    let UpdateGroup { name, description } = kit::only(body, "address_group")?;
    let change = AddressGroupChange {
        name: kit::text("name", name)?,
        description: kit::text("description", description)?,
    };
    let shown = address_group::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"address_group": view(&shown)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addresses {
    addresses: Vec<String>,
}

async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Addresses { addresses }): Body<Addresses>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<AddressGroup, AddressGroupId>(&id)?;
    let more = kit::ranges("addresses", &addresses)?;
    let shown = address_group::add_addresses(&app.cx, &actor, id, more).await?;
    Ok(Json(json!({"address_group": view(&shown)})))
}

async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Addresses { addresses }): Body<Addresses>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<AddressGroup, AddressGroupId>(&id)?;
    let gone = kit::ranges("addresses", &addresses)?;
    let shown = address_group::remove_addresses(&app.cx, &actor, id, gone).await?;
    Ok(Json(json!({"address_group": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<AddressGroup, AddressGroupId>(&id)?;
    address_group::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
