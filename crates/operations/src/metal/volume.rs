//! Volume connectors and targets: the volumes of a storage system that a node has, and under which name it asks for
//! them. They change only while the node is off.

use super::access::{self, Ident, Narrow, Page};
use super::at_rest;
use crate::context::Context;
use corten_iam::action::baremetal::{NODES_READ, VOLUMES_WRITE};
use corten_iam::actor::Actor;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState as S;
use corten_model::refusal::Refusal;
use corten_store::metal::Resource;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::metal::volume_connector::VolumeConnector;
use corten_store::metal::volume_target::VolumeTarget;
use corten_store::{Failure, Query, Tx, record};

const CONNECTOR_KINDS: &[&str] = &["iqn", "ip", "mac", "wwnn", "wwpn", "port", "portgroup"];

/// What the two have in common.
pub trait Volume: Resource {
    /// In sentences: `volume connector`.
    const WORD: &'static str;

    fn node_id(&self) -> NodeId;

    fn check(&self) -> Result<(), Refusal>;

    /// Whether this one would be mistaken for another.
    fn is_like(&self, other: &Self) -> bool;

    /// What makes it one of its kind, for the refusal.
    fn key(&self) -> String;
}

impl Volume for VolumeConnector {
    const WORD: &'static str = "volume connector";

    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn check(&self) -> Result<(), Refusal> {
        if CONNECTOR_KINDS.contains(&self.kind.as_str()) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "'{}' is no type of a volume connector: it is one of {}.",
            self.kind,
            CONNECTOR_KINDS.join(", ")
        )))
    }

    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.connector_id == other.connector_id
    }

    fn key(&self) -> String {
        format!("type {} and connector ID {}", self.kind, self.connector_id)
    }
}

impl Volume for VolumeTarget {
    const WORD: &'static str = "volume target";

    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.boot_index >= 0 {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "The boot_index is {}, and the first is 0.",
            self.boot_index
        )))
    }

    fn is_like(&self, other: &Self) -> bool {
        self.node_id == other.node_id && self.boot_index == other.boot_index
    }

    fn key(&self) -> String {
        format!("boot index {} of node {}", self.boot_index, self.node_id)
    }
}

async fn check<T: Volume>(tx: &mut Tx, volume: &T) -> Result<(), Failure> {
    volume.check()?;
    let all: Vec<T> = Query::new().all(tx).await?;
    let taken = all
        .iter()
        .any(|other| other.id() != volume.id() && volume.is_like(other));
    if taken {
        return Err(Refusal::conflict(format!(
            "A {} with {} already exists.",
            T::WORD,
            volume.key()
        ))
        .into());
    }
    Ok(())
}

pub async fn create<T: Volume>(cx: &Context, actor: &Actor, volume: T) -> Result<T, Failure> {
    let mut tx = cx.store.write().await?;
    let ident = Ident::id(volume.node_id());
    let node = access::find::<Node>(&mut tx, &ident)
        .await?
        .ok_or_else(|| {
            Refusal::invalid(format!("Node {} could not be found.", volume.node_id()))
        })?;
    access::check(cx, actor, &node, &ident, VOLUMES_WRITE)?;
    check(&mut tx, &volume).await?;
    access::insert(&mut tx, &volume, T::WORD).await?;
    tx.commit().await?;
    Ok(volume)
}

pub async fn list<T: Volume>(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<T>, Failure> {
    access::page_of_parts(cx, actor, narrow, page).await
}

async fn get<T: Volume>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
) -> Result<(T, Node), Failure> {
    let volume = access::get::<T>(tx, ident).await?;
    let node = record::get::<Node>(tx, volume.node_id()).await?;
    match node {
        Some(node) if access::check(cx, actor, &node, ident, NODES_READ).is_ok() => {
            Ok((volume, node))
        }
        _ => Err(access::missing::<T>(&ident.text).into()),
    }
}

pub async fn show<T: Volume>(cx: &Context, actor: &Actor, ident: &Ident) -> Result<T, Failure> {
    let (volume, _) = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    Ok(volume)
}

/// Where a node is not used by anybody, its volumes may go whatever its power.
const UNUSED: &[S] = &[S::Enroll, S::Manageable, S::AdoptFailed];

fn check_off<T: Volume>(node: &Node, action: &str) -> Result<(), Refusal> {
    if node.power.seen == Some(PowerSeen::Off) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "The requested action \"{} {action}\" can not be performed on node \"{}\" while it is in state \"{}\". Turn it off first.",
        T::WORD,
        node.id,
        node.power.seen.map_or("unknown power", PowerSeen::as_str)
    )))
}

pub async fn update<T: Volume>(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&T) -> Result<T, Refusal> + Send,
) -> Result<T, Failure> {
    let (_, node) = get::<T>(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, VOLUMES_WRITE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (before, node) = get::<T>(cx, actor, &mut tx, ident).await?;
    let mut volume = edit(&before)?;
    check_off::<T>(&node, "update")?;
    if record::get::<Node>(&mut tx, volume.node_id())
        .await?
        .is_none()
    {
        return Err(
            Refusal::invalid(format!("Node {} could not be found.", volume.node_id())).into(),
        );
    }
    check(&mut tx, &volume).await?;
    volume.standard_mut().updated_at = Some(cx.now());
    record::update(&mut tx, &volume).await?;
    tx.commit().await?;
    Ok(volume)
}

pub async fn delete<T: Volume>(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let (_, node) = get::<T>(cx, actor, &mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &node, ident, VOLUMES_WRITE)?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let (volume, node) = get::<T>(cx, actor, &mut tx, ident).await?;
    if !UNUSED.contains(&node.provision.state) {
        check_off::<T>(&node, "deletion")?;
    }
    record::delete::<T>(&mut tx, volume.id()).await?;
    tx.commit().await?;
    Ok(())
}
