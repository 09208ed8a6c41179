//! Driving QEMU: its command line, its machine protocol, its process.

pub mod command_line;
pub mod process;
pub mod qmp;
