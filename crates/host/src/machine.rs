//! The machine that a guest sees, as far as an image's `hw_*` properties may choose it.
//!
//! A property is enforced or refused: one that would have no effect is an error that names the legal values.

use crate::error::HostError;
use crate::spec::Firmware;
use std::collections::BTreeMap;

/// What the properties choose, with the defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub disk_bus: DiskBus,
    pub nic_model: &'static str,
    /// QEMU's device, or `None` for a guest without a screen.
    pub video_device: Option<&'static str>,
    pub guest_agent: bool,
    /// What the image asks for, if it does; it goes before the spec's own.
    pub firmware: Option<Firmware>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    Virtio,
    Scsi,
    Sata,
}

type Choices<T> = &'static [(&'static str, T)];

const DISK_BUSES: Choices<DiskBus> = &[
    ("virtio", DiskBus::Virtio),
    ("scsi", DiskBus::Scsi),
    ("sata", DiskBus::Sata),
];
const NIC_MODELS: Choices<&str> = &[
    ("virtio", "virtio-net-pci"),
    ("e1000", "e1000"),
    ("e1000e", "e1000e"),
    ("rtl8139", "rtl8139"),
    ("vmxnet3", "vmxnet3"),
];
const VIDEO_MODELS: Choices<Option<&str>> = &[
    ("vga", Some("VGA")),
    ("virtio", Some("virtio-vga")),
    ("cirrus", Some("cirrus-vga")),
    ("none", None),
];
const YES_NO: Choices<bool> = &[
    ("yes", true),
    ("true", true),
    ("True", true),
    ("no", false),
    ("false", false),
    ("False", false),
];
const FIRMWARES: Choices<Firmware> = &[("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];
const MACHINE_TYPES: Choices<()> = &[("q35", ())];
const SCSI_MODELS: Choices<()> = &[("virtio-scsi", ())];
const RNG_MODELS: Choices<()> = &[("virtio", ())];

const PROPERTIES: &str = "hw_disk_bus, hw_firmware_type, hw_machine_type, hw_qemu_guest_agent, hw_rng_model, \
                          hw_scsi_model, hw_video_model, hw_vif_model";

impl Default for Machine {
    fn default() -> Self {
        Self {
            disk_bus: DiskBus::Virtio,
            nic_model: "virtio-net-pci",
            video_device: Some("VGA"),
            guest_agent: false,
            firmware: None,
        }
    }
}

impl Machine {
    /// Reads the properties of an image.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<Self, HostError> {
        let mut machine = Self::default();
        for (name, value) in properties {
            match name.as_str() {
                "hw_disk_bus" => machine.disk_bus = choose(name, value, DISK_BUSES)?,
                "hw_firmware_type" => machine.firmware = Some(choose(name, value, FIRMWARES)?),
                "hw_machine_type" => choose(name, value, MACHINE_TYPES)?,
                "hw_qemu_guest_agent" => machine.guest_agent = choose(name, value, YES_NO)?,
                "hw_rng_model" => choose(name, value, RNG_MODELS)?,
                "hw_scsi_model" => choose(name, value, SCSI_MODELS)?,
                "hw_video_model" => machine.video_device = choose(name, value, VIDEO_MODELS)?,
                "hw_vif_model" => machine.nic_model = choose(name, value, NIC_MODELS)?,
                _ => {
                    return Err(invalid(
                        "image property",
                        name,
                        format!("those with an effect are {PROPERTIES}"),
                    ));
                }
            }
        }
        Ok(machine)
    }
}

fn choose<T: Copy>(name: &str, value: &str, choices: Choices<T>) -> Result<T, HostError> {
    choices
        .iter()
        .find(|(legal, _)| *legal == value)
        .map(|(_, chosen)| *chosen)
        .ok_or_else(|| {
            let legal: Vec<&str> = choices.iter().map(|(legal, _)| *legal).collect();
            invalid(
                name,
                value,
                format!("the legal values are {}", legal.join(", ")),
            )
        })
}

fn invalid(field: &str, value: &str, rule: String) -> HostError {
    HostError::InvalidSpec {
        field: field.to_owned(),
        value: value.to_owned(),
        rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Machine, HostError> {
        Machine::parse(
            &pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn without_properties_everything_is_virtio() {
        assert_eq!(parse(&[]).unwrap(), Machine::default());
    }

    #[test]
    fn a_property_changes_the_machine() {
        let machine = parse(&[
            ("hw_disk_bus", "scsi"),
            ("hw_vif_model", "e1000"),
            ("hw_video_model", "none"),
        ])
        .unwrap();
        assert_eq!(
            (machine.disk_bus, machine.nic_model, machine.video_device),
            (DiskBus::Scsi, "e1000", None)
        );
    }

    #[test]
    fn an_unknown_value_or_name_is_refused_with_the_legal_ones() {
        let error = parse(&[("hw_disk_bus", "ide")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "hw_disk_bus 'ide' is not possible: the legal values are virtio, scsi, sata"
        );
        let error = parse(&[("hw_turbo", "on")]).unwrap_err().to_string();
        assert!(
            error.contains("'hw_turbo'") && error.contains("hw_vif_model"),
            "{error}"
        );
    }
}
