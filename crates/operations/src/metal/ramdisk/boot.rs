//! One boot into the ramdisk: by which way, and with what.

use super::{boots, check_power, files, network, timeline};
use crate::context::Context;
use crate::metal::driver::{FAKE, IPMI};
use crate::metal::{agent, machine, network_data, rotate_key};
use crate::settings::ProvisioningNetwork;
use corten_bmc::BootDevice;
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_netboot::{Boot, CommandLine, Lease};
use corten_store::metal::node::{BootMethod, Node, RamdiskBoot};
use corten_store::{Failure, Tx};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The one-time token of a boot, sealed.
const TOKEN: &str = "boot/token";
/// The secret part of the name of its virtual media, sealed.
const MEDIA: &str = "boot/media";

/// The ways a node can be booted, the one its operator chose first.
pub fn methods(node: &Node) -> [BootMethod; 2] {
    use BootMethod::{Http, Pxe, VirtualMedia};
    // Its address is in its image; no DHCP server would tell it.
    if !node.network_data.is_empty() {
        return [VirtualMedia, VirtualMedia];
    }
    match (node.driver.as_str(), node.driver_part("boot")) {
        // A BMC without virtual media: what did not come over the network may come the second time.
        (IPMI, _) => [Pxe, Pxe],
        (_, "http-ipxe") => [Http, VirtualMedia],
        (_, "ipxe" | "pxe") => [Pxe, VirtualMedia],
        _ => [VirtualMedia, Pxe],
    }
}

/// What the BMC is told to boot from.
pub fn device(method: BootMethod) -> BootDevice {
    match method {
        BootMethod::VirtualMedia => BootDevice::Cdrom,
        BootMethod::Http => BootDevice::Http,
        BootMethod::Pxe => BootDevice::Network,
    }
}

/// Plans a boot in the transaction that it begins with: a new token, an address for each card, no ramdisk known.
pub async fn plan(
    tx: &mut Tx,
    cx: &Context,
    node: &mut Node,
    attempt: u32,
    story: Vec<String>,
    now: Timestamp,
) -> Result<(), Failure> {
    check_power(node)?;
    check(node)?;
    let ways = methods(node);
    let method = ways[(attempt as usize - 1) % ways.len()];
    forget(node);
    let token = agent::new_token()?;
    let token_sha256 = Some(agent::digest(&token));
    rotate_key::seal(tx, &cx.metal.vault, node, TOKEN, &token).await?;
    let media_sha256 = if method == BootMethod::VirtualMedia {
        let name = agent::new_token()?;
        rotate_key::seal(tx, &cx.metal.vault, node, MEDIA, &name).await?;
        Some(agent::digest(&name))
    } else {
        None
    };
    if node.driver != FAKE {
        files::check(tx, cx, node).await?;
        let network = network::of_node(cx, node)?;
        network::prepare(tx, network, node).await?;
    }
    let words = method.words();
    timeline::begin(tx, node.id, now, format!("by {words}, attempt {attempt}")).await?;
    node.boot = Some(RamdiskBoot {
        method,
        attempt,
        token_sha256,
        media_sha256,
        since: now,
        story,
    });
    Ok(())
}

/// Refuses a server that cannot be booted as its record stands.
pub fn check(node: &Node) -> Result<(), Refusal> {
    check_processor(node)?;
    network_data::check(node)
}

/// Refuses a server that no loader here starts.
fn check_processor(node: &Node) -> Result<(), Refusal> {
    let processor = node.properties.get("cpu_arch").and_then(Value::as_str);
    match processor.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "x86_64" | "x86-64" | "amd64") => Ok(()),
        Some(other) => Err(Refusal::conflict(format!(
            "Node {} has the cpu_arch {other}, and no ramdisk can be booted on it: the boot loaders here (iPXE, shim, GRUB and \
             ISOLINUX) and the images for virtual media are for x86_64 alone. If its processor is one, correct it with \
             `openstack baremetal node set --property cpu_arch=x86_64`.",
            node.id
        ))),
    }
}

/// Nothing of a boot stays in a node's row: its token opens nothing, its image is not served, its ramdisk is a stranger.
pub fn forget(node: &mut Node) {
    node.boot = None;
    node.agent = None;
    for place in [TOKEN, MEDIA, agent::TOKEN] {
        node.secrets.remove(place);
    }
}

/// Where a node's BMC fetches the image of its boot; `None` if it boots from none.
pub fn media_url(cx: &Context, node: &Node) -> Result<Option<String>, Refusal> {
    let Some(secret) = machine::secret(cx, node, MEDIA)? else {
        return Ok(None);
    };
    if node.driver == FAKE {
        return Ok(Some(format!("http://simulated/media/{}.iso", node.id)));
    }
    let address = network::of_node(cx, node)?.address.addr();
    let port = cx.settings.provisioning.http_port;
    Ok(Some(format!(
        "http://{address}:{port}/media/{}.{secret}.iso",
        node.id
    )))
}

/// The node and the secret in the name of an image.
pub fn media_parts(name: &str) -> Option<(NodeId, &str)> {
    let (node, secret) = name.split_once('.')?;
    Some((node.parse().ok()?, secret))
}

/// What a node boots on one of its cards. `fixed`: its address is told here, since no DHCP server may be asked.
pub fn boot(
    cx: &Context,
    network: &ProvisioningNetwork,
    node: &Node,
    mac: Mac,
    fixed: Option<&Lease>,
) -> Result<Option<Boot>, Refusal> {
    if !boots(node) || node.boot.is_none() {
        return Ok(None);
    }
    let Some(token) = machine::secret(cx, node, TOKEN)? else {
        return Ok(None);
    };
    // The stock agent shows the token of the boot as its own.
    let whose = format!("corten.node={} ipa-agent-token={token}", node.id);
    let words = files::arguments(cx, node)?;
    let mut line = line(cx, network, &words, &mac.to_string(), &whose, &token);
    if let Some(lease) = fixed {
        let gateway = lease.gateway.map(|gateway| gateway.to_string());
        let dns = lease.name_servers.first();
        let _ = write!(
            line,
            " ip={}::{}:{}:::none{}",
            lease.address.addr(),
            gateway.unwrap_or_default(),
            lease.address.netmask(),
            dns.map_or_else(String::new, |dns| format!(":{dns}")),
        );
    }
    let secure_boot = node.secure_boot.unwrap_or(false);
    of_line(files::of_node(cx, node)?, &line, secure_boot).map(Some)
}

/// The kernel's command line of a boot on this card, with the words that say whose boot it is.
pub(in crate::metal) fn line(
    cx: &Context,
    network: &ProvisioningNetwork,
    words: &str,
    mac: &str,
    whose: &str,
    token: &str,
) -> String {
    let mut line = format!(
        "{words} ipa-api-url={} BOOTIF=01-{} {whose} corten.token={token}",
        network::home(cx, network),
        mac.replace(':', "-"),
    );
    if let Some(pin) = cx.metal.pin.get() {
        let _ = write!(line, " corten.pin=sha256:{pin}");
    }
    line
}

/// A kernel and its ramdisk, with this command line.
pub(in crate::metal) fn of_line(
    [kernel, ramdisk]: [PathBuf; 2],
    line: &str,
    secure_boot: bool,
) -> Result<Boot, Refusal> {
    let command_line: CommandLine = line.parse().map_err(|error| {
        Refusal::conflict(format!(
            "provisioning.kernel_arguments, or driver_info/{}: {error}",
            files::ARGUMENTS
        ))
    })?;
    Ok(Boot {
        kernel,
        ramdisk,
        command_line,
        secure_boot,
    })
}
