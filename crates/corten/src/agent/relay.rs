//! What an agent's machine tells the guests on it: whatever the control plane says.

use crate::guest_services::{FindsNames, resolver};
use anyhow::bail;
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, OriginalUri};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use corten_agent::{Dialer, GuestServices};
use corten_api::metadata::{password, refused};
use corten_model::ids::NetworkId;
use corten_network::resolver::Resolver;
use corten_operations::Settings;
use corten_operations::network::dns::Found;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions of one network's guests about their metadata that are with the control plane at the same time.
const AT_ONCE: usize = 16;
/// A guest asks for a name again sooner.
const NAME_LIMIT: Duration = Duration::from_secs(3);

pub struct RelayedServices {
    pub dialer: Dialer,
    pub settings: Settings,
}

impl GuestServices for RelayedServices {
    fn metadata(&self, network: NetworkId) -> Router {
        let dialer = self.dialer.clone();
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Router::new().fallback(
            move |ConnectInfo(guest): ConnectInfo<SocketAddr>,
                  method: Method,
                  OriginalUri(uri): OriginalUri,
                  body: Body| async move {
                if let Some(refused) = refused(&method, uri.path()) {
                    return refused;
                }
                let posted = match password(&method, body).await {
                    Ok(posted) => posted,
                    Err(refused) => return refused,
                };
                let _place = room.acquire_owned().await;
                let answered = metadata(&dialer, network, guest, uri.path(), posted).await;
                answered.unwrap_or_else(|error| {
                    let error = format!("{error:#}");
                    tracing::warn!(%network, error, "a guest's metadata cannot be had");
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                })
            },
        )
    }

    fn resolver(&self, network: NetworkId, domain: &str) -> Resolver {
        let names = Names(self.dialer.clone());
        resolver(network, domain, Arc::new(names), &self.settings)
    }
}

async fn metadata(
    dialer: &Dialer,
    network: NetworkId,
    guest: SocketAddr,
    path: &str,
    posted: Option<Bytes>,
) -> anyhow::Result<Response> {
    let (client, base) = dialer.requests().await?;
    let url = format!("{base}/metadata/{network}/{}", guest.ip());
    let request = match posted {
        Some(password) => client.post(url).body(password),
        None => client.get(url).query(&[("path", path)]),
    };
    let answer = request.send().await?;
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = (status, answer.bytes().await?).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

/// The control plane knows them.
struct Names(Dialer);

#[async_trait]
impl FindsNames for Names {
    async fn find(&self, network: NetworkId, name: &str) -> anyhow::Result<Found> {
        let (client, base) = self.0.requests().await?;
        let answer = client
            .get(format!("{base}/names/{network}"))
            .query(&[("name", name)])
            .timeout(NAME_LIMIT)
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!("refused: {}", answer.text().await.unwrap_or_default());
        }
        Ok(answer.json().await?)
    }
}
