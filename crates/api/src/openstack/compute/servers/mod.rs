//! `/servers`: instances as Nova shows them.
//!
//! [`create`] and [`actions`] take requests in, [`view`] writes servers out; every other file is one sub-resource.

mod actions;
mod console;
mod create;
mod fields;
mod instance_actions;
mod list;
mod metadata;
mod rebuild;
mod tags;
mod view;

use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::Sent;
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
use corten_operations::instance::{command, edit, query};
use corten_store::Failure;
use corten_store::instances::Instance;
use serde::Deserialize;
use serde_json::{Value, json};
use view::{Mode, Viewer};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/servers", get(list::list).post(create::create))
        .route("/servers/detail", get(list::detail))
        .route("/servers/{id}", get(show).put(update).delete(delete))
        .route("/servers/{id}/action", post(actions::act))
        .route("/servers/{id}/ips", get(ips))
        .route("/servers/{id}/ips/{network}", get(ips_of_network))
        .route("/servers/{id}/os-security-groups", get(security_groups))
        .route("/servers/{id}/os-interface", get(interfaces))
        .route("/servers/{id}/os-volume_attachments", get(volume_attachments))
        .route("/servers/{id}/os-server-password", get(password).delete(clear_password))
        .merge(metadata::routes())
        .merge(tags::routes())
        .merge(instance_actions::routes())
        .merge(console::routes())
}

/// A server's id in a path. A name or nonsense is a 404, as every lookup by name first tries it as an id.
fn parse_id(text: &str) -> Result<InstanceId, Failure> {
    text.parse().map_err(|_| query::missing(text).into())
}

async fn find(app: &App, actor: &Actor, id: &str) -> Result<Instance, Failure> {
    query::show(&app.cx, actor, parse_id(id)?).await
}

/// What this caller may see of servers beyond their owner's view.
fn viewer<'a>(app: &App, actor: &Actor, mv: Microversion, base: &'a str) -> Viewer<'a> {
    let target = corten_iam::policy::Target::cloud();
    let sees_hosts = app.cx.policy.check(actor, compute::SERVERS_READ_HOST, &target).is_ok();
    let zone = app.cx.settings.compute.default_availability_zone.clone();
    Viewer { mv, base, sees_hosts, default_zone: zone }
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let instance = find(&app, &actor, &id).await?;
    Ok(Json(json!({"server": viewer(&app, &actor, mv, &base).server(&instance, Mode::Show)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    server: UpdateFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFields {
    name: Option<String>,
    #[serde(default)]
    description: Sent<String>,
    hostname: Option<String>,
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: Option<String>,
    #[serde(rename = "accessIPv4", default)]
    access_ip_v4: Sent<String>,
    #[serde(rename = "accessIPv6", default)]
    access_ip_v6: Sent<String>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<UpdateBody>,
) -> Answer<Json<Value>> {
    let UpdateFields { name, description, hostname, disk_config, access_ip_v4, access_ip_v6 } = body.server;
    mv.takes_from(19, "description", description.is_sent())?;
    mv.takes_from(90, "hostname", hostname.is_some())?;
    let change = edit::Update {
        name: name.map(|name| fields::server_name(mv, &name)).transpose()?,
        description: fields::description(description)?,
        hostname: hostname.map(|hostname| fields::hostname(mv, &hostname)).transpose()?,
        disk_config: disk_config.map(fields::disk_config).transpose()?,
        access_ip_v4: fields::address("accessIPv4", access_ip_v4)?,
        access_ip_v6: fields::address("accessIPv6", access_ip_v6)?,
    };
    let instance = edit::update(&app.cx, &actor, parse_id(&id)?, change).await?;
    Ok(Json(json!({"server": viewer(&app, &actor, mv, &base).server(&instance, Mode::Update)})))
}

async fn delete(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    command::delete(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn ips(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"addresses": {}})))
}

async fn ips_of_network(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, network)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Err(corten_model::refusal::Refusal::not_found(format!("Network '{network}': server {id} has no network.")).into())
}

async fn security_groups(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"security_groups": []})))
}

async fn interfaces(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"interfaceAttachments": []})))
}

async fn volume_attachments(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"volumeAttachments": []})))
}

/// The encrypted password a guest posted to the metadata service: none, as there is no such service without networks.
async fn password(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<Json<Value>> {
    find(&app, &actor, &id).await?;
    Ok(Json(json!({"password": ""})))
}

async fn clear_password(State(app): State<App>, Caller(actor): Caller, Path(id): Path<String>) -> Answer<Response> {
    find(&app, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
