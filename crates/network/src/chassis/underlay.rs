//! The way to other hosts, for the userspace datapath: the tunnels' address must be on a bridge of its own that has the
//! underlay's network card as its port.

use super::conf::Conf;
use super::config::Tunnel;
use super::link::Links;
use super::names::Names;
use crate::daemons::{MachineError, Namespace};

/// Moves the tunnels' address from the card to the bridge.
pub async fn join(
    names: &Names,
    switch: &Namespace,
    conf: &Conf,
    tunnel: &Tunnel,
) -> Result<(), MachineError> {
    let bridge = names.underlay_bridge();
    conf.ensure_bridge(&bridge, false).await?;
    conf.add_port(&bridge, &tunnel.interface, None, false)
        .await?;
    conf.settle().await?;
    let links = Links(switch);
    links.set_addresses(&tunnel.interface, &[]).await?;
    links
        .batch(format!(
            "link set dev {} up\nlink set dev {bridge} up\n",
            tunnel.interface
        ))
        .await?;
    links.set_addresses(&bridge, &[tunnel.address]).await
}
