//! What a bare-metal server boots from: DHCP, TFTP and HTTP on a provisioning network, and virtual-media images.
//!
//! There is one provisioning network per conductor group, and one [`BootServer`] on it. It knows no rows: a [`Directory`],
//! which the floor above implements over its rows, says who a MAC address is, which address it has and what it boots. So
//! there is no configuration file to be generated, no lease file to be lost and nothing to be restarted.
//!
//! ```mermaid
//! sequenceDiagram
//!     participant F as firmware
//!     participant I as iPXE
//!     participant S as BootServer
//!     participant D as Directory
//!     F->>S: DHCPDISCOVER, architecture, class
//!     S->>D: find(MAC, architecture)
//!     D-->>S: node, lease, boot
//!     S-->>F: address, boot file (iPXE for this firmware)
//!     F->>S: TFTP or HTTP: iPXE
//!     F->>I: starts
//!     I->>S: DHCPDISCOVER, user class "iPXE"
//!     S-->>I: address, URL of the script
//!     I->>S: HTTP: script, kernel, initial ramdisk
//!     S-->>D: BootEvents, one for each of these, with bytes
//! ```
//!
//! Four rules hold on the wire.
//!
//! 1. **Only whom the directory answers for is answered.** A MAC address that it has no answer for gets nothing, and is
//!    counted and named ([`BootStep::Unknown`]). It is told who begins to boot over the network ([`Asker::begins_boot`]), so
//!    that it can let servers in that nobody enrolled, and no other clients.
//! 2. **Only here.** Every socket is bound to one interface in one network namespace.
//! 3. **Own files only.** Boot files are given to the address that their node has a lease on; a virtual-media image to who
//!    knows its name, which is a secret.
//! 4. **Another server is named.** Whoever else offers addresses on the segment is told as [`BootStep::Rogue`]: from offers
//!    that pass by, from clients that chose it, and from the answers to a probe.
//!
//! A server that cannot be reached at layer 2 needs no DHCP: [`media`] lays out an image for its BMC's virtual drive, which
//! boots on BIOS and UEFI (with Secure Boot), and which holds the server's network configuration in its ramdisk.

pub mod client;
pub mod command_line;
pub mod content;
pub mod cpio;
pub mod dhcp;
pub mod directory;
pub mod event;
pub mod file_tree;
mod http;
mod loaders;
pub mod media;
mod no_router;
mod script;
mod segment;
mod server;
mod shelf;
mod tally;
pub mod tftp;

pub use client::{Architecture, Client, Stage};
pub use command_line::{CommandLine, InvalidCommandLine};
pub use content::Content;
pub use directory::{Answer, Asker, Boot, Directory, DirectoryError, Lease};
pub use event::{BootEvent, BootStep, Events, Sighting, Transport};
pub use loaders::{LoaderPaths, Loaders};
pub use media::{MediaError, MediaPlan, data_disc};
pub use server::{BootServer, Config, StartError};
