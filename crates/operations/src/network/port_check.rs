//! What makes a port a good one, and what only the owner of its network, or an administrator, may ask for.

use super::domain_name::is_name;
use super::invalid_input;
use super::network::SERVICE_OWNER;
use super::port::{NewPort, PortChange};
use crate::context::Context;
use corten_iam::action::network::{NETWORKS_OPERATE, NETWORKS_WRITE, PORTS_BIND};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ProjectId, RouterId};
use corten_model::refusal::Refusal;
use corten_network::plan::Mac;
use corten_store::network::floating_ip;
use corten_store::network::network::Network;
use corten_store::network::port::{AllowedPair, DhcpOption, Port};
use corten_store::network::router::{self, Router};
use corten_store::network::security_group::SecurityGroup;
use corten_store::{Failure, Tx, record};

/// As many as Neutron allows.
const PAIRS_MAX: usize = 10;
/// What a port can be plugged into here.
const VNIC_TYPES: [&str; 2] = ["normal", "baremetal"];

pub(super) fn mac(text: &str) -> Result<Mac, Refusal> {
    let mac: Mac = text
        .parse()
        .map_err(|error| invalid_input(format!("mac_address: {error}")))?;
    if mac.is_multicast() || mac.0 == [0; 6] {
        return Err(invalid_input(format!(
            "mac_address: '{text}' is no address of a station"
        )));
    }
    Ok(mac)
}

/// On a network of another project, a port takes what it is given.
pub(crate) fn asked(
    cx: &Context,
    actor: &Actor,
    network: &Network,
    new: &NewPort,
) -> Result<(), Refusal> {
    let owner = Target::project(&network.standard.project_id);
    let chooses_address = new
        .addresses
        .iter()
        .flatten()
        .any(|wanted| wanted.ip_address.is_some());
    let is_owners_choice = new.mac_address.is_some()
        || chooses_address
        || new.port_security == Some(false)
        || !new.allowed_pairs.is_empty()
        || new.device_owner.starts_with("network:");
    if is_owners_choice {
        cx.policy.check(actor, NETWORKS_WRITE, &owner)?;
    }
    if is_clouds_word(&new.device_owner) {
        cx.policy.check(actor, NETWORKS_OPERATE, &Target::cloud())?;
    }
    if new.binding_asked() {
        cx.policy.check(actor, PORTS_BIND, &Target::cloud())?;
    }
    Ok(())
}

/// Device owners of ports that the cloud makes for itself.
pub(super) fn is_clouds_word(owner: &str) -> bool {
    [SERVICE_OWNER, floating_ip::OWNER, router::GATEWAY].contains(&owner)
}

/// A port that the cloud plugged in stays where it is: unplugged from its router it would be a guest's port without
/// port security.
pub(super) fn moves(port: &Port, change: &PortChange) -> Result<(), Refusal> {
    let is_clouds = is_clouds_word(&port.device_owner) || port.device_owner == router::INTERFACE;
    let differs = |new: &Option<String>, old: &str| new.as_ref().is_some_and(|new| new != old);
    if is_clouds
        && (differs(&change.device_owner, &port.device_owner)
            || differs(&change.device_id, &port.device_id))
    {
        return Err(Refusal::conflict(format!(
            "Port {} has device owner {}: what it is plugged into is not changed by the port API.",
            port.id, port.device_owner
        ))
        .named("PortInUse"));
    }
    Ok(())
}

/// What joins a router is its project's: nobody plugs a network into another's. The gateway's port is the operator's.
pub(super) async fn device(
    tx: &mut Tx,
    project: &ProjectId,
    device_id: &str,
    device_owner: &str,
) -> Result<(), Failure> {
    if !device_owner.starts_with("network:router_") || project.as_str().is_empty() {
        return Ok(());
    }
    // Compared as ids: an id has several spellings.
    let Ok(id) = device_id.parse::<RouterId>() else {
        return Ok(());
    };
    let router: Option<Router> = record::get(tx, id).await?;
    match router.filter(|router| router.standard.project_id != *project) {
        None => Ok(()),
        Some(_) => Err(Refusal::conflict(format!(
            "The following device_id {device_id} is not owned by your tenant or matches another tenants router."
        ))
        .named("DeviceIDNotOwnedByTenant")
        .into()),
    }
}

/// A port remembers what it allowed, or it does not.
pub(super) fn one_kind(groups: &[SecurityGroup]) -> Result<(), Refusal> {
    let is_mixed = groups
        .windows(2)
        .any(|pair| pair[0].stateful != pair[1].stateful);
    if !is_mixed {
        return Ok(());
    }
    Err(Refusal::conflict(
        "Cannot apply both stateful and stateless security groups on the same port at the same time.",
    )
    .named("SecurityGroupConflict"))
}

pub(super) fn vnic_type(wanted: &str) -> Result<(), Refusal> {
    if VNIC_TYPES.contains(&wanted) {
        return Ok(());
    }
    Err(invalid_input(format!(
        "binding:vnic_type '{wanted}' is not offered: this cloud has {}",
        VNIC_TYPES.join(", ")
    )))
}

/// Groups and pairs are enforced by port security: without it there are none.
pub(super) fn guarded(port: &Port) -> Result<(), Refusal> {
    if port.port_security {
        return Ok(());
    }
    if !port.security_groups.is_empty() {
        return Err(Refusal::conflict(
            "Port security must be enabled and port must have an IP address in order to use security groups.",
        )
        .named("PortSecurityAndIPRequiredForSecurityGroups"));
    }
    if !port.allowed_pairs.is_empty() {
        return Err(Refusal::conflict(
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        )
        .named("AddressPairAndPortSecurityRequired"));
    }
    Ok(())
}

pub(super) fn pairs(pairs: &[AllowedPair]) -> Result<(), Refusal> {
    if pairs.len() > PAIRS_MAX {
        return Err(Refusal::invalid(format!(
            "Exceeded maximum amount of allowed address pairs: {} were given, at most {PAIRS_MAX} are kept.",
            pairs.len()
        ))
        .named("AllowedAddressPairExhausted"));
    }
    for (index, pair) in pairs.iter().enumerate() {
        if let Some(text) = &pair.mac_address {
            mac(text)?;
        }
        if pairs[..index].contains(pair) {
            return Err(Refusal::invalid(format!(
                "Request contains duplicate address pair: {} {}.",
                pair.mac_address.as_deref().unwrap_or("(the port's own)"),
                pair.ip_address
            ))
            .named("DuplicateAddressPairInRequest"));
        }
    }
    Ok(())
}

/// An empty name or value would tell a guest nothing.
pub(super) fn dhcp_options(options: &[DhcpOption]) -> Result<(), Refusal> {
    for (index, option) in options.iter().enumerate() {
        if option.name.trim().is_empty() {
            return Err(
                Refusal::invalid("extra_dhcp_opts: opt_name is empty.").named("HTTPBadRequest")
            );
        }
        // Names and values become part of the fabric's flows.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-:/,{}\"".contains(c);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !option.name.chars().all(is_word) || !option.value.chars().all(is_plain) {
            return Err(Refusal::invalid(format!(
                "extra_dhcp_opts: '{}' has a character that the fabric does not take: a name is of letters, digits, \
                 '_' and '-', a value also of spaces and . : / , {{ }} \".",
                option.name
            ))
            .named("HTTPBadRequest"));
        }
        let is_same =
            |other: &DhcpOption| other.name == option.name && other.ip_version == option.ip_version;
        if options[..index].iter().any(is_same) {
            return Err(Refusal::invalid(format!(
                "extra_dhcp_opts: '{}' comes twice.",
                option.name
            ))
            .named("HTTPBadRequest"));
        }
    }
    Ok(())
}

/// A label, or a name with dots; the network's domain is put behind it.
pub(crate) fn dns_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || is_name(name) {
        return Ok(());
    }
    Err(invalid_input(format!(
        "dns_name '{name}' is not a host's name: labels of 1 to 63 letters, digits and '-', joined by dots"
    )))
}
