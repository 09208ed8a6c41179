//! Baseboard management controllers: Redfish and IPMI behind one trait.
//!
//! A server's BMC is a small computer on its board that can switch its power, choose what it boots from and tell what it is
//! made of. [`open`] makes a [`Bmc`] of an [`Address`] and [`Credentials`]; nobody above needs to know which protocol it speaks.
//!
//! ```mermaid
//! flowchart LR
//!     caller --> bmc["trait Bmc"]
//!     bmc --> redfish["redfish: JSON over HTTPS"] --> transport["redfish/transport: sessions, retries, limits"]
//!     redfish --> quirks["redfish/quirks.toml: what vendors do otherwise"]
//!     bmc --> ipmi["ipmi: tables of words"] --> tool["ipmi/tool: ipmitool, a confined child"]
//! ```
//!
//! BMCs are not to be trusted to keep to their standards. Three rules follow.
//!
//! 1. **Tolerant reading.** A key that is missing or of another type is an [`Oddity`]: it is written down, its value is
//!    unknown, and the rest goes on. Only what the caller asked for and cannot be told is an error.
//! 2. **Verified writing.** What was set is read back. A BMC that says yes and does nothing is
//!    [`BmcError::NotAsAsked`]. Whether the server then *booted* from there, only its ramdisk can tell.
//! 3. **Asking twice is harmless.** Each call says what must hold, looks first, and does nothing where it holds already,
//!    so a caller that lost an answer asks again. A request that may have had its effect is never repeated blindly.
//!
//! What vendors do otherwise is data ([`redfish::Quirks`]), not code. The password is in no `Debug`, log or error, and not among
//! a child's arguments. What a BMC tells by itself ([`Bmc::events`]) is a hint of what to ask, and never believed.

mod address;
mod agent;
mod bios;
mod bmc;
mod boot;
mod capability;
mod error;
mod event;
mod event_log;
mod firmware;
mod gate;
mod inside;
mod inventory;
pub mod ipmi;
mod media;
mod oddity;
mod power;
pub mod redfish;
mod sensors;
mod settle;
mod tls;

pub use address::{Address, Credentials, IpmiAddress, Limits, RedfishAddress, Trust};
pub use agent::{RemoteAgent, StockAgent};
pub use bios::{AttributeValue, Attributes, BiosSettings};
pub use bmc::{Bmc, Indicator, SecureBoot, SerialStream, open};
pub use boot::{Boot, BootDevice, BootMode, Effect, Lasting};
pub use capability::{Capabilities, Capability};
pub use error::BmcError;
pub use event::{About, Event, EventStream};
pub use event_log::{LogEntry, Severity};
pub use firmware::{
    FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskSeen, TaskState, TaskWork, follow,
};
pub use inside::{Image, Inside, Machine, Order, Progress, Report, Task, Wiped};
pub use inventory::{
    Controller, Drive, Identity, Inventory, Link, MemoryModule, NetworkCard, Processor,
};
pub use media::{Media, MediaKind, MediaSlot};
pub use oddity::{Oddities, Oddity};
pub use power::{PowerAction, PowerState, change_power, wait_for_power};
pub use sensors::{Health, Sensor, SensorKind, Sensors, Thresholds};
