//! What is said between a host and the control plane: JSON in HTTP bodies.
//!
//! | request to the host | answers |
//! | --- | --- |
//! | `POST /questions` with a [`Question`] | [`Answer`] |
//! | `GET /events` | what happens to guests from now on, one [`GuestEvent`](corten_host::GuestEvent) per line |
//! | `PUT /images/{sha512}` with the image's bytes | an [`Answer`] of nothing; the bytes wait for `EnsureImage` |
//! | `GET /captures/{instance}` | the bytes that `Snapshot` left; `DELETE` forgets them |
//! | `POST /guests/{instance}/consoles/{serial or vnc}` with what is typed, as it is typed | what is shown, as it is shown |
//!
//! | request to the control plane | answers |
//! | --- | --- |
//! | `POST /join` with a [`JoinRequest`], the one request without a certificate | [`Admitted`] |
//! | `GET /membership` | whether this certificate is still good, and if not, why |
//! | `GET /names/{network}?name=…` | what the network knows of the name |
//! | `GET /metadata/{network}/{address}?path=…` | what the metadata service says to the guest at that address |

use corten_host::{Fence, HostError, Task};
use corten_model::ids::{HostId, InstanceId};
use corten_network::chassis::HostSide;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the control plane wants of a host: the methods of [`Hands`](corten_host::Hands), and [`HostSide`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    Perform {
        fence: Fence,
        task: Box<Task>,
    },
    ConsoleLog {
        id: InstanceId,
        tail_lines: Option<usize>,
    },
    Observe {
        id: InstanceId,
    },
    ObserveAll,
    CachedImages,
    Diagnostics {
        id: InstanceId,
    },
    Consoles {
        id: InstanceId,
    },
    Capacity,
    Hold {
        side: HostSide,
    },
}

/// What the method returns.
pub type Answer = Result<Value, HostError>;

/// A machine asks to become a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    pub secret: String,
    /// A certificate signing request (PKCS #10) in PEM.
    pub request: String,
}

/// A machine has become a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Admitted {
    pub host_id: HostId,
    /// What the host is called from now on.
    pub name: String,
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub authority: String,
    /// The port of OVN's southbound database at the control plane's address; without one the cloud has no networks.
    pub southbound_port: Option<u16>,
}
