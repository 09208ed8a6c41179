//! The serial line between a simulated BMC and a machine of QEMU's that comes and goes.

use tokio::net::{TcpListener, TcpStream};

/// The ports of the two ends.
pub struct Relay {
    pub bmc: u16,
    pub qemu: u16,
}

/// Joins the BMC's end of the serial line, which it opens once at its start, with that of each machine that comes.
pub async fn relay() -> Relay {
    let bmc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let qemu = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = Relay {
        bmc: bmc.local_addr().unwrap().port(),
        qemu: qemu.local_addr().unwrap().port(),
    };
    tokio::spawn(async move {
        let (mut bmc, _) = bmc.accept().await?;
        loop {
            let (machine, _) = qemu.accept().await?;
            join(&mut bmc, machine).await;
        }
        #[allow(unreachable_code, reason = "names the error")]
        Ok::<(), std::io::Error>(())
    });
    ports
}

/// Until one of both ends. The BMC's end stays open when a machine goes.
async fn join(bmc: &mut TcpStream, mut machine: TcpStream) {
    let (mut from_bmc, mut to_bmc) = bmc.split();
    let (mut from_machine, mut to_machine) = machine.split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_machine, &mut to_bmc) => {}
        _ = tokio::io::copy(&mut from_bmc, &mut to_machine) => {}
    }
}
