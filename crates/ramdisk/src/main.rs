//! PID 1 of the deploy ramdisk; the story is in the library.

use corten_ramdisk::boot::netlink::Uevents;
use corten_ramdisk::boot::network::{self, Network};
use corten_ramdisk::boot::{BootOptions, modules::Modules, mounts};
use corten_ramdisk::commands::{Ending, ThisServer};
use corten_ramdisk::device::Sysfs;
use corten_ramdisk::home::HomeError;
use corten_ramdisk::inspect;
use corten_ramdisk::journal::{Journal, chain};
use corten_ramdisk::protocol::Inspection;
use corten_ramdisk::stay::{Server, stay};
use corten_ramdisk::steps::boot;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// A switch announces itself each half minute.
const LLDP_PATIENCE: Duration = Duration::from_secs(31);

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
    let options = BootOptions::read(Path::new("/proc/cmdline"))?;
    let events = Uevents::open()?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    Modules::open(format!("/lib/modules/{release}"))?.load_all(&events)?;
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

/// Everything that needs the control plane. Returns how the work ends.
async fn at_home(
    journal: &Journal,
    sysfs: &Sysfs,
    options: &BootOptions,
    network: &Network,
) -> Result<Ending, HomeError> {
    let mut inspection = inspect::inspect(sysfs, Some(network));
    if options.lldp && (options.inspect || options.discover) {
        add_neighbour(&mut inspection, network).await;
    }
    let server = Server {
        address: network.address,
        inspection,
        commands: ThisServer {
            sysfs: sysfs.clone(),
        },
    };
    stay(options, server, Some(journal)).await
}

async fn add_neighbour(inspection: &mut Inspection, network: &Network) {
    let heard = tokio::task::spawn_blocking(|| inspect::lldp::listen(LLDP_PATIENCE)).await;
    let fields = match heard {
        Ok(Ok(fields)) => fields,
        Ok(Err(error)) => return tracing::warn!("the switch cannot be listened to: {error}"),
        Err(error) => return tracing::warn!("listening to the switch ended: {error}"),
    };
    for card in &mut inspection.inventory.interfaces {
        if card.name == network.card {
            card.lldp = fields.clone();
        }
    }
}
