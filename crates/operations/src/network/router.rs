//! Routers: making, changing and removing them.

use super::access::{self, Narrow, list as visible, lock, owner};
use super::router_gateway::{self as gateway, WantedGateway};
use super::{commit, network, quota, router_routes as routes};
use crate::context::Context;
use corten_iam::action::network::{ROUTERS_OPERATE, ROUTERS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ProjectId, RouterId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::port::{self, FixedIp, Port};
use corten_store::network::router::{INTERFACE, Router};
use corten_store::network::subnet::Route;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct NewRouter {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub gateway: Option<WantedGateway>,
    pub zone_hints: Vec<String>,
    /// What Neutron's own agents offer was asked for: `ha` or `distributed`.
    pub agents: Option<&'static str>,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct RouterChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    /// `Some(None)`: no gateway.
    pub gateway: Option<Option<WantedGateway>>,
    pub routes: Option<Vec<Route>>,
    /// As in [`NewRouter`].
    pub agents: Option<&'static str>,
}

/// A router with what an answer shows of it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub router: Router,
    /// Its own on the external network.
    pub gateway_addresses: Vec<FixedIp>,
}

/// Makes routers, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewRouter>,
) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.write().await?;
    let (mut made, mut units) = (Vec::new(), BTreeSet::new());
    for new in new {
        let (router, changed) = insert(cx, actor, &mut tx, new).await?;
        made.push(router);
        units.extend(changed);
    }
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    show_all(&mut cx.store.read().await?, made).await
}

pub(super) async fn insert(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    new: NewRouter,
) -> Result<(Router, Vec<Unit>), Failure> {
    let NewRouter {
        project_id,
        name,
        description,
        enabled,
        gateway: wanted,
        zone_hints,
        agents,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, ROUTERS_WRITE)?;
    check_agents(cx, actor, &project, agents)?;
    quota::check(tx, cx, &project, quota::ROUTER, 1).await?;
    network::check_zones(cx, &zone_hints)?;
    let mut router = Router {
        id: RouterId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        enabled,
        gateway: None,
        routes: Vec::new(),
        flavor_id: None,
        zone_hints,
        default_route_bfd: false,
        default_route_ecmp: false,
    };
    record::insert(tx, &router).await?;
    let mut units = vec![Unit::Router(router.id)];
    if wanted.is_some() {
        units.extend(gateway::set(cx, actor, tx, &mut router, wanted).await?);
        record::update(tx, &router).await?;
    }
    Ok((router, units))
}

/// How a router is spread over hosts is the operator's to ask in Neutron, and the fabric's to decide here.
fn check_agents(
    cx: &Context,
    actor: &Actor,
    project: &ProjectId,
    asked: Option<&str>,
) -> Result<(), Refusal> {
    let Some(attribute) = asked else {
        return Ok(());
    };
    cx.policy
        .check(actor, ROUTERS_OPERATE, &Target::project(project))?;
    Err(Refusal::invalid(format!(
        "Unrecognized attribute(s) '{attribute}': the fabric spreads every router over the hosts by itself."
    )))
}

async fn show_all(tx: &mut Tx, routers: Vec<Router>) -> Result<Vec<Shown>, Failure> {
    let gateways = routers
        .iter()
        .filter_map(|router| router.gateway.as_ref())
        .map(|gateway| gateway.port_id.to_string());
    let ports: Vec<Port> = Query::new().any_of("id", gateways).all(tx).await?;
    let shown = routers.into_iter().map(|router| {
        let port = router.gateway.as_ref().map(|gateway| gateway.port_id);
        let held = ports.iter().find(|held| Some(held.id) == port);
        Shown {
            gateway_addresses: held.map(|port| port.addresses.clone()).unwrap_or_default(),
            router,
        }
    });
    Ok(shown.collect())
}

/// The routers that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = visible::<Router>(cx, actor, &mut tx, narrow).await?;
    show_all(&mut tx, found).await
}

pub async fn show(cx: &Context, actor: &Actor, id: RouterId) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let router = access::get::<Router>(cx, actor, &mut tx, id).await?;
    let mut shown = show_all(&mut tx, vec![router]).await?;
    Ok(shown.pop().ok_or_else(|| access::missing::<Router>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: RouterId,
    change: RouterChange,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut router = lock::<Router>(cx, actor, &mut tx, id).await?;
    let RouterChange {
        name,
        description,
        enabled,
        gateway: wanted,
        routes: asked,
        agents,
    } = change;
    check_agents(cx, actor, &router.standard.project_id, agents)?;
    let standard = &mut router.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    router.enabled = enabled.unwrap_or(router.enabled);
    let mut units = vec![Unit::Router(id)];
    if let Some(wanted) = wanted {
        units.extend(gateway::set(cx, actor, &mut tx, &mut router, wanted).await?);
    }
    if let Some(asked) = asked {
        routes::check(&mut tx, &router, &asked).await?;
        router.routes = asked;
    }
    save(cx, actor, tx, router, units).await
}

/// Writes a router that its owner changed, and answers how it is then.
pub(super) async fn save(
    cx: &Arc<Context>,
    actor: &Actor,
    mut tx: Tx,
    mut router: Router,
    mut units: Vec<Unit>,
) -> Result<Shown, Failure> {
    router.standard.touch(cx.now());
    record::update(&mut tx, &router).await?;
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await?;
    show(cx, actor, router.id).await
}

/// Removes a router that joins nothing, with its gateway.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: RouterId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut router = lock::<Router>(cx, actor, &mut tx, id).await?;
    let ports = port::of_device(&mut tx, &id.to_string()).await?;
    if let Some(port) = ports.iter().find(|port| port.device_owner == INTERFACE) {
        return Err(Refusal::conflict(format!(
            "Router {id} still has ports: remove its interfaces first, for example port {}.",
            port.id
        ))
        .named("RouterInUse")
        .into());
    }
    let mut units = gateway::set(cx, actor, &mut tx, &mut router, None).await?;
    units.push(Unit::Router(id));
    record::delete::<Router>(&mut tx, id).await?;
    commit(tx, cx, &actor.origin(), &units).await
}
