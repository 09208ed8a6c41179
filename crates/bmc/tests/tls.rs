//! Whose certificate is believed: an authority's, a pinned one, anybody's, and nobody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::service::Service;
use common::tls::TlsListener;
use common::{limits, open_redfish};
use corten_bmc::{BmcError, PowerState, RedfishAddress, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// An authority, and a BMC with a certificate of it.
struct Lab {
    url: String,
    authority: String,
    certificate: CertificateDer<'static>,
}

impl Lab {
    async fn start() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let documents = json!({
            "/redfish/v1/": {"Systems": {"@odata.id": "/redfish/v1/Systems"}},
            "/redfish/v1/Systems": {"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]},
            "/redfish/v1/Systems/1": {"Id": "1", "PowerState": "On"},
        });
        let router = Service::new(documents, url.clone()).router();
        let listener = TlsListener::new(listener, certificate.der(), &key);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            authority: authority.pem(),
            certificate: certificate.der().clone(),
        }
    }

    async fn power(&self, trust: Trust) -> Result<PowerState, BmcError> {
        let address = RedfishAddress::new(&self.url).unwrap().with_trust(trust);
        open_redfish(address, limits()).power().await
    }
}

fn pin_of(certificate: &[u8]) -> Trust {
    Trust::Pinned(Sha256::digest(certificate).into())
}

#[tokio::test]
async fn a_bmc_is_believed_by_its_authority_or_its_pin() {
    let lab = Lab::start().await;
    let authority = Trust::Authority(lab.authority.clone());
    for trust in [authority, pin_of(&lab.certificate), Trust::Anybody] {
        assert_eq!(lab.power(trust).await.unwrap(), PowerState::On);
    }
}

#[tokio::test]
async fn a_stranger_is_not_believed_and_not_tried_again() {
    let lab = Lab::start().await;
    let other = Lab::start().await;
    let stranger = Trust::Authority(other.authority);
    for trust in [Trust::System, stranger, pin_of(b"another certificate")] {
        let error = lab.power(trust).await.unwrap_err();
        assert!(matches!(error, BmcError::Untrusted { .. }), "{error}");
        assert!(!error.is_transient());
    }
    let error = lab.power(pin_of(b"another certificate")).await.unwrap_err();
    let shown = hex::encode(Sha256::digest(&lab.certificate));
    assert!(error.to_string().contains(&shown), "{error}");
}

#[tokio::test]
async fn an_authority_that_is_no_certificate_is_refused_at_once() {
    let lab = Lab::start().await;
    for text in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let address = RedfishAddress::new(&lab.url)
            .unwrap()
            .with_trust(Trust::Authority(text.to_owned()));
        let error = corten_bmc::open(
            corten_bmc::Address::Redfish(address),
            common::credentials(),
            limits(),
        );
        assert!(matches!(error, Err(BmcError::Invalid { .. })));
    }
}
