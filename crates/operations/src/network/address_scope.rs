//! Address scopes: making, changing and removing them.

use super::access::{Lendable, Narrow, lock, owner};
use super::rbac_policy::{self, SHARED, Shown, is_everyones};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::{ADDRESS_SCOPES_WRITE, SHARE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{AddressScopeId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::network::Standard;
use corten_store::network::address_scope::AddressScope;
use corten_store::network::rbac_policy::RbacPolicy;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct NewAddressScope {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub shared: bool,
    /// 4 or 6.
    pub ip_version: u8,
}

#[derive(Debug, Clone, Default)]
pub struct AddressScopeChange {
    pub name: Option<String>,
    pub shared: Option<bool>,
}

#[async_trait]
impl Lendable for AddressScope {
    const OBJECT_TYPE: &'static str = "address_scope";

    fn follow(&mut self, grants: &[RbacPolicy]) {
        self.shared = is_everyones(grants, SHARED);
    }

    async fn users(&self, tx: &mut Tx, _: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        let pools = pools_of(tx, self.id).await?;
        Ok(pools
            .into_iter()
            .map(|pool| pool.standard.project_id)
            .collect())
    }
}

pub(super) async fn pools_of(tx: &mut Tx, id: AddressScopeId) -> Result<Vec<SubnetPool>, Failure> {
    Ok(Query::new().equals("address_scope_id", &id).all(tx).await?)
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    new: NewAddressScope,
) -> Result<Shown<AddressScope>, Failure> {
    let mut tx = cx.store.write().await?;
    let NewAddressScope {
        project_id,
        name,
        shared,
        ip_version,
    } = new;
    let project = owner(cx, actor, project_id, ADDRESS_SCOPES_WRITE)?;
    if shared {
        cx.policy.check(actor, SHARE, &Target::cloud())?;
    }
    let scope = AddressScope {
        id: AddressScopeId::random(),
        standard: Standard::new(project, name, String::new(), cx.now()),
        shared,
        ip_version,
    };
    record::insert(&mut tx, &scope).await?;
    rbac_policy::set_everyone(&mut tx, &scope, SHARED, shared).await?;
    let shown = rbac_policy::shown_one(&mut tx, actor, scope).await?;
    tx.commit().await?;
    Ok(shown)
}

/// The address scopes that the actor sees.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Shown<AddressScope>>, Failure> {
    rbac_policy::list_shown(cx, actor, narrow).await
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: AddressScopeId,
) -> Result<Shown<AddressScope>, Failure> {
    rbac_policy::get_shown(cx, actor, id).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    id: AddressScopeId,
    change: AddressScopeChange,
) -> Result<Shown<AddressScope>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut scope = lock::<AddressScope>(cx, actor, &mut tx, id).await?;
    let AddressScopeChange { name, shared } = change;
    if let Some(shared) = shared {
        cx.policy.check(actor, SHARE, &Target::cloud())?;
        if scope.shared && !shared {
            return Err(Refusal::invalid(format!(
                "Unable to update address scope {id} : Shared address scope can't be unshared."
            ))
            .named("AddressScopeUpdateError")
            .into());
        }
        scope.shared = shared;
        rbac_policy::set_everyone(&mut tx, &scope, SHARED, shared).await?;
    }
    let standard = &mut scope.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.touch(cx.now());
    record::update(&mut tx, &scope).await?;
    let shown = rbac_policy::shown_one(&mut tx, actor, scope).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Removes an address scope that no subnet pool is in.
pub async fn delete(cx: &Context, actor: &Actor, id: AddressScopeId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let scope = lock::<AddressScope>(cx, actor, &mut tx, id).await?;
    if let Some(pool) = pools_of(&mut tx, id).await?.first() {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the \
             address scope, for example {}.",
            pool.id
        ))
        .named("AddressScopeInUse")
        .into());
    }
    rbac_policy::forget(&mut tx, &scope).await?;
    record::delete::<AddressScope>(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}
