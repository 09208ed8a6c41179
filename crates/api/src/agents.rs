//! What hosts on other machines ask of the control plane: to be admitted, and what their guests want to know.
//!
//! The listener proves who asks and says so with a [`Peer`] among the request's extensions. Bodies are those of
//! `corten_agent`; refusals are plain text, for the log of the agent.

use crate::metadata;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_agent::{Admitted, AgentError, Authority, Invitation, JoinRequest, Peer};
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
use corten_operations::instance::guest_password;
use corten_operations::network::dns;
use corten_operations::{Context, agent, error_text};
use corten_store::Failure;
use corten_store::agents::Agent;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;

/// What these routes stand on.
pub struct Reception {
    pub cx: Arc<Context>,
    pub authority: Authority,
    /// Where hosts find OVN's southbound database, if this cloud has networks.
    pub southbound_port: Option<u16>,
}

pub fn routes(reception: Arc<Reception>) -> Router {
    Router::new()
        .route("/join", post(join))
        .route("/membership", get(membership))
        .route(
            "/metadata/{network}/{address}",
            get(guest_metadata).post(post_password),
        )
        .route("/names/{network}", get(names))
        .with_state(reception)
}

/// Admits a machine as the host that its invitation names.
async fn join(
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<JoinRequest>,
) -> Result<Json<Admitted>, Refused> {
    let cx = &reception.cx;
    let secret = Invitation::secret_hash(&request.secret);
    let name = agent::invited(cx, &secret).await?;
    let (certificate, fingerprint) = reception.authority.admit(&request.request, &name)?;
    let agent = agent::admit(cx, &secret, fingerprint.as_str()).await?;
    tracing::info!(host = agent.name, address = %peer.address, "a host has joined");
    Ok(Json(Admitted {
        host_id: agent.host_id,
        name: agent.name,
        certificate,
        authority: reception.authority.certificate().to_owned(),
        southbound_port: reception.southbound_port,
    }))
}

/// Tells a host that it is one still.
async fn membership(
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
) -> Result<StatusCode, Refused> {
    known(&reception, &peer).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Asked {
    path: String,
}

/// What the metadata service says to a guest of the host that asks.
async fn guest_metadata(
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    Path((network_id, address)): Path<(NetworkId, IpAddr)>,
    Query(Asked { path }): Query<Asked>,
) -> Result<Response, Refused> {
    let agent = known(&reception, &peer).await?;
    let found = agent::metadata_for(&reception.cx, &agent, network_id, address).await?;
    Ok(metadata::content(
        found.and_then(|metadata| metadata.at(&path)),
    ))
}

/// Keeps the password that a guest of the host posted.
async fn post_password(
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    Path((network_id, address)): Path<(NetworkId, IpAddr)>,
    body: Bytes,
) -> Result<Response, Refused> {
    let agent = known(&reception, &peer).await?;
    let cx = &reception.cx;
    agent::check_guest(cx, &agent, network_id, address).await?;
    let kept = guest_password::post(cx, network_id, address, &body).await;
    Ok(metadata::posted(kept))
}

#[derive(Deserialize)]
struct AskedName {
    name: String,
}

/// What a network of the asking host's guests knows of a name.
async fn names(
    State(reception): State<Arc<Reception>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<NetworkId>,
    Query(AskedName { name }): Query<AskedName>,
) -> Result<Json<dns::Found>, Refused> {
    let agent = known(&reception, &peer).await?;
    let found = agent::name_for(&reception.cx, &agent, network_id, &name).await?;
    Ok(Json(found))
}

async fn known(reception: &Reception, peer: &Peer) -> Result<Agent, Refused> {
    let agent = match &peer.certificate {
        Some(certificate) => agent::of_certificate(&reception.cx, certificate.as_str()).await?,
        None => None,
    };
    let unknown = "This certificate is no host's, or was replaced: invite the machine with `corten admin host invite`, \
                   remove its directory 'agent' and have it join again.";
    Ok(agent.ok_or_else(|| Refusal::forbidden(unknown))?)
}

struct Refused {
    status: StatusCode,
    why: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, self.why).into_response()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: crate::problem::status_of(refusal.reason),
            why: refusal.message,
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            other => {
                tracing::error!(error = %error_text(&other), "a host's request failed");
                Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    why: "The control plane failed; its log says why.".to_owned(),
                }
            }
        }
    }
}

impl From<AgentError> for Refused {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::InvalidRequest { .. } => Refusal::invalid(error.to_string()).into(),
            other => Failure::outside("admitting a host", other).into(),
        }
    }
}
