//! A router's own routes, beside those of the subnets that it joins.

use super::access::lock;
use super::{port, router};
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::ids::RouterId;
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::router::Router;
use corten_store::network::subnet::Route;
use corten_store::{Failure, Tx};
use std::sync::Arc;

/// As many as Neutron allows.
const ROUTES_MAX: usize = 30;

/// Every next hop is a station of a subnet that the router joins, and not the router itself.
pub(super) async fn check(tx: &mut Tx, router: &Router, routes: &[Route]) -> Result<(), Failure> {
    if routes.len() > ROUTES_MAX {
        return Err(Refusal::invalid(format!(
            "Unable to complete operation for {}. The number of routes exceeds the maximum {ROUTES_MAX}.",
            router.id
        ))
        .named("RoutesExhausted")
        .into());
    }
    let (mut own, mut reached) = (Vec::new(), Vec::new());
    for port in corten_store::network::port::of_device(tx, &router.id.to_string()).await? {
        own.extend(port.addresses.iter().map(|fixed| fixed.ip_address));
        let subnets = port::subnets_of(tx, &port).await?;
        reached.extend(subnets.into_iter().map(|subnet| subnet.cidr));
    }
    for (index, route) in routes.iter().enumerate() {
        let refuse = |reason: &str| Err(invalid(route, reason).into());
        if route.destination.addr().is_ipv4() != route.nexthop.is_ipv4() {
            return refuse("destination and nexthop are not of one family");
        }
        if routes[..index].contains(route) {
            return refuse("it comes twice");
        }
        if !reached.iter().any(|range| range.contains(&route.nexthop)) {
            return refuse("the nexthop is not connected with router");
        }
        if own.contains(&route.nexthop) {
            return refuse("the nexthop is used by router");
        }
    }
    Ok(())
}

fn invalid(route: &Route, reason: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid format for routes: {} via {}, {reason}.",
        route.destination, route.nexthop
    ))
    .named("InvalidRoutes")
}

/// Adds routes; those that are there stay.
pub async fn add(
    cx: &Arc<Context>,
    actor: &Actor,
    id: RouterId,
    routes: Vec<Route>,
) -> Result<router::Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut router = lock::<Router>(cx, actor, &mut tx, id).await?;
    for route in routes {
        if !router.routes.contains(&route) {
            router.routes.push(route);
        }
    }
    check(&mut tx, &router, &router.routes).await?;
    router::save(cx, actor, tx, router, vec![Unit::Router(id)]).await
}

/// Takes routes away; those that are not there are none.
pub async fn remove(
    cx: &Arc<Context>,
    actor: &Actor,
    id: RouterId,
    routes: &[Route],
) -> Result<router::Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut router = lock::<Router>(cx, actor, &mut tx, id).await?;
    router.routes.retain(|route| !routes.contains(route));
    router::save(cx, actor, tx, router, vec![Unit::Router(id)]).await
}
