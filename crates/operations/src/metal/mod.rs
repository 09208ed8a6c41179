//! Bare-metal servers and what belongs to them: the rules of Ironic's resources, a file per resource, and a file per
//! operation on a node.
//!
//! ```text
//!  enroll ─verify─▶ manageable ─clean─▶ available ─deploy─▶ active ─delete, clean─▶ available
//! ```
//!
//! A node reaches `available` in one place only, [`work::release`], which takes the record of a wipe.

pub mod access;
pub mod adopt_node;
pub mod agent;
pub mod allocate_node;
pub mod allocation;
pub mod bios_steps;
pub mod chassis;
pub mod choosing;
pub mod clean_node;
pub mod conductor;
pub mod config_drive;
pub mod console;
pub mod deploy_image;
pub mod deploy_node;
pub mod deploy_template;
pub mod discovery;
pub mod driver;
pub mod firmware_args;
pub mod firmware_steps;
pub mod flash;
pub mod history;
pub mod inspect_node;
pub mod inspection_rule;
pub mod machine;
pub mod management;
pub mod network_data;
pub mod node;
pub mod node_rules;
pub mod port;
pub mod port_group;
pub mod power_node;
pub mod provision;
pub mod raid;
pub mod ramdisk;
pub mod rescue_node;
pub mod rotate_key;
pub mod runbook;
pub mod secrets;
pub mod seen;
pub mod service_node;
pub mod steps;
pub mod switching;
pub mod traits;
pub mod validate;
pub mod vault;
pub mod verify_node;
pub mod vif;
pub mod volume;
pub mod watch;
pub mod work;

pub use access::{Ident, Narrow, Page, SortBy};

use crate::context::Context;
use corten_bmc::Machine;
use corten_model::ids::NodeId;
use corten_model::refusal::Refusal;
use corten_store::metal::node::SUBJECT;
use corten_store::{Failure, Tx, operations};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use vault::Vault;

/// The listeners of this place are told when the work on a node has ended.
pub const ENDED: &str = "metal/ended";

/// Who watches a node is told at this place, with the node's id behind it, that its record was changed.
pub const CHANGED: &str = "metal/changed/";

/// Opens simulated servers, by the id of their node.
pub type Simulator = Arc<dyn Fn(NodeId) -> Machine + Send + Sync>;

/// What bare metal stands on besides the rows.
pub struct Metal {
    pub vault: Vault,
    /// With it there is the driver `fake-hardware`.
    pub simulator: Option<Simulator>,
    /// The SHA-256 of the certificate that ramdisks are to believe, in hexadecimal digits, once it is served.
    pub pin: OnceLock<String>,
    /// What the sensors of the nodes showed last.
    pub readings: watch::Readings,
    /// Where is kept what servers print; `None`: nowhere.
    pub console_directory: Option<PathBuf>,
    /// How long a call waits for the work on a node to end before it answers, or refuses.
    pub patience: Duration,
}

impl Metal {
    /// With a key that is gone with the process, and no patience: for tests, in which no worker runs beside a call.
    pub fn forgetful(simulator: Option<Simulator>) -> Result<Self, vault::VaultError> {
        Ok(Self {
            vault: Vault::forgetful()?,
            simulator,
            pin: OnceLock::new(),
            readings: watch::Readings::default(),
            console_directory: None,
            patience: Duration::ZERO,
        })
    }
}

/// Has the watch look at a node's record once this transaction is committed.
pub(crate) fn tell_watch(tx: &mut Tx, id: NodeId) {
    tx.wake(format!("{CHANGED}{id}"));
}

/// Waits a little until nothing works on a node; refused with 409 while something does.
pub(crate) async fn at_rest(cx: &Context, id: NodeId) -> Result<(), Failure> {
    let mut wake_ups = cx.store.wake_ups();
    let deadline = tokio::time::Instant::now() + cx.metal.patience;
    loop {
        let mut tx = cx.store.read().await?;
        let Some(running) = operations::running_on(&mut tx, SUBJECT, &id.to_string()).await? else {
            return Ok(());
        };
        drop(tx);
        loop {
            match tokio::time::timeout_at(deadline, wake_ups.recv()).await {
                Err(_) => return Err(locked(cx, id, &running).into()),
                Ok(Ok(wake_up)) if wake_up.place != ENDED => {}
                Ok(_) => break,
            }
        }
    }
}

/// The refusal while something works on a node: it names what, and since when.
pub(crate) fn locked(cx: &Context, id: NodeId, running: &operations::Operation) -> Refusal {
    let age = cx.now().since(running.created_at).as_secs();
    Refusal::conflict(format!(
        "Node {id} is locked by operation {} ({}), which runs for {age} s. Ask again when it has ended, or cancel it.",
        running.id, running.kind
    ))
}
