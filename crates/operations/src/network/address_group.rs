//! Address groups: making, changing and removing them. Rules that name one follow its addresses.

use super::access::{Lendable, Narrow, lock, owner};
use super::rbac_policy::{self, Shown};
use super::{commit, invalid_input, quota};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::ADDRESS_GROUPS_WRITE;
use corten_iam::actor::Actor;
use corten_model::ids::{AddressGroupId, ProjectId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::security_group::Rule;
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewAddressGroup {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, Default)]
pub struct AddressGroupChange {
    pub name: Option<String>,
    pub description: Option<String>,
}

#[async_trait]
impl Lendable for AddressGroup {
    const OBJECT_TYPE: &'static str = "address_group";

    /// Whose rules name it.
    async fn users(&self, tx: &mut Tx, _: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        let rules = rules_naming(tx, self.id).await?;
        Ok(rules
            .into_iter()
            .map(|rule| rule.standard.project_id)
            .collect())
    }
}

async fn rules_naming(tx: &mut Tx, id: AddressGroupId) -> Result<Vec<Rule>, Failure> {
    let naming = Query::new().equals("remote_address_group_id", &id);
    Ok(naming.all(tx).await?)
}

/// Makes groups, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewAddressGroup>,
) -> Result<Vec<Shown<AddressGroup>>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        let NewAddressGroup {
            project_id,
            name,
            description,
            addresses,
        } = new;
        let project = owner(cx, actor, project_id, ADDRESS_GROUPS_WRITE)?;
        quota::check(&mut tx, cx, &project, quota::ADDRESS_GROUP, 1).await?;
        let group = AddressGroup {
            id: AddressGroupId::random(),
            standard: Standard::new(project, name, description, cx.now()),
            addresses: sorted(addresses),
        };
        record::insert(&mut tx, &group).await?;
        made.push(group);
    }
    let units: Vec<_> = made
        .iter()
        .map(|group| Unit::AddressGroup(group.id))
        .collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    rbac_policy::shown(&mut cx.store.read().await?, actor, made).await
}

/// Each once, without bits of hosts.
fn sorted(addresses: Vec<IpNet>) -> Vec<IpNet> {
    let addresses: BTreeSet<IpNet> = addresses.iter().map(IpNet::trunc).collect();
    addresses.into_iter().collect()
}

/// The groups that the actor sees.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Shown<AddressGroup>>, Failure> {
    rbac_policy::list_shown(cx, actor, narrow).await
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: AddressGroupId,
) -> Result<Shown<AddressGroup>, Failure> {
    rbac_policy::get_shown(cx, actor, id).await
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: AddressGroupId,
    change: AddressGroupChange,
) -> Result<Shown<AddressGroup>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut group = lock::<AddressGroup>(cx, actor, &mut tx, id).await?;
    let AddressGroupChange { name, description } = change;
    let standard = &mut group.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    keep(cx, actor, tx, group).await
}

async fn keep(
    cx: &Arc<Context>,
    actor: &Actor,
    mut tx: Tx,
    mut group: AddressGroup,
) -> Result<Shown<AddressGroup>, Failure> {
    group.standard.touch(cx.now());
    record::update(&mut tx, &group).await?;
    let units = [Unit::AddressGroup(group.id)];
    let shown = rbac_policy::shown_one(&mut tx, actor, group).await?;
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(shown)
}

pub async fn add_addresses(
    cx: &Arc<Context>,
    actor: &Actor,
    id: AddressGroupId,
    more: Vec<IpNet>,
) -> Result<Shown<AddressGroup>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut group = lock::<AddressGroup>(cx, actor, &mut tx, id).await?;
    if more.is_empty() {
        return Err(invalid_input("addresses: there is none to add").into());
    }
    group.addresses.extend(more);
    group.addresses = sorted(group.addresses);
    keep(cx, actor, tx, group).await
}

/// Takes addresses out; all of them must be in the group.
pub async fn remove_addresses(
    cx: &Arc<Context>,
    actor: &Actor,
    id: AddressGroupId,
    gone: Vec<IpNet>,
) -> Result<Shown<AddressGroup>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut group = lock::<AddressGroup>(cx, actor, &mut tx, id).await?;
    let gone = sorted(gone);
    let absent: Vec<String> = gone
        .iter()
        .filter(|address| !group.addresses.contains(address))
        .map(ToString::to_string)
        .collect();
    if !absent.is_empty() {
        return Err(Refusal::not_found(format!(
            "Addresses {} not found in the address group {id}.",
            absent.join(", ")
        ))
        .named("AddressesNotFound")
        .into());
    }
    group.addresses.retain(|address| !gone.contains(address));
    keep(cx, actor, tx, group).await
}

/// Removes a group that no rule names.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: AddressGroupId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let group = lock::<AddressGroup>(cx, actor, &mut tx, id).await?;
    if let Some(rule) = rules_naming(&mut tx, id).await?.first() {
        return Err(Refusal::conflict(format!(
            "Address group {id} is in use on one or more security group rules, for example {}.",
            rule.id
        ))
        .named("AddressGroupInUse")
        .into());
    }
    rbac_policy::forget(&mut tx, &group).await?;
    record::delete::<AddressGroup>(&mut tx, id).await?;
    commit(tx, cx, &actor.origin(), &[Unit::AddressGroup(id)]).await
}
