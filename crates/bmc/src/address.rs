//! Where a BMC is, who may ask it, and how patient we are with it.

use crate::error::BmcError;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::time::Duration;
use url::Url;

#[derive(Debug, Clone)]
pub enum Address {
    Redfish(RedfishAddress),
    Ipmi(IpmiAddress),
}

/// A Redfish service.
#[derive(Debug, Clone)]
pub struct RedfishAddress {
    pub(crate) root: Url,
    /// The path of the server's `ComputerSystem`; without it the service must have exactly one.
    pub system: Option<String>,
    pub trust: Trust,
    /// Sessions are used where the service has them, unless this forbids it.
    pub sessions: bool,
}

impl RedfishAddress {
    /// `https://host[:port]`. `http://` is taken too, for a BMC on a network of its own.
    pub fn new(url: &str) -> Result<Self, BmcError> {
        let refuse = |rule: &'static str, fix: &'static str| BmcError::Invalid {
            rule,
            value: url_without_secrets(url),
            fix: fix.to_owned(),
        };
        let root = Url::parse(url).map_err(|_| {
            refuse(
                "the address of a Redfish service is a URL",
                "write it as https://HOST",
            )
        })?;
        if !matches!(root.scheme(), "https" | "http") || root.host().is_none() {
            return Err(refuse(
                "a Redfish service is reached over https or http",
                "write it as https://HOST",
            ));
        }
        if !root.username().is_empty() || root.password().is_some() {
            return Err(refuse(
                "the address of a BMC holds no password",
                "give the user and the password as credentials",
            ));
        }
        if !matches!(root.path().trim_end_matches('/'), "" | "/redfish/v1") {
            return Err(refuse(
                "a Redfish service begins at /redfish/v1",
                "give the host only, and the path of the system apart",
            ));
        }
        Ok(Self {
            root,
            system: None,
            trust: Trust::System,
            sessions: true,
        })
    }

    pub fn with_system(mut self, path: impl Into<String>) -> Self {
        self.system = Some(path.into());
        self
    }

    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }
}

/// What is said of an address in a refusal: a password that was written into it must not be.
fn url_without_secrets(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…@{}", &url[..scheme], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

/// Whose certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The machine's list of authorities.
    System,
    /// These authorities, in PEM, and no others.
    Authority(String),
    /// The certificate with this SHA-256, whoever signed it and however it is named: BMCs sign their own.
    Pinned([u8; 32]),
    /// Anybody who answers; the password is then only as safe as the network.
    Anybody,
}

impl Trust {
    /// A pin as it is shown by `openssl x509 -fingerprint -sha256`: 64 hexadecimal digits, colons allowed.
    pub fn pinned(fingerprint: &str) -> Result<Self, BmcError> {
        let digits: String = fingerprint.chars().filter(|c| *c != ':').collect();
        let mut pin = [0; 32];
        hex::decode_to_slice(digits.trim(), &mut pin).map_err(|_| BmcError::Invalid {
            rule: "a pinned certificate is named by its SHA-256",
            value: fingerprint.to_owned(),
            fix: "give the 64 hexadecimal digits that `openssl x509 -fingerprint -sha256` prints"
                .to_owned(),
        })?;
        Ok(Self::Pinned(pin))
    }
}

/// An IPMI 2.0 BMC (RMCP+).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpmiAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The only cipher suite to use. Without it: 17, and 3 where the BMC has no 17.
    pub cipher_suite: Option<u8>,
}

impl IpmiAddress {
    pub fn new(host: &str, port: u16) -> Result<Self, BmcError> {
        let refused = host.is_empty()
            || host.starts_with('-')
            || !host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%'));
        if refused || port == 0 {
            return Err(BmcError::Invalid {
                rule: "an IPMI BMC is at a host name or IP address, and a port",
                value: format!("{host}:{port}"),
                fix: "give the host without a scheme, and the port (623) apart".to_owned(),
            });
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            cipher_suite: None,
        })
    }
}

/// Who asks. The password shows nowhere.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    password: SecretString,
}

impl Credentials {
    pub fn new(username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
        }
    }

    pub(crate) fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How much is asked of a BMC at once, and how long it may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests to one BMC at a time, over all that was opened for it in this process. IPMI has always one.
    pub connections: usize,
    pub connect: Duration,
    /// For one request and its answer.
    pub request: Duration,
    /// For one call's request with all its tries.
    pub patience: Duration,
    /// Before the second try; doubled for each further one up to 8 s.
    pub back_off: Duration,
    /// How long what was set may take to show.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2,
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            patience: Duration::from_secs(90),
            back_off: Duration::from_millis(500),
            settle: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = RedfishAddress::new("https://root:calvin@10.0.0.1").unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("holds no password"), "{said}");
        assert!(!said.contains("calvin"), "{said}");
    }

    #[test]
    fn only_addresses_of_services_are_taken() {
        for good in [
            "https://10.0.0.1",
            "https://[fd00::1]:8443/redfish/v1/",
            "http://bmc",
        ] {
            RedfishAddress::new(good).unwrap();
        }
        for bad in [
            "10.0.0.1",
            "ftp://10.0.0.1",
            "https://10.0.0.1/redfish/v1/Systems/1",
            "",
        ] {
            RedfishAddress::new(bad).unwrap_err();
        }
        IpmiAddress::new("fd00::1", 623).unwrap();
        for bad in ["", "-Ixyz", "a b", "$(id)"] {
            IpmiAddress::new(bad, 623).unwrap_err();
        }
    }

    #[test]
    fn a_pin_is_read_as_openssl_prints_it() {
        let pin = ["AB"; 32].join(":");
        assert_eq!(Trust::pinned(&pin).unwrap(), Trust::Pinned([0xab; 32]));
        assert!(Trust::pinned("AB:CD").is_err());
    }

    #[test]
    fn a_password_is_in_no_debug() {
        let credentials = Credentials::new("root", "calvin");
        assert!(!format!("{credentials:?}").contains("calvin"));
    }
}
