//! `/v1/instances/ID/public-ips`: public IPs of an instance, of two kinds.

use super::Refusals;
use super::instances::parse_id;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::instance::public_ip::{self, Wanted};
use corten_store::network::floating_ip::FloatingIp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/instances/{id}/public-ips", post(attach))
        .route("/instances/{id}/public-ips/{address}", delete(detach))
}

/// A public IP that leads to an instance. It costs while it is held.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicIp {
    /// The floating IP of the network API.
    id: String,
    address: String,
    /// `ephemeral`: it is given back when its instance stops, is shelved or deleted. `static`: it stays with the project.
    kind: &'static str,
}

pub(super) fn view(floating: &FloatingIp) -> PublicIp {
    let kind = if floating.ephemeral {
        "ephemeral"
    } else {
        "static"
    };
    PublicIp {
        id: floating.id.to_string(),
        address: floating.address.to_string(),
        kind,
    }
}

/// Which public IP to attach.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Attach {
    /// `ephemeral` for one from the pool, or `static:ID` for a floating IP that the project holds and that leads nowhere.
    #[schema(example = "ephemeral")]
    public_ip: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OnePublicIp)]
pub(super) struct One {
    public_ip: PublicIp,
}

/// `ephemeral` or `static:ID`.
pub(super) fn wanted(text: &str) -> Result<Wanted, Refusal> {
    if text == "ephemeral" {
        return Ok(Wanted::Ephemeral);
    }
    let id = text.strip_prefix("static:").and_then(|id| id.parse().ok());
    id.map(Wanted::Static).ok_or_else(|| {
        Refusal::invalid(format!(
            "'{text}' is no public IP: write \"ephemeral\" for one that lasts until the instance stops, or \"static:\" \
             and the id of a floating IP."
        ))
    })
}

/// Has a public IP lead to an instance. An ephemeral one needs an instance that runs: it is given back when that stops,
/// is shelved or deleted, and a start brings none back. A static one leads nowhere yet.
#[utoipa::path(
    post,
    path = "/v1/instances/{id}/public-ips",
    tag = "instances",
    params(("id" = String, Path, description = "The instance.")),
    request_body = Attach,
    responses(
        (status = 201, description = "It leads to the instance.", body = One),
        (status = 409, description = "The instance, its network or the public IP cannot have it now.", body = super::Problem),
        Refusals
    ),
    security(("token" = []))
)]
pub(super) async fn attach(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(Attach { public_ip }): Body<Attach>,
) -> Answer<(StatusCode, Json<One>)> {
    let (id, wanted) = (parse_id(&id)?, wanted(&public_ip)?);
    let floating = public_ip::attach(&app.cx, &actor, id, wanted).await?;
    let public_ip = view(&floating);
    Ok((StatusCode::CREATED, Json(One { public_ip })))
}

/// Takes a public IP from an instance: an ephemeral one is given back to the pool, a static one stays with the project.
#[utoipa::path(
    delete,
    path = "/v1/instances/{id}/public-ips/{address}",
    tag = "instances",
    params(
        ("id" = String, Path, description = "The instance."),
        ("address" = String, Path, description = "The public IP."),
    ),
    responses(
        (status = 204, description = "It leads to the instance no longer."),
        (status = 409, description = "The instance is locked.", body = super::Problem),
        Refusals
    ),
    security(("token" = []))
)]
pub(super) async fn detach(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, address)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let id = parse_id(&id)?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| Refusal::no_such("Public IP", &address))?;
    public_ip::detach(&app.cx, &actor, id, address).await?;
    Ok(StatusCode::NO_CONTENT)
}
