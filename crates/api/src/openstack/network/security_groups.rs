//! `/security-groups`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use super::security_group_rules;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{ProjectId, SecurityGroupId};
use corten_model::refusal::Refusal;
use corten_operations::network::security_group::{
    self, NewSecurityGroup, SecurityGroupChange, Shown,
};
use corten_store::network::security_group::SecurityGroup;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/security-groups", get(index).post(create))
        .route(
            "/security-groups/{id}",
            get(show).put(update).delete(delete),
        )
}

const GROUPS: Collection<'static> = Collection {
    one: "security_group",
    many: "security_groups",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "stateful",
        "shared",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown) -> Value {
    let rules = shown.rules.iter().map(security_group_rules::view);
    let view = json!({
        "id": shown.group.id,
        "stateful": shown.group.stateful,
        "shared": shown.shared,
        "security_group_rules": rules.collect::<Vec<_>>(),
    });
    with_standard(view, &shown.group.standard)
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
    let found = security_group::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(GROUPS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<SecurityGroup, SecurityGroupId>(&id)?;
    let found = security_group::show(&app.cx, &actor, id).await?;
    Ok(GROUPS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateGroup {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    stateful: Option<bool>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateGroup {
    fn checked(self) -> Result<NewSecurityGroup, Refusal> {
        let Self {
            project_id,
            tenant_id,
            name,
            description,
            stateful,
            tags,
        } = self;
        Ok(NewSecurityGroup {
            project_id: kit::project(project_id, tenant_id)?,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            stateful: stateful.unwrap_or(true),
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateGroup>(body, "security_group", "security_groups")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateGroup::checked)
        .collect::<Result<_, _>>()?;
    let made = security_group::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(
        views,
        asked.is_bulk,
        "security_group",
        "security_groups",
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateGroup {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    stateful: Option<bool>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<SecurityGroup, SecurityGroupId>(&id)?;
    let UpdateGroup {
        name,
        description,
        stateful,
    } = kit::only(body, "security_group")?;
    let change = SecurityGroupChange {
        name: kit::text("name", name)?,
        description: kit::text("description", description)?,
        stateful,
    };
    let shown = security_group::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"security_group": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<SecurityGroup, SecurityGroupId>(&id)?;
    security_group::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
