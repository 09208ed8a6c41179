//! The boot flags of IPMI (parameter 5 of the system boot options).

use super::{Ipmi, words};
use crate::bmc::Bmc;
use crate::boot::{Boot, BootDevice, BootMode, Lasting};
use crate::capability::Capability;
use crate::error::BmcError;

/// Bits 5 to 2 of the second byte (IPMI 2.0, table 28-14).
const DEVICES: &[(u8, BootDevice)] = &[
    (0x0, BootDevice::Default),
    (0x1, BootDevice::Network),
    (0x2, BootDevice::Disk),
    (0x3, BootDevice::Disk),
    (0x4, BootDevice::Diagnostics),
    (0x5, BootDevice::Cdrom),
    (0x6, BootDevice::Setup),
    (0x8, BootDevice::Cdrom),
    (0xb, BootDevice::Disk),
    (0xf, BootDevice::Floppy),
];

struct Flags {
    /// The override is in force. It is not any more after the boot that it was for.
    valid: bool,
    boot: Boot,
}

impl Ipmi {
    pub(super) async fn read_boot(&self) -> Result<Boot, BmcError> {
        let flags = self.flags().await?;
        Ok(if flags.valid {
            flags.boot
        } else {
            Boot {
                device: BootDevice::Default,
                ..flags.boot
            }
        })
    }

    async fn flags(&self) -> Result<Flags, BmcError> {
        let command = ["chassis", "bootparam", "get", "5"];
        let said = self.tool.run(&command).await?;
        let data = words::table(&said).remove("Boot parameter data");
        let data = data.map(|data| words::bytes(&data)).unwrap_or_default();
        let [how, device, ..] = data[..] else {
            return Err(self.odd(&command.join(" "), "two bytes of boot flags or more", &said));
        };
        let device = (device >> 2) & 0xf;
        let known = DEVICES.iter().find(|(code, _)| *code == device);
        Ok(Flags {
            valid: how & 0x80 != 0,
            boot: Boot {
                device: known.map_or(BootDevice::Other, |(_, device)| *device),
                lasting: if how & 0x40 != 0 {
                    Lasting::Always
                } else {
                    Lasting::Once
                },
                // Flags that are not in force are zeros on most BMCs, and say nothing.
                mode: (how & 0x80 != 0).then_some(if how & 0x20 != 0 {
                    BootMode::Uefi
                } else {
                    BootMode::Legacy
                }),
            },
        })
    }

    pub(super) async fn write_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        let device = match wanted.device {
            BootDevice::Default => "none",
            BootDevice::Network => "pxe",
            BootDevice::Disk => "disk",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Floppy => "floppy",
            BootDevice::Setup => "bios",
            BootDevice::Diagnostics => "diag",
            BootDevice::Http | BootDevice::Usb | BootDevice::Other => {
                return Err(self.lacks(Capability::BootDevice));
            }
        };
        let before = self.flags().await?;
        // The flags are written whole, so a mode that nobody asked to change is given again.
        let mode = wanted.mode.or(before.boot.mode);
        let mut options = Vec::new();
        if mode == Some(BootMode::Uefi) {
            options.push("efiboot");
        }
        if wanted.lasting == Lasting::Always {
            options.push("persistent");
        }
        self.keep_flags().await?;
        let options = format!("options={}", options.join(","));
        let mut command = vec!["chassis", "bootdev", device];
        if options.len() > "options=".len() {
            command.push(&options);
        }
        self.tool.run(&command).await?;
        self.verify(wanted).await
    }

    /// A BMC may drop the flags when no boot follows within a minute; a server may take longer.
    async fn keep_flags(&self) -> Result<(), BmcError> {
        let command = ["raw", "0x00", "0x08", "0x03", "0x08"];
        self.if_known(&command).await.map(|_| ())
    }

    async fn verify(&self, wanted: Boot) -> Result<Boot, BmcError> {
        let seen = self.flags().await?;
        let place = "chassis bootparam get 5";
        let is_default = wanted.device == BootDevice::Default && !seen.valid;
        if seen.boot.device != wanted.device && !is_default {
            return Err(BmcError::NotAsAsked {
                bmc: self.name().to_owned(),
                what: "the boot device",
                asked: format!("{:?}", wanted.device),
                seen: format!("{:?}", seen.boot.device),
            });
        }
        let mut shown = seen.boot;
        if wanted.device == BootDevice::Default {
            shown.device = BootDevice::Default;
            return Ok(shown);
        }
        if !seen.valid {
            self.oddities
                .note(place, "flags that were just set to be valid", "invalid");
        }
        if shown.lasting != wanted.lasting {
            self.oddities.note(
                place,
                format!("{:?}, as was set", wanted.lasting),
                format!("{:?}", shown.lasting),
            );
        }
        if wanted.mode.is_some() && shown.mode != wanted.mode {
            self.oddities.note(
                place,
                format!("{:?}, as was set", wanted.mode),
                format!("{:?}", shown.mode),
            );
        }
        Ok(shown)
    }
}
