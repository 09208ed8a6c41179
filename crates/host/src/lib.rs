//! What a hypervisor host does with its hands: guests under QEMU, their disks, consoles and images.
//!
//! [`Hands`] is the whole interface: the control plane calls it, [`QemuHost`] is the real thing and a simulator is
//! another. Everything that crosses it is plain serialisable data, because the host may be on the other side of a wire.

mod accel;
mod capacity;
mod cgroup;
mod config;
mod console;
mod disks;
mod error;
mod fences;
mod files;
mod guest;
mod guest_dir;
mod hands;
mod host;
mod images;
pub mod inspect;
mod machine;
mod program;
mod qemu;
mod spec;
mod task;
mod user;

pub use accel::probe_acceleration;
pub use config::{AccelerationChoice, HostConfig};
pub use error::HostError;
pub use fences::Fences;
pub use hands::{
    Acceleration, Accelerator, Confinement, ConsoleBytes, ConsoleKind, ConsoleSockets,
    ConsoleStream, CpuDiagnostics, Diagnostics, DiskDiagnostics, ExitCause, GuestChange,
    GuestEvent, Hands, HostCapacity, NicDiagnostics, Observation, Power,
};
pub use host::QemuHost;
pub use machine::{DiskBus, Machine};
pub use spec::{
    ConfigDrive, ConfigDriveFile, DiskFormat, DiskSpec, Firmware, GuestSpec, ImageRef, NicSpec,
    Shape,
};
pub use task::{Fence, ImageRecord, RebootKind, Report, StopKind, Task};
