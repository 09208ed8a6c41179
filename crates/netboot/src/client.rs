//! What a DHCP client says of itself: its firmware, its processor, and how far its boot has come.

use std::fmt;
use std::str::FromStr;

/// A processor and the kind of firmware (RFC 4578 section 2.1, and IANA's "Processor Architecture Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    Bios,
    UefiX64,
    UefiArm64,
    /// One that no loader is kept for, by its number.
    Other(u16),
}

impl Architecture {
    pub fn from_option(number: u16) -> Self {
        match number {
            0 => Self::Bios,
            // 7 was meant for EBC, and is what x86-64 firmware says; 9 is what the registry says. 16 is HTTP boot.
            7 | 9 | 16 => Self::UefiX64,
            11 | 19 => Self::UefiArm64,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bios => f.write_str("bios"),
            Self::UefiX64 => f.write_str("uefi-x64"),
            Self::UefiArm64 => f.write_str("uefi-arm64"),
            Self::Other(number) => write!(f, "other-{number}"),
        }
    }
}

/// A text that names no architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an architecture")]
pub struct UnknownArchitecture;

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        match text {
            "bios" => Ok(Self::Bios),
            "uefi-x64" => Ok(Self::UefiX64),
            "uefi-arm64" => Ok(Self::UefiArm64),
            other => {
                let number = other.strip_prefix("other-").ok_or(UnknownArchitecture)?;
                number
                    .parse()
                    .map(Self::Other)
                    .map_err(|_| UnknownArchitecture)
            }
        }
    }
}

/// How far a client's boot has come, which decides what it can be given next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Firmware that fetches its boot file by TFTP.
    Pxe,
    /// Firmware that fetches its boot file by HTTP (UEFI 2.5, "HTTP Boot").
    HttpBoot,
    /// iPXE that speaks HTTP.
    Ipxe,
    /// Something that only wants an address, such as an operating system.
    AddressOnly,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pxe => "PXE",
            Self::HttpBoot => "UEFI HTTP boot",
            Self::Ipxe => "iPXE",
            Self::AddressOnly => "an address only",
        })
    }
}

/// What one client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    pub architecture: Option<Architecture>,
    pub stage: Stage,
}

/// The sub-option by which iPXE says that it speaks HTTP (its `DHCP_EB_FEATURE_HTTP`).
const IPXE_FEATURE_HTTP: u8 = 0x13;

impl Client {
    /// Reads options 93 (architecture), 60 (vendor class), 77 (user class) and 175 (iPXE's features).
    pub fn from_options(
        architecture: Option<&[u8]>,
        vendor_class: Option<&[u8]>,
        user_class: Option<&[u8]>,
        ipxe: Option<&[u8]>,
    ) -> Self {
        let architecture = architecture
            .and_then(|bytes| bytes.first_chunk::<2>())
            .map(|&pair| Architecture::from_option(u16::from_be_bytes(pair)));
        let starts = |prefix: &[u8]| vendor_class.is_some_and(|class| class.starts_with(prefix));
        // RFC 3004 wants a length before each class; iPXE, as everybody, sends none.
        let is_ipxe = user_class.is_some_and(|class| class == b"iPXE" || class == b"\x04iPXE");
        let stage = if is_ipxe && ipxe.is_some_and(speaks_http) {
            Stage::Ipxe
        } else if starts(b"HTTPClient") {
            Stage::HttpBoot
        } else if starts(b"PXEClient") || is_ipxe {
            Stage::Pxe
        } else {
            Stage::AddressOnly
        };
        Self {
            architecture,
            stage,
        }
    }
}

/// Whether iPXE's encapsulated options hold the feature. An iPXE in a card's ROM may have been built without.
fn speaks_http(mut options: &[u8]) -> bool {
    while let [code, rest @ ..] = options {
        match (code, rest) {
            (0, _) => options = rest,
            (255, _) => return false,
            (&code, [length, rest @ ..]) => {
                let Some((value, after)) = rest.split_at_checked(usize::from(*length)) else {
                    return false;
                };
                if code == IPXE_FEATURE_HTTP {
                    return value.first().is_some_and(|&enabled| enabled != 0);
                }
                options = after;
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(vendor: &[u8], user: Option<&[u8]>, ipxe: Option<&[u8]>) -> Stage {
        Client::from_options(Some(&[0, 7]), Some(vendor), user, ipxe).stage
    }

    #[test]
    fn the_stage_is_read_from_the_classes() {
        let pxe = b"PXEClient:Arch:00007:UNDI:003016";
        assert_eq!(stage(pxe, None, None), Stage::Pxe);
        assert_eq!(stage(b"HTTPClient:Arch:00016", None, None), Stage::HttpBoot);
        assert_eq!(stage(b"udhcp 1.35", None, None), Stage::AddressOnly);
        let features = [0xb1, 5, 1, 2, 3, 4, 5, 0x13, 1, 1];
        assert_eq!(stage(pxe, Some(b"iPXE"), Some(&features)), Stage::Ipxe);
    }

    #[test]
    fn an_ipxe_without_http_is_treated_as_the_firmware_it_came_from() {
        let pxe = b"PXEClient:Arch:00000";
        for features in [&[][..], &[0x13, 1, 0], &[0x12, 9, 1], &[0x13], &[255, 0x13]] {
            let read = stage(pxe, Some(b"iPXE"), Some(features));
            assert_eq!(read, Stage::Pxe, "{features:?}");
        }
    }

    #[test]
    fn an_architecture_reads_back_what_it_writes() {
        for number in [0, 6, 7, 11, 16, 19, 65535] {
            let architecture = Architecture::from_option(number);
            assert_eq!(architecture.to_string().parse(), Ok(architecture));
        }
        assert_eq!(
            "other-70000".parse::<Architecture>(),
            Err(UnknownArchitecture)
        );
    }
}
