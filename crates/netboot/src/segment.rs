//! The one interface that is served, in its network namespace: every socket of this crate is opened here.

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A way to open sockets there. A socket belongs to the namespace it was opened in for good, and a thread that has entered a
/// namespace stays in it, so a thread of its own waits inside until this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    interface: String,
    jobs: mpsc::Sender<Job>,
}

impl Segment {
    /// Enters the namespace whose file this is (as in `/run/netns`), or stays in this process's own.
    pub async fn enter(namespace: Option<&Path>, interface: &str) -> io::Result<Self> {
        let namespace = namespace.map(File::open).transpose()?;
        let (jobs, orders) = mpsc::channel::<Job>();
        let (entered, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("netboot-sockets".to_owned())
            .spawn(move || {
                let outcome = namespace.map_or(Ok(()), |file| enter(&file));
                let inside = outcome.is_ok();
                // Nobody waiting any more is fine.
                let _ = entered.send(outcome);
                if inside {
                    orders.iter().for_each(|job| job());
                }
            })?;
        answer.await.unwrap_or_else(|_| Err(ended()))?;
        let interface = interface.to_owned();
        Ok(Self { interface, jobs })
    }

    async fn open<T: Send + 'static>(
        &self,
        work: impl FnOnce(&str) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (give, result) = oneshot::channel();
        let interface = self.interface.clone();
        let job: Job = Box::new(move || {
            // Nobody waiting any more is fine.
            let _ = give.send(work(&interface));
        });
        self.jobs.send(job).map_err(|_| ended())?;
        result.await.unwrap_or_else(|_| Err(ended()))
    }

    /// A UDP socket on this address and port (0: any that is free), which may broadcast.
    pub async fn udp(&self, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
        let socket = self
            .open(move |interface| {
                let socket = bound(interface, Type::DGRAM, Protocol::UDP)?;
                socket.set_broadcast(true)?;
                socket.bind(&SocketAddr::from((address, port)).into())?;
                Ok(socket)
            })
            .await?;
        UdpSocket::from_std(socket.into())
    }

    pub async fn tcp(&self, address: Ipv4Addr, port: u16) -> io::Result<tokio::net::TcpListener> {
        const BACKLOG: i32 = 1024;
        let socket = self
            .open(move |interface| {
                let socket = bound(interface, Type::STREAM, Protocol::TCP)?;
                socket.set_reuse_address(true)?;
                socket.bind(&SocketAddr::from((address, port)).into())?;
                socket.listen(BACKLOG)?;
                Ok(socket)
            })
            .await?;
        tokio::net::TcpListener::from_std(TcpListener::from(socket))
    }

    /// Frames with UDP datagrams for DHCP clients, whoever they are for, as far as they reach this interface. One at each
    /// `recv`: the type is a UDP socket's only because tokio has none for packets, and receiving is the same call.
    pub async fn frames_to_dhcp_clients(&self) -> io::Result<UdpSocket> {
        let socket = self.open(packet_socket).await?;
        UdpSocket::from_std(socket.into())
    }

    /// ICMPv6 messages to routers, one at each `recv` as above, and the interface's index. An error where it has no IPv6.
    pub async fn neighbour_discovery(&self) -> io::Result<(UdpSocket, u32)> {
        const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        /// What has crossed a router is not believed (RFC 4861, section 7.1).
        const HOPS: u32 = 255;
        let (socket, index) = self
            .open(|interface| {
                let index = index_of(interface)?;
                let kind = Some(Protocol::ICMPV6);
                let socket = Socket::new(Domain::IPV6, Type::RAW, kind)?;
                socket.bind_device(Some(interface.as_bytes()))?;
                socket.set_nonblocking(true)?;
                socket.set_multicast_hops_v6(HOPS)?;
                socket.join_multicast_v6(&ALL_ROUTERS, index)?;
                Ok((socket, index))
            })
            .await?;
        Ok((UdpSocket::from_std(socket.into())?, index))
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).map_err(io::Error::from)
}

fn ended() -> io::Error {
    io::Error::other("the thread that opens sockets has ended")
}

fn bound(interface: &str, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn index_of(interface: &str) -> io::Result<u32> {
    let any = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&any, interface)?)
}

/// A packet socket hears every interface of its namespace unless it is bound by an address that only `unsafe` code can make,
/// so its filter names the interface as well.
fn packet_socket(interface: &str) -> io::Result<Socket> {
    /// `ETH_P_IP`, as the kernel wants it: in network order.
    const IP_FRAMES: i32 = 0x0800_u16.to_be() as i32;
    let index = index_of(interface)?;
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(IP_FRAMES)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&only_to_dhcp_clients(index))?;
    // What came before the filter did.
    let mut scrap = [std::mem::MaybeUninit::uninit(); 1];
    while socket.recv(&mut scrap).is_ok() {}
    Ok(socket)
}

/// A classic BPF program: IPv4, UDP, no later fragment, to port 68, and in by this interface.
fn only_to_dhcp_clients(interface_index: u32) -> [SockFilter; 13] {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_IP_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// `SKF_AD_OFF + SKF_AD_IFINDEX`: not a place in the frame, but the interface.
    const INTERFACE_INDEX: u32 = 0xffff_f008;
    let step = SockFilter::new;
    [
        step(LOAD_WORD, 0, 0, INTERFACE_INDEX),
        step(JUMP_EQUAL, 0, 9, interface_index),
        step(LOAD_HALF, 0, 0, 12),
        step(JUMP_EQUAL, 0, 7, 0x0800),
        step(LOAD_BYTE, 0, 0, 23),
        step(JUMP_EQUAL, 0, 5, 17),
        step(LOAD_HALF, 0, 0, 20),
        step(JUMP_BITS, 3, 0, 0x1fff),
        step(LOAD_IP_HEADER_LENGTH, 0, 0, 14),
        step(LOAD_HALF_INDEXED, 0, 0, 16),
        step(JUMP_EQUAL, 1, 0, 68),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, u32::from(u16::MAX)),
    ]
}
