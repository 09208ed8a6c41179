//! What a Fernet token carries: enough to find everything else, and nothing that can be revoked only by waiting.

use crate::keys::KeyRing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The scope as the token names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScopeRef {
    #[serde(rename = "u")]
    Unscoped,
    #[serde(rename = "p")]
    Project(ProjectId),
    #[serde(rename = "d")]
    Domain(DomainId),
    #[serde(rename = "s")]
    System,
}

/// One token. Field names are short because every request carries them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Whom the token speaks for: the trustor, if a trust impersonates.
    #[serde(rename = "u")]
    pub user_id: UserId,
    #[serde(rename = "m")]
    pub methods: Vec<String>,
    #[serde(rename = "s")]
    pub scope: ScopeRef,
    /// Its own, then that of the first token of its chain.
    #[serde(rename = "a")]
    pub audit_ids: Vec<String>,
    #[serde(rename = "i")]
    pub issued_at: Timestamp,
    #[serde(rename = "e")]
    pub expires_at: Timestamp,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub application_credential_id: Option<String>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub trust_id: Option<String>,
}

impl Payload {
    pub fn seal(&self, keys: &KeyRing) -> Result<String, serde_json::Error> {
        Ok(keys
            .encrypt(&serde_json::to_vec(self)?)
            .trim_end_matches('=')
            .to_owned())
    }

    /// `None` if this is no token of ours.
    pub fn open(text: &str, keys: &KeyRing) -> Option<Self> {
        let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        serde_json::from_slice(&keys.decrypt(&padded)?).ok()
    }
}

/// A random text of 22 characters: 16 bytes in URL-safe base64, as Keystone's audit ids.
pub fn audit_id() -> String {
    random_text::<16>()
}

/// A random secret of 86 characters: 64 bytes in URL-safe base64.
pub fn secret() -> String {
    random_text::<64>()
}

fn random_text<const BYTES: usize>() -> String {
    use rand::RngCore as _;
    let mut random = [0u8; BYTES];
    rand::rng().fill_bytes(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_a_changed_one_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyRing::open(directory.path(), 3).unwrap();
        let payload = Payload {
            user_id: UserId::random(),
            methods: vec!["password".into()],
            scope: ScopeRef::Project(ProjectId::random()),
            audit_ids: vec![audit_id()],
            issued_at: Timestamp(1),
            expires_at: Timestamp(2),
            application_credential_id: None,
            trust_id: None,
        };
        let text = payload.seal(&keys).unwrap();
        assert_eq!(Payload::open(&text, &keys), Some(payload));
        for (index, character) in text.char_indices() {
            let other = if character == 'A' { 'B' } else { 'A' };
            let forged = format!("{}{other}{}", &text[..index], &text[index + 1..]);
            // The last character may carry bits that base64 does not use.
            assert!(
                index + 1 == text.len() || Payload::open(&forged, &keys).is_none(),
                "at {index}"
            );
        }
        assert_eq!(Payload::open("", &keys), None);
    }
}
