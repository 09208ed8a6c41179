//! What the boot server of a provisioning network answers: straight from the rows.

use super::{boot, network};
use crate::context::Context;
use crate::metal::agent::{digest, same};
use crate::settings::ProvisioningNetwork;
use async_trait::async_trait;
use corten_netboot::{Answer, Asker, Directory, DirectoryError, MediaPlan};
use corten_store::metal::lease::MetalLease;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The nodes of one provisioning network.
pub struct Rows {
    pub cx: Arc<Context>,
    pub network: ProvisioningNetwork,
}

impl Rows {
    async fn answer(&self, mac: &str) -> Result<Option<Answer>, Failure> {
        let mut tx = self.cx.store.read().await?;
        let lease: Option<MetalLease> = record::get(&mut tx, mac).await?;
        let Some(lease) = lease.filter(|lease| lease.network == self.network.name) else {
            return Ok(None);
        };
        let Some(node) = record::get::<Node>(&mut tx, lease.node_id).await? else {
            return Ok(None);
        };
        let told = network::told(&self.network, lease.address, node.name.clone());
        Ok(Some(Answer {
            node: node.id,
            lease: told,
            boot: boot::boot(&self.cx, &self.network, &node, &lease, false)?,
        }))
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
        let Some(lease) = boot::boot_card(&mut tx, &node).await? else {
            return Ok(None);
        };
        let boot = boot::boot(&self.cx, &self.network, &node, &lease, true)?;
        let told = network::told(&self.network, lease.address, None);
        Ok(boot.map(|boot| MediaPlan {
            boot,
            network: boot::mac_of(&lease).map(|mac| (mac, told)),
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
        self.answer(&asker.mac.to_string()).await.map_err(unread)
    }

    async fn media(&self, name: &str) -> Result<Option<MediaPlan>, DirectoryError> {
        self.image(name).await.map_err(unread)
    }
}
