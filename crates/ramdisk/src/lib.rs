//! The deploy ramdisk: what runs as PID 1 on a bare-metal server before and between its tenants.
//!
//! The control plane boots a server from the network or from virtual media with Debian's kernel and an initial ramdisk
//! that holds this program. It brings up the network card it was booted from and no other, tells what the server is
//! made of, calls home, and does what it is told to: erase the disks, write an image, test the parts.
//!
//! ```text
//!   boot ──> inspect ──> home: look up, heartbeat ──> commands, one at a time ──> reboot into what was written
//!                             │ 401 or 403
//!                             └─> stops calling, takes the network down, says so on the console
//! ```
//!
//! The words on the wire ([`protocol`]) are those of Ironic's stock agent, `ironic-python-agent`: either can be booted by
//! Corten, and ours by Ironic. What ours adds is listed in `protocol/mod.rs`; a control plane that does not know an
//! addition loses only that.
//!
//! | module | its part |
//! | --- | --- |
//! | [`protocol`] | the types that both ends share |
//! | `boot` | mounts, drivers, the kernel's command line, DHCP |
//! | `inspect` | what the server is made of |
//! | `home` | the calls to the control plane, over TLS pinned to it |
//! | `commands` | the agent's own API, and the table of what may be asked |
//! | `stay` | from the first call to the end of the work |
//! | `steps` | what is done to the server |
//! | `device` | disks as the kernel shows them |
//! | `journal` | the log, on the console and to the control plane |

pub mod protocol;

#[cfg(feature = "agent")]
pub mod boot;
#[cfg(feature = "agent")]
pub mod commands;
#[cfg(feature = "agent")]
pub mod device;
#[cfg(feature = "agent")]
pub mod home;
#[cfg(feature = "agent")]
pub mod inspect;
#[cfg(feature = "agent")]
pub mod journal;
#[cfg(feature = "agent")]
pub mod stay;
#[cfg(feature = "agent")]
pub mod steps;
