//! `corten ssh PROJECT/SERVER`: logs in to a server of a project whose password this machine keeps, with the key that
//! `corten up` made, through the server's public IP.

use crate::cli::Place;
use crate::client::Client;
use crate::cloud::{self, Passwords};
use crate::config::{self, Config};
use crate::process;
use anyhow::{Context as _, bail};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The user of our own guest images.
const LOGIN: &str = "corten";

/// Becomes an SSH client that is connected to the server.
pub async fn run(place: &Place, server: &str, words: &[String]) -> anyhow::Result<()> {
    let config = config::load(place)?;
    let (project, name) = server
        .split_once('/')
        .with_context(|| format!("'{server}' is not PROJECT/SERVER, for example demo/first"))?;
    if !config.data.join("clouds.yaml").exists() {
        bail!(
            "there is no cloud in {}: run '{} up' first",
            config.data.display(),
            process::called()
        );
    }
    let passwords = Passwords::load_or_make(&config.data)?;
    let client = match project {
        "demo" => Client::log_in(&config.public_url(), "demo", &passwords.demo, "demo").await?,
        "admin" => Client::log_in(&config.public_url(), "admin", &passwords.admin, "admin").await?,
        other => bail!(
            "the password of project '{other}' is not kept on this machine: use ssh with the server's public IP"
        ),
    };
    let address = public_ip(&client, name).await?.with_context(|| {
        format!(
            "server '{name}' has no public IP: an administrator gives it one with 'openstack floating ip create' and \
             'openstack server add floating ip'"
        )
    })?;
    let error = ssh(&config, &address, words).exec();
    Err(error).context("cannot run ssh: install the Debian package openssh-client")
}

/// The command that logs in at an address. Host keys are kept beside the cloud, not with the user's own.
pub fn ssh(config: &Config, address: &str, words: &[String]) -> Command {
    let known = config.data.join("known_hosts");
    let mut command = Command::new("ssh");
    command
        .arg("-i")
        .arg(cloud::key_path(config))
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "ConnectTimeout=10",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg(format!("{LOGIN}@{address}"))
        .args(words);
    command
}

/// The first public IP that leads to a server, if one does.
pub async fn public_ip(client: &Client, name: &str) -> anyhow::Result<Option<String>> {
    let found = client
        .get(&format!("/compute/v2.1/servers/detail?name=^{name}$"))
        .await?;
    let server = found["servers"]
        .get(0)
        .with_context(|| format!("there is no server '{name}'"))?;
    let addresses = server["addresses"].as_object();
    let floating = addresses
        .into_iter()
        .flat_map(|networks| networks.values())
        .filter_map(|network| network.as_array())
        .flatten()
        .find(|address| address["OS-EXT-IPS:type"] == "floating");
    let address = floating.and_then(|address| address["addr"].as_str());
    Ok(address.map(str::to_owned))
}
