//! A router's way out: its port on an external network.

use super::ipam::{self, Wanted};
use super::port::{self, NewPort};
use super::{access, bad_request, router_interface as interface};
use crate::context::Context;
use corten_iam::action::network::ROUTERS_OPERATE;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, ProjectId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::router::{GATEWAY, Gateway, Router};
use corten_store::network::subnet;
use corten_store::{Failure, Tx, record};
use std::sync::Arc;

/// The gateway that was asked for.
#[derive(Debug, Clone)]
pub struct WantedGateway {
    pub network_id: NetworkId,
    /// Absent: as it comes, which is on.
    pub snat: Option<bool>,
    /// Absent: the ones it has, or one of each family.
    pub addresses: Option<Vec<Wanted>>,
}

/// Gives the router this gateway, or none. The caller writes the router and notes the units beside its own.
pub(super) async fn set(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    router: &mut Router,
    wanted: Option<WantedGateway>,
) -> Result<Vec<Unit>, Failure> {
    let Some(wanted) = wanted else {
        return clear(cx, tx, router).await;
    };
    let network = check(cx, actor, tx, router, &wanted).await?;
    let is_same = |gateway: &&mut Gateway| gateway.network_id == network.id;
    let mut units = vec![Unit::Network(network.id)];
    let present = router.gateway.as_mut().filter(is_same);
    let port = match present {
        Some(gateway) => {
            let port = record::lock::<Port>(tx, gateway.port_id).await?;
            let port = port.ok_or_else(|| access::missing::<Port>(gateway.port_id))?;
            let addresses = wanted.addresses.as_deref();
            move_to(cx, tx, port, addresses.unwrap_or_default()).await?
        }
        None => {
            units.extend(clear(cx, tx, router).await?);
            let new = NewPort {
                device_id: router.id.to_string(),
                device_owner: GATEWAY.to_owned(),
                addresses: wanted.addresses,
                ..NewPort::on(network.id)
            };
            // The port is the operator's: no project has it.
            port::insert(cx, tx, &network, ProjectId::from(""), new).await?
        }
    };
    let subnets = port::subnets_of(tx, &port).await?;
    interface::check_apart(tx, router.id, &subnets, Some(port.id)).await?;
    router.gateway = Some(Gateway {
        network_id: network.id,
        port_id: port.id,
        snat: wanted.snat.unwrap_or(true),
        qos_policy_id: None,
    });
    Ok(units)
}

async fn move_to(
    cx: &Context,
    tx: &mut Tx,
    mut port: Port,
    wanted: &[Wanted],
) -> Result<Port, Failure> {
    if !wanted.is_empty() {
        port.addresses = ipam::change(tx, &port, wanted).await?;
        port.standard.touch(cx.now());
        record::update(tx, &port).await?;
    }
    Ok(port)
}

/// The network that was asked for, if the router may have such a gateway there.
async fn check(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    router: &Router,
    wanted: &WantedGateway,
) -> Result<Network, Failure> {
    if wanted.snat.is_some() || wanted.addresses.is_some() {
        let target = Target::project(&router.standard.project_id);
        cx.policy.check(actor, ROUTERS_OPERATE, &target)?;
    }
    let network = access::get::<Network>(cx, actor, tx, wanted.network_id).await?;
    if !network.external {
        return Err(bad_request(
            "router",
            format_args!("Network {} is not an external network", network.id),
        )
        .into());
    }
    let subnets = subnet::of_network(tx, network.id).await?;
    for ip in wanted
        .addresses
        .iter()
        .flatten()
        .filter_map(|wish| wish.ip_address)
    {
        if subnets.iter().any(|subnet| subnet.gateway == Some(ip)) {
            return Err(bad_request(
                "router",
                format_args!("External IP {ip} is the same as the gateway IP"),
            )
            .into());
        }
    }
    Ok(network)
}

async fn clear(cx: &Context, tx: &mut Tx, router: &mut Router) -> Result<Vec<Unit>, Failure> {
    let Some(gateway) = router.gateway.take() else {
        return Ok(Vec::new());
    };
    if let Some(example) = interface::floating_example(tx, router, None).await? {
        return Err(Refusal::conflict(format!(
            "Gateway cannot be updated for router {}, since a gateway to external network {} is required by one or \
             more floating IPs, for example {example}",
            router.id, gateway.network_id
        ))
        .named("RouterExternalGatewayInUseByFloatingIp")
        .into());
    }
    let Some(port) = record::get::<Port>(tx, gateway.port_id).await? else {
        return Ok(Vec::new());
    };
    for subnet in port::subnets_of(tx, &port).await? {
        interface::check_no_route(router, &subnet)?;
    }
    port::remove(cx, tx, &port).await
}
