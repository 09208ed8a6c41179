//! Where a network's guests ask about names on this host: port 53 of its service addresses.

use super::HostSwitch;
use crate::daemons::{MachineError, Namespace};
use crate::resolver::DNS_PORT;
use corten_model::ids::NetworkId;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use tokio::net::{TcpListener, UdpSocket};

/// The sockets of one address.
#[derive(Debug)]
pub struct NameSockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

impl HostSwitch {
    /// Listens at a network's service addresses, in its service namespace, which is there. Nobody but guests of the
    /// network reaches it.
    pub async fn listen_for_names(
        &self,
        network: NetworkId,
        addresses: &[IpNet],
    ) -> Result<Vec<NameSockets>, MachineError> {
        let namespace = Namespace::Named(self.names.service_namespace(network));
        let addresses: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
        let bound = namespace
            .run("listen for questions about names in", move || {
                let bind = |address| {
                    let address = SocketAddr::new(address, DNS_PORT);
                    let udp = std::net::UdpSocket::bind(address)?;
                    let tcp = std::net::TcpListener::bind(address)?;
                    udp.set_nonblocking(true)?;
                    tcp.set_nonblocking(true)?;
                    Ok((udp, tcp))
                };
                addresses
                    .into_iter()
                    .map(bind)
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let register = |(udp, tcp)| {
            Ok(NameSockets {
                udp: UdpSocket::from_std(udp)?,
                tcp: TcpListener::from_std(tcp)?,
            })
        };
        let registered: Result<_, std::io::Error> = bound.into_iter().map(register).collect();
        registered.map_err(MachineError::io("listen in", Path::new("a namespace")))
    }
}
