//! Public IPs of an instance, as the compute API of old has them: one that the project holds leads to the instance, or
//! no longer does.

use super::{interface, query};
use crate::context::Context;
use crate::network::Narrow;
use crate::network::floating_ip::{self, FloatingIpChange, Shown};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::refusal::{Reason, Refusal};
use corten_store::Failure;
use corten_store::network::port::Port;
use std::net::IpAddr;
use std::sync::Arc;

/// The floating IP with this address, if the actor sees it.
async fn find(cx: &Context, actor: &Actor, address: IpAddr) -> Result<Shown, Failure> {
    let narrow = Narrow(vec![("address", vec![address.to_string()])]);
    let mut found = floating_ip::list(cx, actor, narrow).await?;
    Ok(found
        .pop()
        .ok_or_else(|| Refusal::not_found(format!("floating IP not found: {address}")))?)
}

/// Has a floating IP lead to an instance: to this address of it, or to its first of IPv4.
pub async fn lead(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
    fixed: Option<IpAddr>,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    let found = find(cx, actor, address).await?;
    let interfaces = interface::list(cx, actor, id).await?;
    let addressed = |port: &Port| -> Option<IpAddr> {
        let mut own = port.addresses.iter().map(|fixed| fixed.ip_address);
        own.find(|ip| fixed.map_or(ip.is_ipv4(), |fixed| *ip == fixed))
    };
    let target = interfaces
        .iter()
        .find_map(|interface| Some((interface.port.id, addressed(&interface.port)?)));
    let Some((port, fixed)) = target else {
        return Err(Refusal::invalid(match fixed {
            Some(fixed) => {
                format!("Specified fixed address {fixed} not assigned to instance {id}.")
            }
            None => format!("No fixed IPs associated to instance {id}."),
        })
        .into());
    };
    let change = FloatingIpChange {
        port_id: Some(Some(port)),
        fixed_address: Some(fixed),
        ..FloatingIpChange::default()
    };
    let led = floating_ip::update(cx, actor, found.floating.id, change).await;
    led.map_err(|failure| match failure {
        // An address that another public IP leads to is a wrong request to Nova.
        Failure::Refused(refusal) if refusal.reason == Reason::Conflict => {
            Refusal::invalid(refusal.message).into()
        }
        other => other,
    })?;
    Ok(())
}

/// Has a floating IP lead to an instance no longer.
pub async fn part(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    let found = find(cx, actor, address).await?;
    let leads_here = |port: &Port| port.device_id == id.to_string();
    if !found.port.as_ref().is_some_and(leads_here) {
        return Err(Refusal::conflict(format!(
            "Floating IP {address} is not associated with instance {id}."
        ))
        .into());
    }
    let change = FloatingIpChange {
        port_id: Some(None),
        ..FloatingIpChange::default()
    };
    floating_ip::update(cx, actor, found.floating.id, change).await?;
    Ok(())
}
