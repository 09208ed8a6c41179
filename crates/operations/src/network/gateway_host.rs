//! The hosts that routers go out through.

use crate::agent;
use crate::context::Context;
use corten_store::hosts::Host;
use corten_store::{Failure, Query, Tx};

/// Best first. Unless the settings name them: the machines of control planes, and without one every host.
pub async fn names(tx: &mut Tx, cx: &Context) -> Result<Vec<String>, Failure> {
    let named = &cx.settings.network.gateway_hosts;
    if !named.is_empty() {
        return Ok(named.clone());
    }
    let hosts: Vec<Host> = Query::new().all(tx).await?;
    let mut all: Vec<String> = hosts.into_iter().map(|host| host.name).collect();
    all.sort_unstable();
    let elsewhere = agent::names(tx).await?;
    let here: Vec<String> = all
        .iter()
        .filter(|name| !elsewhere.contains(name))
        .cloned()
        .collect();
    Ok(if here.is_empty() { all } else { here })
}
