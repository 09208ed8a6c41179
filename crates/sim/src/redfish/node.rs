//! One server as the service shows it: its paths, its shape and its faults.

use super::faults::{Fault, Faults, On};
use super::shape::Shape;
use crate::SimMachine;
use crate::hardware::Hardware;
use corten_bmc::Severity;
use jiff::Timestamp;
use std::sync::Arc;

/// A simulated server behind a simulated BMC.
pub struct RedfishNode {
    pub(super) id: String,
    pub(super) machine: Arc<SimMachine>,
    pub(super) shape: Shape,
    pub(super) faults: Faults,
    pub(super) system: String,
    pub(super) manager: String,
    pub(super) chassis: String,
}

impl RedfishNode {
    pub(super) fn new(id: &str, machine: Arc<SimMachine>, shape: Shape) -> Self {
        let named = |pattern: &str| pattern.replace("{id}", id);
        let data = shape.data();
        machine.with(|server| {
            server.bios = data.bios.clone();
            server.bios_defaults = data.bios.clone();
            server.mode_attribute.clone_from(&data.boot_mode);
            server.firmware = data.firmware.clone();
        });
        Self {
            system: named(&data.system),
            manager: named(&data.manager),
            chassis: named(&data.chassis),
            id: id.to_owned(),
            machine,
            faults: Faults::default(),
            shape,
        }
    }

    /// Of its `ComputerSystem`: what [`corten_bmc::RedfishAddress::with_system`] wants.
    pub fn system_path(&self) -> String {
        format!("/redfish/v1/Systems/{}", self.system)
    }

    /// Of its `Manager`.
    pub fn manager_path(&self) -> String {
        format!("/redfish/v1/Managers/{}", self.manager)
    }

    /// Of its `Chassis`.
    pub fn chassis_path(&self) -> String {
        format!("/redfish/v1/Chassis/{}", self.chassis)
    }

    /// The server itself, for looking at it without its BMC.
    pub fn machine(&self) -> &Arc<SimMachine> {
        &self.machine
    }

    /// The next so many requests for this node meet this.
    pub fn fail_next(&self, times: u32, fault: Fault, on: On) {
        if times > 0 {
            self.faults.add(fault, on, Some(times));
        }
    }

    /// Each request for this node meets this until it is mended.
    pub fn fail_until_mended(&self, fault: Fault, on: On) {
        self.faults.add(fault, on, None);
    }

    /// Takes each fault away.
    pub fn mend(&self) {
        self.faults.mend();
    }

    /// How many of its faults are still to be met.
    pub fn faults_left(&self) -> usize {
        self.faults.left()
    }

    /// How many requests met a fault so far.
    pub fn faults_met(&self) -> u64 {
        self.faults.met()
    }

    /// How often it was booted.
    pub fn boots(&self) -> u64 {
        self.look(|server| server.boots)
    }

    /// What the last boot was from.
    pub fn booted_from(&self) -> Option<corten_bmc::BootDevice> {
        self.look(|server| server.booted_from)
    }

    /// Something happened to the hardware: an entry in the server's log.
    pub fn log(&self, at: Timestamp, severity: Severity, message: &str) {
        self.look(|server| server.write_log(at, severity, message));
    }

    /// Its places below the root.
    pub(super) fn paths(&self) -> [String; 3] {
        [
            format!("Systems/{}", self.system),
            format!("Managers/{}", self.manager),
            format!("Chassis/{}", self.chassis),
        ]
    }

    pub(super) fn look<T>(&self, work: impl FnOnce(&mut Hardware) -> T) -> T {
        self.machine.with(work)
    }
}
