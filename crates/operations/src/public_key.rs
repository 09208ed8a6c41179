//! Reading and making the keys of key pairs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_model::ids::UserId;
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::keypairs::KeyKind;
use md5::{Digest, Md5};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair as CertificateKey};
use sha1::Sha1;
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::rand_core::OsRng;
use ssh_key::{LineEnding, PrivateKey, PublicKey};

/// The size of RSA keys made here, in bits: what every SSH client takes.
const RSA_BITS: usize = 2048;
/// No key or certificate is longer than this.
const MAX_BYTES: usize = 64 * 1024;

/// A public key with its fingerprint, and its private half if it was made here.
pub struct Key {
    pub public_key: String,
    pub fingerprint: String,
    pub private_key: Option<String>,
}

fn invalid(reason: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("Keypair data is invalid: {reason}"))
}

/// Takes a public key as its user sent it.
pub fn import(kind: KeyKind, text: &str) -> Result<Key, Refusal> {
    if text.len() > MAX_BYTES {
        return Err(invalid(format!(
            "it has {} bytes, at most {MAX_BYTES} are allowed",
            text.len()
        )));
    }
    let fingerprint = match kind {
        KeyKind::Ssh => ssh_fingerprint(text)?,
        KeyKind::X509 => certificate_fingerprint(text)?,
    };
    Ok(Key {
        public_key: text.to_owned(),
        fingerprint,
        private_key: None,
    })
}

/// MD5 of the key's bytes in pairs with colons, which is what Nova shows.
fn ssh_fingerprint(text: &str) -> Result<String, Refusal> {
    let key = PublicKey::from_openssh(text.trim()).map_err(|error| {
        invalid(format!(
            "failed to generate fingerprint: not a public key in OpenSSH's format: {error}"
        ))
    })?;
    let bytes = key
        .to_bytes()
        .map_err(|error| invalid(format!("failed to generate fingerprint: {error}")))?;
    Ok(in_pairs(&Md5::digest(bytes)))
}

/// SHA-1 of the certificate's DER form.
fn certificate_fingerprint(text: &str) -> Result<String, Refusal> {
    let wrong = |why: &str| {
        invalid(format!(
            "failed to generate X509 fingerprint. Error message: {why}"
        ))
    };
    let (_, after) = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .ok_or_else(|| wrong("no PEM certificate"))?;
    let (body, _) = after
        .split_once("-----END CERTIFICATE-----")
        .ok_or_else(|| wrong("the PEM certificate has no end"))?;
    let compact: String = body.split_whitespace().collect();
    let der = STANDARD
        .decode(compact)
        .map_err(|_| wrong("the PEM certificate is not base64"))?;
    if !is_one_sequence(&der) {
        return Err(wrong("the PEM certificate holds no DER sequence"));
    }
    Ok(in_pairs(&Sha1::digest(der)))
}

/// The bytes are exactly one DER SEQUENCE, which every certificate is.
fn is_one_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else {
        return false;
    };
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 || rest.len() < count {
        return false;
    }
    let (length, content) = rest.split_at(count);
    content.len()
        == length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn in_pairs(digest: &[u8]) -> String {
    digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Makes a key (K73). This computes for a while: not for an async thread.
pub fn generate(kind: KeyKind, user: &UserId) -> Result<Key, Failure> {
    match kind {
        KeyKind::Ssh => generate_ssh(),
        KeyKind::X509 => generate_certificate(user),
    }
}

fn generate_ssh() -> Result<Key, Failure> {
    let failed = |source| Failure::outside("making an SSH key", source);
    let pair = RsaKeypair::random(&mut OsRng, RSA_BITS).map_err(failed)?;
    let key = PrivateKey::new(KeypairData::from(pair), "Generated-by-Corten").map_err(failed)?;
    let public_key = key.public_key().to_openssh().map_err(failed)?;
    let private_key = key.to_openssh(LineEnding::LF).map_err(failed)?.to_string();
    Ok(Key {
        fingerprint: ssh_fingerprint(&public_key)?,
        public_key,
        private_key: Some(private_key),
    })
}

/// A self-signed client certificate in the user's name, and its key as PEM.
fn generate_certificate(user: &UserId) -> Result<Key, Failure> {
    let failed = |source| Failure::outside("making a certificate", source);
    let key = CertificateKey::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, user.as_str());
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    Ok(Key {
        fingerprint: certificate_fingerprint(&certificate)?,
        public_key: certificate,
        private_key: Some(key.serialize_pem()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com";

    #[test]
    fn a_key_made_here_is_a_pair_and_its_private_half_is_returned_once() {
        // K73, K131: what is kept is the public half alone.
        let made = generate_ssh().unwrap();
        let private = PrivateKey::from_openssh(made.private_key.unwrap()).unwrap();
        let public = PublicKey::from_openssh(&made.public_key).unwrap();
        assert_eq!(private.public_key().key_data(), public.key_data());
        assert!(made.public_key.starts_with("ssh-rsa "));
        assert_eq!(
            import(KeyKind::Ssh, &made.public_key).unwrap().fingerprint,
            made.fingerprint
        );
    }

    #[test]
    fn an_imported_key_is_kept_as_sent_with_an_md5_fingerprint() {
        let key = import(KeyKind::Ssh, ED25519).unwrap();
        assert_eq!(key.public_key, ED25519);
        assert_eq!(key.fingerprint.len(), 47);
        assert_eq!(key.fingerprint.matches(':').count(), 15);
        assert!(key.private_key.is_none());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "ssh-rsa JUNK nova@ubuntu",
            "ssh-rsa",
            "ssh-ed25519 AAAA",
            "-----BEGIN CERTIFICATE-----",
        ] {
            let refusal = import(KeyKind::Ssh, text).err().unwrap();
            assert!(
                refusal.message.starts_with("Keypair data is invalid"),
                "{text}"
            );
            assert!(import(KeyKind::X509, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_certificate_made_here_can_be_imported_again() {
        let made = generate_certificate(&UserId::from("u1")).unwrap();
        assert_eq!(made.fingerprint.len(), 59);
        assert_eq!(
            import(KeyKind::X509, &made.public_key).unwrap().fingerprint,
            made.fingerprint
        );
    }
}
