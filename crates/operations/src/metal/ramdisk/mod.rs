//! Real servers booted into the ramdisk, and worked on from within.
//!
//! ```text
//!  plan ─▶ Off ─▶ On ─▶ Await ─▶ the operation gives its orders ─▶ leave
//!   ▲       └──────┴──────┴── the next way to boot, or the end with a story
//!   └── a ramdisk that is lost in the middle of its work
//! ```
//!
//! | module | its part |
//! | --- | --- |
//! | [`boot`] | which ways a node can be booted, and what one boot is made of: token, address, command line |
//! | [`visit`] | from a server in any condition to one whose ramdisk calls |
//! | [`orders`] | work for the ramdisk, each piece with its mark |
//! | [`limits`] | how long an order may take, and that one that makes no progress is given up |
//! | [`leave`] | from a ramdisk that works to a server that is off and will boot from its disk |
//! | [`network`] | the provisioning network of a node, and its addresses there |
//! | [`directory`] | what the boot server answers, from the rows |
//! | [`files`] | which kernel and ramdisk a node is booted with |
//! | [`stock`] | what OpenStack's own agent reads of a node |
//! | [`timeline`] | the early signs of each boot |
//!
//! Simulated servers need no boot: whoever works on them is inside at once.

pub mod boot;
pub mod directory;
pub mod files;
pub mod leave;
pub mod limits;
pub mod network;
pub mod orders;
pub mod stock;
pub mod timeline;
pub mod visit;

use super::driver::FAKE;
use crate::context::Context;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;

/// Has a simulated server booted into a ramdisk all the same, for tests of the boot itself.
const FAKE_RAMDISK: &str = "fake_ramdisk";

/// Whether a ramdisk must be booted before somebody can work from within.
pub fn boots(node: &Node) -> bool {
    node.driver != FAKE || node.driver_info.contains_key(FAKE_RAMDISK)
}

/// Refuses to boot a server that is never to be turned off.
fn check_power(node: &Node) -> Result<(), Refusal> {
    if node.disable_power_off {
        return Err(Refusal::conflict(format!(
            "Node {} has disable_power_off set: it is never turned off, so no ramdisk can be booted on it. Unset it first.",
            node.id
        )));
    }
    Ok(())
}

/// Refuses what needs a ramdisk where none can be booted.
pub fn check_ready(cx: &Context, node: &Node, verb: &str) -> Result<(), Refusal> {
    if !boots(node) {
        return Ok(());
    }
    check_power(node)?;
    boot::check(node)?;
    if node.driver == FAKE {
        return Ok(());
    }
    let network = network::of_node(cx, node)?;
    files::arguments(cx, node)?;
    match files::missing(files::of_node(cx, node)?) {
        Some(file) => Err(Refusal::conflict(format!(
            "The target '{verb}' boots node {} on the network {} into the ramdisk, but there is no file {}: build it with \
             `make ramdisk` and set provisioning.kernel and provisioning.ramdisk, or the node's driver_info/deploy_kernel and \
             deploy_ramdisk.",
            node.id,
            network.name,
            file.display()
        ))),
        None => Ok(()),
    }
}
