//! `corten agent`: this machine as a host of a cloud whose control plane is elsewhere.

mod relay;

use crate::config::Config;
use crate::networks::{self, SwitchPlace, open_switch};
use crate::{cloud, server};
use anyhow::{Context as _, bail};
use corten_agent::{Dialer, Holder, Holds, Identity, Invitation, Near, join};
use corten_host::QemuHost;
use corten_model::error_text;
use corten_model::ids::HostId;
use corten_network::chassis::Tunnel;
use rand::Rng as _;
use relay::RelayedServices;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A control plane that is not reached is looked for again after this, and then ever longer.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// For a control plane that starts at the same time as the machine that joins it. An invitation names one that was there,
/// so that waiting longer would only hide a wrong address or a closed firewall.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// What this machine knows of the cloud it belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Membership {
    /// `HOST:PORT` of the control plane.
    address: String,
    host_id: HostId,
    name: String,
    /// Where OVN's southbound database is, if the cloud has networks.
    southbound: Option<SocketAddr>,
    /// This machine's end of the tunnels, as it was found when it joined: the switch may have taken the card since.
    tunnel: Option<Tunnel>,
}

impl Membership {
    fn path(config: &Config) -> std::path::PathBuf {
        config.data.join("agent/membership.json")
    }

    fn identity(config: &Config) -> Identity {
        Identity::new(config.data.join("agent"))
    }

    /// `None` for a machine that has not joined a cloud.
    pub fn load(config: &Config) -> anyhow::Result<Option<Self>> {
        let path = Self::path(config);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let membership = serde_json::from_str(&text);
        membership.with_context(|| format!("{} does not hold a membership", path.display()))
    }

    /// Joins the cloud that the invitation is of.
    async fn join(config: &Config, invitation: &Invitation) -> anyhow::Result<Self> {
        let identity = Self::identity(config);
        let dialer = Dialer::new(invitation.address.clone(), identity.clone());
        let own_address = reach(&dialer).await?;
        let admitted = join(invitation, &identity).await?;
        let control_plane = dialer.resolve().await?;
        let membership = Self {
            address: invitation.address.clone(),
            host_id: admitted.host_id,
            name: admitted.name,
            southbound: admitted
                .southbound_port
                .map(|port| SocketAddr::new(control_plane.ip(), port)),
            tunnel: Tunnel::at(own_address).await?,
        };
        cloud::write_private(
            &Self::path(config),
            &serde_json::to_string_pretty(&membership)?,
        )?;
        tracing::info!(host = membership.name, "this machine has joined");
        Ok(membership)
    }

    pub fn switch_place(&self, config: &Config, southbound: Option<SocketAddr>) -> SwitchPlace {
        let southbound = southbound.or(self.southbound);
        SwitchPlace {
            name: self.name.clone(),
            southbound: southbound.map_or_else(String::new, |address| format!("ssl:{address}")),
            identity: Some(Self::identity(config).for_ovn()),
            tunnel: config.host.tunnel.clone().or_else(|| self.tunnel.clone()),
        }
    }
}

/// Works for the control plane until SIGTERM or SIGINT; guests go on running.
pub async fn run(config: Config, invitation: Option<Invitation>) -> anyhow::Result<()> {
    server::log(&config);
    cloud::private_dir(&config.data)?;
    let membership = match (Membership::load(&config)?, &invitation) {
        (Some(membership), _) => membership,
        (None, Some(invitation)) => Membership::join(&config, invitation).await?,
        (None, None) => bail!(
            "this machine belongs to no cloud yet: run `corten admin host invite NAME` where the control plane is, and \
             start this with --join and what it prints"
        ),
    };
    let dialer = Dialer::new(membership.address.clone(), Membership::identity(&config));
    let near = open(&config, &membership, dialer.clone()).await?;
    tokio::select! {
        () = stay_connected(&dialer, &near) => {}
        stopped = server::wait_for_signal() => stopped?,
    }
    tracing::info!("stopping; guests go on running");
    Ok(())
}

/// Opens the switch and the hands of this machine.
async fn open(config: &Config, membership: &Membership, dialer: Dialer) -> anyhow::Result<Near> {
    let host_config = corten_host::HostConfig {
        name: Some(membership.name.clone()),
        ..config.host_config()?
    };
    let switch = match membership.southbound {
        Some(_) if !config.settings.network.enabled => None,
        Some(_) if !networks::is_root() => {
            tracing::warn!(
                "carrying networks needs root: this host's guests have no network cards"
            );
            None
        }
        Some(southbound) => {
            let southbound = match dialer.resolve().await {
                Ok(address) => SocketAddr::new(address.ip(), southbound.port()),
                Err(_) => southbound,
            };
            let place = membership.switch_place(config, Some(southbound));
            open_switch(config, &host_config, place).await
        }
        None => None,
    };
    let holds: Option<Arc<dyn Holds>> = switch.clone().map(|switch| {
        let settings = config.settings.clone();
        let services = RelayedServices { dialer, settings };
        Arc::new(Holder::new(switch, Arc::new(services))) as Arc<dyn Holds>
    });
    let hands = QemuHost::open(host_config, switch)
        .await
        .context("this machine cannot run guests")?;
    Ok(Near::new(Arc::new(hands), holds, config.data.join("spool")).await?)
}

/// Waits until the control plane lets connections in, and says by which address of this machine.
async fn reach(dialer: &Dialer) -> anyhow::Result<IpAddr> {
    let end = Instant::now() + JOIN_PATIENCE;
    let mut pause = PAUSE_MIN;
    loop {
        match dialer.own_address().await {
            Err(error) if Instant::now() + pause < end => {
                let error = error_text(&error);
                tracing::warn!(error, ?pause, "the control plane is not reached yet");
            }
            reached => return Ok(reached?),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn stay_connected(dialer: &Dialer, near: &Near) {
    let mut pause = PAUSE_MIN;
    loop {
        match connect(dialer, near).await {
            Ok(()) => {
                tracing::info!("the control plane closed the connection");
                pause = PAUSE_MIN;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, ?pause, "not connected to the control plane");
            }
        }
        // Hosts that lost the same control plane do not come back in one moment.
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(pause.mul_f64(part)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Serves one connection from its beginning to its end.
async fn connect(dialer: &Dialer, near: &Near) -> anyhow::Result<()> {
    let (client, base) = dialer.requests().await?;
    let membership = client.get(format!("{base}/membership")).send().await?;
    if !membership.status().is_success() {
        bail!("refused: {}", membership.text().await.unwrap_or_default());
    }
    let stream = dialer.dial().await?;
    tracing::info!("connected to the control plane");
    Ok(near.answer(stream).await?)
}
