//! Simulated servers behind BMCs of their own, which speak Redfish without TLS and run our ramdisk:
//! `fleet [COUNT [FIRST_ADDRESS:PORT]]`.
//!
//! A line for each: the URL of its BMC, the path of its system, the address of its network card. The user is `admin`, the
//! password `s3cret-horse`.

use corten_sim::fleet::Fleet;
use corten_sim::redfish::Shape;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let first = SocketAddrV4::new(Ipv4Addr::new(127, 80, 0, 1), 8000);
    let first = arguments.next().map_or(Ok(first), |first| first.parse())?;
    let fleet = Fleet::start(count, first, Shape::named("standard")?).await?;
    for server in &fleet.servers {
        let (system, mac) = (server.bmc.system_path(), server.machine.mac());
        println!("{} {system} {mac}", server.url);
    }
    std::future::pending().await
}
