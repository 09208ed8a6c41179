//! `/servers`: instances as Nova shows them.
//!
//! [`create`] and [`actions`] take requests in, [`view`] writes servers out; every other file is one sub-resource.

mod actions;
mod block_devices;
mod capture;
mod console;
mod create;
pub(crate) mod fields;
mod hints;
mod instance_actions;
mod interface_actions;
mod interfaces;
mod list;
mod metadata;
mod networks;
mod rebuild;
mod reshape;
mod tags;
mod view;

use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::{self, Sent};
use crate::openstack::compute::microversion::Microversion;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_operations::instance::{addresses, capability, command, edit, query};
use corten_store::Failure;
use corten_store::instances::Instance;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use view::{Mode, Viewer};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/servers", get(list::list).post(create::create))
        .route("/servers/detail", get(list::detail))
        .route("/servers/{id}", get(show).put(update).delete(delete))
        .route("/servers/{id}/action", post(actions::act))
        .route(
            "/servers/{id}/os-volume_attachments",
            get(volume_attachments).fallback(no_volumes),
        )
        .route(
            "/servers/{id}/os-server-password",
            get(password).delete(clear_password),
        )
        .merge(metadata::routes())
        .merge(tags::routes())
        .merge(instance_actions::routes())
        .merge(interfaces::routes())
        .merge(console::routes())
        .merge(reshape::routes())
}

/// A server's id in a path. A name or nonsense is a 404, as every lookup by name first tries it as an id.
fn parse_id(text: &str) -> Result<InstanceId, Failure> {
    text.parse().map_err(|_| query::missing(text).into())
}

async fn find(app: &App, actor: &Actor, id: &str) -> Result<Instance, Failure> {
    query::show(&app.cx, actor, parse_id(id)?).await
}

/// What this caller may see of these servers, beyond their owner's view too.
async fn viewer<'a>(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &'a str,
    shown: &[Instance],
) -> Result<Viewer<'a>, Failure> {
    let target = corten_iam::policy::Target::cloud();
    let sees_hosts = app
        .cx
        .policy
        .check(actor, compute::SERVERS_READ_HOST, &target)
        .is_ok();
    let host_statuses = match sees_hosts && mv.at_least(16) {
        true => query::host_statuses(&app.cx).await?,
        false => HashMap::new(),
    };
    let default_zone = app.cx.settings.compute.default_availability_zone.clone();
    Ok(Viewer {
        mv,
        base,
        sees_hosts,
        host_statuses,
        default_zone,
        wirings: addresses::of(&app.cx, shown).await?,
    })
}

/// The body that shows one server.
async fn server(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &str,
    instance: &Instance,
    mode: Mode,
) -> Answer<Json<Value>> {
    let viewer = viewer(app, actor, mv, base, std::slice::from_ref(instance)).await?;
    Ok(Json(json!({"server": viewer.server(instance, mode)})))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let instance = find(&app, &actor, &id).await?;
    server(&app, &actor, mv, &base, &instance, Mode::Show).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    #[serde(deserialize_with = "fields::object")]
    server: UpdateFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFields {
    #[serde(default, deserialize_with = "fields::given")]
    name: Option<String>,
    #[serde(default)]
    description: Sent<String>,
    #[serde(default, deserialize_with = "fields::given")]
    hostname: Option<String>,
    #[serde(
        rename = "OS-DCF:diskConfig",
        default,
        deserialize_with = "fields::given"
    )]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4", default, deserialize_with = "fields::given")]
    access_ip_v4: Option<String>,
    #[serde(rename = "accessIPv6", default, deserialize_with = "fields::given")]
    access_ip_v6: Option<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    let UpdateFields {
        name,
        description,
        hostname,
        disk_config,
        access_ip_v4,
        access_ip_v6,
    } = body.server;
    mv.takes_from(19, "description", description.is_sent())?;
    mv.takes_from(90, "hostname", hostname.is_some())?;
    let change = edit::Update {
        name: name.map(|name| input::name("name", &name)).transpose()?,
        description: fields::description(description)?,
        hostname: hostname
            .map(|hostname| fields::hostname(mv, &hostname))
            .transpose()?,
        disk_config: disk_config.map(fields::disk_config).transpose()?,
        access_ip_v4: access_ip_v4
            .map(|text| fields::address_v4(&text))
            .transpose()?,
        access_ip_v6: access_ip_v6
            .map(|text| fields::address_v6(&text))
            .transpose()?,
    };
    let instance = edit::update(&app.cx, &actor, parse_id(&id)?, change).await?;
    server(&app, &actor, mv, &base, &instance, Mode::Update).await
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    command::delete(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn volume_attachments(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"volumeAttachments": []})))
}

/// There are no volumes yet, so no method attaches one; a whole server lacks what would show it.
async fn no_volumes(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    capability::check(&app.cx, &actor, parse_id(&id)?, Command::AttachVolume).await?;
    Ok(StatusCode::METHOD_NOT_ALLOWED)
}

/// The encrypted password that a guest posted to the metadata service.
async fn password(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let instance = find(&app, &actor, &id).await?;
    let password = instance.guest_password.unwrap_or_default();
    Ok(Json(json!({"password": password})))
}

async fn clear_password(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Response> {
    edit::clear_guest_password(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
