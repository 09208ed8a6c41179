//! The HTTP client that a BMC is asked with: what it believes, how long it waits, where it follows.

use crate::address::{Limits, Trust};
use crate::error::BmcError;
use crate::tls;
use reqwest::Client;
use reqwest::redirect::Policy;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// BMCs close idle connections soon, and a POST that meets the closing is lost.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// Those that believe the machine's authorities, one for each pair of time limits. A list of authorities takes 90 KiB and
/// milliseconds to read, too much for each of some thousand BMCs; connections are kept by host all the same.
static BY_SYSTEM: Mutex<Vec<((Duration, Duration), Client)>> = Mutex::new(Vec::new());

pub(super) fn client(trust: &Trust, limits: &Limits) -> Result<Client, BmcError> {
    if *trust != Trust::System {
        return build(trust, limits);
    }
    let key = (limits.connect, limits.request);
    let mut kept = BY_SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, client)) = kept.iter().find(|(limits, _)| *limits == key) {
        return Ok(client.clone());
    }
    let client = build(trust, limits)?;
    kept.push((key, client.clone()));
    Ok(client)
}

fn build(trust: &Trust, limits: &Limits) -> Result<Client, BmcError> {
    let mut client = Client::builder()
        .no_proxy()
        .connect_timeout(limits.connect)
        .timeout(limits.request)
        .pool_idle_timeout(IDLE_MAX)
        .redirect(same_host_only());
    if let Some(config) = tls::config(trust)? {
        client = client.tls_backend_preconfigured(config);
    }
    client.build().map_err(|error| BmcError::Invalid {
        rule: "an HTTP client can be made",
        value: error.to_string(),
        fix: "check the machine's list of certificate authorities (package ca-certificates)"
            .to_owned(),
    })
}

/// Redirections are followed on the same host only; elsewhere nobody may see the credentials.
fn same_host_only() -> Policy {
    Policy::custom(|attempt| {
        let origin = attempt.previous().first().map(Url::origin);
        if origin == Some(attempt.url().origin()) && attempt.previous().len() < 5 {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}
