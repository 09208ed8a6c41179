//! The control plane: opens everything in order, serves until told to stop, and leaves guests running.

use crate::cloud;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::guest_services::OwnServices;
use crate::networks::{Keeper, Networks};
use crate::provisioning;
use anyhow::Context as _;
use corten_agent::{Authority, Door, Holder};
use corten_api::agents::{self, Reception};
use corten_api::app::{App, Parts};
use corten_engine::{Clock, NoFaults, SystemClock, Worker, WorkerConfig};
use corten_host::{Hands, QemuHost};
use corten_iam::Iam;
use corten_iam::bootstrap::{Bootstrap, services_under};
use corten_model::ids::HostId;
use corten_operations::context::Hosts;
use corten_operations::metal::console as metal_console;
use corten_operations::metal::vault::Vault;
use corten_operations::metal::watch::{self as metal_watch, Readings};
use corten_operations::metal::{Metal, Simulator};
use corten_operations::{Context, error_text, flavor, image, network, workflows};
use corten_sim::{SimConfig, SimHost, SimMachines};
use corten_store::Store;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as signal};

/// As long as Ironic tries to get a node that something works on.
const METAL_PATIENCE: Duration = Duration::from_secs(3);

/// Runs the control plane until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    log(&config);
    cloud::private_dir(&config.data)?;
    std::fs::create_dir_all(config.image_dir()).context("cannot make the image directory")?;
    if config.server.database.is_none() {
        // SQLite gives its other files the same permissions.
        cloud::private_file(&config.database_file())?;
    }
    let store = Store::open(&config.database_url())
        .await
        .context("cannot open the store")?;
    let iam = Arc::new(
        Iam::open(store.clone(), config.identity.clone())
            .await
            .context("cannot open identity")?,
    );
    let passwords = cloud::Passwords::load_or_make(&config.data)?;
    iam.bootstrap(&Bootstrap {
        admin_password: passwords.admin.clone(),
        demo_password: passwords.demo.clone(),
        region: config.server.region.clone(),
        services: services_under(&config.public_url()),
    })
    .await
    .context("cannot set up identity")?;
    cloud::write_clouds_yaml(&config, &passwords)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let networks = Networks::open(&config).await;
    let cx = Arc::new(Context {
        store: store.clone(),
        policy: iam.policy(),
        settings: config.settings.clone(),
        clock: clock.clone(),
        hosts: Hosts::default(),
        fabric: networks.fabric.clone(),
        image_dir: config.image_dir(),
        metal: metal(&config)?,
    });
    flavor::seed(&cx)
        .await
        .context("cannot make the first flavors")?;
    image::recover(&cx)
        .await
        .context("cannot put the images in order")?;
    let metrics = measure(&config)?;
    let app = App::new(Parts {
        iam,
        cx: cx.clone(),
        public_url: config.public_url(),
        metrics,
    });
    let _boot_servers = provisioning::serve(&config, &cx, &app).await?;
    let listener = tokio::net::TcpListener::bind(config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let (stop, stopped) = signal::channel(false);
    let http = tokio::spawn(
        axum::serve(listener, corten_api::router(app))
            .with_graceful_shutdown(until(stopped.clone()))
            .into_future(),
    );
    tracing::info!(listen = %config.server.listen, millis = started.elapsed().as_millis() as u64, "answering");
    let fleet = Fleet::new(cx.clone());
    fleet.add_services(&hostname()).await?;
    open_hosts(&config, &fleet, &networks).await?;
    let places = fleet.places.clone();
    tokio::spawn(fleet.clone().stay_alive());
    let_hosts_in(&config, fleet, &networks).await?;
    tokio::spawn(network::watch::watch(cx.clone()));
    tokio::spawn(metal_watch::watch(cx.clone(), hostname()));
    tokio::spawn(metal_console::keep(cx.clone(), hostname()));
    let worker = Worker::new(
        store.clone(),
        Arc::new(workflows::registry(&cx)),
        clock,
        Arc::new(NoFaults),
        WorkerConfig {
            parallel: config.server.workers,
            ..WorkerConfig::new(worker_name(), places)
        },
    );
    let working = tokio::spawn(async move { worker.run(stopped).await });
    wait_for_signal().await?;
    tracing::info!("stopping; guests go on running");
    let _ = stop.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(10), working).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), http).await;
    store.close().await;
    Ok(())
}

/// What bare-metal servers are reached with: the key of their passwords, which stands beside those of tokens.
fn metal(config: &Config) -> anyhow::Result<Metal> {
    let vault = Vault::open(&config.metal_key_directory())
        .context("cannot open the key of the passwords of bare-metal servers")?;
    let machines = SimMachines::default();
    let simulator: Simulator = Arc::new(move |id| machines.machine(&id.to_string()));
    Ok(Metal {
        vault,
        simulator: config.sim.metal.then_some(simulator),
        pin: Default::default(),
        readings: Readings::default(),
        console_directory: Some(config.data.join("metal-consoles")),
        patience: METAL_PATIENCE,
    })
}

pub fn log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .or_else(|_| tracing_subscriber::EnvFilter::try_new(&config.server.log))
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if config.server.log_json {
        subscriber.json().init();
    } else {
        subscriber.with_ansi(false).init();
    }
}

/// How long requests and steps take is counted in buckets of fixed size: what is kept per route does not grow.
const BUCKETS_SECS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
/// How often what was measured is put into the buckets, so that it does not pile up where nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a node showed is forgotten when so many readings of it were missed: it is gone, or something works on it.
const READINGS_MISSED: u64 = 3;

fn measure(config: &Config) -> anyhow::Result<PrometheusHandle> {
    let metal = &config.settings.metal;
    let period_secs = metal.unread_max_secs();
    let kept = (period_secs > 0).then(|| Duration::from_secs(period_secs * READINGS_MISSED));
    let builder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS_SECS)
        .context("the buckets are not right")?
        .idle_timeout(MetricKindMask::GAUGE, kept);
    let handle = builder
        .install_recorder()
        .context("cannot install the metrics recorder")?;
    let kept = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

async fn until(mut stopped: signal::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn worker_name() -> String {
    format!("{}/{}", hostname(), std::process::id())
}

pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Opens this machine and the simulated ones as hosts of the fleet.
async fn open_hosts(config: &Config, fleet: &Fleet, networks: &Networks) -> anyhow::Result<()> {
    let mut found: Vec<(HostId, Arc<dyn Hands>)> = Vec::new();
    if config.host.enabled {
        let host_config = config.host_config()?;
        let switch = networks.switch(config, &host_config).await;
        if let Some(switch) = &switch {
            let services = OwnServices(fleet.cx.clone());
            let holder = Holder::new(switch.clone(), Arc::new(services));
            let host = switch.name().to_owned();
            let mut keeper = Keeper::new(fleet.cx.clone(), host, Arc::new(holder));
            if let Err(error) = keeper.look().await {
                let error = error_text(&error);
                tracing::warn!(error, "this machine does not hold its networks yet");
            }
            tokio::spawn(keeper.keep());
        }
        match QemuHost::open(host_config, switch).await {
            Ok(qemu) => found.push((host_id(&config.data.join("host-id"))?, Arc::new(qemu))),
            Err(error) => {
                tracing::error!(error = %error_text(&error), "this machine runs no guests")
            }
        }
    }
    for number in 1..=config.sim.hosts {
        let name = format!("sim-{number}");
        let id = host_id(&config.data.join(format!("{name}-id")))?;
        found.push((id, Arc::new(SimHost::new(SimConfig::named(name)))));
    }
    for (id, hands) in found {
        fleet.add_own(id, hands).await?;
    }
    Ok(())
}

/// Lets hosts on other machines in, if the settings say where.
async fn let_hosts_in(config: &Config, fleet: Fleet, networks: &Networks) -> anyhow::Result<()> {
    let Some(listen) = config.agents.listen else {
        return networks.stop_listening().await;
    };
    let authority = Authority::open(&config.agents.authority_directory)?;
    let networks_at = SocketAddr::new(listen.ip(), config.agents.network_port);
    let southbound_port = networks.listen(networks_at, &authority).await?;
    let door = Door::open(listen, &authority).await?;
    let (arrive, arrivals) = mpsc::channel(64);
    let reception = Reception {
        cx: fleet.cx.clone(),
        authority,
        southbound_port,
    };
    tracing::info!(%listen, "hosts on other machines may come in");
    tokio::spawn(door.serve(agents::routes(Arc::new(reception)), arrive));
    tokio::spawn(fleet.receive(arrivals));
    Ok(())
}

/// The id of a host, kept where its guests are.
fn host_id(path: &Path) -> anyhow::Result<HostId> {
    if let Ok(text) = std::fs::read_to_string(path) {
        return text
            .trim()
            .parse()
            .with_context(|| format!("{} does not hold a host id", path.display()));
    }
    let id = HostId::random();
    std::fs::write(path, format!("{id}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(id)
}

pub async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
