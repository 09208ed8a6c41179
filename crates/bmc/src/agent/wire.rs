//! The API that a ramdisk's agent listens on: commands are sent and listed over TLS pinned to its certificate.

use crate::address::Trust;
use crate::error::BmcError;
use crate::tls;
use corten_ramdisk::protocol::{CommandRequest, CommandStatus};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::Duration;
use url::Url;

const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(30);
/// The types of errors, in the words of both agents, that an image is at fault for.
const IMAGE_FAULTS: &[&str] = &["ImageChecksumError", "InvalidImage"];

/// The way to one agent.
pub struct Wire {
    pub name: String,
    commands: Url,
    client: reqwest::Client,
    token: SecretString,
}

/// A command as the agent tells of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    /// Without the part before the dot.
    pub command_name: String,
    pub command_status: CommandStatus,
    /// An object; the stock agent has several forms of it.
    pub command_error: Option<Value>,
    pub command_result: Option<Value>,
    /// How much of it is done, in units of its own, while it runs. Of our own agent alone.
    #[serde(default)]
    pub command_progress: Option<u64>,
}

/// What a command is for, told to an agent that knows marks and epochs.
pub struct Work {
    pub mark: String,
    pub epoch: i64,
}

#[derive(Deserialize)]
struct List {
    commands: Vec<Told>,
}

impl Wire {
    /// To the agent at this URL, which shows this certificate (PEM) and takes this token.
    pub fn new(url: &str, certificate: &str, token: SecretString) -> Result<Self, BmcError> {
        let invalid = |rule, value: &str| BmcError::Invalid {
            rule,
            value: value.to_owned(),
            fix: "boot the server into the ramdisk again".to_owned(),
        };
        let commands = Url::parse(url)
            .and_then(|url| url.join("/v1/commands/"))
            .map_err(|_| invalid("the ramdisk is reached at a URL", url))?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| invalid("the ramdisk's certificate is PEM", certificate))?;
        let pin = Trust::Pinned(Sha256::digest(certificate.as_ref()).into());
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(REQUEST);
        if let Some(config) = tls::config(&pin)? {
            client = client.tls_backend_preconfigured(config);
        }
        let client = client
            .build()
            .map_err(|error| invalid("an HTTP client can be made", &error.to_string()))?;
        Ok(Self {
            name: format!("the ramdisk at {url}"),
            commands,
            client,
            token,
        })
    }

    fn url(&self) -> Url {
        let mut url = self.commands.clone();
        url.query_pairs_mut()
            .append_pair("agent_token", self.token.expose_secret());
        url
    }

    /// Has a command begun, or finds the one with its mark where the agent knows marks. `params` is an object.
    pub async fn run(
        &self,
        name: &str,
        params: Value,
        work: Option<Work>,
    ) -> Result<Told, BmcError> {
        let (mark, epoch) = work.map(|work| (work.mark, work.epoch)).unzip();
        let request = CommandRequest {
            name: name.to_owned(),
            params: match params {
                Value::Object(params) => params,
                _ => Map::new(),
            },
            mark,
            epoch,
        };
        let post = self.client.post(self.url()).json(&request);
        self.answer(name, post).await
    }

    /// Every command since the boot, oldest first; one that waits for nobody is not listed before its end.
    pub async fn list(&self) -> Result<Vec<Told>, BmcError> {
        let listed: List = self
            .answer("the list of commands", self.client.get(self.url()))
            .await?;
        Ok(listed.commands)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        name: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<T, BmcError> {
        let sent = request.send().await;
        let answer = sent.map_err(|error| self.unreached(name, error))?;
        let status = answer.status();
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| self.unreached(name, error))?;
        match status.as_u16() {
            200..300 => {}
            409 => {
                return Err(BmcError::Busy {
                    bmc: self.name.clone(),
                    request: name.to_owned(),
                    after: None,
                });
            }
            number => return Err(self.refused(name, number, &bytes)),
        }
        serde_json::from_slice(&bytes).map_err(|error| BmcError::Odd {
            bmc: self.name.clone(),
            request: name.to_owned(),
            expected: "the result of a command".to_owned(),
            found: error.to_string(),
        })
    }

    fn unreached(&self, request: &str, error: reqwest::Error) -> BmcError {
        // The URL holds the token.
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return BmcError::TimedOut {
                bmc: self.name.clone(),
                request: request.to_owned(),
                limit: REQUEST,
            };
        }
        BmcError::Unreachable {
            bmc: self.name.clone(),
            reason: error.to_string(),
        }
    }

    fn refused(&self, request: &str, status: u16, body: &[u8]) -> BmcError {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = body["faultstring"].as_str().unwrap_or("no reason is given");
        let (bmc, request, status) = (self.name.clone(), request.to_owned(), Some(status));
        let message = message.to_owned();
        if status >= Some(500) {
            BmcError::Failed {
                bmc,
                request,
                status,
                message,
            }
        } else {
            BmcError::Refused {
                bmc,
                request,
                status,
                message,
            }
        }
    }

    /// A command that failed, with what the agent says of it.
    pub fn failed(&self, task: &str, error: Option<&Value>) -> BmcError {
        let text = |key: &str| error.and_then(|error| error[key].as_str());
        // The stock agent's message names the kind of the error, and its details the cause.
        let message = match (text("message"), text("details").or(text("error"))) {
            (Some(message), Some(details)) if details != message => format!("{message}: {details}"),
            (Some(one), _) | (None, Some(one)) => one.to_owned(),
            (None, None) => String::new(),
        };
        if text("type").is_some_and(|kind| IMAGE_FAULTS.contains(&kind)) {
            let bmc = self.name.clone();
            return BmcError::ImageUnfit { bmc, message };
        }
        self.task_failed(task, message)
    }

    pub fn task_failed(&self, task: &str, message: impl Into<String>) -> BmcError {
        BmcError::TaskFailed {
            bmc: self.name.clone(),
            task: task.to_owned(),
            state: "failed".to_owned(),
            message: message.into(),
        }
    }
}
