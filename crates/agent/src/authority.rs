//! The cloud's own certificate authority. It signs what hosts and the control plane prove themselves with, and no more.
//!
//! A host's certificate bears the host's name, which OVN compares with the rows that the host writes. Which certificate
//! is good is decided by the one that the control plane has on record, not by dates: there a host that was removed, or
//! joined anew, is refused with its old one. OVN's southbound database keeps no such record.

use crate::error::AgentError;
use crate::identity::{self, Identity, load_or_make, load_or_make_key};
use crate::invitation::Fingerprint;
use crate::tls::CONTROL_PLANE;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use std::path::{Path, PathBuf};

pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// The authority kept in this directory, made if there is none. Replicas share the directory.
    pub fn open(directory: &Path) -> Result<Self, AgentError> {
        let key = load_or_make_key(&directory.join("authority.key"))?;
        let params = authority_params();
        let certificate = load_or_make(&directory.join("authority.pem"), || {
            let made = params.self_signed(&key);
            Ok(made
                .map_err(AgentError::certificate("make the authority"))?
                .pem())
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// In PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn fingerprint(&self) -> Result<Fingerprint, AgentError> {
        identity::fingerprint(&self.certificate)
    }

    /// What this control plane proves itself with, made anew at each start.
    pub fn control_plane(&self) -> Result<Identity, AgentError> {
        let identity = Identity::new(self.directory.join("control-plane"));
        let key = identity.load_or_make_key()?;
        let mut params = member_params("control-plane");
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName(CONTROL_PLANE.try_into().map_err(
                AgentError::certificate("name the control plane"),
            )?)];
        let certificate = self.sign(&params, &key)?;
        identity.keep(&certificate, &self.certificate)?;
        Ok(identity)
    }

    /// A certificate for the host of this name, whose key made the request, and its fingerprint. Nothing but the key is
    /// taken from the request.
    pub fn admit(&self, request: &str, name: &str) -> Result<(String, Fingerprint), AgentError> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(|error| {
            AgentError::InvalidRequest {
                reason: error.to_string(),
            }
        })?;
        let certificate = self.sign(&member_params(name), &request.public_key)?;
        let fingerprint = identity::fingerprint(&certificate)?;
        Ok((certificate, fingerprint))
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<String, AgentError> {
        let signed = params.signed_by(key, &self.issuer);
        Ok(signed
            .map_err(AgentError::certificate("sign a certificate"))?
            .pem())
    }
}

/// The same each time, so that the issuer of old and new certificates is one.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Corten authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn member_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // OVN's daemons take one certificate for both directions.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
