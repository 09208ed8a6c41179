//! Discovery: a server that nobody enrolled boots the ramdisk, and is offered for enrolment with its inventory.
//!
//! ```text
//!  PXE, UEFI HTTP or iPXE asks DHCP ─▶ address and one-time token ─▶ ramdisk inspects ─▶ inventory, with the token
//!                                          (one row, by the card)                             │ one transaction
//!   the server is off ◀─ taken ◀────────── node in `enroll`, its ports, the offer ◀───────────┘
//! ```
//!
//! An **offer** is a node that nobody has taken up. Each boot of its server writes it anew, whichever card it boots on. It is
//! taken up by any change of its record, by a verb, and by its removal; from then on discovery leaves the server alone, as it
//! does any server with a network card that a node has.
//!
//! Who asks is unknown, so all of it is bounded: offers by `provisioning.offers_max`, boots at the same time by half of the
//! network's addresses, inventories by [`report::BYTES_MAX`]. Only a token that a boot of this network was given brings an
//! inventory in, and does so once.
//!
//! | module | its part |
//! | --- | --- |
//! | [`boot`] | what the boot server answers an unknown card |
//! | [`report`] | what the ramdisk told, as far as it is understood: who the server is, and how its BMC is reached |
//! | [`offer`] | from a report to a node |

pub mod boot;
pub mod offer;
pub mod report;

use super::vault::{self, Vault, VaultError};
use crate::context::Context;
use corten_model::ids::NodeId;
use corten_store::metal::discovery::Discovery;
use corten_store::metal::node::Node;
use corten_store::metal::offer::Offer;
use corten_store::metal::port::NodePort;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::time::Duration;

/// Where the token of a boot belongs: what is sealed is bound to it, and to the node that is to be.
const TOKEN: &str = "discovery/token";

/// Whose network cards these are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Unknown,
    /// Of the nodes that are offered.
    Offered(BTreeSet<NodeId>),
    /// At least one is of a node that somebody enrolled.
    Enrolled(NodeId),
}

async fn standing(tx: &mut Tx, macs: &BTreeSet<String>) -> Result<Standing, Failure> {
    let ports: Vec<NodePort> = Query::new()
        .any_of("address", macs.iter().cloned())
        .all(tx)
        .await?;
    let mut offered = BTreeSet::new();
    for node in ports.iter().map(|port| port.node_id) {
        if record::get::<Offer>(tx, node).await?.is_none() {
            return Ok(Standing::Enrolled(node));
        }
        offered.insert(node);
    }
    Ok(if offered.is_empty() {
        Standing::Unknown
    } else {
        Standing::Offered(offered)
    })
}

/// Whether as many servers are offered as may be.
async fn is_full(tx: &mut Tx, cx: &Context) -> Result<bool, Failure> {
    let offers = Query::<Offer>::new().count(tx).await?;
    Ok(offers >= i64::from(cx.settings.provisioning.offers_max))
}

/// How long a boot may take; one that took longer has failed.
fn boot_limit(cx: &Context) -> Duration {
    Duration::from_secs(cx.settings.provisioning.boot_limit_secs)
}

/// The node is its operator's: no boot of its server changes it any more. One that was never offered stays as it is.
pub(super) async fn take_up(tx: &mut Tx, node: NodeId) -> Result<(), Failure> {
    record::delete::<Offer>(tx, node).await?;
    Ok(())
}

/// The node is removed: its server is another node when it boots again, and a boot that runs brings nothing.
pub(super) async fn forget_node(tx: &mut Tx, node: NodeId) -> Result<(), Failure> {
    take_up(tx, node).await?;
    let boots: Vec<Discovery> = Query::new().equals("node_id", &node).all(tx).await?;
    for mut boot in boots {
        boot.token = None;
        boot.node_id = NodeId::random();
        record::update(tx, &boot).await?;
    }
    Ok(())
}

/// Whether what is sealed of a boot is sealed under this key.
pub(super) fn is_sealed_under(key: &str, boot: &Discovery) -> bool {
    let mut tokens = boot.token.iter();
    tokens.all(|token| vault::key_of(&token.sealed) == Some(key))
}

/// Seals the token of a boot anew under this key.
pub(super) fn seal_anew(vault: &Vault, key: &str, boot: &mut Discovery) -> Result<(), VaultError> {
    if let Some(token) = &mut boot.token {
        let open = vault.unseal(boot.node_id, TOKEN, &token.sealed)?;
        token.sealed = vault.seal(Some(key), boot.node_id, TOKEN, &open)?;
    }
    Ok(())
}

/// Whether there is a node with this id.
async fn exists(tx: &mut Tx, node: NodeId) -> Result<bool, Failure> {
    Ok(record::get::<Node>(tx, node).await?.is_some())
}
