//! The actions that change a server's size or give its host back, and those that would move it; and the migrations that
//! are under way, of which there are none.

use super::actions::Action;
use super::{create, fields, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::openstack::compute::input::{Sent, Truth, WordOrNumber};
use crate::openstack::compute::microversion::Microversion;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_iam::action::compute;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_operations::instance::query;
use corten_operations::instance::reshape::{self, Unshelve};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/migrations", get(migrations))
        .route(
            "/servers/{id}/migrations/{migration}",
            get(migration).delete(migration),
        )
        .route(
            "/servers/{id}/migrations/{migration}/action",
            post(migration),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    #[serde(rename = "flavorRef")]
    flavor_ref: WordOrNumber,
    #[serde(
        rename = "OS-DCF:diskConfig",
        default,
        deserialize_with = "fields::given"
    )]
    disk_config: Option<String>,
}

/// From 2.91 on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnshelveAnywhere {
    #[serde(default)]
    availability_zone: Sent<String>,
    #[serde(default, deserialize_with = "fields::given")]
    host: Option<String>,
}

/// From 2.77 on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnshelveInZone {
    availability_zone: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Migrate {
    #[serde(default)]
    host: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MigrateLive {
    host: Option<String>,
    block_migration: BlockMigration,
    #[serde(default, deserialize_with = "fields::given")]
    disk_over_commit: Option<Truth>,
    #[serde(default, deserialize_with = "fields::given")]
    force: Option<Truth>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BlockMigration {
    Chosen(#[expect(dead_code, reason = "neither way is possible yet")] Truth),
    Word(String),
}

fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

pub(super) async fn resize(action: &Action<'_>) -> Answer<Response> {
    let Resize {
        flavor_ref,
        disk_config,
    } = action.arguments()?;
    let flavor = create::flavor_id(flavor_ref)?;
    let disk_config = disk_config.map(fields::disk_config).transpose()?;
    reshape::resize(
        &action.app.cx,
        action.actor,
        action.id,
        &flavor,
        disk_config,
    )
    .await?;
    Ok(accepted())
}

/// The one action that answers 204.
pub(super) async fn confirm(action: &Action<'_>) -> Answer<Response> {
    reshape::confirm_resize(&action.app.cx, action.actor, action.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn revert(action: &Action<'_>) -> Answer<Response> {
    reshape::revert_resize(&action.app.cx, action.actor, action.id).await?;
    Ok(accepted())
}

pub(super) async fn shelve(action: &Action<'_>) -> Answer<Response> {
    reshape::shelve(&action.app.cx, action.actor, action.id).await?;
    Ok(accepted())
}

pub(super) async fn offload(action: &Action<'_>) -> Answer<Response> {
    reshape::offload(&action.app.cx, action.actor, action.id).await?;
    Ok(accepted())
}

pub(super) async fn unshelve(action: &Action<'_>) -> Answer<Response> {
    let wanted = unshelve_to(action)?;
    reshape::unshelve(&action.app.cx, action.actor, action.id, wanted).await?;
    Ok(accepted())
}

/// Before 2.77 the value means nothing, whatever it is.
fn unshelve_to(action: &Action<'_>) -> Result<Unshelve, Refusal> {
    if !action.mv.at_least(77) {
        return Ok(Unshelve::default());
    }
    if !action.mv.at_least(91) {
        let zone = action
            .arguments_or_null::<UnshelveInZone>()?
            .map(|given| Some(given.availability_zone));
        return Ok(Unshelve {
            availability_zone: zone,
            host: None,
        });
    }
    let Some(UnshelveAnywhere {
        availability_zone,
        host,
    }) = action.arguments_or_null()?
    else {
        return Ok(Unshelve::default());
    };
    let availability_zone = match availability_zone {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(zone) => Some(Some(zone)),
    };
    Ok(Unshelve {
        availability_zone,
        host,
    })
}

/// Before 2.56 the value means nothing, whatever it is.
pub(super) async fn migrate(action: &Action<'_>) -> Answer<Response> {
    let host = if action.mv.at_least(56) {
        action
            .arguments_or_null::<Migrate>()?
            .and_then(|to| to.host)
    } else {
        None
    };
    move_to(action, Command::Migrate, host).await
}

pub(super) async fn migrate_live(action: &Action<'_>) -> Answer<Response> {
    let mv = action.mv;
    let MigrateLive {
        host,
        block_migration,
        disk_over_commit,
        force,
    } = action.arguments()?;
    mv.takes_until(24, "disk_over_commit", disk_over_commit.is_some())?;
    mv.takes_from(30, "force", force.is_some())?;
    mv.takes_until(67, "force", force.is_some())?;
    if !mv.at_least(25) && disk_over_commit.is_none() {
        return Err(Refusal::invalid("'disk_over_commit' is a required property").into());
    }
    match &block_migration {
        BlockMigration::Chosen(_) => {}
        BlockMigration::Word(word) if word == "auto" && mv.at_least(25) => {}
        BlockMigration::Word(word) => {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute block_migration. Value: {word}. It is true or false, or from 2.25 \
                 on auto"
            ))
            .into());
        }
    }
    if force.is_some_and(|force| force.0) && host.is_none() {
        return Err(Refusal::invalid("Can't force to a non-provided destination").into());
    }
    move_to(action, Command::LiveMigrate, host).await
}

async fn move_to(action: &Action<'_>, command: Command, host: Option<String>) -> Answer<Response> {
    let host = host
        .map(|name| fields::domain_name("host", &name))
        .transpose()?;
    reshape::migrate(&action.app.cx, action.actor, action.id, command, host).await?;
    Ok(accepted())
}

/// The live migrations of a server that are under way.
async fn migrations(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_from(23)?;
    let id = parse_id(&id)?;
    may_see(&app, &actor, id).await?;
    Ok(Json(json!({"migrations": []})))
}

async fn may_see(app: &App, actor: &corten_iam::actor::Actor, id: InstanceId) -> Answer<()> {
    let instance = query::show(&app.cx, actor, id).await?;
    query::permit(&app.cx, actor, &instance, compute::SERVERS_MANAGE)?;
    Ok(())
}

/// Shows, aborts or forces one, if it is under way.
async fn migration(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, migration)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    mv.exists_from(22)?;
    let id = parse_id(&id)?;
    may_see(&app, &actor, id).await?;
    Err(Refusal::not_found(format!(
        "In-progress live migration {migration} is not found for server {id}."
    ))
    .into())
}
