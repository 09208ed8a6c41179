//! Which acceleration works here: found out by booting a guest, not by looking at `/dev/kvm`.
//!
//! A machine can have the device and be unable to run a guest on it. The guest of the probe is one boot sector that
//! writes two letters to its serial port.

use crate::capacity;
use crate::config::{AccelerationChoice, HostConfig};
use crate::error::HostError;
use crate::files;
use crate::hands::{Acceleration, Accelerator};
use crate::program;
use crate::user::GuestUser;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const PROBE_LIMIT: Duration = Duration::from_secs(3);
const SECTOR: usize = 512;
/// cli; mov dx, 0x3f8; mov al, 'O'; out dx, al; mov al, 'K'; out dx, al; hlt; jmp to hlt
const BOOT_CODE: [u8; 13] = [
    0xfa, 0xba, 0xf8, 0x03, 0xb0, b'O', 0xee, 0xb0, b'K', 0xee, 0xf4, 0xeb, 0xfd,
];
const SIGN_OF_LIFE: &[u8] = b"OK";

/// The result of a probe and what it holds for.
#[derive(Serialize, Deserialize)]
struct Remembered {
    machine: String,
    acceleration: Acceleration,
}

/// The acceleration that the operator wants, or the one that works.
pub(crate) async fn choose(
    config: &HostConfig,
    user: &GuestUser,
    qemu_version: &str,
) -> Acceleration {
    if let AccelerationChoice::Use(accelerator) = config.acceleration {
        return Acceleration {
            accelerator,
            reason: "chosen by the operator".to_owned(),
        };
    }
    let memory = config.data_dir.join("acceleration.json");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let machine = format!(
        "{} {} {qemu_version} {}",
        release.trim(),
        capacity::boot_id(),
        user.name
    );
    if let Some(remembered) =
        files::read_json::<Remembered>(&memory).filter(|known| known.machine == machine)
    {
        return remembered.acceleration;
    }
    let acceleration = probe(config, user).await;
    let remembered = Remembered {
        machine,
        acceleration,
    };
    if !qemu_version.is_empty()
        && let Err(error) = files::write_json(&memory, &remembered)
    {
        tracing::warn!(%error, "the result of the acceleration probe is not remembered");
    }
    remembered.acceleration
}

/// Finds out by booting a guest; takes up to 3 s.
pub async fn probe_acceleration(config: &HostConfig) -> Result<Acceleration, HostError> {
    Ok(probe(config, &GuestUser::find(config)?).await)
}

async fn probe(config: &HostConfig, user: &GuestUser) -> Acceleration {
    if !Path::new("/dev/kvm").exists() {
        return tcg(
            "there is no /dev/kvm: enable virtualisation in the firmware, or nested virtualisation"
                .to_owned(),
        );
    }
    let directory = config.data_dir.join(".probe");
    let outcome = boot_on_kvm_as_guests_do(config, user, &directory).await;
    if let Err(error) = files::remove_dir(&directory) {
        tracing::warn!(%error, "the acceleration probe left its directory behind");
    }
    match outcome {
        Ok(None) => Acceleration {
            accelerator: Accelerator::Kvm,
            reason: "a guest ran on /dev/kvm".to_owned(),
        },
        Ok(Some(reason)) => tcg(reason),
        Err(error) => tcg(format!("a guest could not be started on /dev/kvm: {error}")),
    }
}

/// Boots as the guests' user. Where that user may not open the device, boots as ourselves too, to tell whether opening
/// it to the user would help.
async fn boot_on_kvm_as_guests_do(
    config: &HostConfig,
    user: &GuestUser,
    directory: &Path,
) -> Result<Option<String>, HostError> {
    let reason = boot_on_kvm(config, user, directory).await?;
    if !user.changes
        || !reason
            .as_ref()
            .is_some_and(|reason| reason.contains("Permission denied"))
    {
        return Ok(reason);
    }
    let ourselves = GuestUser {
        changes: false,
        ..user.clone()
    };
    Ok(Some(
        boot_on_kvm(config, &ourselves, directory)
            .await?
            .unwrap_or_else(|| {
                format!(
                    "KVM works, but the guests' user '{}' may not open /dev/kvm: \
             'groupadd -f kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm'",
                    user.name
                )
            }),
    ))
}

fn tcg(reason: String) -> Acceleration {
    Acceleration {
        accelerator: Accelerator::Tcg,
        reason,
    }
}

/// Boots the guest; `None` if it showed its sign of life, else why not.
async fn boot_on_kvm(
    config: &HostConfig,
    user: &GuestUser,
    directory: &Path,
) -> Result<Option<String>, HostError> {
    let qemu = program::require(&config.qemu)?;
    files::remove_dir(directory)?;
    files::create_dir(directory, 0o711)?;
    let disk = directory.join("boot.img");
    fs::write(&disk, boot_sector()).map_err(HostError::io("write", &disk))?;
    user.own(&disk)?;
    let wrapper = user.wrapper();
    let mut child = Command::new("setpriv")
        .args(&wrapper[1..])
        .arg("--")
        .arg(qemu)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "q35",
            "-accel",
            "kvm",
            "-m",
            "32M",
            "-display",
            "none",
        ])
        .args([
            "-serial",
            "stdio",
            "-blockdev",
            "driver=raw,node-name=boot,file.driver=file,file.filename=boot.img",
        ])
        .args(["-device", "virtio-blk-pci,drive=boot,bootindex=0"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(HostError::io("run", Path::new("setpriv")))?;
    let (Some(mut serial), Some(mut messages)) = (child.stdout.take(), child.stderr.take()) else {
        return Ok(Some("QEMU's output could not be read".to_owned()));
    };
    let mut printed = Vec::new();
    let lives = async {
        while let Ok(1..) = serial.read_buf(&mut printed).await {
            if printed
                .windows(SIGN_OF_LIFE.len())
                .any(|window| window == SIGN_OF_LIFE)
            {
                return true;
            }
        }
        false
    };
    let reason = match tokio::time::timeout(PROBE_LIMIT, lives).await {
        Ok(true) => None,
        Ok(false) => {
            let mut said = Vec::new();
            let _ = tokio::time::timeout(PROBE_LIMIT, messages.read_to_end(&mut said)).await;
            Some(format!(
                "/dev/kvm exists, but QEMU cannot use it: {}",
                program::last_lines(&said, 3)
            ))
        }
        Err(_) => Some(format!(
            "/dev/kvm exists, but a guest did not run on it within {} s",
            PROBE_LIMIT.as_secs()
        )),
    };
    // One that has ended by itself cannot be killed, and need not.
    let _ = child.kill().await;
    Ok(reason)
}

fn boot_sector() -> Vec<u8> {
    let mut sector = BOOT_CODE.to_vec();
    sector.resize(SECTOR - 2, 0);
    sector.extend([0x55, 0xaa]);
    sector
}
