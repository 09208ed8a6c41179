//! External networks: where public addresses meet the machine.
//!
//! The machine has a device with the external network's gateway addresses, so it reaches public addresses by a connected
//! route. Where the switch has a namespace of its own, the device is the machine's end of a veth; else it is the bridge.

use super::conf::Conf;
use super::link::Links;
use super::names::Names;
use crate::daemons::{MachineError, Namespace};
use ipnet::IpNet;

/// Makes the bridge of a physical network and gives the machine these addresses on it.
pub async fn join(
    names: &Names,
    switch: &Namespace,
    conf: &Conf,
    physical_network: &str,
    addresses: &[IpNet],
) -> Result<String, MachineError> {
    let device = names.external(physical_network);
    conf.ensure_bridge(&device, false, None).await?;
    conf.settle().await?;
    let machine = Links(&Namespace::Own);
    if let Namespace::Named(name) = switch {
        let port = names.external_port(physical_network);
        if !machine.has_veth(&device, &port, name).await? {
            conf.release(&port).await?;
            machine.make_veth(&device, &port, name).await?;
        }
        machine.finish_checksums(&device).await?;
        Links(switch)
            .batch(format!("link set dev {port} up\n"))
            .await?;
        conf.add_port(&device, &port, None).await?;
    }
    machine.batch(format!("link set dev {device} up\n")).await?;
    machine.set_addresses(&device, addresses).await?;
    conf.map_bridge(physical_network, &device).await?;
    Ok(device)
}
