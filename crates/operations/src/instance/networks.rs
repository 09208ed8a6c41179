//! Which networks a new instance, or a new card of one, is joined to: what was asked for is checked, and becomes cards.
//!
//! What a create answers with 400 and what an attach answers with 404 or 409 is one rule here; each makes its own
//! answer of it.

use crate::context::Context;
use crate::network::{
    access, auto_allocated, ipam::Wanted, note, port::NewPort, port_check, quota,
};
use crate::quota::fixed_ips_limit;
use corten_iam::action::network::{NETWORKS_OPERATE, PORTS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, PortId, ProjectId, SecurityGroupId};
use corten_model::refusal::{Reason, Refusal};
use corten_store::instances::Nic;
use corten_store::network::network::Network;
use corten_store::network::port::{Address, Port};
use corten_store::network::rbac_policy;
use corten_store::network::security_group::{DEFAULT, SecurityGroup};
use corten_store::network::subnet;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// So many networks are named when one must be chosen.
const NAMED_MAX: usize = 5;

/// What a create says about networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Networks {
    /// Nothing: the one network that there is for the project, or none.
    #[default]
    Unsaid,
    /// No card at all.
    None,
    /// The one network that there is for the project, or else one that is made for it.
    Auto,
    These(Vec<Asked>),
}

/// One card that was asked for: on a network, or joined to a port that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub network_id: Option<NetworkId>,
    pub port_id: Option<PortId>,
    pub fixed_ip: Option<IpAddr>,
    pub tag: Option<String>,
}

/// The rules that creates and attaches answer in different ways.
pub mod rule {
    pub const AMBIGUOUS: &str = "NetworkAmbiguous";
    pub const ADDRESS_IN_USE: &str = "FixedIpAlreadyInUse";
}

/// Who asks, for whose instance.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub cx: &'a Arc<Context>,
    pub actor: &'a Actor,
    pub project: &'a ProjectId,
}

impl Asker<'_> {
    /// The cards of one instance. `groups` are for ports that are made.
    pub async fn cards(
        self,
        tx: &mut Tx,
        networks: &Networks,
        groups: &BTreeSet<SecurityGroupId>,
    ) -> Result<Vec<Nic>, Failure> {
        let target = Target::project(self.project);
        let cards = match networks {
            Networks::None => return Ok(Vec::new()),
            Networks::Unsaid => match self.the_one(tx).await? {
                Some(network) => vec![self.on(tx, &network, &Asked::default(), groups).await?],
                None => return Ok(Vec::new()),
            },
            Networks::Auto => {
                let network = self.auto(tx).await?;
                vec![self.on(tx, &network, &Asked::default(), groups).await?]
            }
            Networks::These(asked) => {
                let mut cards: Vec<Nic> = Vec::new();
                for asked in asked {
                    let card = self.one(tx, asked, groups).await?;
                    check_apart(&cards, &card)?;
                    cards.push(card);
                }
                cards
            }
        };
        self.cx.policy.check(self.actor, PORTS_WRITE, &target)?;
        Ok(cards)
    }

    async fn one(
        self,
        tx: &mut Tx,
        asked: &Asked,
        groups: &BTreeSet<SecurityGroupId>,
    ) -> Result<Nic, Failure> {
        if let Some(id) = asked.port_id {
            return self.given(tx, id, asked).await;
        }
        let network = match asked.network_id {
            Some(id) => access::get::<Network>(self.cx, self.actor, tx, id).await?,
            None => self.the_one(tx).await?.ok_or_else(|| {
                Refusal::invalid(format!(
                    "No specific network was requested and none are available for project '{}'.",
                    self.project
                ))
            })?,
        };
        self.on(tx, &network, asked, groups).await
    }

    /// The one network that there is, or the project's auto-allocated topology, which is made if it must be: "get me a
    /// network".
    async fn auto(self, tx: &mut Tx) -> Result<Network, Failure> {
        let Self { cx, actor, project } = self;
        if let Some(network) = self.the_one(tx).await? {
            return Ok(network);
        }
        let made = auto_allocated::get_in(cx, actor, tx, project).await;
        let (network, units) = made.map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.name == Some(auto_allocated::IMPOSSIBLE) => {
                Refusal::invalid(format!(
                    "Unable to automatically allocate a network for project {project}, which has none. {} Or make a \
                     network with a subnet, or ask for \"none\".",
                    refusal.message
                ))
                .into()
            }
            other => other,
        })?;
        note(tx, cx, &actor.origin(), &units).await?;
        access::get::<Network>(cx, actor, tx, network).await
    }

    /// The only network that the project may plug into, its own or shared with it.
    async fn the_one(self, tx: &mut Tx) -> Result<Option<Network>, Failure> {
        let shared = rbac_policy::granted(tx, "network", self.project).await?;
        let shared = shared
            .into_iter()
            .filter(|grant| grant.action == "access_as_shared")
            .map(|grant| grant.object_id);
        let mut found: Vec<Network> = Query::new()
            .equals_or_is("project_id", self.project, shared)
            .all(tx)
            .await?;
        if found.len() <= 1 {
            return Ok(found.pop());
        }
        let named = found
            .iter()
            .take(NAMED_MAX)
            .map(|network| format!("{} ({})", network.id, network.standard.name));
        let named: Vec<_> = named.collect();
        let more = match found.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Refusal::conflict(format!(
            "Multiple possible networks found, use a Network ID to be more specific: {}{more}.",
            named.join(", ")
        ))
        .named(rule::AMBIGUOUS)
        .into())
    }

    /// A card with a port of its own.
    async fn on(
        self,
        tx: &mut Tx,
        network: &Network,
        asked: &Asked,
        groups: &BTreeSet<SecurityGroupId>,
    ) -> Result<Nic, Failure> {
        let Self { cx, actor, project } = self;
        let operates = cx.policy.check(actor, NETWORKS_OPERATE, &Target::cloud());
        if network.external && !network.shared && operates.is_err() {
            return Err(Refusal::forbidden(format!(
                "It is not allowed to create an interface on external network {}. Have a floating IP of it lead to \
                 the server.",
                network.id
            ))
            .into());
        }
        if !access::may_use(cx, actor, tx, network, project).await? {
            return Err(access::missing::<Network>(network.id).into());
        }
        let subnets = subnet::of_network(tx, network.id).await?;
        if subnets.is_empty() {
            return Err(Refusal::invalid(format!(
                "Network {} requires a subnet in order to boot instances on.",
                network.id
            ))
            .into());
        }
        if !network.port_security && !groups.is_empty() {
            return Err(Refusal::invalid(format!(
                "Network requires port_security_enabled and subnet associated in order to apply security groups: \
                 network {} has no port security.",
                network.id
            ))
            .into());
        }
        if let Some(ip) = asked.fixed_ip {
            let wanted = NewPort {
                addresses: Some(vec![Wanted {
                    subnet_id: None,
                    ip_address: Some(ip),
                }]),
                ..NewPort::on(network.id)
            };
            port_check::asked(cx, actor, network, &wanted)?;
            let subnet = subnets.iter().find(|subnet| subnet.cidr.contains(&ip));
            let subnet = subnet.ok_or_else(|| {
                Refusal::invalid(format!(
                    "IP address {ip} is not a valid IP for any of the subnets of network {}.",
                    network.id
                ))
            })?;
            check_free(tx, Address::key(subnet.id, ip), ip).await?;
        }
        Ok(Nic {
            port_id: PortId::random(),
            network_id: network.id,
            own: true,
            fixed_ip: asked.fixed_ip,
            security_groups: groups.clone(),
            tag: asked.tag.clone(),
        })
    }

    /// A card that is joined to a port that is there.
    async fn given(self, tx: &mut Tx, id: PortId, asked: &Asked) -> Result<Nic, Failure> {
        let Self { cx, actor, project } = self;
        let found = access::lock::<Port>(cx, actor, tx, id).await;
        let port = found.map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.reason == Reason::NotFound => {
                Refusal::not_found(format!("Port id {id} could not be found.")).into()
            }
            other => other,
        })?;
        if port.standard.project_id != *project {
            return Err(Refusal::invalid(format!(
                "Port {id} not usable for the instance: it is another project's."
            ))
            .into());
        }
        if !port.device_id.is_empty() {
            return Err(in_use(id).into());
        }
        if port.addresses.is_empty() {
            return Err(Refusal::invalid(format!(
                "Port {id} requires a FixedIP in order to be used."
            ))
            .into());
        }
        Ok(Nic {
            port_id: id,
            network_id: port.network_id,
            own: false,
            fixed_ip: None,
            security_groups: BTreeSet::new(),
            tag: asked.tag.clone(),
        })
    }

    /// The groups of these names or ids. None named, or only the default one, is the default group.
    pub async fn groups(
        self,
        tx: &mut Tx,
        names: &[String],
    ) -> Result<BTreeSet<SecurityGroupId>, Failure> {
        let mut groups = BTreeSet::new();
        if names.iter().all(|name| name == DEFAULT) {
            return Ok(groups);
        }
        for name in names {
            groups.insert(self.group(tx, name).await?);
        }
        Ok(groups)
    }

    /// One group by its name or id.
    pub async fn group(self, tx: &mut Tx, name: &str) -> Result<SecurityGroupId, Failure> {
        let Self { cx, actor, project } = self;
        if let Ok(id) = name.parse::<SecurityGroupId>()
            && let Ok(group) = access::get::<SecurityGroup>(cx, actor, tx, id).await
        {
            return Ok(group.id);
        }
        let named: Vec<SecurityGroup> = Query::new()
            .equals("project_id", project)
            .equals("name", name)
            .all(tx)
            .await?;
        match named.as_slice() {
            [group] => Ok(group.id),
            [] => Err(Refusal::not_found(format!(
                "Security group {name} not found for project {project}."
            ))
            .into()),
            _ => Err(Refusal::conflict(format!(
                "Multiple security groups found matching '{name}'. Use an ID to be more specific."
            ))
            .into()),
        }
    }

    /// How many instances with these cards the project's quotas of ports and of addresses have room for; `None` for any
    /// number.
    pub async fn room(self, tx: &mut Tx, cards: &[Nic]) -> Result<Option<i64>, Failure> {
        let Self { cx, project, .. } = self;
        if cards.is_empty() {
            return Ok(None);
        }
        let limits = quota::limits(tx, cx, project).await?;
        let ports = limits.get(quota::PORT).copied().unwrap_or(-1);
        let new_ports = cards.iter().filter(|card| card.own).count() as i64;
        let mut room = None;
        if ports >= 0 && new_ports > 0 {
            let used = quota::used(tx, project, quota::PORT).await?;
            room = Some((ports - used).max(0) / new_ports);
        }
        let addresses = fixed_ips_limit(cx, tx, project).await?;
        if addresses >= 0 {
            let used = quota::fixed_ips(tx, project).await?;
            let here = (addresses - used).max(0) / cards.len() as i64;
            room = Some(room.map_or(here, |room: i64| room.min(here)));
        }
        Ok(room)
    }
}

/// The cards for one of several instances that are made alike: each has ports of its own.
pub fn for_instance(cards: &[Nic]) -> Vec<Nic> {
    let apart = |card: &Nic| Nic {
        port_id: if card.own {
            PortId::random()
        } else {
            card.port_id
        },
        ..card.clone()
    };
    cards.iter().map(apart).collect()
}

/// The 403 of a project without room for ports.
pub fn too_many_ports() -> Refusal {
    Refusal::over_quota(
        "Maximum number of ports exceeded: delete ports, or have the project's quotas of ports and of fixed IPs raised.",
    )
}

fn in_use(id: PortId) -> Refusal {
    Refusal::conflict(format!("Port {id} is still in use."))
}

/// Two cards share neither a port nor an address.
pub(super) fn check_apart(cards: &[Nic], card: &Nic) -> Result<(), Refusal> {
    for other in cards {
        if other.port_id == card.port_id {
            return Err(Refusal::invalid(format!(
                "Port {} is asked for twice: a port has one card.",
                card.port_id
            )));
        }
        let same_network = other.network_id == card.network_id;
        if same_network && card.fixed_ip.is_some() && other.fixed_ip == card.fixed_ip {
            return Err(Refusal::invalid(
                "Each card has an address of its own: the same fixed_ip is asked for twice.",
            ));
        }
        if card.tag.is_some() && other.tag == card.tag {
            return Err(Refusal::invalid(
                "Duplicate tags in the networks: each tag names one card.",
            ));
        }
    }
    Ok(())
}

async fn check_free(tx: &mut Tx, key: String, ip: IpAddr) -> Result<(), Failure> {
    let Some(held) = record::get::<Address>(tx, key).await? else {
        return Ok(());
    };
    let holder = record::get::<Port>(tx, held.port_id).await?;
    let device = holder.map(|port| port.device_id).unwrap_or_default();
    Err(Refusal::conflict(format!(
        "Fixed IP address {ip} is already in use on instance {device}."
    ))
    .named(rule::ADDRESS_IN_USE)
    .into())
}

/// The 400s of a create: what it names that is not there is a wrong request, not a missing page.
pub fn wrong_request(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal)
            if refusal.reason == Reason::NotFound || refusal.name == Some(rule::ADDRESS_IN_USE) =>
        {
            Refusal::invalid(refusal.message).into()
        }
        other => other,
    }
}
