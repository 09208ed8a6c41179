//! Has a host's switch hold what the control plane says: services for the networks of its guests, and its place on
//! external networks.

use async_trait::async_trait;
use axum::Router;
use corten_host::HostError;
use corten_model::ids::NetworkId;
use corten_network::chassis::{HostSide, HostSwitch, MetadataListeners, NetworkService};
use corten_network::daemons::MachineError;
use corten_network::resolver::Resolver;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A host that is told what it must have of networks.
#[async_trait]
pub trait Holds: Send + Sync {
    /// Makes it so. May be repeated; each time it is the whole.
    async fn hold(&self, side: HostSide) -> Result<(), HostError>;
}

/// What a host tells the guests of its networks.
pub trait GuestServices: Send + Sync {
    /// The routes of a network's metadata service. Requests have the guest's address as `ConnectInfo`.
    fn metadata(&self, network: NetworkId) -> Router;

    /// Who answers questions about names; those inside end with `domain`.
    fn resolver(&self, network: NetworkId, domain: &str) -> Resolver;
}

/// The switch of this machine, and the services that its guests' networks have here.
pub struct Holder {
    switch: Arc<HostSwitch>,
    services: Arc<dyn GuestServices>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serving: HashMap<NetworkId, Serving>,
    held: Option<HostSide>,
}

/// What serves one network's guests; dropping it closes its listeners.
struct Serving {
    service: NetworkService,
    tasks: JoinSet<()>,
}

impl Holder {
    pub fn new(switch: Arc<HostSwitch>, services: Arc<dyn GuestServices>) -> Self {
        Self {
            switch,
            services,
            state: Mutex::default(),
        }
    }

    async fn serve(
        &self,
        state: &mut State,
        network: NetworkId,
        service: &NetworkService,
    ) -> Result<(), MachineError> {
        if let Some(serving) = state.serving.get(&network)
            && serving.service == *service
        {
            return Ok(());
        }
        if let Some(mut before) = state.serving.remove(&network) {
            before.tasks.shutdown().await;
        }
        let MetadataListeners { v4, v6 } = self
            .switch
            .serve(network, service.port, service.mac, &service.addresses)
            .await?;
        let mut tasks = JoinSet::new();
        for listener in [v4, v6] {
            let routes = self.services.metadata(network);
            let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, routes).await {
                    tracing::error!(%network, %error, "a metadata service ended");
                }
            });
        }
        let sockets = self
            .switch
            .listen_for_names(network, &service.addresses)
            .await?;
        let resolver = self.services.resolver(network, &service.domain);
        resolver.serve(sockets, &mut tasks);
        let service = service.clone();
        state.serving.insert(network, Serving { service, tasks });
        Ok(())
    }

    async fn try_hold(&self, side: HostSide) -> Result<(), MachineError> {
        let mut state = self.state.lock().await;
        if state.held.as_ref() == Some(&side) {
            return Ok(());
        }
        if state.held.is_none() {
            // The first time: what an earlier process left and nobody asks for any more.
            let networks = side.services.keys().copied().collect();
            self.switch.keep_only(&side.ports, &networks).await?;
        }
        for (network, service) in &side.services {
            self.serve(&mut state, *network, service).await?;
        }
        for network in self.switch.served()? {
            if !side.services.contains_key(&network) {
                state.serving.remove(&network);
                self.switch.unserve(network).await?;
            }
        }
        // Last: a card that the operator named and that cannot be taken costs no guest its metadata.
        for (physical_network, addresses) in &side.external {
            self.switch
                .external_bridge(physical_network, addresses)
                .await?;
        }
        state.held = Some(side);
        Ok(())
    }
}

#[async_trait]
impl Holds for Holder {
    async fn hold(&self, side: HostSide) -> Result<(), HostError> {
        Ok(self.try_hold(side).await?)
    }
}
