//! A new key for the secrets of nodes, in place of the old one, while the cloud runs.
//!
//! ```text
//!  key file made ─▶ row: it is the primary, the others retire ─▶ each node sealed anew ─▶ old files removed ─▶ row: none retires
//! ```
//!
//! Until every node is sealed anew both keys are there, so nothing is lost whenever this is killed; the next rotation
//! goes on where it stood. Whoever seals a secret locks the row of keys in the transaction that writes it
//! ([`sealing_key`]): what was sealed under the old key is committed before the row changes, and found by this.

use super::vault::{Vault, VaultError, key_of};
use corten_model::ids::NodeId;
use corten_store::metal::node::Node;
use corten_store::metal::vault_keys::{ID, VaultKeys};
use corten_store::{Failure, Query, Store, Tx, record};

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the key that seals from now on.
    pub key: String,
    /// How many nodes were sealed anew.
    pub nodes: usize,
}

/// Puts a new key in place of the old one, or ends a rotation that was broken off.
pub async fn rotate(store: &Store, vault: &Vault) -> Result<Rotated, Failure> {
    let mut rotation = Rotation::begin(store, vault).await?;
    let mut nodes = 0;
    while rotation.seal_next().await?.is_some() {
        nodes += 1;
    }
    let key = rotation.end().await?;
    Ok(Rotated { key, nodes })
}

fn failed(error: VaultError) -> Failure {
    Failure::outside("changing the key of the secrets of nodes", error)
}

/// The row of keys, for nobody else to change until the transaction ends.
async fn lock_keys(tx: &mut Tx) -> Result<VaultKeys, Failure> {
    let keys = record::lock::<VaultKeys>(tx, ID).await?;
    Ok(keys.unwrap_or_default())
}

/// The key that seals what this transaction writes; `None`: the one that the cloud began with.
pub(super) async fn sealing_key(tx: &mut Tx) -> Result<Option<String>, Failure> {
    Ok(lock_keys(tx).await?.primary)
}

/// Has every secret of a node that this transaction writes sealed under the key that is in use.
pub(super) async fn settle(tx: &mut Tx, vault: &Vault, node: &mut Node) -> Result<(), Failure> {
    if !node.secrets.is_empty()
        && let Some(key) = sealing_key(tx).await?
    {
        seal_anew(vault, &key, node).map_err(failed)?;
    }
    Ok(())
}

fn is_sealed_under(key: &str, node: &Node) -> bool {
    node.secrets
        .values()
        .all(|sealed| key_of(sealed) == Some(key))
}

fn seal_anew(vault: &Vault, key: &str, node: &mut Node) -> Result<(), VaultError> {
    for (place, sealed) in &mut node.secrets {
        if key_of(sealed) != Some(key) {
            let secret = vault.unseal(node.id, place, sealed)?;
            *sealed = vault.seal(Some(key), node.id, place, &secret)?;
        }
    }
    Ok(())
}

/// A rotation that has begun. It can be dropped at any moment.
pub struct Rotation<'a> {
    store: &'a Store,
    vault: &'a Vault,
    key: String,
    /// Nodes to be sealed anew, the next one last.
    left: Vec<NodeId>,
}

impl<'a> Rotation<'a> {
    /// Makes a key and has it seal from now on, or takes up a rotation that was broken off.
    pub async fn begin(store: &'a Store, vault: &'a Vault) -> Result<Self, Failure> {
        let mut tx = store.write().await?;
        let mut keys = lock_keys(&mut tx).await?;
        let key = match keys.primary.clone() {
            Some(key) if !keys.retiring.is_empty() => key,
            _ => {
                // A file that no row names, if this is killed here, retires with the next rotation.
                let before = vault.ids().map_err(failed)?;
                let key = vault.make_key().map_err(failed)?;
                keys.primary = Some(key.clone());
                keys.retiring = before;
                record::update(&mut tx, &keys).await?;
                tx.commit().await?;
                key
            }
        };
        Ok(Self {
            store,
            vault,
            key,
            left: Vec::new(),
        })
    }

    /// Seals the secrets of one more node anew and says which; `None`: every secret is sealed under the new key.
    pub async fn seal_next(&mut self) -> Result<Option<NodeId>, Failure> {
        loop {
            if self.left.is_empty() {
                self.left = self.find_left().await?;
            }
            let Some(id) = self.left.pop() else {
                return Ok(None);
            };
            let mut tx = self.store.write().await?;
            // One that was removed meanwhile, or that somebody gave a new password, needs nothing.
            if let Some(mut node) = record::lock::<Node>(&mut tx, id).await?
                && !is_sealed_under(&self.key, &node)
            {
                seal_anew(self.vault, &self.key, &mut node).map_err(failed)?;
                record::update(&mut tx, &node).await?;
                tx.commit().await?;
                return Ok(Some(id));
            }
        }
    }

    async fn find_left(&self) -> Result<Vec<NodeId>, Failure> {
        let nodes: Vec<Node> = Query::new().all(&mut self.store.read().await?).await?;
        let left = nodes
            .iter()
            .filter(|node| !is_sealed_under(&self.key, node));
        Ok(left.map(|node| node.id).collect())
    }

    /// Removes the old keys, once [`Self::seal_next`] found nothing left, and says which key seals now.
    pub async fn end(mut self) -> Result<String, Failure> {
        while self.seal_next().await?.is_some() {}
        let mut tx = self.store.write().await?;
        let mut keys = lock_keys(&mut tx).await?;
        keys.retiring.retain(|id| *id != self.key);
        self.vault.remove(&keys.retiring).map_err(failed)?;
        keys.retiring.clear();
        record::update(&mut tx, &keys).await?;
        tx.commit().await?;
        Ok(self.key)
    }
}
