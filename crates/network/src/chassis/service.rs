//! A network's services on this host (metadata, names): a namespace of their own, joined to the network.
//!
//! Its addresses are those of the network's service port, and the well-known ones of the metadata service. Networks may
//! use the same addresses, and their guests meet different sockets.

use super::conf::Conf;
use super::link::Links;
use super::names::Names;
use crate::daemons::{MachineError, Namespace};
use crate::plan::Mac;
use corten_model::ids::{NetworkId, PortId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustix::net::netdevice::name_to_index;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use tokio::net::TcpListener;

/// Where every guest of every cloud asks for its metadata.
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
const METADATA_PORT: u16 = 80;
/// The namespace's end of the veth.
const INNER: &str = "eth0";

/// Where a network's guests reach the metadata service. A client's address is that of its port, as port security has it.
#[derive(Debug)]
pub struct MetadataListeners {
    pub v4: TcpListener,
    pub v6: TcpListener,
}

/// One network's services on this host.
pub struct Service<'a> {
    pub names: &'a Names,
    pub switch: &'a Namespace,
    pub conf: &'a Conf,
    pub network: NetworkId,
}

impl Service<'_> {
    /// Makes the namespace and joins it to the network.
    pub async fn join(
        &self,
        port: PortId,
        mac: Mac,
        addresses: &[IpNet],
    ) -> Result<Namespace, MachineError> {
        let name = self.names.service_namespace(self.network);
        let namespace = Namespace::Named(name.clone());
        namespace.ensure().await?;
        let outer = self.names.service_device(self.network);
        let switch = Links(self.switch);
        if !switch.has_veth(&outer, INNER, &name).await? {
            self.conf.release(&outer).await?;
            switch.make_veth(&outer, INNER, &name).await?;
            switch.keep_silent(&outer).await?;
        }
        let inside = Links(&namespace);
        let ipv6 =
            ["accept_ra", "disable_ipv6"].map(|key| format!("net.ipv6.conf.{INNER}.{key}=0"));
        namespace
            .program("sysctl")
            .arg("-qw")
            .args(ipv6)
            .run()
            .await?;
        inside
            .batch(format!("link set dev {INNER} address {mac} up\n"))
            .await?;
        inside.finish_checksums(INNER).await?;
        let well_known = [
            IpNet::V4(Ipv4Net::from(METADATA_V4)),
            IpNet::V6(Ipv6Net::new_assert(METADATA_V6, 64)),
        ];
        let addresses = [addresses, &well_known].concat();
        inside.set_addresses(INNER, &addresses).await?;
        switch.batch(format!("link set dev {outer} up\n")).await?;
        let bridge = self.names.integration_bridge();
        self.conf
            .add_port(&bridge, &outer, Some(&port.to_string()))
            .await?;
        Ok(namespace)
    }

    /// Takes the namespace and its devices away.
    pub async fn leave(&self) -> Result<(), MachineError> {
        let outer = self.names.service_device(self.network);
        self.conf.remove_port(&outer).await?;
        Links(self.switch).remove(&outer).await?;
        Namespace::Named(self.names.service_namespace(self.network))
            .remove()
            .await
    }
}

/// Listens in the namespace; the sockets belong to it for good.
pub async fn listen(namespace: &Namespace) -> Result<MetadataListeners, MachineError> {
    let (v4, v6) = namespace
        .run("listen for metadata requests in", || {
            let scope = {
                let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                name_to_index(&socket, INNER)?
            };
            let v4 = bind(SocketAddr::new(IpAddr::V4(METADATA_V4), METADATA_PORT))?;
            let v6 = bind(SocketAddrV6::new(METADATA_V6, METADATA_PORT, 0, scope).into())?;
            Ok((v4, v6))
        })
        .await?;
    let register = |listener| TcpListener::from_std(listener);
    let listeners = register(v4).and_then(|v4| {
        Ok(MetadataListeners {
            v4,
            v6: register(v6)?,
        })
    });
    listeners.map_err(MachineError::io(
        "listen in",
        std::path::Path::new("a namespace"),
    ))
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
