//! TLS as both ends use it: version 1.3, certificates of the cloud's own authority, and no other.

use crate::error::AgentError;
use crate::identity::Identity;
use crate::invitation::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::Arc;

/// The name in every control plane's certificate, whatever its address. No host has it.
pub const CONTROL_PLANE: &str = "control-plane.corten";
/// The protocol (ALPN) of the connection on which the control plane asks and the host answers.
pub const QUESTIONS: &[u8] = b"corten-questions/1";
/// The protocol of requests that a host makes.
pub const REQUESTS: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(trusted: Vec<CertificateDer<'static>>) -> Result<Arc<RootCertStore>, AgentError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

/// For the control plane. Who comes without a certificate can only join.
pub fn server(identity: &Identity) -> Result<ServerConfig, AgentError> {
    let hosts =
        WebPkiClientVerifier::builder_with_provider(roots(identity.trusted()?)?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(hosts)
        .with_single_cert(identity.chain()?, identity.private_key()?)?;
    config.alpn_protocols = vec![QUESTIONS.to_vec(), REQUESTS.to_vec()];
    Ok(config)
}

/// For a host that has joined.
pub fn client(identity: &Identity, protocol: &[u8]) -> Result<ClientConfig, AgentError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(identity.trusted()?)?)
        .with_client_auth_cert(identity.chain()?, identity.private_key()?)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// For a machine that is to join: all it knows is the authority's fingerprint.
pub fn stranger(authority: Fingerprint) -> Result<ClientConfig, AgentError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { authority }))
        .with_no_client_auth();
    config.alpn_protocols = vec![REQUESTS.to_vec()];
    Ok(config)
}

/// Trusts what the authority with this fingerprint signed. The authority's certificate comes with the server's.
#[derive(Debug)]
struct Pinned {
    authority: Fingerprint,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.authority)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
