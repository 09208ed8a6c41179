//! Who sees and who may change a resource. What an actor does not see does not exist for them.

use super::Narrow as Narrowed;
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::{Action, network as action};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_store::network::Resource;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::address_scope::AddressScope;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::port_forwarding::PortForwarding;
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::rbac_policy::{self, RbacPolicy};
use corten_store::network::router::Router;
use corten_store::network::security_group::{Rule, SecurityGroup};
use corten_store::network::subnet::Subnet;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::network::trunk::Trunk;
use corten_store::{Failure, Query, Record, Tx, record};
use std::collections::BTreeSet;

/// What a list is narrowed to before it is read: columns, each with the values it may have.
#[derive(Debug, Clone, Default)]
pub struct Narrow(pub Vec<(&'static str, Vec<String>)>);

/// Which actions govern a resource, and who sees it beside its owner.
#[async_trait]
pub trait Access: Resource {
    const READ: Action;
    const WRITE: Action;

    /// What a project sees although it belongs to another.
    async fn lent(_: &mut Tx, _: &ProjectId) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
}

macro_rules! owned {
    ($($type:ty: $read:ident, $write:ident;)*) => {$(
        impl Access for $type {
            const READ: Action = action::$read;
            const WRITE: Action = action::$write;
        }
    )*};
}

owned! {
    Router: ROUTERS_READ, ROUTERS_WRITE;
    FloatingIp: FLOATING_IPS_READ, FLOATING_IPS_WRITE;
    PortForwarding: FLOATING_IPS_READ, FLOATING_IPS_WRITE;
    Trunk: TRUNKS_READ, TRUNKS_WRITE;
}

/// A resource that RBAC policies lend to other projects.
#[async_trait]
pub trait Lendable: Access {
    /// As policies call it.
    const OBJECT_TYPE: &'static str;

    /// Writes down what follows from its policies, where its row says it too.
    fn follow(&mut self, _: &[RbacPolicy]) {}

    /// Whether it can be lent to this project, or to everyone.
    async fn check_target(&self, _: &mut Tx, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// The projects that use it as something lent to them by this action.
    async fn users(&self, tx: &mut Tx, action: &str) -> Result<BTreeSet<ProjectId>, Failure>;
}

/// Resources that are shared by RBAC policies of their own type.
macro_rules! lent_by_policy {
    ($($type:ty: $read:ident, $write:ident, $object_type:literal;)*) => {$(
        #[async_trait]
        impl Access for $type {
            const READ: Action = action::$read;
            const WRITE: Action = action::$write;

            async fn lent(tx: &mut Tx, project: &ProjectId) -> Result<Vec<String>, Failure> {
                granted(tx, $object_type, project).await
            }
        }
    )*};
}

lent_by_policy! {
    SubnetPool: SUBNET_POOLS_READ, SUBNET_POOLS_WRITE, "subnetpool";
    AddressScope: ADDRESS_SCOPES_READ, ADDRESS_SCOPES_WRITE, "address_scope";
    AddressGroup: ADDRESS_GROUPS_READ, ADDRESS_GROUPS_WRITE, "address_group";
    SecurityGroup: SECURITY_GROUPS_READ, SECURITY_GROUPS_WRITE, "security_group";
    QosPolicy: QOS_READ, QOS_WRITE, "qos_policy";
    Network: NETWORKS_READ, NETWORKS_WRITE, "network";
}

#[async_trait]
impl Access for Subnet {
    const READ: Action = action::SUBNETS_READ;
    const WRITE: Action = action::SUBNETS_WRITE;

    /// The subnets of the networks that it owns or may plug into. Those of a network that is only external are the
    /// operator's own business.
    async fn lent(tx: &mut Tx, project: &ProjectId) -> Result<Vec<String>, Failure> {
        let mut networks = granted_as(tx, "network", Some("access_as_shared"), project).await?;
        networks.extend(owned::<Network>(tx, project).await?);
        let found: Vec<Subnet> = Query::new().any_of("network_id", networks).all(tx).await?;
        Ok(found
            .into_iter()
            .map(|subnet| subnet.id.to_string())
            .collect())
    }
}

#[async_trait]
impl Access for Port {
    const READ: Action = action::PORTS_READ;
    const WRITE: Action = action::PORTS_WRITE;

    /// Everything that is plugged into a network is seen by who owns it.
    async fn lent(tx: &mut Tx, project: &ProjectId) -> Result<Vec<String>, Failure> {
        let networks = owned::<Network>(tx, project).await?;
        let found: Vec<Port> = Query::new()
            .any_of("network_id", networks)
            .differs("project_id", project)
            .all(tx)
            .await?;
        Ok(found.into_iter().map(|port| port.id.to_string()).collect())
    }
}

#[async_trait]
impl Access for Rule {
    const READ: Action = action::SECURITY_GROUPS_READ;
    const WRITE: Action = action::SECURITY_GROUPS_WRITE;

    /// All rules of the groups that it owns or may use, whoever added them.
    async fn lent(tx: &mut Tx, project: &ProjectId) -> Result<Vec<String>, Failure> {
        let mut groups = granted(tx, "security_group", project).await?;
        groups.extend(owned::<SecurityGroup>(tx, project).await?);
        let found: Vec<Rule> = Query::new()
            .any_of("security_group_id", groups)
            .all(tx)
            .await?;
        Ok(found.into_iter().map(|rule| rule.id.to_string()).collect())
    }
}

async fn owned<T: Resource>(tx: &mut Tx, project: &ProjectId) -> Result<Vec<String>, Failure> {
    let own: Vec<T> = Query::new().equals("project_id", project).all(tx).await?;
    Ok(own.iter().map(Record::id).collect())
}

async fn granted(
    tx: &mut Tx,
    object_type: &str,
    project: &ProjectId,
) -> Result<Vec<String>, Failure> {
    granted_as(tx, object_type, None, project).await
}

async fn granted_as(
    tx: &mut Tx,
    object_type: &str,
    action: Option<&str>,
    project: &ProjectId,
) -> Result<Vec<String>, Failure> {
    let grants = rbac_policy::granted(tx, object_type, project).await?;
    Ok(grants
        .into_iter()
        .filter(|grant| action.is_none_or(|action| grant.action == action))
        .map(|grant| grant.object_id)
        .collect())
}

/// May the actor plug ports into this network: is it theirs, or shared with them?
pub(crate) async fn may_use(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    network: &Network,
    project: &ProjectId,
) -> Result<bool, Failure> {
    if network.standard.project_id == *project || sees_all(cx, actor) {
        return Ok(true);
    }
    let shared = granted_as(tx, "network", Some("access_as_shared"), project).await?;
    Ok(shared.contains(&network.id.to_string()))
}

/// Whether an actor looks at the whole cloud.
pub(crate) fn sees_all(cx: &Context, actor: &Actor) -> bool {
    cx.policy
        .check(actor, action::READ_ALL, &Target::cloud())
        .is_ok()
}

/// The 404 of a resource.
pub(crate) fn missing<T: Resource>(id: impl std::fmt::Display) -> Refusal {
    Refusal::no_such(T::KIND, id).named(T::MISSING)
}

/// The project of the actor's token, for a list or for something new.
pub(super) fn own_project(actor: &Actor, action: Action) -> Result<&ProjectId, Refusal> {
    actor.project_id().ok_or_else(|| {
        Refusal::forbidden(format!(
            "{} needs a token that is scoped to a project.",
            action.name
        ))
        .named("PolicyNotAuthorized")
    })
}

/// Whom something new belongs to: the project that was named, which needs a role there, or the actor's own (K128).
pub(crate) fn owner(
    cx: &Context,
    actor: &Actor,
    named: Option<ProjectId>,
    action: Action,
) -> Result<ProjectId, Refusal> {
    let project = match named.filter(|id| !id.as_str().is_empty()) {
        Some(project) => project,
        None => own_project(actor, action)?.clone(),
    };
    cx.policy.check(actor, action, &Target::project(&project))?;
    Ok(project)
}

/// Everything the actor sees of what the request narrowed the list to.
pub(crate) async fn list<T: Access>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    narrow: Narrowed,
) -> Result<Vec<T>, Failure> {
    let mut query = Query::<T>::new();
    if !sees_all(cx, actor) {
        let project = own_project(actor, T::READ)?;
        cx.policy.check(actor, T::READ, &Target::project(project))?;
        let lent = T::lent(tx, project).await?;
        query = query.equals_or_is("project_id", project, lent);
    }
    for (column, values) in narrow.0 {
        query = query.any_of(column, values);
    }
    let mut found = query.all(tx).await?;
    found.sort_by(|a, b| {
        let key = |resource: &T| (resource.standard().created_at, resource.id());
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// The resource, if the actor sees it.
pub(crate) async fn get<T: Access>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: impl ToString,
) -> Result<T, Failure> {
    let id = id.to_string();
    let found = record::get::<T>(tx, &id).await?;
    match found {
        Some(resource) if sees(cx, actor, tx, &resource).await? => Ok(resource),
        _ => Err(missing::<T>(id).into()),
    }
}

async fn sees<T: Access>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    resource: &T,
) -> Result<bool, Failure> {
    let may = |project: &ProjectId| {
        cx.policy
            .check(actor, T::READ, &Target::project(project))
            .is_ok()
    };
    if sees_all(cx, actor) || may(resource.project_id()) {
        return Ok(true);
    }
    match actor.project_id() {
        Some(own) if may(own) => Ok(T::lent(tx, own).await?.contains(&resource.id())),
        _ => Ok(false),
    }
}

/// The resource, locked for a change that its owner may make.
pub(crate) async fn lock<T: Access>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: impl ToString,
) -> Result<T, Failure> {
    lock_for(cx, actor, tx, id, T::WRITE).await
}

/// The resource, locked for a change that needs this action.
pub(crate) async fn lock_for<T: Access>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: impl ToString,
    action: Action,
) -> Result<T, Failure> {
    let id = id.to_string();
    let found = record::lock::<T>(tx, &id).await?;
    match found {
        Some(resource) if sees(cx, actor, tx, &resource).await? => {
            cx.policy
                .check(actor, action, &Target::project(resource.project_id()))?;
            Ok(resource)
        }
        _ => Err(missing::<T>(id).into()),
    }
}
