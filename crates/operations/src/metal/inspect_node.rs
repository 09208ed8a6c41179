//! `inspect`: what the server is made of, as its BMC or its ramdisk tells it. Network cards that are new become ports, and
//! inspection rules are applied.
//!
//! ```text
//!  inspecting ─Ask the BMC, or Visit, Look, Leave─▶ manageable (with inventory, properties and ports)
//!       └───────▶ inspect failed
//! ```

use super::ramdisk::visit::Visit;
use super::ramdisk::{leave, orders, visit};
use super::work::{self, Input};
use super::{inspection_rule, machine, port, seen};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{Attributes, Bmc, BmcError, FirmwareItem, Inventory, Oddity, Task};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use corten_model::time::Timestamp;
use corten_store::metal::node::{Inspection, Node};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) mod within;

pub struct InspectNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The BMC.
    Ask,
    Visit(Visit),
    /// From within.
    Look,
    Leave,
}

/// Whether the ramdisk inspects this node.
pub fn from_within(node: &Node) -> bool {
    node.driver_part("inspect") == "agent"
}

/// What a BMC told.
struct Found {
    inventory: Inventory,
    bios: Attributes,
    firmware: Vec<FirmwareItem>,
}

#[async_trait]
impl Workflow for InspectNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "inspect_node"
    }

    /// As long as the life cycle lets `inspecting` last.
    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Visit(visit) => visit.budget(),
            Step::Ask | Step::Look | Step::Leave => Duration::from_secs(600),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::Ask => self.ask(&node, cx).await,
            Step::Visit(visit) => {
                let arrived = Step::Look;
                visit::go(&self.0, cx, &node, visit, Step::Visit, arrived).await
            }
            Step::Look => self.look(&node, cx).await,
            Step::Leave => {
                leave::go(&self.0, cx, &node).await?;
                let mut tx = cx.commit().await?;
                let mut node = work::lock(&mut tx, node.id).await?;
                leave::note(&mut tx, cx, &mut node).await?;
                work::succeed(tx, cx, &mut node, NodeEvent::Done).await
            }
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::give_up(why, cx, input.node_id, |_| {}).await
    }
}

impl InspectNode {
    /// What an inspection of this node begins with.
    pub fn first(node: &Node) -> Step {
        if from_within(node) {
            Step::Visit(Visit::Off)
        } else {
            Step::Ask
        }
    }

    async fn ask(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let bmc = work::reach(&self.0, node)?.bmc;
        let found = ask(bmc.as_ref()).await;
        let odd = bmc.oddities();
        bmc.close().await;
        let found = found.map_err(machine::step_error)?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        let cards = found.inventory.network_cards.iter();
        let macs = within::own_macs(cards.map(|card| (card.mac.as_str(), None)));
        port::found(&mut tx, &node, macs, cx.now()).await?;
        keep(&mut node, found, &odd, cx.now());
        inspection_rule::apply(&self.0, &mut tx, &mut node, cx.now()).await?;
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }

    async fn look(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let told = orders::give(&self.0, cx, node, "inspect", Task::Inventory).await?;
        let inventory = match told {
            Ok(report) => report.details,
            Err(pending) => {
                let same = Step::Look;
                return orders::pend(&self.0, cx, node, pending, same, Step::Visit).await;
            }
        };
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        let macs = within::macs(&inventory);
        port::found(&mut tx, &node, macs, cx.now()).await?;
        within::keep(&mut node, inventory, cx.now());
        inspection_rule::apply(&self.0, &mut tx, &mut node, cx.now()).await?;
        visit::resume(&mut tx, cx, &mut node, "the ramdisk has looked").await?;
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, Step::Leave).await
    }
}

async fn ask(bmc: &dyn Bmc) -> Result<Found, BmcError> {
    let inventory = bmc.inventory().await?;
    let bios = or_none(bmc.bios().await)?.unwrap_or_default();
    Ok(Found {
        inventory,
        bios: bios.current,
        firmware: or_none(bmc.firmware().await)?.unwrap_or_default(),
    })
}

/// What a BMC does not have is no reason to end an inspection.
fn or_none<T>(answer: Result<T, BmcError>) -> Result<Option<T>, BmcError> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(BmcError::Lacks { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was odd in the answers is kept beside what they tell.
fn keep(node: &mut Node, found: Found, odd: &[Oddity], now: Timestamp) {
    let inventory = &found.inventory;
    for (name, value) in properties(inventory) {
        node.properties.insert(name.to_owned(), value);
    }
    let mut plugin_data = json!({"source": "bmc"});
    if !odd.is_empty() {
        plugin_data["oddities"] = json!(odd);
    }
    node.inspection = Inspection {
        started_at: node.inspection.started_at,
        finished_at: Some(now),
        inventory: Some(view(inventory)),
        plugin_data: Some(plugin_data),
    };
    node.bios = seen::bios(found.bios, now);
    node.firmware = seen::firmware(node, found.firmware, now);
}

/// As properties of nodes and images have it, whoever wrote it.
pub fn architecture(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "x86" | "x86_64" | "x86-64" => "x86_64".to_owned(),
        "arm" | "aarch64" | "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

/// The properties that schedulers look at.
fn properties(inventory: &Inventory) -> Vec<(&'static str, Value)> {
    let mut found = Vec::new();
    let processors = &inventory.processors;
    let cpus: u64 = processors
        .iter()
        .filter_map(|cpu| cpu.threads.or(cpu.cores))
        .sum();
    if cpus > 0 {
        found.push(("cpus", json!(cpus)));
    }
    if let Some(word) = processors.iter().find_map(|cpu| cpu.architecture.as_ref()) {
        found.push(("cpu_arch", json!(architecture(word))));
    }
    if let Some(memory) = inventory.memory_mib {
        found.push(("memory_mb", json!(memory)));
    }
    let sizes = inventory
        .drives
        .iter()
        .filter_map(|drive| drive.capacity_bytes);
    if let Some(smallest) = sizes.min() {
        // As Ironic does it: a GiB is left for partitions.
        found.push(("local_gb", json!((smallest >> 30).saturating_sub(1))));
    }
    found
}

/// In the form of Ironic's inventory.
fn view(inventory: &Inventory) -> Value {
    let identity = &inventory.identity;
    let cpu = inventory.processors.first();
    let count: u64 = inventory
        .processors
        .iter()
        .filter_map(|cpu| cpu.threads.or(cpu.cores))
        .sum();
    let disks = inventory.drives.iter().map(|drive| {
        json!({
            "name": drive.name.as_ref().unwrap_or(&drive.id),
            "model": drive.model,
            "serial": drive.serial_number,
            "size": drive.capacity_bytes,
            "rotational": drive.media.as_deref() == Some("HDD"),
        })
    });
    let interfaces = inventory.network_cards.iter().map(
        |card| json!({"name": card.id, "mac_address": card.mac, "speed_mbps": card.speed_mbps}),
    );
    json!({
        "cpu": {
            "count": count,
            "architecture": cpu.and_then(|cpu| cpu.architecture.as_deref()).map(architecture),
            "model_name": cpu.and_then(|cpu| cpu.model.as_ref()),
            "frequency": cpu.and_then(|cpu| cpu.max_mhz),
        },
        "memory": {"physical_mb": inventory.memory_mib},
        "disks": disks.collect::<Vec<_>>(),
        "interfaces": interfaces.collect::<Vec<_>>(),
        "system_vendor": {
            "manufacturer": identity.manufacturer,
            "product_name": identity.model,
            "serial_number": identity.serial_number,
        },
    })
}
