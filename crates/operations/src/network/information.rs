//! What the cloud tells about its networks as a whole: free addresses, zones and the hosts that carry them.

use super::access::{Narrow, list as visible, missing, sees_all};
use super::network::SERVICE_OWNER;
use super::subnet_check::capacity;
use crate::context::Context;
use corten_iam::action::network::{AGENTS_READ, INFO_READ};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
pub use corten_network::Chassis;
use corten_store::network::network::Network;
use corten_store::network::port;
use corten_store::network::subnet::{self, Subnet};
use corten_store::{Failure, Tx, record};

/// How many addresses a network has, and how many of them are given.
#[derive(Debug, Clone)]
pub struct Availability {
    pub network: Network,
    pub subnets: Vec<SubnetAvailability>,
}

#[derive(Debug, Clone)]
pub struct SubnetAvailability {
    pub subnet: Subnet,
    pub total: u128,
    pub used: u128,
}

impl Availability {
    pub fn total(&self) -> u128 {
        let totals = self.subnets.iter().map(|subnet| subnet.total);
        totals.fold(0, u128::saturating_add)
    }

    pub fn used(&self) -> u128 {
        self.subnets.iter().map(|subnet| subnet.used).sum()
    }
}

/// What changes hosts, and how full networks are, is the operator's business.
pub fn check_operator(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, AGENTS_READ, &Target::cloud())
}

/// Availability of the networks, for operators.
pub async fn availabilities(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Availability>, Failure> {
    check_operator(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let networks = visible::<Network>(cx, actor, &mut tx, narrow).await?;
    let mut found = Vec::new();
    for network in networks {
        found.push(availability_in(&mut tx, network).await?);
    }
    Ok(found)
}

pub async fn availability(
    cx: &Context,
    actor: &Actor,
    id: NetworkId,
) -> Result<Availability, Failure> {
    check_operator(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let network = record::get::<Network>(&mut tx, id).await?;
    availability_in(&mut tx, network.ok_or_else(|| missing::<Network>(id))?).await
}

/// What the cloud itself holds of a subnet is not counted, nor are addresses beside the pools.
async fn availability_in(tx: &mut Tx, network: Network) -> Result<Availability, Failure> {
    let own: Vec<_> = port::of_network(tx, network.id)
        .await?
        .into_iter()
        .filter(|port| port.device_owner == SERVICE_OWNER)
        .map(|port| port.id)
        .collect();
    let mut subnets = Vec::new();
    for subnet in subnet::of_network(tx, network.id).await? {
        let given = port::addresses_of_subnet(tx, subnet.id).await?;
        let used = given.iter().filter(|row| !own.contains(&row.port_id));
        subnets.push(SubnetAvailability {
            total: capacity(&subnet.pools),
            used: used.count() as u128,
            subnet,
        });
    }
    Ok(Availability { network, subnets })
}

/// The zone that networks and routers are in.
pub fn zone<'a>(cx: &'a Context, actor: &Actor) -> Result<&'a str, Refusal> {
    cx.policy.check(actor, INFO_READ, &Target::cloud())?;
    Ok(&cx.settings.compute.default_availability_zone)
}

/// The hosts that carry networks, for operators; others see none.
pub async fn hosts(cx: &Context, actor: &Actor) -> Result<Vec<Chassis>, Failure> {
    if !sees_all(cx, actor) {
        return Ok(Vec::new());
    }
    cx.fabric.chassis().await.map_err(|error| {
        Refusal::unavailable(format!(
            "The fabric cannot be asked for its hosts: {}.",
            crate::error_text(&error)
        ))
        .into()
    })
}
