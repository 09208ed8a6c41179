//! From the kernel's first program to a server that can be worked on: mounts, drivers, one network card.

pub mod cmdline;
pub mod dhcp;
pub mod modules;
pub mod mounts;
pub mod netlink;
pub mod network;

pub use cmdline::BootOptions;
