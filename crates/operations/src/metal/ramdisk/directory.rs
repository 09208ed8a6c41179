//! What the boot server of a provisioning network answers: straight from the rows.

use super::{boot, network};
use crate::context::Context;
use crate::metal::agent::{digest, same};
use crate::metal::discovery::{self, boot::Told};
use crate::settings::ProvisioningNetwork;
use async_trait::async_trait;
use corten_model::time::Timestamp;
use corten_netboot::{Answer, Asker, Directory, DirectoryError, MediaPlan};
use corten_store::metal::lease::MetalLease;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// That an unknown server finds no room is logged no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The nodes of one provisioning network.
pub struct Rows {
    cx: Arc<Context>,
    network: ProvisioningNetwork,
    /// When was told last that an unknown server finds no room.
    told: Mutex<Option<Timestamp>>,
}

impl Rows {
    pub fn new(cx: Arc<Context>, network: ProvisioningNetwork) -> Self {
        Self {
            cx,
            network,
            told: Mutex::default(),
        }
    }

    async fn answer(&self, asker: &Asker) -> Result<Option<Answer>, Failure> {
        let mut tx = self.cx.store.read().await?;
        let lease: Option<MetalLease> = record::get(&mut tx, asker.mac).await?;
        let Some(lease) = lease else {
            drop(tx);
            return self.discover(asker).await;
        };
        if lease.network != self.network.name {
            return Ok(None);
        }
        let Some(node) = record::get::<Node>(&mut tx, lease.node_id).await? else {
            return Ok(None);
        };
        if !network::answers(&mut tx, &lease).await? {
            return Ok(None);
        }
        let told = network::told(&self.network, lease.address, node.name.clone());
        Ok(Some(Answer {
            node: node.id,
            lease: told,
            boot: boot::boot(&self.cx, &self.network, &node, asker.mac, None)?,
        }))
    }

    /// The answer for a card that no node has a lease for.
    async fn discover(&self, asker: &Asker) -> Result<Option<Answer>, Failure> {
        if !self.network.discover {
            return Ok(None);
        }
        Ok(
            match discovery::boot::answer(&self.cx, &self.network, asker).await? {
                Told::Boot(answer) => Some(*answer),
                Told::Nothing => None,
                Told::NoRoom(why) => {
                    if self.is_worth_a_word() {
                        let (network, mac) = (&self.network.name, asker.mac);
                        tracing::warn!(network, %mac, "an unknown server is not booted: {why}");
                    }
                    None
                }
            },
        )
    }

    fn is_worth_a_word(&self) -> bool {
        let now = self.cx.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|last| now.since(last) >= TOLD_EVERY);
        if due {
            *told = Some(now);
        }
        due
    }

    async fn image(&self, name: &str) -> Result<Option<MediaPlan>, Failure> {
        let Some((id, secret)) = boot::media_parts(name) else {
            return Ok(None);
        };
        let mut tx = self.cx.store.read().await?;
        let Some(node) = record::get::<Node>(&mut tx, id).await? else {
            return Ok(None);
        };
        let wanted = node
            .boot
            .as_ref()
            .and_then(|boot| boot.media_sha256.as_deref());
        if !wanted.is_some_and(|wanted| same(wanted, &digest(secret))) {
            return Ok(None);
        }
        let Some((mac, lease)) = network::boot_card(&mut tx, &self.network, &node).await? else {
            return Ok(None);
        };
        let boot = boot::boot(&self.cx, &self.network, &node, mac, Some(&lease))?;
        Ok(boot.map(|boot| MediaPlan {
            boot,
            network: Some((mac, lease)),
            files: BTreeMap::new(),
        }))
    }
}

fn unread(failure: Failure) -> DirectoryError {
    DirectoryError(Box::new(failure))
}

#[async_trait]
impl Directory for Rows {
    async fn find(&self, asker: Asker) -> Result<Option<Answer>, DirectoryError> {
        self.answer(&asker).await.map_err(unread)
    }

    async fn media(&self, name: &str) -> Result<Option<MediaPlan>, DirectoryError> {
        self.image(name).await.map_err(unread)
    }
}
