//! Who may take a port away, and what keeps one in place.

use super::access::{self, lock};
use super::network::SERVICE_OWNER;
use crate::context::Context;
use corten_iam::action::network::NETWORKS_WRITE;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::PortId;
use corten_model::refusal::Refusal;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::{floating_ip::OWNER as FLOATING_OWNER, router, trunk};
use corten_store::{Failure, Tx, record};

/// A port goes by its owner, or by the owner of its network.
pub(super) async fn lock_for_removal(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: PortId,
) -> Result<Port, Failure> {
    let port = access::get::<Port>(cx, actor, tx, id).await?;
    let network: Option<Network> = record::get(tx, port.network_id).await?;
    let is_networks_owner = network.is_some_and(|network| {
        let owner = Target::project(&network.standard.project_id);
        cx.policy.check(actor, NETWORKS_WRITE, &owner).is_ok()
    });
    if !is_networks_owner {
        return lock(cx, actor, tx, id).await;
    }
    let port = record::lock::<Port>(tx, id).await?;
    Ok(port.ok_or_else(|| access::missing::<Port>(id))?)
}

pub(super) async fn refuse_if_needed(tx: &mut Tx, port: &Port) -> Result<(), Failure> {
    let kept_for = match port.device_owner.as_str() {
        router::INTERFACE | router::GATEWAY | FLOATING_OWNER => {
            Some(format!("has device owner {}", port.device_owner))
        }
        SERVICE_OWNER => Some("serves its network, and goes with it".to_owned()),
        _ => None,
    };
    if let Some(reason) = kept_for {
        return Err(Refusal::conflict(format!(
            "Port {} cannot be deleted directly via the port API: {reason}.",
            port.id
        ))
        .named("ServicePortInUse")
        .into());
    }
    if let Some(trunk) = trunk::of_parent(tx, port.id).await? {
        return Err(Refusal::conflict(format!(
            "Port {} is currently a parent port for trunk {}.",
            port.id, trunk.id
        ))
        .named("PortInUseAsTrunkParent")
        .into());
    }
    if port.device_owner == trunk::SUB_PORT_OWNER {
        return Err(super::trunk::is_sub_port(tx, port.id).await?.into());
    }
    Ok(())
}

/// How to have a port go from its network, for people whom it is in the way of.
pub(super) fn what_to_do(port: &Port) -> String {
    let (id, device) = (port.id, &port.device_id);
    match port.device_owner.as_str() {
        router::INTERFACE => format!(
            "It is an interface of router {device}: remove it from the router first (`openstack router remove port \
             {device} {id}`)."
        ),
        router::GATEWAY => format!(
            "It is the external gateway of router {device}: clear that first (`openstack router unset \
             --external-gateway {device}`)."
        ),
        FLOATING_OWNER => {
            let address = port.addresses.first().map(|fixed| fixed.ip_address);
            let which = address.map_or_else(|| device.clone(), |address| address.to_string());
            format!(
                "It holds floating IP {which}, which is in use: delete its port forwardings, if it has any, and then \
                 the floating IP (`openstack floating ip delete {which}`)."
            )
        }
        trunk::SUB_PORT_OWNER => {
            "It is a subport of a trunk: remove it from the trunk (`openstack network trunk unset --subport`), and \
             delete it first."
                .to_owned()
        }
        owner if owner.starts_with("compute:") => format!(
            "It is a port of server {device}: detach it (`openstack server remove port {device} {id}`) or delete the \
             server first; delete the port too if it stays."
        ),
        _ => format!("Delete that port first (`openstack port delete {id}`)."),
    }
}
