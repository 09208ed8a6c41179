//! NVMe's own ways to erase (NVM Express Base Specification 2.0, sections 5.14, 5.17, 5.24).

use super::EraseError;
use super::facts::NvmeAbilities;
use crate::device::{Disk, ioctl};
use ioctl::NvmeCommand;
use std::fs::File;
use std::time::Duration;

const IDENTIFY: u8 = 0x06;
const GET_LOG_PAGE: u8 = 0x02;
const FORMAT: u8 = 0x80;
const SANITIZE: u8 = 0x84;
const SANITIZE_LOG: u32 = 0x81;
const ALL_NAMESPACES: u32 = 0xffff_ffff;

const SHORT_MS: u32 = 60_000;
/// A format may erase each cell before it answers.
const FORMAT_MS: u32 = 4 * 3_600_000;
/// How often a sanitize operation is asked how far it is.
const POLL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub enum Sanitize {
    Block = 2,
    Crypto = 4,
}

#[derive(Debug, Clone, Copy)]
pub enum Format {
    UserData = 1,
    Crypto = 2,
}

/// What the controller can do.
pub fn abilities(file: &File) -> Result<NvmeAbilities, EraseError> {
    Ok(parse_abilities(&identify(file, 0, 1)?))
}

fn parse_abilities(controller: &[u8; 4096]) -> NvmeAbilities {
    let optional_commands = u16::from_le_bytes([controller[256], controller[257]]);
    let sanitize = controller[328];
    let format_attributes = controller[524];
    NvmeAbilities {
        sanitize_crypto: sanitize & 1 != 0,
        sanitize_block: sanitize & 2 != 0,
        format: optional_commands & 2 != 0,
        format_crypto: format_attributes & 4 != 0,
    }
}

fn identify(file: &File, namespace: u32, structure: u32) -> Result<[u8; 4096], EraseError> {
    let mut page = [0; 4096];
    let command = NvmeCommand {
        opcode: IDENTIFY,
        namespace,
        cdw10: structure,
        timeout_ms: SHORT_MS,
    };
    ioctl::nvme(file, command, &mut page).map_err(|source| EraseError::Nvme {
        what: "identify",
        source,
    })?;
    Ok(page)
}

/// Formats the namespace in the layout that it has.
pub fn format(disk: &Disk, file: &File, how: Format) -> Result<(), EraseError> {
    let namespace = namespace(&disk.name);
    let layout = u32::from(identify(file, namespace, 0)?[26] & 0xf);
    let command = NvmeCommand {
        opcode: FORMAT,
        namespace,
        cdw10: layout | (how as u32) << 9,
        timeout_ms: FORMAT_MS,
    };
    ioctl::nvme(file, command, &mut []).map_err(|source| EraseError::Nvme {
        what: "format",
        source,
    })
}

/// The number after the `n` of `nvme0n1`.
fn namespace(name: &str) -> u32 {
    name.rsplit_once('n')
        .and_then(|(_, digits)| digits.parse().ok())
        .unwrap_or(1)
}

/// Starts a sanitize operation and waits for its end, which may take hours. All namespaces of the controller are erased.
pub fn sanitize(file: &File, how: Sanitize) -> Result<(), EraseError> {
    let command = NvmeCommand {
        opcode: SANITIZE,
        namespace: 0,
        cdw10: how as u32,
        timeout_ms: SHORT_MS,
    };
    ioctl::nvme(file, command, &mut []).map_err(|source| EraseError::Nvme {
        what: "sanitize",
        source,
    })?;
    loop {
        let mut log = [0_u8; 512];
        let command = NvmeCommand {
            opcode: GET_LOG_PAGE,
            namespace: ALL_NAMESPACES,
            cdw10: SANITIZE_LOG | (log.len() as u32 / 4 - 1) << 16,
            timeout_ms: SHORT_MS,
        };
        ioctl::nvme(file, command, &mut log).map_err(|source| EraseError::Nvme {
            what: "get log page (sanitize status)",
            source,
        })?;
        match progress(&log) {
            Progress::Running => pause(POLL),
            Progress::Done => return Ok(()),
            Progress::Failed(status) => return Err(EraseError::Sanitize { status }),
        }
    }
}

/// The device has no way to tell that it is done, so it is asked again after a while.
fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
    Failed(u8),
}

/// The three low bits of the sanitize status.
fn progress(log: &[u8; 512]) -> Progress {
    match log[2] & 7 {
        1 | 4 => Progress::Done,
        2 => Progress::Running,
        status => Progress::Failed(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_read_from_the_controllers_page() {
        let mut page = [0_u8; 4096];
        assert_eq!(parse_abilities(&page), NvmeAbilities::default());
        page[256] = 0b10;
        page[328] = 0b11;
        page[524] = 0b100;
        assert_eq!(
            parse_abilities(&page),
            NvmeAbilities {
                sanitize_crypto: true,
                sanitize_block: true,
                format: true,
                format_crypto: true
            }
        );
    }

    #[test]
    fn a_sanitize_log_says_running_done_or_failed() {
        let log = |status: u8| {
            let mut log = [0_u8; 512];
            log[2] = status;
            progress(&log)
        };
        assert_eq!(log(0x02), Progress::Running);
        assert_eq!(log(0x01), Progress::Done);
        // Bit 8 and up count the passes of an overwrite.
        assert_eq!(log(0x0c), Progress::Done);
        assert_eq!(log(0x03), Progress::Failed(3));
        assert_eq!(log(0x00), Progress::Failed(0));
    }

    #[test]
    fn a_namespaces_number_is_in_its_name() {
        assert_eq!(namespace("nvme0n1"), 1);
        assert_eq!(namespace("nvme12n34"), 34);
    }
}
