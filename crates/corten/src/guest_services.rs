//! What the machine of a control plane tells the guests on it: their metadata and names, straight from the rows.

use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use corten_agent::GuestServices;
use corten_api::metadata::{self, Asker};
use corten_model::ids::NetworkId;
use corten_network::resolver::{DNS_PORT, Inside, Known, Resolver, of_machine};
use corten_operations::network::dns::{self, Found};
use corten_operations::{Context, Settings};
use std::net::SocketAddr;
use std::sync::Arc;

pub struct OwnServices(pub Arc<Context>);

impl GuestServices for OwnServices {
    /// Who asks is known by the address, which port security makes true.
    fn metadata(&self, network_id: NetworkId) -> Router {
        let say_who =
            move |ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next| {
                let address = peer.ip();
                request.extensions_mut().insert(Asker {
                    network_id,
                    address,
                });
                next.run(request)
            };
        metadata::router(self.0.clone()).layer(from_fn(say_who))
    }

    fn resolver(&self, network: NetworkId, domain: &str) -> Resolver {
        resolver(network, domain, self.0.clone(), &self.0.settings)
    }
}

/// Who knows the names inside networks.
#[async_trait]
pub trait FindsNames: Send + Sync + 'static {
    async fn find(&self, network: NetworkId, name: &str) -> anyhow::Result<Found>;
}

#[async_trait]
impl FindsNames for Context {
    async fn find(&self, network: NetworkId, name: &str) -> anyhow::Result<Found> {
        Ok(dns::find(self, network, name).await?)
    }
}

/// Who answers a network's guests: for names inside the one who knows them, for the rest those that the settings name.
pub fn resolver(
    network: NetworkId,
    domain: &str,
    knows: Arc<dyn FindsNames>,
    settings: &Settings,
) -> Resolver {
    let outside: Vec<SocketAddr> = match &settings.network.resolvers {
        Some(chosen) => chosen
            .iter()
            .map(|address| SocketAddr::new(*address, DNS_PORT))
            .collect(),
        None => of_machine(),
    };
    Resolver::new(
        Arc::new(OfNetwork { knows, network }),
        domain,
        outside.into(),
    )
}

struct OfNetwork {
    knows: Arc<dyn FindsNames>,
    network: NetworkId,
}

#[async_trait]
impl Inside for OfNetwork {
    async fn find(&self, name: &str) -> Known {
        match self.knows.find(self.network, name).await {
            Ok(Found::Elsewhere) => Known::Elsewhere,
            Ok(Found::Nothing) => Known::Nothing,
            Ok(Found::Addresses(addresses)) => Known::Addresses(addresses),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(network = %self.network, error, "names of a network cannot be had");
                Known::Trouble
            }
        }
    }
}
