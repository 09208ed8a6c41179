//! What the control plane tells the ramdisk by the kernel's command line, in the stock agent's words where it has them.
//!
//! | word | meaning |
//! | --- | --- |
//! | `ipa-api-url=URL,…` | where home is |
//! | `ipa-inspection-callback-url=URL` | where the inventory goes; without it, home |
//! | `ipa-agent-token=TOKEN` | the agent's token, where home gives none at lookup |
//! | `BOOTIF=01-aa-bb-…` | the network card that the server was booted from |
//! | `ip=ADDRESS::GATEWAY:NETMASK::INTERFACE:none[:DNS]` | a static address, in place of DHCP |
//! | `corten.node=UUID` | which node this is meant to be |
//! | `corten.token=TOKEN` | the one-time token that lookup is answered for |
//! | `corten.pin=sha256:…` | the SHA-256 of home's certificate, or of the authority that signed it |
//! | `ipa-collect-lldp=1` | an inspection waits up to half a minute for the switch's announcement |
//! | `corten.inspect=yes` | send the inventory before looking up |
//! | `corten.discover=yes` | nobody enrolled this server: send the inventory, and switch it off |

use std::net::Ipv4Addr;
use std::path::Path;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum CmdlineError {
    #[error("the kernel's command line has no ipa-api-url: the ramdisk does not know whom to call")]
    NoUrl,
    #[error("the kernel's command line says {word}={value}: {rule}")]
    Malformed {
        word: &'static str,
        value: String,
        rule: &'static str,
    },
    #[error("the kernel's command line cannot be read")]
    Read(#[source] std::io::Error),
}

/// A static address of the boot card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticAddress {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Option<Ipv4Addr>,
}

#[derive(Clone)]
pub struct BootOptions {
    pub urls: Vec<String>,
    pub inspection_url: Option<String>,
    pub agent_token: Option<String>,
    /// Lower case, with colons.
    pub boot_mac: Option<String>,
    pub static_address: Option<StaticAddress>,
    pub node: Option<Uuid>,
    pub boot_token: Option<String>,
    pub pin: Option<[u8; 32]>,
    pub inspect: bool,
    pub discover: bool,
    pub lldp: bool,
}

impl BootOptions {
    pub fn read(path: &Path) -> Result<Self, CmdlineError> {
        Self::parse(&std::fs::read_to_string(path).map_err(CmdlineError::Read)?)
    }

    pub fn parse(line: &str) -> Result<Self, CmdlineError> {
        // The last one of a word counts, as with the kernel's own.
        let value = |name: &str| {
            line.split_ascii_whitespace()
                .filter_map(|word| word.split_once('='))
                .filter(|(word, value)| *word == name && !value.is_empty())
                .map(|(_, value)| value.to_owned())
                .next_back()
        };
        let urls: Vec<String> = value("ipa-api-url")
            .ok_or(CmdlineError::NoUrl)?
            .split(',')
            .map(|url| url.trim_end_matches('/').to_owned())
            .collect();
        if let Some(other) = urls
            .iter()
            .find(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(CmdlineError::Malformed {
                word: "ipa-api-url",
                value: other.clone(),
                rule: "give URLs that begin with https:// or http://",
            });
        }
        let says_yes = |name: &str| value(name).as_deref() == Some("yes");
        let inspection_url = value("ipa-inspection-callback-url");
        Ok(Self {
            urls,
            inspect: inspection_url.is_some() || says_yes("corten.inspect"),
            discover: says_yes("corten.discover"),
            lldp: value("ipa-collect-lldp")
                .is_some_and(|text| matches!(&*text, "1" | "true" | "True" | "yes")),
            inspection_url,
            agent_token: value("ipa-agent-token"),
            boot_mac: value("BOOTIF").map(|text| parse_mac(&text)).transpose()?,
            static_address: value("ip").map_or(Ok(None), |text| parse_address(&text))?,
            node: value("corten.node")
                .map(|text| parse_node(&text))
                .transpose()?,
            boot_token: value("corten.token"),
            pin: value("corten.pin")
                .map(|text| parse_pin(&text))
                .transpose()?,
        })
    }
}

/// `01-aa-bb-cc-dd-ee-ff`, where 01 is Ethernet, or the address alone.
fn parse_mac(text: &str) -> Result<String, CmdlineError> {
    let lower = text.to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = lower.split(':').collect();
    let mac = match parts[..] {
        ["01", ..] if parts.len() == 7 => &parts[1..],
        _ => &parts[..],
    };
    let hexadecimal =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if mac.len() == 6 && mac.iter().all(hexadecimal) {
        return Ok(mac.join(":"));
    }
    Err(CmdlineError::Malformed {
        word: "BOOTIF",
        value: text.to_owned(),
        rule: "give 01-aa-bb-cc-dd-ee-ff",
    })
}

/// The kernel's own form (Documentation/admin-guide/nfs/nfsroot.rst); `ip=dhcp` is what happens anyway.
fn parse_address(text: &str) -> Result<Option<StaticAddress>, CmdlineError> {
    if matches!(text, "dhcp" | "on" | "any" | "off" | "none") {
        return Ok(None);
    }
    let malformed = || CmdlineError::Malformed {
        word: "ip",
        value: text.to_owned(),
        rule: "give ADDRESS::GATEWAY:NETMASK::INTERFACE:none[:DNS]",
    };
    let fields: Vec<&str> = text.split(':').collect();
    let field = |index: usize| {
        fields
            .get(index)
            .filter(|field| !field.is_empty())
            .map(|field| field.parse::<Ipv4Addr>().map_err(|_| malformed()))
            .transpose()
    };
    let netmask = field(3)?.ok_or_else(malformed)?.to_bits();
    if netmask.leading_ones() + netmask.trailing_zeros() != 32 {
        return Err(malformed());
    }
    Ok(Some(StaticAddress {
        address: field(0)?.ok_or_else(malformed)?,
        prefix: netmask.leading_ones() as u8,
        gateway: field(2)?,
        dns: field(7)?,
    }))
}

fn parse_node(text: &str) -> Result<Uuid, CmdlineError> {
    text.parse().map_err(|_| CmdlineError::Malformed {
        word: "corten.node",
        value: text.to_owned(),
        rule: "give the node's UUID",
    })
}

fn parse_pin(text: &str) -> Result<[u8; 32], CmdlineError> {
    text.strip_prefix("sha256:")
        .and_then(|digits| hex::decode(digits.replace(':', "")).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| CmdlineError::Malformed {
            word: "corten.pin",
            value: text.to_owned(),
            rule: "give sha256: and the 64 hexadecimal digits of the certificate's SHA-256",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_and_the_last_of_a_word_counts() {
        let pin = "ab".repeat(32);
        let options = BootOptions::parse(&format!(
            "console=ttyS0 ipa-api-url=http://no ipa-api-url=https://10.0.0.1:6385/,https://b BOOTIF=01-52-54-00-AA-bb-01 \
             ip=10.0.0.9::10.0.0.1:255.255.254.0::eth0:none:10.0.0.2 corten.token=once ipa-agent-token=t corten.inspect=yes \
             corten.node=5a1ed1c5-0000-4000-8000-000000000001 corten.pin=sha256:{pin}\n"
        ))
        .unwrap();
        assert_eq!(options.urls, ["https://10.0.0.1:6385", "https://b"]);
        assert_eq!(options.boot_mac.as_deref(), Some("52:54:00:aa:bb:01"));
        assert_eq!(
            options.static_address,
            Some(StaticAddress {
                address: Ipv4Addr::new(10, 0, 0, 9),
                prefix: 23,
                gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
                dns: Some(Ipv4Addr::new(10, 0, 0, 2)),
            })
        );
        assert_eq!(options.boot_token.as_deref(), Some("once"));
        assert_eq!(options.agent_token.as_deref(), Some("t"));
        assert_eq!(options.pin, Some([0xab; 32]));
        assert!(options.inspect && options.node.is_some());
        assert!(!options.discover);
        let unknown = BootOptions::parse("ipa-api-url=https://x corten.discover=yes").unwrap();
        assert!(unknown.discover && unknown.node.is_none());
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let error = |line: &str| {
            BootOptions::parse(line)
                .err()
                .map(|error| error.to_string())
        };
        assert!(error("quiet").unwrap().contains("ipa-api-url"));
        for word in [
            "ipa-api-url=ftp://x",
            "BOOTIF=eth0",
            "ip=10.0.0.1",
            "ip=1.2.3.4:::255.0.255.0::e:none",
            "corten.pin=abcd",
            "corten.node=7",
        ] {
            let text = error(&format!("ipa-api-url=https://x {word}")).unwrap();
            assert!(text.contains(word.split_once('=').unwrap().0), "{text}");
        }
        assert_eq!(error("ipa-api-url=https://x ip=dhcp"), None);
    }
}
