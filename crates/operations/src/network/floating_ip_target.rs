//! Where a floating IP leads: which address of a port, and by which router.

use super::{access, bad_request, floating_ip::setting, port};
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_iam::policy::Target as PolicyTarget;
use corten_model::ids::{NetworkId, PortId, RouterId};
use corten_model::refusal::Refusal;
use corten_store::network::floating_ip::{FloatingIp, Target};
use corten_store::network::port::{FixedIp, Port};
use corten_store::network::port_forwarding;
use corten_store::network::router::{INTERFACE, Router};
use corten_store::{Error, Failure, Query, Tx, record};
use std::net::IpAddr;

/// Points a floating IP at an address of a port, and writes it.
pub(super) async fn lead(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    floating: &mut FloatingIp,
    id: PortId,
    address: Option<IpAddr>,
) -> Result<(), Failure> {
    let port = reachable(cx, actor, tx, floating, id).await?;
    check_no_forwarding(tx, floating).await?;
    let inside = inside(&port, address)?;
    let forwards = port_forwarding::of_port(tx, id).await?;
    let is_forwarded = |address| forwards.iter().any(|row| row.internal_address == address);
    if is_forwarded(inside.ip_address) {
        return Err(Refusal::conflict(format!(
            "Cannot associate floating IP {} ({}) with port {id} using fixed IP {}, as that port already has a Port \
             Forwarding resource.",
            floating.address, floating.id, inside.ip_address
        ))
        .named("PortHasPortForwarding")
        .into());
    }
    floating.target = Some(Target {
        port_id: id,
        address: inside.ip_address,
        router_id: router_to(tx, &port, inside, floating.network_id).await?,
    });
    match record::update(tx, floating).await {
        Ok(_) => Ok(()),
        Err(Error::Exists { .. }) => Err(taken(floating, id, inside.ip_address).into()),
        Err(error) => Err(error.into()),
    }
}

/// The port, if whoever has the floating IP may point at it.
pub(super) async fn reachable(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    floating: &FloatingIp,
    id: PortId,
) -> Result<Port, Failure> {
    let port = access::get::<Port>(cx, actor, tx, id).await?;
    let project = &port.standard.project_id;
    let may = cx
        .policy
        .check(actor, setting(cx), &PolicyTarget::project(project))
        .is_ok();
    if !may || (*project != floating.standard.project_id && !actor.is_admin()) {
        return Err(bad_request(
            "floatingip",
            format_args!(
                "Port {id} is associated with a different tenant than Floating IP {} and therefore cannot be bound",
                floating.id
            ),
        )
        .into());
    }
    Ok(port)
}

/// The IPv4 address of a port that is meant.
pub(super) fn inside(port: &Port, address: Option<IpAddr>) -> Result<FixedIp, Refusal> {
    let mut of_ipv4 = port
        .addresses
        .iter()
        .filter(|fixed| fixed.ip_address.is_ipv4());
    if let Some(address) = address {
        let found = of_ipv4.find(|fixed| fixed.ip_address == address);
        return found.copied().ok_or_else(|| {
            bad_request(
                "floatingip",
                format_args!("Port {} does not have fixed ip {address}", port.id),
            )
        });
    }
    match (of_ipv4.next(), of_ipv4.next()) {
        (Some(fixed), None) => Ok(*fixed),
        (None, _) => Err(bad_request(
            "floatingip",
            format_args!(
                "Cannot add floating IP to port {} that has no fixed IPv4 addresses",
                port.id
            ),
        )),
        (Some(_), Some(_)) => Err(bad_request(
            "floatingip",
            format_args!(
                "Port {} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a \
                 floating IP",
                port.id
            ),
        )),
    }
}

/// The router that joins the port's subnet to the external network; the subnet's own gateway before others. It is
/// locked, so that it keeps both until this is written.
pub(super) async fn router_to(
    tx: &mut Tx,
    port: &Port,
    inside: FixedIp,
    external: NetworkId,
) -> Result<RouterId, Failure> {
    let found = way_out(tx, port, inside, |network| network == external).await?;
    let (router, _) = found.ok_or_else(|| {
        Refusal::not_found(format!(
            "External network {external} is not reachable from subnet {}. Therefore, cannot associate Port {} with a \
             Floating IP.",
            inside.subnet_id, port.id
        ))
        .named("ExternalGatewayForFloatingIPNotFound")
    })?;
    Ok(router)
}

/// A router that joins the port's subnet to an external network that will do, and that network; the subnet's own
/// gateway before others. The router is locked.
pub(super) async fn way_out(
    tx: &mut Tx,
    port: &Port,
    inside: FixedIp,
    will_do: impl Fn(NetworkId) -> bool,
) -> Result<Option<(RouterId, NetworkId)>, Failure> {
    let interfaces: Vec<Port> = Query::new()
        .equals("network_id", &port.network_id)
        .equals("device_owner", INTERFACE)
        .all(tx)
        .await?;
    let subnets = port::subnets_of(tx, port).await?;
    let gateway = subnets
        .iter()
        .find(|subnet| subnet.id == inside.subnet_id)
        .and_then(|subnet| subnet.gateway);
    let mut joined: Vec<(bool, RouterId)> = Vec::new();
    for interface in &interfaces {
        let own = interface
            .addresses
            .iter()
            .find(|fixed| fixed.subnet_id == inside.subnet_id);
        if let (Some(own), Ok(router)) = (own, interface.device_id.parse()) {
            joined.push((Some(own.ip_address) != gateway, router));
        }
    }
    joined.sort_unstable();
    for (_, id) in joined {
        let router: Option<Router> = record::lock(tx, id).await?;
        let gateway = router.and_then(|router| router.gateway);
        if let Some(gateway) = gateway.filter(|gateway| will_do(gateway.network_id)) {
            return Ok(Some((id, gateway.network_id)));
        }
    }
    Ok(None)
}

/// A floating IP leads to one port as a whole, or some of its ports to several.
pub(super) async fn check_no_forwarding(tx: &mut Tx, floating: &FloatingIp) -> Result<(), Failure> {
    let forwards = port_forwarding::of_floating_ip(tx, floating.id).await?;
    if forwards.is_empty() {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "Floating IP {} in use by Port Forwarding resources.",
        floating.id
    ))
    .named("FipInUseByPortForwarding")
    .into())
}

pub(super) fn taken(floating: &FloatingIp, port: PortId, address: IpAddr) -> Refusal {
    Refusal::conflict(format!(
        "Cannot associate floating IP {} ({}) with port {port} using fixed IP {address}, as that fixed IP already has \
         a floating IP on external network {}.",
        floating.address, floating.id, floating.network_id
    ))
    .named("FloatingIPPortAlreadyAssociated")
}
