//! The hosts that this process works for: those of its own machine, and those that connect from others.

use crate::networks::Keeper;
use anyhow::{Context as _, bail};
use corten_agent::{Arrival, FarHost};
use corten_engine::{Place, Places};
use corten_host::{Hands, HostCapacity};
use corten_model::ids::HostId;
use corten_operations::{Context, agent, error_text, host, watch};
use corten_store::agents::Agent;
use corten_store::services::ServiceId;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often services say that they are alive; they count as down after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Its clones are the same fleet.
#[derive(Clone)]
pub struct Fleet {
    pub cx: Arc<Context>,
    /// The places whose steps this process runs: the control plane's, and those of its hosts.
    pub places: Places,
    alive: Arc<Mutex<Vec<ServiceId>>>,
    /// The arrival by which each host on another machine is reached. What changes hands and places holds its lock.
    reached_by: Arc<Mutex<HashMap<HostId, u64>>>,
}

impl Fleet {
    pub fn new(cx: Arc<Context>) -> Self {
        Self {
            cx,
            places: Places::from(vec![Place::Control.to_string()]),
            alive: Arc::default(),
            reached_by: Arc::default(),
        }
    }

    /// The programs of Nova that this process stands for.
    pub async fn add_services(&self, hostname: &str) -> anyhow::Result<()> {
        for program in ["nova-conductor", "nova-scheduler"] {
            let service = host::register_service(&self.cx, program, hostname).await?;
            self.keep_alive(service.id);
        }
        Ok(())
    }

    /// A host of this process's own: it lives as long.
    pub async fn add_own(&self, id: HostId, hands: Arc<dyn Hands>) -> anyhow::Result<()> {
        let capacity = hands.capacity().await.context("cannot measure a host")?;
        let service = self
            .register(id, IpAddr::V4(Ipv4Addr::LOCALHOST), &capacity)
            .await?;
        self.keep_alive(service);
        self.cx.hosts.add(id, hands.clone());
        self.places.add(&place(id));
        tokio::spawn(watch::watch(self.cx.clone(), id, hands));
        Ok(())
    }

    async fn register(
        &self,
        id: HostId,
        address: IpAddr,
        capacity: &HostCapacity,
    ) -> anyhow::Result<ServiceId> {
        tracing::info!(host = capacity.hostname, acceleration = ?capacity.acceleration, "host is ready");
        let registered = host::register_capacity(&self.cx, id, address, capacity).await?;
        Ok(registered.service_id)
    }

    fn keep_alive(&self, service: ServiceId) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.push(service);
    }

    /// Says, for good, that the services of this process are alive.
    pub async fn stay_alive(self) {
        loop {
            let alive = {
                let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
                alive.clone()
            };
            self.heartbeat(&alive).await;
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    async fn heartbeat(&self, alive: &[ServiceId]) {
        if let Err(error) = host::heartbeat(&self.cx, alive).await {
            tracing::error!(error = %error_text(&error), "cannot record a heartbeat");
        }
    }

    /// Works for every host that connects, while it is connected.
    pub async fn receive(self, mut arrivals: mpsc::Receiver<Arrival>) {
        let mut number = 0;
        while let Some(arrival) = arrivals.recv().await {
            number += 1;
            let fleet = self.clone();
            tokio::spawn(async move {
                let host = arrival.host.clone();
                if let Err(error) = fleet.attend(number, arrival).await {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "a host that connected cannot be worked for");
                }
                host.close();
            });
        }
    }

    async fn attend(&self, number: u64, Arrival { peer, host }: Arrival) -> anyhow::Result<()> {
        let Some(agent) = self.agent_of(&peer).await? else {
            bail!(
                "the certificate of {} is no host's, or was replaced",
                peer.address
            );
        };
        let id = agent.host_id;
        // What a host calls itself is not believed.
        let capacity = HostCapacity {
            hostname: agent.name.clone(),
            ..host.capacity().await.context("cannot measure a host")?
        };
        let service = self.register(id, peer.address, &capacity).await?;
        let mut work = JoinSet::new();
        let mut keeper = Keeper::new(self.cx.clone(), agent.name.clone(), Arc::new(host.clone()));
        if let Err(error) = keeper.look().await {
            let (host, error) = (&agent.name, error_text(&error));
            tracing::warn!(host, error, "a host does not hold its networks yet");
        }
        work.spawn(keeper.keep());
        let hands: Arc<dyn Hands> = Arc::new(host.clone());
        if !self.reach(id, number, &host, &hands) {
            bail!("host '{}' went away, or has connected anew", agent.name);
        }
        tracing::info!(host = agent.name, address = %peer.address, "a host is connected");
        work.spawn(watch::watch(self.cx.clone(), id, hands));
        tokio::select! {
            () = self.while_good(&agent, service, &host) => {}
            // What happens to its guests is no longer told: it is to connect anew.
            _ = work.join_next() => {}
        }
        if self.let_go(id, number) {
            tracing::warn!(host = agent.name, "a host is away; its work waits");
        }
        Ok(())
    }

    /// A host is reached by these hands from now on, unless it has ended or a later arrival was first.
    fn reach(&self, id: HostId, number: u64, host: &FarHost, hands: &Arc<dyn Hands>) -> bool {
        let mut reached_by = self.reached_by();
        if host.has_ended() || reached_by.get(&id).is_some_and(|known| *known > number) {
            return false;
        }
        reached_by.insert(id, number);
        self.cx.hosts.add(id, hands.clone());
        self.places.add(&place(id));
        true
    }

    /// False if a later arrival is the one by which the host is reached.
    fn let_go(&self, id: HostId, number: u64) -> bool {
        let mut reached_by = self.reached_by();
        if reached_by.get(&id) != Some(&number) {
            return false;
        }
        reached_by.remove(&id);
        self.cx.hosts.remove(id);
        self.places.remove(&place(id));
        true
    }

    fn reached_by(&self) -> MutexGuard<'_, HashMap<HostId, u64>> {
        self.reached_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn agent_of(&self, peer: &corten_agent::Peer) -> anyhow::Result<Option<Agent>> {
        Ok(match &peer.certificate {
            Some(certificate) => agent::of_certificate(&self.cx, certificate.as_str()).await?,
            None => None,
        })
    }

    /// Comes back when the connection ends, or when the host was removed or admitted anew.
    async fn while_good(&self, agent: &Agent, service: ServiceId, host: &FarHost) {
        loop {
            self.heartbeat(&[service]).await;
            tokio::select! {
                () = host.ended() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            match agent::of_certificate(&self.cx, &agent.certificate).await {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => tracing::error!(error = %error_text(&error), "cannot look up a host"),
            }
        }
    }
}

fn place(host: HostId) -> Place {
    Place::Host(host.to_string())
}
