//! The names that guests of this host ask about: what their network knows, and who is asked of the rest.

use async_trait::async_trait;
use corten_model::ids::NetworkId;
use corten_network::chassis::NameSockets;
use corten_network::resolver::{DNS_PORT, Inside, Known, Resolver, of_machine};
use corten_operations::network::dns::{self, Found};
use corten_operations::{Context, error_text};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The names of one network, as the rows have them.
struct OfNetwork {
    cx: Arc<Context>,
    network: NetworkId,
}

#[async_trait]
impl Inside for OfNetwork {
    async fn find(&self, name: &str) -> Known {
        match dns::find(&self.cx, self.network, name).await {
            Ok(Found::Elsewhere) => Known::Elsewhere,
            Ok(Found::Nothing) => Known::Nothing,
            Ok(Found::Addresses(addresses)) => Known::Addresses(addresses),
            Err(error) => {
                tracing::warn!(network = %self.network, error = error_text(&error), "names of a network cannot be read");
                Known::Trouble
            }
        }
    }
}

/// Serves a network's names at these sockets until the tasks are dropped.
pub fn serve(
    cx: &Arc<Context>,
    network: NetworkId,
    sockets: Vec<NameSockets>,
    tasks: &mut JoinSet<()>,
) {
    let outside: Vec<SocketAddr> = match &cx.settings.network.resolvers {
        Some(chosen) => chosen
            .iter()
            .map(|address| SocketAddr::new(*address, DNS_PORT))
            .collect(),
        None => of_machine(),
    };
    let inside = OfNetwork {
        cx: cx.clone(),
        network,
    };
    Resolver::new(Arc::new(inside), outside.into()).serve(sockets, tasks);
}
