//! ATA's security feature set: the disk erases itself (ACS-4, 4.18), by Debian's `hdparm`.

use super::EraseError;
use super::facts::AtaSecurity;
use crate::device::{Disk, ioctl};
use crate::steps::program;
use std::fs::File;

/// Security erase is only heeded with a password, which the erasure itself removes again.
const PASSWORD: &str = "corten";

/// What the disk says of itself; nothing where it does not answer.
pub fn security(file: &File) -> Option<AtaSecurity> {
    Some(parse_security(ioctl::ata_identity(file).ok()?[128]))
}

fn parse_security(word: u16) -> AtaSecurity {
    let bit = |bit: u32| word & (1 << bit) != 0;
    AtaSecurity {
        supported: bit(0),
        enabled: bit(1),
        locked: bit(2),
        frozen: bit(3),
        enhanced: bit(5),
    }
}

/// Sets a password and erases with it. Where the erasure fails the password is taken away, or the disk would be lost.
pub fn secure_erase(disk: &Disk, enhanced: bool) -> Result<(), EraseError> {
    let path = disk.path().display().to_string();
    let hdparm = |action: &str| {
        program::run(
            "/bin/hdparm",
            &["--user-master", "u", action, PASSWORD, &path],
        )
    };
    hdparm("--security-set-pass")?;
    let erased = hdparm(if enhanced {
        "--security-erase-enhanced"
    } else {
        "--security-erase"
    });
    if let Err(error) = erased {
        hdparm("--security-disable")?;
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_128_says_what_the_disk_would_heed() {
        let frozen = parse_security(0x0029);
        assert!(frozen.supported && frozen.frozen && frozen.enhanced);
        assert!(!frozen.enabled && !frozen.locked);
        assert_eq!(parse_security(0), AtaSecurity::default());
    }
}
