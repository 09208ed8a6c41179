//! What the floor above tells: who a MAC address is, which address it has, and what it boots.

use crate::client::Architecture;
use crate::command_line::CommandLine;
use crate::media::MediaPlan;
use async_trait::async_trait;
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Answers from rows. Asked at every DHCP message and every fetch, so it must answer from an index.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The answer for a client; none for one that is not known, which then gets none either.
    async fn find(&self, asker: Asker) -> Result<Option<Answer>, DirectoryError>;

    /// The virtual-media image of this name. The name is the only thing that a BMC shows, so it must be a secret.
    async fn media(&self, name: &str) -> Result<Option<MediaPlan>, DirectoryError>;
}

/// The rows could not be read; nobody is answered then, and the client asks again.
#[derive(Debug, thiserror::Error)]
#[error("the directory of nodes cannot be read")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Who wants to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    pub mac: Mac,
    /// What it said of its processor and firmware (DHCP option 93); none from an operating system.
    pub architecture: Option<Architecture>,
    /// The relay that it asked through (`giaddr`), if it is on another segment.
    pub relay: Option<Ipv4Addr>,
    /// It looks for an address in order to boot over the network: firmware or iPXE, and no operating system.
    pub begins_boot: bool,
}

/// What a client is told that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For one that nobody enrolled: the node that it is to be.
    pub node: NodeId,
    pub lease: Lease,
    /// None: it gets its address and is left to boot from its own disk.
    pub boot: Option<Boot>,
}

/// A node's address on its provisioning network: by DHCP, or written into its virtual-media image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its address with the length of the network's prefix.
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub mtu: Option<u16>,
    pub hostname: Option<String>,
    /// How long the client may use it before it asks again. By DHCP only.
    pub duration: Duration,
}

/// A kernel and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub kernel: PathBuf,
    pub ramdisk: PathBuf,
    pub command_line: CommandLine,
    /// The firmware starts only what is signed, which iPXE is not: HTTP boot gets a whole image that starts with shim, and
    /// PXE, which can hold none, gets nothing. Virtual media start with shim in any case.
    pub secure_boot: bool,
}
