//! `corten ssh [USER@]PROJECT/SERVER`: logs in to a server of a project whose password this machine keeps, with the key that
//! `corten up` made, through the server's public IP.

use crate::cli::Place;
use crate::client::Client;
use crate::cloud::{self, Passwords};
use crate::config::{self, Config};
use crate::process;
use anyhow::{Context as _, anyhow, bail};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The user of the tiny image. Others have another: `debian` of debian-12.
const USER: &str = "corten";

/// Becomes an SSH client that is connected to the server.
pub async fn run(place: &Place, server: &str, words: &[String]) -> anyhow::Result<()> {
    let config = config::load(place)?;
    let (project, name) = server
        .split_once('/')
        .with_context(|| format!("'{server}' is not PROJECT/SERVER, for example demo/first"))?;
    let (user, project) = project.split_once('@').unwrap_or((USER, project));
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
    let way = way_in(&client, name).await?.map_err(|id| {
        anyhow!(
            "server '{name}' has no public IP: an administrator gives it one with 'openstack --os-cloud corten floating ip \
             create --project {project} public' and 'openstack --os-cloud corten server add floating ip {id} ADDRESS'"
        )
    })?;
    let way = WayIn {
        user: user.to_owned(),
        ..way
    };
    let error = ssh(&config, &way, words).exec();
    Err(error).context("cannot run ssh: install the Debian package openssh-client")
}

/// How a server is reached.
pub struct WayIn {
    user: String,
    server: String,
    address: String,
}

impl WayIn {
    /// With the user of the tiny image.
    pub fn new(server: String, address: String) -> Self {
        let user = USER.to_owned();
        Self {
            user,
            server,
            address,
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The command that logs in. Host keys are kept beside the cloud, not with the user's own, and by the server: its public IP
/// may have been another's.
pub fn ssh(config: &Config, way: &WayIn, words: &[String]) -> Command {
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
        .args(["-o", &format!("HostKeyAlias={}", way.server)])
        .arg(format!("{}@{}", way.user, way.address))
        .args(words);
    command
}

/// By the first public IP that leads to a server; if none does, the server's id.
pub async fn way_in(client: &Client, name: &str) -> anyhow::Result<Result<WayIn, String>> {
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
    let server = server["id"].as_str().context("the answer has no id")?;
    let server = server.to_owned();
    Ok(match address.map(str::to_owned) {
        Some(address) => Ok(WayIn::new(server, address)),
        None => Err(server),
    })
}
