//! The password that a guest makes for its owner: posted to the metadata service once, encrypted by the guest for the owner's
//! key, and read at `os-server-password` (`nova get-password`). Nobody here can decrypt it.

use super::metadata;
use crate::context::Context;
use corten_model::ids::NetworkId;
use corten_model::lifecycle::TaskState;
use corten_model::refusal::Refusal;
use corten_store::{Failure, instances};
use std::net::IpAddr;

/// As Nova keeps it: four metadata values.
pub const LENGTH_MAX: usize = 1020;

/// Keeps what the guest at this address of a network posts, if it posted nothing before.
pub async fn post(
    cx: &Context,
    network: NetworkId,
    source: IpAddr,
    password: &[u8],
) -> Result<(), Failure> {
    let nobody = || Refusal::not_found(format!("No guest has {source} on network {network}."));
    let found = metadata::of(cx, network, source)
        .await?
        .ok_or_else(nobody)?;
    let text = str::from_utf8(password).ok();
    let text = text.filter(|text| !text.is_empty() && text.len() <= LENGTH_MAX);
    let text = text.ok_or_else(|| {
        Refusal::invalid(format!(
            "A password is a text of 1 to {LENGTH_MAX} bytes, encrypted and in base64; {} bytes were posted.",
            password.len()
        ))
    })?;
    let mut tx = cx.store.write().await?;
    let id = found.instance.id;
    let mut instance = instances::lock(&mut tx, id).await?.ok_or_else(nobody)?;
    if matches!(
        instance.state.task,
        Some(TaskState::Rebuilding | TaskState::RebuildBlockDeviceMapping)
    ) {
        return Err(Refusal::conflict(
            "This guest is about to be replaced; the new one may post its password.",
        )
        .into());
    }
    if instance.guest_password.is_some() {
        return Err(Refusal::conflict(
            "This guest posted a password before. Its owner can clear it, so that it may post another.",
        )
        .into());
    }
    instance.guest_password = Some(text.to_owned());
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    Ok(tx.commit().await?)
}
