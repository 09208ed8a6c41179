//! Ramdisks on servers, as the control plane asks them: the hands within a real machine.
//!
//! | module | its part |
//! | --- | --- |
//! | `wire` | the commands' API over pinned TLS, which both agents have |
//! | `own` | our own agent: every command carries the mark of its work |
//! | `stock` | OpenStack's `ironic-python-agent`, which knows no marks and no records of wipes |
//! | `password` | the password of a rescue, hashed |
//! | `evidence` | what proves that the stock agent left no disk out of a wipe |

mod evidence;
mod own;
mod password;
mod stock;
mod wire;

pub use own::RemoteAgent;
pub use stock::StockAgent;
