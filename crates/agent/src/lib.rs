//! Hosts on other machines: how one joins a cloud, and how its hands are used over the one connection that it makes.
//!
//! ```text
//!   a host's machine                                       the control plane
//!
//!   join ──── an invitation for a certificate, once ─────▶ Door ─▶ routes of the API crate
//!   Near ◀─── questions ─── one connection, made by the host ──── FarHost (a `Hands`)
//!   Near ──── what guests ask (metadata, names) ─────────▶ Door ─▶ routes of the API crate
//! ```
//!
//! * Everything is on TLS 1.3, with certificates of the cloud's own [`Authority`] at both ends. The host dials; nothing
//!   dials the host.
//! * On the connection for questions the roles are turned around: the host is the HTTP/2 server. So the control plane has
//!   as many questions, events, consoles and images in flight as it likes, with flow control for each.
//! * A step of an operation runs in the control plane and does its work through [`FarHost`], which refuses as
//!   [`HostError::Away`](corten_host::HostError::Away) while the host is away. Nothing is lost with a connection: every
//!   task may be given again.

mod authority;
mod dial;
mod door;
mod error;
mod far;
mod holder;
mod identity;
mod invitation;
mod near;
mod spool;
mod tls;
mod wire;

pub use authority::Authority;
pub use dial::{Dialer, join};
pub use door::{Arrival, Door, Peer};
pub use error::AgentError;
pub use far::FarHost;
pub use holder::{GuestServices, Holder, Holds};
pub use identity::Identity;
pub use invitation::{Fingerprint, InvalidInvitation, Invitation};
pub use near::Near;
pub use wire::{Admitted, JoinRequest};
