//! This machine's part in networks: the fabric's daemons, the host's switch, and what the switch must have.

use crate::config::Config;
use crate::names;
use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use corten_api::metadata::Asker;
use corten_host::HostConfig;
use corten_model::ids::NetworkId;
use corten_network::chassis::{HostSwitch, MetadataListeners, SwitchConfig};
use corten_network::daemons::Central;
use corten_network::ovsdb::Remote;
use corten_network::{AwayFabric, Fabric, OvnFabric};
use corten_operations::network::TOLD;
use corten_operations::network::host_side::{self, HostSide, Service};
use corten_operations::{Context, error_text};
use corten_sim::SimFabric;
use corten_store::Failure;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often what the switch must have is looked at although nothing is known to have changed.
const LOOK: Duration = Duration::from_secs(60);

/// What carries this cloud's networks, as far as it runs on this machine.
pub struct Networks {
    pub fabric: Arc<dyn Fabric>,
    /// Kept so that its daemons are watched.
    central: Option<Central>,
}

/// Whether `corten up` can give its first instance a network.
pub fn possible(config: &Config) -> bool {
    config.settings.network.enabled && is_root()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn data_dir(config: &Config) -> PathBuf {
    config.data.join("network")
}

fn away(reason: &str) -> Networks {
    tracing::warn!(reason, "this cloud has no networks");
    Networks {
        fabric: Arc::new(AwayFabric::because(reason)),
        central: None,
    }
}

impl Networks {
    /// Starts or adopts the fabric's centre. Trouble does not stop the control plane: what needs networks waits, and says
    /// what is missing.
    pub async fn open(config: &Config) -> Self {
        if !config.host.enabled && config.sim.hosts > 0 {
            return Self {
                fabric: Arc::new(SimFabric::default()),
                central: None,
            };
        }
        if !config.settings.network.enabled {
            return away("networks are switched off: set network.enabled = true in corten.toml");
        }
        if !is_root() {
            return away(
                "carrying networks needs root: start corten as root, or set network.enabled = false",
            );
        }
        match Central::open(&data_dir(config)).await {
            Ok(central) => Self {
                fabric: Arc::new(OvnFabric::connect(
                    Remote::Unix(central.northbound_socket()),
                    Remote::Unix(central.southbound_socket()),
                )),
                central: Some(central),
            },
            Err(error) => away(&error_text(&error)),
        }
    }

    /// Opens the switch of this machine as a host, if the fabric's centre runs.
    pub async fn switch(&self, config: &Config, host: &HostConfig) -> Option<Arc<HostSwitch>> {
        let central = self.central.as_ref()?;
        match open_switch(config, central, host).await {
            Ok(switch) => {
                tracing::info!(datapath = ?switch.datapath(), "switch is ready");
                Some(Arc::new(switch))
            }
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "this host has no switch, so its guests have no network cards");
                None
            }
        }
    }
}

async fn open_switch(
    config: &Config,
    central: &Central,
    host: &HostConfig,
) -> anyhow::Result<HostSwitch> {
    let southbound = format!("unix:{}", central.southbound_socket().display());
    let switch = SwitchConfig {
        guest_uid: host.guest_uid()?,
        ..SwitchConfig::new(data_dir(config), &crate::server::hostname(), southbound)
    };
    HostSwitch::open(switch)
        .await
        .context("cannot open the switch")
}

/// The switch of this machine, and the services that its guests' networks have here.
pub struct Keeper {
    cx: Arc<Context>,
    switch: Arc<HostSwitch>,
    /// What serves each network's metadata; dropping it closes its listeners.
    services: HashMap<NetworkId, JoinSet<()>>,
    held: Option<HostSide>,
}

impl Keeper {
    /// Has the switch hold what the rows say before anything is plugged, and removes what nobody asked for.
    pub async fn start(cx: Arc<Context>, switch: Arc<HostSwitch>) -> anyhow::Result<Self> {
        let keeper = Self {
            cx,
            switch,
            services: HashMap::new(),
            held: None,
        };
        let wanted = keeper.wanted().await?;
        let networks = wanted.services.keys().copied().collect();
        keeper.switch.keep_only(&wanted.ports, &networks).await?;
        Ok(keeper)
    }

    /// Has the switch hold what the rows say, now and whenever they change.
    pub async fn keep(mut self) {
        let mut wake_ups = self.cx.store.wake_ups();
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(error = %format!("{error:#}"), "the switch does not hold what it must yet");
            }
            let told = async {
                // A receiver that lags behind has missed something, and looks as well.
                while let Ok(wake_up) = wake_ups.recv().await {
                    if wake_up.place == TOLD {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(LOOK, told).await;
        }
    }

    async fn wanted(&self) -> Result<HostSide, Failure> {
        host_side::of(&mut self.cx.store.read().await?, self.switch.name()).await
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let wanted = self.wanted().await?;
        if self.held.as_ref() == Some(&wanted) {
            return Ok(());
        }
        for (physical_network, addresses) in &wanted.external {
            self.switch
                .external_bridge(physical_network, addresses)
                .await?;
        }
        for (network, service) in &wanted.services {
            self.serve(*network, service).await?;
        }
        for network in self.switch.served()? {
            if !wanted.services.contains_key(&network) {
                self.services.remove(&network);
                self.switch.unserve(network).await?;
            }
        }
        self.held = Some(wanted);
        Ok(())
    }

    async fn serve(&mut self, network: NetworkId, service: &Service) -> anyhow::Result<()> {
        let held = self.held.as_ref();
        let before = held.and_then(|held| held.services.get(&network));
        if before == Some(service) && self.services.contains_key(&network) {
            return Ok(());
        }
        if let Some(mut serving) = self.services.remove(&network) {
            serving.shutdown().await;
        }
        let MetadataListeners { v4, v6 } = self
            .switch
            .serve(network, service.port, service.mac, &service.addresses)
            .await?;
        let mut serving = JoinSet::new();
        for listener in [v4, v6] {
            let routes = metadata(self.cx.clone(), network)
                .into_make_service_with_connect_info::<SocketAddr>();
            serving.spawn(async move {
                if let Err(error) = axum::serve(listener, routes).await {
                    tracing::error!(%network, %error, "a metadata service ended");
                }
            });
        }
        let sockets = self
            .switch
            .listen_for_names(network, &service.addresses)
            .await?;
        names::serve(&self.cx, network, sockets, &mut serving);
        self.services.insert(network, serving);
        Ok(())
    }
}

/// The routes that answer a network's guests: who asks is known by the address, which port security makes true.
fn metadata(cx: Arc<Context>, network_id: NetworkId) -> Router {
    let say_who =
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next| {
            let address = peer.ip();
            request.extensions_mut().insert(Asker {
                network_id,
                address,
            });
            next.run(request)
        };
    corten_api::metadata::router(cx).layer(from_fn(say_who))
}

/// Removes everything of this cloud's networks from this machine. Guests must be gone.
pub async fn destroy(config: &Config) -> anyhow::Result<()> {
    let data = data_dir(config);
    if !data.exists() {
        return Ok(());
    }
    // What does not run any more is started once more: only a switch knows what it holds.
    let central = Central::open(&data).await?;
    if data.join("switch").exists() {
        let switch = open_switch(config, &central, &config.host_config()?).await?;
        switch.destroy().await?;
    }
    central.destroy().await?;
    Ok(())
}
