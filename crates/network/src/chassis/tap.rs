//! Taps: the host's ends of guests' network cards.
//!
//! A tap is persistent: it stays in the switch while its guest is off, so the guest's address stays wired.

use super::link::Links;
use crate::daemons::MachineError;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DEVICE: &str = "/dev/net/tun";
/// As udev sets it. It lets nobody at anybody's tap: the kernel asks for the tap's own user.
const MODE: u32 = 0o666;

/// Lets QEMU, which runs as an ordinary user, open its own taps, also where no udev has seen to it.
pub fn open_to_guests() -> Result<(), MachineError> {
    let device = Path::new(DEVICE);
    let mode = fs::metadata(device)
        .map_err(MachineError::io("look at", device))?
        .permissions()
        .mode();
    if mode & MODE == MODE {
        return Ok(());
    }
    fs::set_permissions(device, fs::Permissions::from_mode(MODE))
        .map_err(MachineError::io("set the mode of", device))
}

/// Makes the tap, which is down. It never gets an address of the kernel's own, which would be announced to guests.
pub async fn make(links: &Links<'_>, name: &str, uid: u32) -> Result<(), MachineError> {
    let words = [
        "tuntap",
        "add",
        "dev",
        name,
        "mode",
        "tap",
        "user",
        &uid.to_string(),
    ];
    links.ip(&words).await?;
    links.keep_silent(name).await
}
