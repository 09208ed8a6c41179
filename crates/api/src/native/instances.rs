//! `/v1/instances`: servers of both classes in the catalogue's words, what may be done to them, and their timelines.

use super::public_ips::{self, PublicIp};
use super::{Refusals, limit, new_instance};
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::action::compute::SERVERS_READ_HOST;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, InstanceClass, find};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::instance::capability::legal_commands;
use corten_operations::instance::{history, list as lists, public_ip, query};
use corten_store::Failure;
use corten_store::instances::Instance;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::transitions::Transition;
use serde::Serialize;
use utoipa::ToSchema;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/instances", get(list).post(new_instance::create))
        .route("/instances/{id}", get(show))
        .route("/instances/{id}/timeline", get(timeline))
}

/// A server: a virtual machine or a whole bare-metal machine.
#[derive(Serialize, ToSchema)]
#[schema(as = Instance)]
pub(super) struct View {
    id: String,
    name: String,
    project_id: String,
    user_id: String,
    /// `vm` or `metal`.
    class: &'static str,
    /// The catalogue's word.
    state: &'static str,
    /// The state in a sentence.
    meaning: &'static str,
    #[schema(format = DateTime)]
    state_since: String,
    /// Whether the meter runs.
    billed: bool,
    /// What is legal now.
    commands: Vec<&'static str>,
    flavor: FlavorView,
    image_id: Option<String>,
    key_name: Option<String>,
    /// Those that lead to it.
    public_ips: Vec<PublicIp>,
    locked: bool,
    /// The latest trouble, for people.
    fault: Option<String>,
    /// Where it is, by name; only for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    launched_at: Option<String>,
}

/// The flavor as it was when the instance got it.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceFlavor)]
struct FlavorView {
    id: String,
    name: String,
    vcpus: i64,
    memory_mib: i64,
    root_gib: i64,
    ephemeral_gib: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneInstance)]
pub(super) struct One {
    instance: View,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ManyInstances)]
pub(super) struct Many {
    instances: Vec<View>,
    /// Send it as `marker` for the next page; null on the last.
    next: Option<String>,
}

/// One change of state.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceChange)]
struct Change {
    #[schema(format = DateTime)]
    at: String,
    /// Null for the first.
    from: Option<String>,
    to: String,
    /// What caused it, for people.
    why: String,
    /// How long it was in `from`, in seconds.
    lasted_secs: f64,
    /// Whether the meter runs in `to`.
    billed: bool,
    /// Who asked for it; null for the system itself.
    user_id: Option<String>,
    request_id: String,
    operation_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Timeline {
    /// Oldest first.
    timeline: Vec<Change>,
}

/// Instances as their users see them.
pub(super) async fn views(
    app: &App,
    actor: &Actor,
    instances: &[Instance],
) -> Result<Vec<View>, Failure> {
    let sees_hosts = sees_hosts(app, actor);
    let mut leading = public_ip::of(&app.cx, instances).await?;
    let views = instances.iter().map(|instance| {
        let leading = leading.remove(&instance.id).unwrap_or_default();
        view(instance, leading, sees_hosts)
    });
    Ok(views.collect())
}

fn view(instance: &Instance, leading: Vec<FloatingIp>, sees_hosts: bool) -> View {
    let (class, state) = (instance.class, instance.state);
    let display = state.display(class);
    let intent = &instance.intent;
    View {
        id: instance.id.to_string(),
        name: intent.name.clone(),
        project_id: instance.project_id.to_string(),
        user_id: instance.user_id.to_string(),
        class: class.as_str(),
        state: display.as_str(),
        meaning: find(class, display).map_or("", |row| row.meaning),
        state_since: instance.state_since.micros_z(),
        billed: state.billed(class),
        commands: legal_commands(class, state)
            .into_iter()
            .map(Command::as_str)
            .collect(),
        flavor: FlavorView {
            id: intent.flavor.id.to_string(),
            name: intent.flavor.name.clone(),
            vcpus: intent.flavor.vcpus,
            memory_mib: intent.flavor.memory_mib,
            root_gib: intent.flavor.root_gib,
            ephemeral_gib: intent.flavor.ephemeral_gib,
        },
        image_id: intent.image.as_ref().map(|image| image.id.to_string()),
        key_name: intent.key.as_ref().map(|key| key.name.clone()),
        public_ips: leading.iter().map(public_ips::view).collect(),
        locked: intent.locked.is_some(),
        fault: instance.fault.as_ref().map(|fault| fault.message.clone()),
        host: instance.host_name.clone().filter(|_| sees_hosts),
        created_at: instance.created_at.micros_z(),
        launched_at: instance.launched_at.map(Timestamp::micros_z),
    }
}

fn change(class: InstanceClass, transition: Transition) -> Change {
    let Transition {
        id: _,
        at,
        subject_kind: _,
        subject_id: _,
        project_id: _,
        from,
        to,
        why,
        origin,
        lasted_micros,
    } = transition;
    let billed = to
        .parse()
        .is_ok_and(|state| corten_model::lifecycle::billing::is_billed(class, state));
    Change {
        at: at.micros_z(),
        from,
        to,
        why,
        lasted_secs: lasted_micros as f64 / 1e6,
        billed,
        user_id: origin.user_id.map(|id| id.to_string()),
        request_id: origin.request_id.to_string(),
        operation_id: origin.operation_id.map(|id| id.to_string()),
    }
}

pub(super) fn parse_id(text: &str) -> Result<InstanceId, Refusal> {
    text.parse().map_err(|_| query::missing(text))
}

fn sees_hosts(app: &App, actor: &Actor) -> bool {
    app.cx
        .policy
        .check(actor, SERVERS_READ_HOST, &Target::cloud())
        .is_ok()
}

/// The instances of your project, newest first.
#[utoipa::path(
    get,
    path = "/v1/instances",
    tag = "instances",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1000 by default."),
        ("marker" = Option<String>, Query, description = "The last instance of the page before."),
        ("all_projects" = Option<bool>, Query, description = "Of every project; for administrators."),
    ),
    responses((status = 200, description = "A page of them.", body = Many), Refusals),
    security(("token" = []))
)]
pub(super) async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Many>> {
    let (all, limit) = (params.truth("all_projects")?, limit(&params)?);
    let marker = params.get("marker").map(parse_id).transpose()?;
    let all = all.unwrap_or(false);
    let found = lists::newest(&app.cx, &actor, all, marker, limit).await?;
    let is_full = limit > 0 && found.len() == limit;
    let last = found.last().map(|instance| instance.id.to_string());
    Ok(Json(Many {
        instances: views(&app, &actor, &found).await?,
        next: last.filter(|_| is_full),
    }))
}

/// One instance.
#[utoipa::path(
    get,
    path = "/v1/instances/{id}",
    tag = "instances",
    params(("id" = String, Path, description = "The instance.")),
    responses((status = 200, description = "The instance.", body = One), Refusals),
    security(("token" = []))
)]
pub(super) async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<One>> {
    let found = query::show(&app.cx, &actor, parse_id(&id)?).await?;
    let leading = public_ip::of(&app.cx, std::slice::from_ref(&found)).await?;
    let leading = leading.into_values().flatten().collect();
    Ok(Json(One {
        instance: view(&found, leading, sees_hosts(&app, &actor)),
    }))
}

/// Every state that an instance was in, also one that is deleted.
#[utoipa::path(
    get,
    path = "/v1/instances/{id}/timeline",
    tag = "instances",
    params(("id" = String, Path, description = "The instance.")),
    responses((status = 200, description = "Its changes of state.", body = Timeline), Refusals),
    security(("token" = []))
)]
pub(super) async fn timeline(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Timeline>> {
    let (instance, log) = history::timeline(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(Json(Timeline {
        timeline: log
            .into_iter()
            .map(|transition| change(instance.class, transition))
            .collect(),
    }))
}
