//! The actions on what a server's ports hold: security groups, and below 2.44 fixed and floating addresses.

use super::actions::{Action, accepted};
use crate::problem::Answer;
use axum::response::Response;
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
use corten_operations::instance::{interface, public_ip};
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
}

/// `addSecurityGroup` and `removeSecurityGroup`.
pub(super) async fn set_group(action: &Action<'_>, member: bool) -> Answer<Response> {
    let Group { name } = action.arguments()?;
    if name.is_empty() {
        return Err(
            Refusal::invalid("Invalid input for field/attribute name: '' is too short").into(),
        );
    }
    interface::set_group(&action.app.cx, action.actor, action.id, &name, member).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(rename = "networkId")]
    network_id: NetworkId,
}

pub(super) async fn add_fixed_ip(action: &Action<'_>) -> Answer<Response> {
    let Add { network_id } = action.arguments()?;
    interface::add_address(&action.app.cx, action.actor, action.id, network_id).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    address: IpAddr,
}

pub(super) async fn remove_fixed_ip(action: &Action<'_>) -> Answer<Response> {
    let Remove { address } = action.arguments()?;
    interface::remove_address(&action.app.cx, action.actor, action.id, address).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lead {
    address: IpAddr,
    #[serde(default)]
    fixed_address: Option<IpAddr>,
}

pub(super) async fn add_floating_ip(action: &Action<'_>) -> Answer<Response> {
    let Lead {
        address,
        fixed_address,
    } = action.arguments()?;
    public_ip::lead(
        &action.app.cx,
        action.actor,
        action.id,
        address,
        fixed_address,
    )
    .await?;
    Ok(accepted())
}

pub(super) async fn remove_floating_ip(action: &Action<'_>) -> Answer<Response> {
    let Remove { address } = action.arguments()?;
    public_ip::part(&action.app.cx, action.actor, action.id, address).await?;
    Ok(accepted())
}
