//! A new key for the secrets of nodes and of sensitive inspection rules, in place of the old one, while the cloud runs.
//!
//! ```text
//!  key file made ─▶ row: it is the primary, the others retire ─▶ each node, rule and discovery sealed anew
//!    ─▶ old files removed ─▶ row: none retires
//! ```
//!
//! Until all of them are sealed anew both keys are there, so nothing is lost whenever this is killed; the next rotation
//! goes on where it stood. Whoever seals a secret locks the row of keys in the transaction that writes it
//! ([`sealing_key`]): what was sealed under the old key is committed before the row changes, and found by this.

use super::vault::{Vault, VaultError, key_of};
use super::{discovery, inspection_rule};
use corten_model::ids::{InspectionRuleId, NodeId};
use corten_store::metal::discovery::Discovery;
use corten_store::metal::inspection_rule::InspectionRule;
use corten_store::metal::node::Node;
use corten_store::metal::vault_keys::{ID, VaultKeys};
use corten_store::{Failure, Query, Store, Tx, record};

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the key that seals from now on.
    pub key: String,
    /// How many nodes and inspection rules were sealed anew.
    pub sealed: usize,
}

/// Puts a new key in place of the old one, or ends a rotation that was broken off.
pub async fn rotate(store: &Store, vault: &Vault) -> Result<Rotated, Failure> {
    let mut rotation = Rotation::begin(store, vault).await?;
    let mut sealed = 0;
    while rotation.seal_next().await? {
        sealed += 1;
    }
    let key = rotation.end().await?;
    Ok(Rotated { key, sealed })
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

/// Seals a secret of a node that this transaction writes.
pub async fn seal(
    tx: &mut Tx,
    vault: &Vault,
    node: &mut Node,
    place: &str,
    secret: &str,
) -> Result<(), Failure> {
    let key = sealing_key(tx).await?;
    let sealed = vault.seal(key.as_deref(), node.id, place, secret);
    node.secrets
        .insert(place.to_owned(), sealed.map_err(failed)?);
    Ok(())
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
    /// To be sealed anew, the next one last.
    left: Vec<Left>,
}

/// What holds something that is sealed under another key.
enum Left {
    Node(NodeId),
    Rule(InspectionRuleId),
    /// The boot of an unknown server, by its MAC address.
    Discovery(String),
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

    /// Seals one more node, or inspection rule, anew; false: everything is sealed under the new key.
    pub async fn seal_next(&mut self) -> Result<bool, Failure> {
        loop {
            if self.left.is_empty() {
                self.left = self.find_left().await?;
            }
            let Some(left) = self.left.pop() else {
                return Ok(false);
            };
            // What was removed meanwhile, or written anew, needs nothing.
            let mut tx = self.store.write().await?;
            let changed = match left {
                Left::Node(id) => self.seal_node(&mut tx, id).await?,
                Left::Rule(id) => self.seal_rule(&mut tx, id).await?,
                Left::Discovery(mac) => self.seal_discovery(&mut tx, mac).await?,
            };
            if changed {
                tx.commit().await?;
                return Ok(true);
            }
        }
    }

    async fn seal_node(&self, tx: &mut Tx, id: NodeId) -> Result<bool, Failure> {
        match record::lock::<Node>(tx, id).await? {
            Some(mut node) if !is_sealed_under(&self.key, &node) => {
                seal_anew(self.vault, &self.key, &mut node).map_err(failed)?;
                Ok(record::update(tx, &node).await?)
            }
            _ => Ok(false),
        }
    }

    async fn seal_rule(&self, tx: &mut Tx, id: InspectionRuleId) -> Result<bool, Failure> {
        match record::lock::<InspectionRule>(tx, id).await? {
            Some(mut rule) if !inspection_rule::is_sealed_under(&self.key, &rule) => {
                inspection_rule::seal_anew(self.vault, &self.key, &mut rule).map_err(failed)?;
                Ok(record::update(tx, &rule).await?)
            }
            _ => Ok(false),
        }
    }

    async fn seal_discovery(&self, tx: &mut Tx, mac: String) -> Result<bool, Failure> {
        match record::lock::<Discovery>(tx, mac).await? {
            Some(mut boot) if !discovery::is_sealed_under(&self.key, &boot) => {
                discovery::seal_anew(self.vault, &self.key, &mut boot).map_err(failed)?;
                Ok(record::update(tx, &boot).await?)
            }
            _ => Ok(false),
        }
    }

    async fn find_left(&self) -> Result<Vec<Left>, Failure> {
        let mut tx = self.store.read().await?;
        let nodes: Vec<Node> = Query::new().all(&mut tx).await?;
        let rules: Vec<InspectionRule> = Query::new().all(&mut tx).await?;
        let boots: Vec<Discovery> = Query::new().all(&mut tx).await?;
        let nodes = nodes
            .iter()
            .filter(|node| !is_sealed_under(&self.key, node))
            .map(|node| Left::Node(node.id));
        let rules = rules
            .iter()
            .filter(|rule| !inspection_rule::is_sealed_under(&self.key, rule))
            .map(|rule| Left::Rule(rule.id));
        let boots = boots
            .iter()
            .filter(|boot| !discovery::is_sealed_under(&self.key, boot))
            .map(|boot| Left::Discovery(boot.mac.clone()));
        Ok(nodes.chain(rules).chain(boots).collect())
    }

    /// Removes the old keys, once [`Self::seal_next`] found nothing left, and says which key seals now.
    pub async fn end(mut self) -> Result<String, Failure> {
        while self.seal_next().await? {}
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
