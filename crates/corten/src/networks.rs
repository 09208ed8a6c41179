//! A control plane's part in networks: the fabric's centre, this machine's switch, and what every host must have.

use crate::agent::Membership;
use crate::config::Config;
use anyhow::{Context as _, bail};
use corten_agent::{Authority, Holds};
use corten_host::HostConfig;
use corten_network::chassis::{HostSide, HostSwitch, SwitchConfig, Tunnel};
use corten_network::daemons::{Central, Namespace};
use corten_network::ovsdb::Remote;
use corten_network::{AwayFabric, Fabric, OvnFabric};
use corten_operations::network::{TOLD, host_side};
use corten_operations::{Context, error_text};
use corten_sim::SimFabric;
use corten_store::Failure;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often what a host must have is looked at although nothing is known to have changed.
const LOOK: Duration = Duration::from_secs(60);
/// A host that could not hold what it must is told again after this.
const AGAIN: Duration = Duration::from_secs(2);

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

pub fn is_root() -> bool {
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
        let place = SwitchPlace::beside(central, config);
        open_switch(config, host, place).await
    }

    /// Has the fabric's centre listen for hosts on other machines. Answers the port, if there is a centre.
    pub async fn listen(
        &self,
        address: SocketAddr,
        authority: &Authority,
    ) -> anyhow::Result<Option<u16>> {
        let Some(central) = &self.central else {
            return Ok(None);
        };
        let identity = authority.control_plane()?.for_ovn();
        central
            .listen(address, &identity)
            .await
            .context("OVN cannot listen for hosts")?;
        Ok(Some(address.port()))
    }

    /// Has it listen no more.
    pub async fn stop_listening(&self) -> anyhow::Result<()> {
        match &self.central {
            Some(central) => Ok(central.stop_listening().await?),
            None => Ok(()),
        }
    }
}

/// What tells one host's switch from another's.
pub struct SwitchPlace {
    /// OVN's name of the host.
    pub name: String,
    pub southbound: String,
    pub identity: Option<corten_network::ovsdb::Identity>,
    /// Where other hosts reach this one; a host without is alone.
    pub tunnel: Option<Tunnel>,
}

impl SwitchPlace {
    /// Of the machine that the fabric's centre is on.
    fn beside(central: &Central, config: &Config) -> Self {
        Self {
            name: crate::server::hostname(),
            southbound: format!("unix:{}", central.southbound_socket().display()),
            identity: None,
            tunnel: config.host.tunnel.clone(),
        }
    }
}

/// Opens a host's switch. Trouble does not stop the host: its guests have no network cards, and it says why.
pub async fn open_switch(
    config: &Config,
    host: &HostConfig,
    place: SwitchPlace,
) -> Option<Arc<HostSwitch>> {
    match try_open_switch(config, host, place).await {
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

async fn try_open_switch(
    config: &Config,
    host: &HostConfig,
    place: SwitchPlace,
) -> anyhow::Result<HostSwitch> {
    let SwitchPlace {
        name,
        southbound,
        identity,
        tunnel,
    } = place;
    let alone = SwitchConfig::new(data_dir(config), &name, southbound);
    let namespace = match &tunnel {
        Some(_) => Namespace::Own,
        None => alone.namespace.clone(),
    };
    let switch = SwitchConfig {
        guest_uid: host.guest_uid()?,
        identity,
        tunnel,
        namespace,
        physical_interfaces: config.host.physical_interfaces.clone(),
        ..alone
    };
    HostSwitch::open(switch)
        .await
        .context("cannot open the switch")
}

/// Tells one host what it must have of networks, whenever that changes.
pub struct Keeper {
    cx: Arc<Context>,
    /// OVN's name of the host.
    host: String,
    holds: Arc<dyn Holds>,
    held: Option<HostSide>,
}

impl Keeper {
    pub fn new(cx: Arc<Context>, host: String, holds: Arc<dyn Holds>) -> Self {
        Self {
            cx,
            host,
            holds,
            held: None,
        }
    }

    /// Has the host hold what the rows say now.
    pub async fn look(&mut self) -> Result<(), Failure> {
        let wanted = {
            let mut tx = self.cx.store.read().await?;
            host_side::of(&mut tx, &self.cx, &self.host).await?
        };
        if self.held.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let held = self.holds.hold(wanted.clone()).await;
        held.map_err(|error| Failure::outside("telling a host of its networks", error))?;
        self.held = Some(wanted);
        Ok(())
    }

    /// The same, now and for good.
    pub async fn keep(mut self) {
        let mut wake_ups = self.cx.store.wake_ups();
        loop {
            let mut pause = LOOK;
            if let Err(error) = self.look().await {
                let error = error_text(&error);
                tracing::warn!(
                    host = self.host,
                    error,
                    "a host does not hold what it must yet"
                );
                pause = AGAIN;
            }
            let told = async {
                // A receiver that lags behind has missed something, and looks as well.
                while let Ok(wake_up) = wake_ups.recv().await {
                    if wake_up.place == TOLD {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(pause, told).await;
        }
    }
}

/// Removes everything of this cloud's networks from this machine. Guests must be gone.
pub async fn destroy(config: &Config) -> anyhow::Result<()> {
    let data = data_dir(config);
    // What does not run any more is started once more: only a switch knows what it holds.
    let central = match data.join("central").exists() {
        true => Some(Central::open(&data).await?),
        false => None,
    };
    if data.join("switch").exists() {
        let place = match (Membership::load(config)?, &central) {
            (Some(membership), _) => membership.switch_place(config, None),
            (None, Some(central)) => SwitchPlace::beside(central, config),
            (None, None) => bail!("{} has a switch, and nothing says whose", data.display()),
        };
        let switch = try_open_switch(config, &config.host_config()?, place).await?;
        switch.destroy().await?;
    }
    if let Some(central) = central {
        central.destroy().await?;
    }
    Ok(())
}
