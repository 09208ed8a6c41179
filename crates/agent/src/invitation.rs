//! What an operator gives a machine that is to become a host: where to go, a secret, and whom to trust there.

use rand::Rng as _;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(certificate)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Written `ADDRESS/SECRET/FINGERPRINT`.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// `HOST:PORT`.
    pub address: String,
    pub secret: String,
    /// Of the cloud's authority: who answers at the address must have a certificate of it.
    pub authority: Fingerprint,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an invitation is written HOST:PORT/SECRET/FINGERPRINT, as `corten admin host invite` prints it"
)]
pub struct InvalidInvitation;

impl Invitation {
    pub fn new(address: String, authority: Fingerprint) -> Self {
        let secret: [u8; 32] = rand::rng().random();
        Self {
            address,
            secret: hex::encode(secret),
            authority,
        }
    }

    /// What the control plane keeps of the secret.
    pub fn secret_hash(secret: &str) -> String {
        hex::encode(Sha256::digest(secret))
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            secret,
            authority,
        } = self;
        write!(f, "{address}/{secret}/{}", authority.as_str())
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation to {}", self.address)
    }
}

impl FromStr for Invitation {
    type Err = InvalidInvitation;

    fn from_str(text: &str) -> Result<Self, InvalidInvitation> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let [address, secret, authority] = parts[..] else {
            return Err(InvalidInvitation);
        };
        let is_hash =
            |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port || !is_hash(secret) || !is_hash(authority) {
            return Err(InvalidInvitation);
        }
        Ok(Self {
            address: address.to_owned(),
            secret: secret.to_owned(),
            authority: Fingerprint(authority.to_ascii_lowercase()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_read_as_it_was_written_and_never_shows_its_secret() {
        let invitation = Invitation::new("[::1]:8775".to_owned(), Fingerprint::of(b"authority"));
        assert_eq!(invitation.to_string().parse(), Ok(invitation.clone()));
        assert!(!format!("{invitation:?}").contains(&invitation.secret));
        let whole = invitation.to_string();
        for broken in [
            "",
            "host:1",
            &whole[1..].replace(':', ""),
            &whole[..whole.len() - 1],
        ] {
            assert_eq!(
                broken.parse::<Invitation>(),
                Err(InvalidInvitation),
                "{broken}"
            );
        }
    }
}
