//! What an operator can set in `corten.toml` for images and compute. Every default is what most clouds want.

use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub images: Images,
    pub compute: Compute,
    pub quota: Quota,
    pub network: Network,
    pub network_quota: NetworkQuota,
    pub provisioning: Provisioning,
    pub metal: Metal,
}

/// `[images]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Refuse uploads whose bytes are not what `disk_format` says, or that point at other files.
    pub inspect: bool,
    /// The largest image file that is accepted, in bytes.
    pub max_size_bytes: u64,
    /// Free space that must remain on the image disk, in bytes.
    pub keep_free_bytes: u64,
    /// Hosts that `web-download` may fetch from; empty means any that the one who asks may reach.
    pub web_download_hosts: Vec<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            inspect: true,
            max_size_bytes: 1 << 40,
            keep_free_bytes: 256 << 20,
            web_download_hosts: Vec::new(),
        }
    }
}

/// `[compute]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// How many hosts a create tries before it gives up.
    pub max_attempts: u32,
    /// How long a guest may take to power off by ACPI before its power is cut, in seconds.
    pub shutdown_timeout_secs: u32,
    /// Virtual CPUs that may be promised per physical one.
    pub cpu_allocation_ratio: f64,
    /// Memory that may be promised per byte of real memory.
    pub ram_allocation_ratio: f64,
    pub disk_allocation_ratio: f64,
    /// Memory kept for the host itself, in MiB.
    pub reserved_host_memory_mib: u64,
    /// The name of the availability zone of hosts in no aggregate that names one.
    pub default_availability_zone: String,
    /// How long a console token is good for, in seconds.
    pub console_token_ttl_secs: u64,
    /// After this many seconds a resize that its owner neither confirmed nor reverted is confirmed by itself; 0 waits
    /// for ever (K55).
    pub resize_confirm_window_secs: u64,
    /// After this many seconds a deleted server is reclaimed; 0 deletes at once.
    pub reclaim_instance_interval_secs: u64,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            shutdown_timeout_secs: 60,
            cpu_allocation_ratio: 4.0,
            ram_allocation_ratio: 1.0,
            disk_allocation_ratio: 1.0,
            reserved_host_memory_mib: 512,
            default_availability_zone: "nova".to_owned(),
            console_token_ttl_secs: 600,
            resize_confirm_window_secs: 86_400,
            reclaim_instance_interval_secs: 0,
        }
    }
}

impl Compute {
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_secs.into())
    }
}

/// `[quota]`: what a project may have unless its own quota says otherwise; -1 means no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    pub instances: i64,
    pub cores: i64,
    pub ram_mib: i64,
    pub key_pairs: i64,
    pub metadata_items: i64,
    pub server_groups: i64,
    pub server_group_members: i64,
    pub injected_files: i64,
    pub injected_file_content_bytes: i64,
    pub injected_file_path_bytes: i64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            instances: 10,
            cores: 20,
            ram_mib: 51_200,
            key_pairs: 100,
            metadata_items: 128,
            server_groups: 10,
            server_group_members: 10,
            injected_files: 5,
            injected_file_content_bytes: 10_240,
            injected_file_path_bytes: 255,
        }
    }
}

/// `[network]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Whether this machine carries networks: it then runs Open vSwitch and OVN, as root.
    pub enabled: bool,
    /// The largest packet of tenants' networks, in bytes: what the hosts' network carries, less 58 for the tunnel.
    pub mtu: u16,
    /// The largest packet of physical networks, in bytes.
    pub physical_mtu: u16,
    /// Physical networks that hosts are joined to, by the names that administrators use.
    pub physical_networks: Vec<String>,
    /// The range of the external network that `corten up` makes. Its first address is this machine's.
    pub public_range: String,
    /// The hosts that routers go out through, best first; by default every host.
    pub gateway_hosts: Vec<String>,
    /// The domain of guests on networks without one of their own.
    pub dns_domain: String,
    /// Who resolves names outside for guests: addresses that this machine reaches. By default those of its
    /// `/etc/resolv.conf` when it starts; with none, names outside are refused.
    pub resolvers: Option<Vec<IpAddr>>,
    /// Members of a project may set public IPs as well as its administrators (K117).
    pub members_set_public_ips: bool,
    /// How long a call waits for the fabric to have what it changed, in milliseconds.
    pub patience_millis: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            enabled: true,
            mtu: 1442,
            physical_mtu: 1500,
            physical_networks: vec!["public".to_owned()],
            public_range: "172.24.4.0/24".to_owned(),
            gateway_hosts: Vec::new(),
            dns_domain: "cloud.internal".to_owned(),
            resolvers: None,
            members_set_public_ips: false,
            patience_millis: 2000,
        }
    }
}

impl Network {
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_millis)
    }
}

/// `[network_quota]`: what a project may have of networks unless its own quota says otherwise; -1 means no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkQuota {
    pub networks: i64,
    pub subnets: i64,
    pub subnet_pools: i64,
    pub ports: i64,
    pub routers: i64,
    pub floating_ips: i64,
    pub security_groups: i64,
    pub security_group_rules: i64,
    pub address_groups: i64,
    pub rbac_policies: i64,
    pub trunks: i64,
}

impl Default for NetworkQuota {
    fn default() -> Self {
        Self {
            networks: 100,
            subnets: 100,
            subnet_pools: -1,
            ports: 500,
            routers: 10,
            floating_ips: 50,
            security_groups: 10,
            security_group_rules: 100,
            address_groups: 10,
            rbac_policies: 10,
            trunks: 10,
        }
    }
}

/// `[provisioning]`: how bare-metal servers are booted into the ramdisk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provisioning {
    /// The networks that servers boot on. Without one, nothing can be booted on a server.
    pub networks: Vec<ProvisioningNetwork>,
    /// The ramdisk's kernel, as `corten image build ramdisk` writes it; relative to the data directory.
    pub kernel: PathBuf,
    pub ramdisk: PathBuf,
    /// More words for the kernel's command line.
    pub kernel_arguments: String,
    /// After this many seconds a boot that brought no ramdisk counts as failed, and another way is tried.
    pub boot_limit_secs: u64,
    /// After this many seconds without a word a ramdisk that cannot be reached counts as lost.
    pub lost_after_secs: u64,
    /// The port, at a network's address, where boot files and virtual media are fetched.
    pub http_port: u16,
    /// The port where ramdisks call.
    pub agent_port: u16,
    /// How many servers may be offered for enrolment and not taken up; no more are discovered then.
    pub offers_max: u32,
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            kernel: PathBuf::from("ramdisk/ramdisk.kernel"),
            ramdisk: PathBuf::from("ramdisk/ramdisk.initrd"),
            kernel_arguments: "console=tty0 console=ttyS0,115200".to_owned(),
            boot_limit_secs: 900,
            lost_after_secs: 300,
            http_port: 8088,
            agent_port: 6385,
            offers_max: 100,
        }
    }
}

/// `[[provisioning.networks]]`: one network that servers boot on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisioningNetwork {
    pub name: String,
    /// The nodes that boot here: those of this conductor group.
    #[serde(default)]
    pub conductor_group: String,
    /// This machine's network card there.
    pub interface: String,
    /// This machine's address there, with the length of the network's prefix.
    pub address: Ipv4Net,
    /// The addresses that servers get, the last one included.
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub name_servers: Vec<Ipv4Addr>,
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Other DHCP servers that are no rogues.
    #[serde(default)]
    pub peers: Vec<Ipv4Addr>,
    /// Whether a server that nobody enrolled is booted when it asks for a boot here, and is offered for enrolment.
    #[serde(default)]
    pub discover: bool,
}

/// `[metal]`: how bare-metal nodes are watched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metal {
    /// How often the power of each node is read, in seconds; 0 reads it with the sensors only.
    pub power_every_secs: u64,
    /// How often the sensors of each node are read, in seconds; 0 reads them never.
    pub sensors_every_secs: u64,
    /// How many BMCs are read at the same time.
    pub watch_connections: usize,
    /// A node whose BMC gave no answer so often in a row is put into maintenance.
    pub unanswered_max: u32,
    /// How many BMCs' streams of events are kept open; 0 reads on time alone.
    pub event_streams: usize,
}

impl Default for Metal {
    fn default() -> Self {
        Self {
            power_every_secs: 60,
            sensors_every_secs: 600,
            watch_connections: 64,
            unanswered_max: 3,
            event_streams: 500,
        }
    }
}

impl Metal {
    /// A node whose BMC tells of changes has its power read each so many of the usual periods: an event that got lost is
    /// then found out within ten minutes, and the BMC is asked a tenth as often.
    pub const STREAMED_PERIODS: u32 = 10;

    /// How long a node that is watched may go without being read.
    pub fn unread_max_secs(&self) -> u64 {
        let streamed = if self.event_streams > 0 {
            self.power_every_secs * u64::from(Self::STREAMED_PERIODS)
        } else {
            self.power_every_secs
        };
        self.sensors_every_secs.max(streamed)
    }
}
