//! A rack of bare-metal servers at once: finding BMCs in a range of addresses, and enrolling what a manifest lists.
//!
//! ```text
//!  discover RANGE ──▶ a manifest, to be read and changed by a person ──▶ enrol MANIFEST ──▶ nodes that are available
//! ```

mod discover;
mod enrol;
mod found;
mod ipmi;
mod manifest;

use crate::client::Client;
use crate::cloud;
use crate::config::Config;
use anyhow::Context as _;
use clap::Subcommand;
use ipnet::IpNet;
use std::path::PathBuf;

/// Holds the password of BMCs: arguments of a command are read by everybody on the machine.
const PASSWORD: &str = "CORTEN_BMC_PASSWORD";

#[derive(Subcommand)]
pub enum RackCommand {
    /// Ask each address of a range for a BMC by Redfish, and print what answers as a manifest: each server with what it is
    /// made of. Servers that are enrolled already are left out. The password is read from CORTEN_BMC_PASSWORD.
    Discover {
        /// For example 10.9.0.0/24.
        range: IpNet,
        #[arg(long)]
        username: String,
        /// Where Redfish is asked for.
        #[arg(long, default_value_t = 443)]
        port: u16,
        /// Ask by IPMI too, where no Redfish answers. Whoever answers there is given a hash keyed with the password, which can
        /// be guessed at: only for networks where nobody else answers.
        #[arg(long)]
        ipmi: bool,
        #[arg(long, default_value_t = ipmi::PORT)]
        ipmi_port: u16,
    },
    /// Enrol the servers of a manifest and bring each as far as is said. What is done already is left as it is, and what failed
    /// is tried anew, so that it can be run again. Servers that discovery offers are taken up. BMCs without a password in the
    /// manifest get that of CORTEN_BMC_PASSWORD.
    Enrol {
        manifest: PathBuf,
        #[arg(long, value_enum, default_value_t = enrol::Goal::Available)]
        until: enrol::Goal,
    },
}

pub async fn run(config: &Config, command: RackCommand) -> anyhow::Result<()> {
    let admin = admin(config).await?;
    match command {
        RackCommand::Discover {
            range,
            username,
            port,
            ipmi,
            ipmi_port,
        } => {
            let password = password()?;
            let ports = discover::Ports {
                redfish: port,
                ipmi: ipmi.then_some(ipmi_port),
            };
            let found = discover::servers(range, ports, &username, &password).await;
            let known = enrol::Enrolled::read(&admin).await?;
            let manifest = found.offer(|server| known.has(server));
            say!("{manifest}");
            Ok(())
        }
        RackCommand::Enrol { manifest, until } => {
            let manifest = manifest::Manifest::read(&manifest)?;
            enrol::all(&admin, manifest, std::env::var(PASSWORD).ok(), until).await
        }
    }
}

fn password() -> anyhow::Result<String> {
    std::env::var(PASSWORD)
        .with_context(|| format!("the password of the BMCs is not set: put it into {PASSWORD}"))
}

async fn admin(config: &Config) -> anyhow::Result<Client> {
    let passwords = cloud::Passwords::load_or_make(&config.data)?;
    let base = format!("http://{}", config.server.listen);
    Client::log_in(&base, "admin", &passwords.admin, "admin")
        .await
        .with_context(|| format!("the cloud at {base} does not answer: start it first"))
}
