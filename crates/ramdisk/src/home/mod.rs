//! Calls to the control plane: inspection, lookup, heartbeats, the log. It alone is believed, by its certificate's pin.
//!
//! A refused token ends all calls ([`HomeError::Refused`]): asking again with what was refused would only look like an attack.

mod heartbeat;
mod log;
pub mod tls;

pub use heartbeat::beat;
pub use log::send_log;

use crate::boot::BootOptions;
use crate::protocol::{
    API_VERSION, API_VERSION_HEADER, BOOT_TOKEN_HEADER, INSPECTION_API_VERSION, Inspected,
    Inspection, LookupAnswer, TOKEN_ALREADY_GIVEN,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::time::Duration;
use uuid::Uuid;

const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a failed lookup; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(
        "the control plane refused this server's token ({status}: {text}): it was used before, is too old, or is not for this \
         server. Boot the server again through the control plane"
    )]
    Refused { status: StatusCode, text: String },
    #[error(
        "the control plane does not take this server for enrolment ({status}: {text}). Nothing was changed on it, and it can \
         be switched off"
    )]
    NotOffered { status: StatusCode, text: String },
    #[error("the control plane gave this server no token; another boot of it has one")]
    NoToken,
    #[error("home's URL {0} needs https or no pin: a pin says nothing about http")]
    PinWithoutTls(String),
    #[error(
        "home's URL {0} is https, but the command line has no corten.pin: nothing else says which certificate to believe"
    )]
    TlsWithoutPin(String),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the certificate of the ramdisk's own API cannot be made")]
    OwnCertificate(#[source] tls::OwnCertificateError),
    #[error("the ramdisk's own API cannot listen")]
    Listen(#[source] std::io::Error),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// What went wrong with one request.
enum Failed {
    /// It may go well another time.
    Retry(String),
    Ended(HomeError),
}

/// The way home.
#[derive(Clone)]
pub struct Home {
    client: Client,
    urls: Vec<String>,
    boot_token: Option<String>,
}

/// What lookup made of this machine.
#[derive(Debug, Clone)]
pub struct Known {
    pub answer: LookupAnswer,
    /// The URL that answered.
    pub url: String,
    pub agent_token: String,
}

impl Home {
    pub fn new(options: &BootOptions) -> Result<Self, HomeError> {
        for url in &options.urls {
            match (url.starts_with("https://"), options.pin) {
                (true, None) => return Err(HomeError::TlsWithoutPin(url.clone())),
                (false, Some(_)) => return Err(HomeError::PinWithoutTls(url.clone())),
                _ => {}
            }
        }
        Ok(Self {
            client: client(options.pin, Some(REQUEST_PATIENCE))?,
            urls: options.urls.clone(),
            boot_token: options.boot_token.clone(),
        })
    }

    fn headers(&self, request: RequestBuilder) -> RequestBuilder {
        self.headers_of(API_VERSION, request)
    }

    fn headers_of(&self, version: &str, request: RequestBuilder) -> RequestBuilder {
        let request = request
            .header(API_VERSION_HEADER, version)
            .header("accept", "application/json");
        match &self.boot_token {
            Some(token) => request.header(BOOT_TOKEN_HEADER, token),
            None => request,
        }
    }

    /// Sends the inventory, a few times. A control plane that does not take it is told of in the log only: lookup decides.
    pub async fn inspected(
        &self,
        url: Option<&str>,
        inspection: &Inspection,
    ) -> Result<Option<Uuid>, HomeError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..5 {
            let urls: Vec<String> = match url {
                Some(url) => vec![url.to_owned()],
                None => self
                    .urls
                    .iter()
                    .map(|url| format!("{url}/v1/continue_inspection"))
                    .collect(),
            };
            for url in urls {
                let request = self.inventory(&url, inspection);
                match answer(request, &[StatusCode::OK, StatusCode::ACCEPTED]).await {
                    Ok(response) => {
                        return Ok(response
                            .json::<Inspected>()
                            .await
                            .ok()
                            .and_then(|answer| answer.uuid));
                    }
                    Err(Failed::Ended(error)) => return Err(error),
                    Err(Failed::Retry(why)) => {
                        tracing::warn!("the inventory was not taken by {url}: {why}")
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(None)
    }

    fn inventory(&self, url: &str, inspection: &Inspection) -> RequestBuilder {
        let request = self.client.post(url);
        self.headers_of(INSPECTION_API_VERSION, request)
            .json(inspection)
    }

    /// Offers this server for enrolment until it is taken, or refused for good. The answer is the node that it is.
    pub async fn offer(&self, inspection: &Inspection) -> Result<Uuid, HomeError> {
        let mut pause = FIRST_PAUSE;
        loop {
            for url in &self.urls {
                let url = format!("{url}/v1/continue_inspection");
                match self.offer_once(&url, inspection).await {
                    Ok(node) => return Ok(node),
                    Err(Failed::Ended(error)) => return Err(error),
                    Err(Failed::Retry(why)) => tracing::warn!("not offered at {url} yet: {why}"),
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn offer_once(&self, url: &str, inspection: &Inspection) -> Result<Uuid, Failed> {
        let response = send(self.inventory(url, inspection)).await?;
        let status = response.status();
        if status == StatusCode::ACCEPTED {
            let inspected = response.json::<Inspected>().await;
            let node = inspected.ok().and_then(|answer| answer.uuid);
            return node.ok_or_else(|| Failed::Retry("the answer names no node".to_owned()));
        }
        let text = beginning(response).await;
        Err(if is_worth_another_try(status) {
            Failed::Retry(format!("{status}: {text}"))
        } else {
            Failed::Ended(HomeError::NotOffered { status, text })
        })
    }

    /// Asks which node this is until the control plane knows.
    pub async fn look_up(
        &self,
        macs: &[String],
        node: Option<Uuid>,
        own_token: Option<&str>,
    ) -> Result<Known, HomeError> {
        let mut pause = FIRST_PAUSE;
        loop {
            for url in &self.urls {
                match self.look_up_once(url, macs, node).await {
                    Ok(answer) => return known(answer, url, own_token),
                    Err(Failed::Ended(error)) => return Err(error),
                    Err(Failed::Retry(why)) => tracing::warn!("lookup at {url}: {why}"),
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn look_up_once(
        &self,
        url: &str,
        macs: &[String],
        node: Option<Uuid>,
    ) -> Result<LookupAnswer, Failed> {
        let mut query = vec![("addresses", macs.join(","))];
        query.extend(node.map(|node| ("node_uuid", node.to_string())));
        let request = self
            .headers(self.client.get(format!("{url}/v1/lookup")))
            .query(&query);
        let response = answer(request, &[StatusCode::OK]).await?;
        response.json().await.map_err(|error| {
            Failed::Retry(format!(
                "the answer is no lookup's: {}",
                crate::journal::chain(&error)
            ))
        })
    }
}

/// The token is home's, or the one the server was booted with.
fn known(answer: LookupAnswer, url: &str, own_token: Option<&str>) -> Result<Known, HomeError> {
    let given = answer
        .config
        .agent_token
        .as_deref()
        .filter(|token| *token != TOKEN_ALREADY_GIVEN);
    let agent_token = given.or(own_token).ok_or(HomeError::NoToken)?.to_owned();
    Ok(Known {
        agent_token,
        url: url.to_owned(),
        answer,
    })
}

/// A client that believes the pinned certificate alone. Without `patience` a download may take as long as it takes.
pub fn client(pin: Option<[u8; 32]>, patience: Option<Duration>) -> Result<Client, HomeError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls::client(pin)?)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .no_proxy();
    let builder = match patience {
        Some(patience) => builder.timeout(patience),
        None => builder,
    };
    builder.build().map_err(HomeError::Client)
}

/// Sends a request and sorts its answers: good, refused for good, or worth another try.
async fn answer(request: RequestBuilder, good: &[StatusCode]) -> Result<Response, Failed> {
    let response = send(request).await?;
    let status = response.status();
    if good.contains(&status) {
        return Ok(response);
    }
    let text = beginning(response).await;
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failed::Ended(HomeError::Refused { status, text })
        }
        _ => Failed::Retry(format!("{status}: {text}")),
    })
}

async fn send(request: RequestBuilder) -> Result<Response, Failed> {
    let sent = request.send().await;
    sent.map_err(|error| Failed::Retry(crate::journal::chain(&error)))
}

/// What an answer says, as far as it fits on a console.
async fn beginning(response: Response) -> String {
    let text = response.text().await.unwrap_or_default();
    text.chars().take(300).collect()
}

/// Whether an offer that was answered so may be taken later: when there is room, or when somebody else is done.
fn is_worth_another_try(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{LookupConfig, LookupNode, NodeProperties};

    #[test]
    fn the_token_is_homes_or_the_boots_or_there_is_none() {
        let token = |given: Option<&str>, own: Option<&str>| {
            let answer = LookupAnswer {
                node: LookupNode {
                    uuid: Uuid::nil(),
                    properties: NodeProperties::default(),
                },
                config: LookupConfig {
                    heartbeat_timeout: 300,
                    agent_token: given.map(str::to_owned),
                },
            };
            known(answer, "https://home", own)
                .map(|known| known.agent_token)
                .ok()
        };
        assert_eq!(token(Some("new"), Some("own")).as_deref(), Some("new"));
        assert_eq!(token(Some("******"), Some("own")).as_deref(), Some("own"));
        assert_eq!(token(Some("******"), None), None);
        assert_eq!(token(None, None), None);
    }

    #[test]
    fn https_needs_a_pin_and_a_pin_needs_https() {
        let home = |line: &str| Home::new(&BootOptions::parse(line).unwrap()).err();
        let pin = format!("corten.pin=sha256:{}", "00".repeat(32));
        assert!(matches!(
            home("ipa-api-url=https://h"),
            Some(HomeError::TlsWithoutPin(_))
        ));
        assert!(matches!(
            home(&format!("ipa-api-url=http://h {pin}")),
            Some(HomeError::PinWithoutTls(_))
        ));
        assert!(home(&format!("ipa-api-url=https://h {pin}")).is_none());
        assert!(home("ipa-api-url=http://h").is_none());
    }
}
