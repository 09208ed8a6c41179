//! PID 1 of the deploy ramdisk; the story is in the library.

use corten_ramdisk::boot::netlink::Uevents;
use corten_ramdisk::boot::network::{self, Network};
use corten_ramdisk::boot::{BootOptions, modules::Modules, mounts};
use corten_ramdisk::commands::{self, Agent, Ending};
use corten_ramdisk::device::Sysfs;
use corten_ramdisk::home::{self, Home, HomeError};
use corten_ramdisk::inspect;
use corten_ramdisk::journal::{Journal, chain};
use corten_ramdisk::protocol::{AGENT_PORT, Inspection};
use corten_ramdisk::steps::boot;
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

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
    let home = Home::new(options)?;
    let mut inspection = inspect::inspect(sysfs, Some(network));
    let mut node = options.node;
    if options.lldp && (options.inspect || options.discover) {
        add_neighbour(&mut inspection, network).await;
    }
    if options.discover {
        let node = home.offer(&inspection).await?;
        tracing::info!(
            "this server is offered for enrolment as the node {node}; it is switched off now"
        );
        return Ok(Ending::PowerOff);
    }
    if options.inspect {
        let url = options.inspection_url.as_deref();
        node = home.inspected(url, &inspection).await?.or(node);
    }
    let macs: Vec<String> = inspection
        .inventory
        .interfaces
        .iter()
        .map(|card| card.mac_address.clone())
        .collect();
    let known = home
        .look_up(&macs, node, options.agent_token.as_deref())
        .await?;
    tracing::info!("this is the node {}", known.answer.node.uuid);

    let beat = Arc::new(Notify::new());
    let downloads = home::client(options.pin, None)?;
    let properties = known.answer.node.properties.clone();
    let agent = Arc::new(Agent::new(
        known.agent_token.clone(),
        downloads,
        properties,
        Arc::clone(&beat),
    ));
    let (tls, certificate) =
        home::tls::own(IpAddr::V4(network.address)).map_err(HomeError::OwnCertificate)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, AGENT_PORT))
        .await
        .map_err(HomeError::Listen)?;
    let callback_url = format!("https://{}:{AGENT_PORT}", network.address);

    let mut ending = agent.ending();
    let ended = async move {
        ending.wait_for(Option::is_some).await.ok();
    };
    let server = commands::serve(Arc::clone(&agent), listener, tls, ended);
    tokio::select! {
        refused = home::beat(&home, &known, &callback_url, Some(&certificate), &beat) => Err(refused),
        served = server => {
            served.map_err(HomeError::Listen)?;
            let ending = *agent.ending().borrow();
            Ok(ending.unwrap_or(Ending::Rescue))
        }
        never = log_for_ever(&home, &known, journal) => match never {},
    }
}

/// A control plane that takes no log is no reason to end.
async fn log_for_ever(home: &Home, known: &home::Known, journal: &Journal) -> Infallible {
    home::send_log(home, known, journal).await;
    std::future::pending().await
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
