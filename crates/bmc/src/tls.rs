//! Whose certificate is believed.

use crate::address::Trust;
use crate::error::BmcError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// `None`: as the machine is set up.
pub(crate) fn config(trust: &Trust) -> Result<Option<ClientConfig>, BmcError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BmcError::Invalid {
            rule: "TLS 1.2 or 1.3 is spoken",
            value: error.to_string(),
            fix: "use a build with both".to_owned(),
        })?;
    let pinned = match trust {
        Trust::System => return Ok(None),
        Trust::Authority(pem) => {
            let roots = authorities(pem)?;
            return Ok(Some(
                builder.with_root_certificates(roots).with_no_client_auth(),
            ));
        }
        Trust::Pinned(pin) => Some(*pin),
        Trust::Anybody => None,
    };
    let verifier = Pinned { pinned, provider };
    Ok(Some(
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
    ))
}

fn authorities(pem: &str) -> Result<RootCertStore, BmcError> {
    let refuse = |value: String| BmcError::Invalid {
        rule: "an authority is given as certificates in PEM",
        value,
        fix: "give the text between BEGIN CERTIFICATE and END CERTIFICATE, with both lines"
            .to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse(String::new()));
    }
    Ok(roots)
}

/// Believes one certificate, or any. That its owner holds the key is verified as ever.
#[derive(Debug)]
struct Pinned {
    pinned: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown: [u8; 32] = Sha256::digest(certificate.as_ref()).into();
        match self.pinned {
            Some(pinned) if pinned != shown => Err(rustls::Error::General(format!(
                "its SHA-256 is {}, another one is pinned",
                hex::encode(shown)
            ))),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
