//! A fleet of simulated servers, each with a BMC at an address of its own, which run our ramdisk when they are started from it.

use crate::machine::{SimMachine, SimMachines};
use crate::ramdisk;
use crate::redfish::{RedfishNode, RedfishService, Shape};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The account of each BMC.
pub const USER: &str = "admin";
pub const PASSWORD: &str = "s3cret-horse";

/// They are on mains until this is dropped.
pub struct Fleet {
    pub servers: Vec<FleetServer>,
    _mains: JoinSet<()>,
}

/// One server of a fleet.
pub struct FleetServer {
    /// Its BMC's, without TLS.
    pub url: String,
    pub bmc: Arc<RedfishNode>,
    pub machine: Arc<SimMachine>,
}

impl Fleet {
    /// So many BMCs, at this address and those after it. Each address must be one of this machine, as all of 127.0.0.0/8 are.
    pub async fn start(count: u32, first: SocketAddrV4, shape: Shape) -> io::Result<Self> {
        let machines = SimMachines::default();
        let mut mains = JoinSet::new();
        let mut servers = Vec::new();
        for number in 0..count {
            let id = format!("{number:010x}0000");
            let machine = machines.get(&id);
            let service = RedfishService::new(USER, PASSWORD);
            let bmc = service.add(&id, Arc::clone(&machine), shape);
            let address = Ipv4Addr::from_bits(first.ip().to_bits() + number);
            let listener = TcpListener::bind((address, first.port())).await?;
            let url = format!("http://{}", listener.local_addr()?);
            mains.spawn(async move {
                if let Err(error) = service.serve(listener).await {
                    tracing::error!(%address, %error, "a BMC ended");
                }
            });
            mains.spawn(ramdisk::live(Arc::clone(&machine)));
            servers.push(FleetServer { url, bmc, machine });
        }
        Ok(Self {
            servers,
            _mains: mains,
        })
    }
}
