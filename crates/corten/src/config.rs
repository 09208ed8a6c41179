//! `corten.toml`: every setting, each with a default.

use crate::cli::Place;
use anyhow::Context as _;
use corten_host::{AccelerationChoice, Accelerator, HostConfig};
use corten_iam::IamConfig;
use corten_network::chassis::Tunnel;
use corten_operations::Settings;
use corten_operations::settings::{
    Compute, Images, Metal, Network, NetworkQuota, Provisioning, ProvisioningNetwork, Quota,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The file, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: Server,
    identity: IamConfig,
    images: Images,
    compute: Compute,
    quota: Quota,
    network: Network,
    network_quota: NetworkQuota,
    provisioning: Provisioning,
    metal: Metal,
    host: Host,
    agents: Agents,
    sim: Sim,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// The address that clients use, for the catalog; by default `http://` and `listen`.
    pub public_url: Option<String>,
    /// `postgres://…`, or by default an SQLite file in the data directory.
    pub database: Option<String>,
    pub region: String,
    /// Operations in hand at the same time.
    pub workers: usize,
    /// What to log, as `RUST_LOG` has it.
    pub log: String,
    /// One JSON object per line in place of text.
    pub log_json: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8774)),
            public_url: None,
            database: None,
            region: "RegionOne".to_owned(),
            workers: 64,
            log: "info".to_owned(),
            log_json: false,
        }
    }
}

/// `[host]`: this machine as a hypervisor host.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Whether guests run on this machine.
    pub enabled: bool,
    /// `probe` (boot a guest and see), `kvm` or `tcg`.
    pub acceleration: String,
    /// The user that guests run as; by default `corten-qemu` if it exists, else `nobody`.
    pub guest_user: Option<String>,
    /// A guest's console log is cut when it grows beyond this, in bytes.
    pub console_log_max_bytes: u64,
    /// The emulator's program.
    pub qemu: PathBuf,
    /// This machine's end of the tunnels to other hosts: a network card and the address on it, with its prefix length.
    pub tunnel: Option<Tunnel>,
    /// By physical network: this machine's network card that leads there. Without one, the machine itself is the router of
    /// external networks.
    pub physical_interfaces: BTreeMap<String, String>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            enabled: true,
            acceleration: "probe".to_owned(),
            guest_user: None,
            console_log_max_bytes: 4 << 20,
            qemu: PathBuf::from("qemu-system-x86_64"),
            tunnel: None,
            physical_interfaces: BTreeMap::new(),
        }
    }
}

/// `[agents]`: hosts on other machines.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Where they come in; without it none can.
    pub listen: Option<SocketAddr>,
    /// `HOST:PORT` by which they reach that; by default `listen`.
    pub address: Option<String>,
    /// The port, at the same address, where their networks' daemons come in.
    pub network_port: u16,
    /// Where the authority is that signs their certificates. Replicas share it.
    pub authority_directory: PathBuf,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            listen: None,
            address: None,
            network_port: 6642,
            authority_directory: PathBuf::from("authority"),
        }
    }
}

/// `[sim]`: simulated hosts and bare-metal servers beside the real ones, for tests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sim {
    pub hosts: u32,
    /// Nodes may have the driver `fake-hardware`: servers that are simulated.
    pub metal: bool,
}

/// All settings, with the command line's put over the file's.
#[derive(Debug)]
pub struct Config {
    pub data: PathBuf,
    pub server: Server,
    pub identity: IamConfig,
    pub settings: Settings,
    pub host: Host,
    pub agents: Agents,
    pub sim: Sim,
}

/// Reads the settings of the cloud at `place`.
pub fn load(place: &Place) -> anyhow::Result<Config> {
    let data =
        std::path::absolute(&place.data).context("the data directory has no absolute path")?;
    let beside = data.join("corten.toml");
    let file = match &place.config {
        Some(path) => read(path)?,
        None if beside.exists() => read(&beside)?,
        None => File::default(),
    };
    let File {
        mut server,
        mut identity,
        images,
        compute,
        quota,
        network,
        network_quota,
        mut provisioning,
        metal,
        host,
        mut agents,
        sim,
    } = file;
    if let Some(listen) = place.listen {
        server.listen = listen;
    }
    if identity.key_directory.is_relative() {
        identity.key_directory = data.join(&identity.key_directory);
    }
    if agents.authority_directory.is_relative() {
        agents.authority_directory = data.join(&agents.authority_directory);
    }
    for file in [&mut provisioning.kernel, &mut provisioning.ramdisk] {
        if file.is_relative() {
            *file = data.join(&*file);
        }
    }
    for network in &mut provisioning.networks {
        // As those of nodes, groups are told apart without regard to case.
        network.conductor_group.make_ascii_lowercase();
    }
    check_networks(&provisioning.networks)?;
    Ok(Config {
        data,
        server,
        identity,
        settings: Settings {
            images,
            compute,
            quota,
            network,
            network_quota,
            provisioning,
            metal,
        },
        host,
        agents,
        sim,
    })
}

/// Refuses provisioning networks of which a node could have more than one, and addresses that are not of their network.
fn check_networks(networks: &[ProvisioningNetwork]) -> anyhow::Result<()> {
    for (index, network) in networks.iter().enumerate() {
        for before in &networks[..index] {
            anyhow::ensure!(
                before.name != network.name,
                "two [[provisioning.networks]] have the name '{}', with the addresses {} and {}: give each its own",
                network.name,
                before.address,
                network.address
            );
            anyhow::ensure!(
                before.conductor_group != network.conductor_group,
                "the provisioning networks '{}' and '{}' are both for the conductor group '{}', and a node boots on one network: \
                 give each its own conductor_group",
                before.name,
                network.name,
                network.conductor_group
            );
        }
        check_range(network)?;
    }
    Ok(())
}

fn check_range(network: &ProvisioningNetwork) -> anyhow::Result<()> {
    let ProvisioningNetwork {
        name,
        address,
        first,
        last,
        ..
    } = network;
    anyhow::ensure!(
        first <= last,
        "of the provisioning network '{name}', first is {first} and last is {last}: first is the lower one"
    );
    let of_network = |one: &Ipv4Addr| address.contains(one) && one != &address.network();
    for (key, one) in [("first", first), ("last", last)] {
        anyhow::ensure!(
            of_network(one) && one != &address.broadcast(),
            "of the provisioning network '{name}', {key} is {one}, and address is {address}: a server's address must be in {}, and \
             neither its first nor its last one",
            address.trunc()
        );
    }
    let Some(gateway) = network.gateway else {
        return Ok(());
    };
    anyhow::ensure!(
        of_network(&gateway),
        "of the provisioning network '{name}', gateway is {gateway}, and address is {address}: servers reach no gateway outside of {}",
        address.trunc()
    );
    anyhow::ensure!(
        !(first..=last).contains(&&gateway) || gateway == address.addr(),
        "of the provisioning network '{name}', gateway is {gateway}, which is between first ({first}) and last ({last}): a server would \
         be given it"
    );
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the settings {} are not right", path.display()))
}

impl Config {
    pub fn public_url(&self) -> String {
        self.server
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.server.listen))
    }

    /// Where all state is, unless PostgreSQL holds it.
    pub fn database_file(&self) -> PathBuf {
        self.data.join("corten.db")
    }

    pub fn database_url(&self) -> String {
        let file = || format!("sqlite:{}", self.database_file().display());
        self.server.database.clone().unwrap_or_else(file)
    }

    /// The keys of the passwords of bare-metal servers, beside those of tokens.
    pub fn metal_key_directory(&self) -> PathBuf {
        self.identity.key_directory.join("metal")
    }

    pub fn image_dir(&self) -> PathBuf {
        self.data.join("images")
    }

    pub fn host_config(&self) -> anyhow::Result<HostConfig> {
        let acceleration = match self.host.acceleration.as_str() {
            "probe" => AccelerationChoice::Probe,
            "kvm" => AccelerationChoice::Use(Accelerator::Kvm),
            "tcg" => AccelerationChoice::Use(Accelerator::Tcg),
            other => anyhow::bail!("host.acceleration is '{other}'; it is one of probe, kvm, tcg"),
        };
        Ok(HostConfig {
            acceleration,
            guest_user: self.host.guest_user.clone(),
            console_log_max_bytes: self.host.console_log_max_bytes,
            qemu: self.host.qemu.clone(),
            ..HostConfig::new(self.data.join("host"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to settings with these networks.
    fn said(networks: &str) -> Option<String> {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("corten.toml"), networks).unwrap();
        let place = Place {
            data: data.path().to_owned(),
            config: None,
            listen: None,
        };
        load(&place).err().map(|error| format!("{error:#}"))
    }

    fn network(name: &str, group: &str, range: &str) -> String {
        let (first, last) = range.split_once('-').unwrap();
        format!(
            "[[provisioning.networks]]\nname = \"{name}\"\nconductor_group = \"{group}\"\ninterface = \"eth1\"\n\
             address = \"10.20.0.1/24\"\nfirst = \"{first}\"\nlast = \"{last}\"\n"
        )
    }

    #[test]
    fn a_conductor_group_has_one_provisioning_network() {
        let good = "10.20.0.50-10.20.0.250";
        let two =
            |first: &str, second: &str| network("a", first, good) + &network("b", second, good);
        assert_eq!(said(&two("", "rack-1")), None);
        for (first, second) in [("", ""), ("rack-1", "Rack-1")] {
            let why = said(&two(first, second)).unwrap();
            assert!(why.contains("'a' and 'b' are both for"), "{why}");
        }
        let why = said(&(network("a", "", good) + &network("a", "rack-1", good))).unwrap();
        assert!(why.contains("have the name 'a'"), "{why}");
    }

    #[test]
    fn the_addresses_that_servers_get_are_of_their_network() {
        for (range, reason) in [
            (
                "10.20.0.250-10.20.0.50",
                "first is 10.20.0.250 and last is 10.20.0.50",
            ),
            (
                "10.20.1.50-10.20.1.60",
                "first is 10.20.1.50, and address is 10.20.0.1/24",
            ),
            (
                "10.20.0.50-10.20.0.255",
                "last is 10.20.0.255, and address is 10.20.0.1/24",
            ),
            ("10.20.0.0-10.20.0.9", "first is 10.20.0.0, and"),
        ] {
            let why = said(&network("a", "", range)).unwrap();
            assert!(why.contains(reason), "{range}: {why}");
        }
        let base = network("a", "", "10.20.0.50-10.20.0.250");
        for (gateway, reason) in [
            ("10.20.0.60", Some("a server would be given it")),
            ("10.21.0.1", Some("outside of 10.20.0.0/24")),
            ("10.20.0.254", None),
        ] {
            let said = said(&format!("{base}gateway = \"{gateway}\"\n"));
            match reason {
                Some(reason) => assert!(said.unwrap().contains(reason)),
                None => assert_eq!(said, None),
            }
        }
    }
}
