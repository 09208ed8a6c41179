//! PID 1 of the deploy ramdisk; the story is in the library.

use corten_ramdisk::boot::netlink::Uevents;
use corten_ramdisk::boot::network::{self, Network};
use corten_ramdisk::boot::{BootOptions, modules::Modules, mounts};
use corten_ramdisk::commands::{Ending, ThisServer};
use corten_ramdisk::device::Sysfs;
use corten_ramdisk::home::HomeError;
use corten_ramdisk::inspect::Inspector;
use corten_ramdisk::inspect::lldp::Neighbour;
use corten_ramdisk::journal::{self, Journal, chain};
use corten_ramdisk::stay::{Server, stay};
use corten_ramdisk::steps::{boot, raid};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// The announcement of a switch comes sooner than that, or there is none.
const ASSEMBLY_PATIENCE: Duration = Duration::from_secs(30);
const LLDP_PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    if std::process::id() != 1 {
        eprintln!("corten-ramdisk is the first process of the deploy ramdisk, and of nothing else");
        std::process::exit(64);
    }
    let journal = Journal::install();
    let sysfs = Sysfs::default();
    match work(&journal, &sysfs) {
        Ok(Ending::Reboot) => report(boot::restart()),
        Ok(Ending::PowerOff) => report(boot::power_off()),
        Ok(Ending::Rescue) => tracing::info!("the ramdisk is open for a rescue"),
        Err(error) => tracing::error!("{}", chain(error.as_ref())),
    }
    // A first process that ends takes the kernel with it; this one waits to be switched off.
    tracing::info!("nothing more is done until the server is switched off");
    loop {
        std::thread::park();
    }
}

fn report(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("the server can be neither restarted nor switched off: {error}");
    }
}

fn work(journal: &Journal, sysfs: &Sysfs) -> Result<Ending, Box<dyn Error>> {
    mounts::mount_all()?;
    tracing::info!("Corten deploy ramdisk {}", env!("CARGO_PKG_VERSION"));
    journal::follow_kernel();
    let options = BootOptions::read(Path::new("/proc/cmdline"))?;
    let events = Uevents::open()?;
    Modules::of_kernel()?.load_all(&events)?;
    if !options.discover {
        assemble(sysfs);
    }
    let network = network::bring_up(&options, sysfs, &events)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(at_home(journal, sysfs, &options, &network));
    if let Err(HomeError::Refused { .. } | HomeError::NotOffered { .. } | HomeError::NoToken) =
        &outcome
    {
        network::take_down(&network, sysfs)?;
    }
    Ok(outcome?)
}

/// A disk that hangs must not keep the server from calling home.
fn assemble(sysfs: &Sysfs) {
    let (done, ended) = std::sync::mpsc::channel();
    let sysfs = sysfs.clone();
    std::thread::spawn(move || {
        raid::assemble(&sysfs);
        // Whoever waited too long does not listen any more.
        let _ = done.send(());
    });
    if ended.recv_timeout(ASSEMBLY_PATIENCE).is_err() {
        tracing::warn!(
            "looking for arrays takes longer than {} s; it goes on beside the rest",
            ASSEMBLY_PATIENCE.as_secs()
        );
    }
}

/// Everything that needs the control plane. Returns how the work ends.
async fn at_home(
    journal: &Journal,
    sysfs: &Sysfs,
    options: &BootOptions,
    network: &Network,
) -> Result<Ending, HomeError> {
    let inspector = Inspector::new(sysfs.clone(), Some(network.clone()), Neighbour::listen())
        .waiting(options.lldp);
    // Only an inspection that is sent home is worth the wait.
    let patience = if options.inspect || options.discover {
        LLDP_PATIENCE
    } else {
        Duration::ZERO
    };
    let inspection = tokio::task::block_in_place(|| inspector.inspect(patience));
    let server = Server {
        address: network.address,
        inspection,
        commands: ThisServer {
            sysfs: sysfs.clone(),
            inspector,
        },
    };
    stay(options, server, Some(journal)).await
}
