//! Requests to a Redfish service: one at a time per turn, again when it is worth it, with the password kept in.
//!
//! What is tried again: anything while the BMC says that it is busy or cannot be reached, for it did nothing then; reading, and
//! writing that says what must hold (PATCH), also when the answer was lost. A POST whose answer was lost is not: it may
//! have had its effect, and only the caller knows how to look.

use super::document::Document;
use super::login::{Login, Pass};
use super::tls;
use crate::address::{Credentials, Limits, RedfishAddress};
use crate::error::BmcError;
use crate::gate::Gate;
use crate::oddity::{Oddities, shortened};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};
use url::Url;

/// More than any real document; a BMC that sends more is broken.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const BACK_OFF_MAX: Duration = Duration::from_secs(8);
/// How often a request is repeated that the BMC failed at; it seldom succeeds later.
const FAILURES_MAX: u32 = 3;

pub(super) struct Transport {
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) oddities: Oddities,
    pub(super) login: Login,
    pub(super) credentials: Credentials,
    client: Client,
    root: Url,
    gate: Gate,
}

/// A request, and how its loss is treated.
#[derive(Clone)]
pub(super) struct Request<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    etag: Option<String>,
}

impl Request<'_> {
    fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_repeatable(&self) -> bool {
        self.method != Method::POST
    }
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null where there is no body, or one that is no JSON.
    pub(super) value: Value,
}

impl Answer {
    /// Where what was made is, or the task that makes it.
    pub(super) fn location(&self) -> Option<String> {
        let header = self.headers.get(LOCATION)?.to_str().ok()?;
        Some(path_of(header))
    }
}

/// The path of a link; the host in it is ignored: BMCs behind address translation name one that is not theirs.
fn path_of(link: &str) -> String {
    match Url::parse(link) {
        Ok(url) => match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
        Err(_) => link.to_owned(),
    }
}

/// How one try went.
enum Try {
    Done(Answer),
    /// Not done, or harmless to do again: not before this.
    Again(BmcError, Option<Duration>),
    /// As [`Try::Again`], but seldom worth it.
    AgainSometimes(BmcError),
    LoggedOut,
    Failed(BmcError),
}

impl Transport {
    pub(super) fn new(
        address: &RedfishAddress,
        credentials: Credentials,
        limits: Limits,
        oddities: Oddities,
    ) -> Result<Self, BmcError> {
        let root = address.root.clone();
        let host = root.host_str().unwrap_or_default();
        let port = root.port_or_known_default().unwrap_or_default();
        let name = format!("redfish://{host}:{port}");
        let mut client = Client::builder()
            .no_proxy()
            .connect_timeout(limits.connect)
            .timeout(limits.request)
            .redirect(same_host_only());
        if let Some(config) = tls::config(&address.trust)? {
            client = client.tls_backend_preconfigured(config);
        }
        let client = client.build().map_err(|error| BmcError::Invalid {
            rule: "an HTTP client can be made",
            value: error.to_string(),
            fix: "check the machine's list of certificate authorities (package ca-certificates)"
                .to_owned(),
        })?;
        Ok(Self {
            gate: Gate::of(&name, limits.connections),
            login: Login::new(address.sessions),
            name,
            limits,
            oddities,
            credentials,
            client,
            root,
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Document, BmcError> {
        let request = Request {
            method: Method::GET,
            path,
            body: None,
            etag: None,
        };
        let answer = self.send(request).await?;
        let etag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        let etag = etag.map(str::to_owned);
        Ok(Document::new(
            path,
            answer.value,
            etag,
            self.oddities.clone(),
        ))
    }

    /// `None` where the service has no such document.
    pub(super) async fn get_if_there(&self, path: &str) -> Result<Option<Document>, BmcError> {
        match self.get(path).await {
            Ok(document) => Ok(Some(document)),
            Err(BmcError::Refused {
                status: Some(status @ (404 | 405 | 410 | 501)),
                message,
                ..
            }) => {
                self.oddities
                    .note(path, "a document", format!("status {status}: {message}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::get_if_there`], and a document that the BMC fails at is passed over too: one broken part of a server
    /// hides no other.
    pub(super) async fn get_part(&self, path: &str) -> Result<Option<Document>, BmcError> {
        match self.get_if_there(path).await {
            Err(
                error @ (BmcError::Refused { .. }
                | BmcError::Failed { .. }
                | BmcError::Odd { .. }
                | BmcError::NotAllowed { .. }),
            ) => {
                self.oddities.note(path, "a document", error.to_string());
                Ok(None)
            }
            other => other,
        }
    }

    /// Changes a document that was read. If somebody else changed it meanwhile, it is read and changed once more.
    pub(super) async fn patch(
        &self,
        document: &Document,
        body: &Value,
    ) -> Result<Answer, BmcError> {
        let path = document.path.as_str();
        let mut etag = document.etag().map(str::to_owned);
        for attempt in 0.. {
            let request = Request {
                method: Method::PATCH,
                path,
                body: Some(body),
                etag: etag.clone(),
            };
            match (self.send(request).await, attempt) {
                (
                    Err(BmcError::Refused {
                        status: Some(412), ..
                    }),
                    0,
                ) => {
                    etag = self.get(path).await?.etag().map(str::to_owned);
                }
                // Some compare a weak tag with a strong one of the same text and find them different.
                (
                    Err(BmcError::Refused {
                        status: Some(412), ..
                    }),
                    1,
                ) if etag.as_deref().is_some_and(|tag| tag.starts_with("W/")) => {
                    self.oddities.note(
                        path,
                        "its own weak ETag in If-Match to be taken",
                        "status 412",
                    );
                    etag = etag.map(|tag| tag.trim_start_matches("W/").to_owned());
                }
                (result, _) => return result,
            }
        }
        Err(document.without(&self.name, "@odata.etag", "a tag"))
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, BmcError> {
        self.send(Request {
            method: Method::POST,
            path,
            body: Some(body),
            etag: None,
        })
        .await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, BmcError> {
        self.send(Request {
            method: Method::DELETE,
            path,
            body: None,
            etag: None,
        })
        .await
    }

    /// With whatever lets us in; a session that ended is renewed once.
    async fn send(&self, request: Request<'_>) -> Result<Answer, BmcError> {
        let pass = self.login.pass(self).await?;
        match self.send_with(&request, &pass).await {
            Err(BmcError::LoginRefused { .. }) if matches!(pass, Pass::Session { .. }) => {
                self.login.forget(&pass).await;
                let renewed = self.login.pass(self).await?;
                self.send_with(&request, &renewed).await
            }
            other => other,
        }
    }

    /// A POST that anybody may send: to log in.
    pub(super) async fn post_as(
        &self,
        pass: &Pass,
        path: &str,
        body: &Value,
    ) -> Result<Answer, BmcError> {
        let request = Request {
            method: Method::POST,
            path,
            body: Some(body),
            etag: None,
        };
        self.send_with(&request, pass).await
    }

    pub(super) async fn get_as(&self, pass: &Pass, path: &str) -> Result<Document, BmcError> {
        let request = Request {
            method: Method::GET,
            path,
            body: None,
            etag: None,
        };
        let answer = self.send_with(&request, pass).await?;
        Ok(Document::new(
            path,
            answer.value,
            None,
            self.oddities.clone(),
        ))
    }

    /// Logs out without waiting for a turn to come twice.
    pub(super) async fn delete_as(&self, pass: &Pass, path: &str) {
        let request = Request {
            method: Method::DELETE,
            path,
            body: None,
            etag: None,
        };
        if let Try::Again(error, _) | Try::Failed(error) = self.try_once(&request, pass).await {
            tracing::debug!(%error, "a session was left to time out");
        }
    }

    async fn send_with(&self, request: &Request<'_>, pass: &Pass) -> Result<Answer, BmcError> {
        let deadline = Instant::now() + self.limits.patience;
        let mut back_off = self.limits.back_off;
        let mut failures = 0;
        loop {
            let (error, wait) = match self.try_once(request, pass).await {
                Try::Done(answer) => return Ok(answer),
                Try::Failed(error) => return Err(error),
                Try::LoggedOut => {
                    return Err(BmcError::LoginRefused {
                        bmc: self.name.clone(),
                        username: self.credentials.username.clone(),
                    });
                }
                Try::AgainSometimes(error) => {
                    failures += 1;
                    if failures == FAILURES_MAX {
                        return Err(error);
                    }
                    (error, back_off)
                }
                Try::Again(error, after) => (error, after.unwrap_or(back_off)),
            };
            if Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::debug!(%error, wait_ms = wait.as_millis(), "a BMC is asked again");
            sleep(wait).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    async fn try_once(&self, request: &Request<'_>, pass: &Pass) -> Try {
        let _turn = self.gate.turn().await;
        match self.exchange(request, pass).await {
            Ok((status, headers, body)) => self.judge(request, status, headers, &body),
            Err(error) => self.judge_loss(request, error),
        }
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        pass: &Pass,
    ) -> reqwest::Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let mut url = self.root.clone();
        let (path, query) = match request.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.path, None),
        };
        url.set_path(path.split('#').next().unwrap_or(path));
        url.set_query(query);
        let mut builder = self
            .client
            .request(request.method.clone(), url)
            .header("OData-Version", "4.0")
            .header("Accept", "application/json");
        if let Some(body) = request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        if let Some(etag) = &request.etag {
            builder = builder.header(IF_MATCH, etag);
        }
        builder = pass.apply(builder, &self.credentials);
        let mut answer = builder.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok((answer.status(), answer.headers().clone(), body))
    }

    fn judge(
        &self,
        request: &Request<'_>,
        status: StatusCode,
        headers: HeaderMap,
        body: &[u8],
    ) -> Try {
        let code = status.as_u16();
        if status.is_success() {
            return self.judge_success(request, status, headers, body);
        }
        let (bmc, shown) = (self.name.clone(), request.shown());
        if status == StatusCode::UNAUTHORIZED {
            return Try::LoggedOut;
        }
        if matches!(code, 429 | 503) {
            let after = retry_after(&headers);
            let error = BmcError::Busy {
                bmc,
                request: shown,
                after,
            };
            return Try::Again(error, after);
        }
        if status == StatusCode::FORBIDDEN {
            return Try::Failed(BmcError::NotAllowed {
                bmc,
                username: self.credentials.username.clone(),
                request: shown,
            });
        }
        let message = self.message(body);
        if status.is_server_error() && code != 501 {
            let error = BmcError::Failed {
                bmc,
                request: shown,
                status: Some(code),
                message,
            };
            return if request.is_repeatable() {
                Try::AgainSometimes(error)
            } else {
                Try::Failed(error)
            };
        }
        Try::Failed(BmcError::Refused {
            bmc,
            request: shown,
            status: Some(code),
            message,
        })
    }

    fn judge_success(
        &self,
        request: &Request<'_>,
        status: StatusCode,
        headers: HeaderMap,
        body: &[u8],
    ) -> Try {
        let value = match serde_json::from_slice(body) {
            Ok(value) => value,
            // What was done is done, whatever was said of it.
            Err(_) if body.is_empty() || request.method != Method::GET => Value::Null,
            Err(error) => {
                return Try::AgainSometimes(BmcError::Odd {
                    bmc: self.name.clone(),
                    request: request.shown(),
                    expected: "JSON".to_owned(),
                    found: self.scrubbed(format!(
                        "{} bytes that are none ({error}): {}",
                        body.len(),
                        String::from_utf8_lossy(&body[..body.len().min(200)])
                    )),
                });
            }
        };
        Try::Done(Answer {
            status,
            headers,
            value,
        })
    }

    /// There was no whole answer.
    fn judge_loss(&self, request: &Request<'_>, error: reqwest::Error) -> Try {
        if let Some(reason) = certificate_error(&error) {
            return Try::Failed(BmcError::Untrusted {
                bmc: self.name.clone(),
                reason,
            });
        }
        let lost = if error.is_timeout() && !error.is_connect() {
            BmcError::TimedOut {
                bmc: self.name.clone(),
                request: request.shown(),
                limit: self.limits.request,
            }
        } else {
            BmcError::Unreachable {
                bmc: self.name.clone(),
                reason: format!("{}: {}", request.shown(), last_cause(&error)),
            }
        };
        if error.is_connect() || request.is_repeatable() {
            Try::Again(lost, None)
        } else {
            Try::Failed(lost)
        }
    }

    /// What the BMC says of a refusal, in its own words.
    fn message(&self, body: &[u8]) -> String {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let infos = value
            .pointer("/error/@Message.ExtendedInfo")
            .and_then(Value::as_array);
        let texts = |key: &str| {
            let texts = infos.into_iter().flatten();
            let texts: Vec<&str> = texts.filter_map(|info| info.get(key)?.as_str()).collect();
            Some(texts.join("; ")).filter(|text| !text.is_empty())
        };
        let plain = || {
            let text = value.pointer("/error/message").and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let raw = || String::from_utf8_lossy(body).trim().to_owned();
        let message = texts("Message")
            .or_else(plain)
            .or_else(|| texts("MessageId"))
            .unwrap_or_else(raw);
        if message.is_empty() {
            "it says nothing more".to_owned()
        } else {
            self.scrubbed(message)
        }
    }

    /// BMCs have been seen to repeat a password that they did not like.
    fn scrubbed(&self, text: String) -> String {
        let password = self.credentials.password();
        let text = if password.is_empty() {
            text
        } else {
            text.replace(password, "…")
        };
        shortened(text)
    }
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

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

/// What TLS has against the other end, if that is the reason.
fn certificate_error(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        match current.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(reason)) => return Some(reason.to_string()),
            Some(rustls::Error::General(reason)) => return Some(reason.clone()),
            _ => {}
        }
        // The source of an error in an error of input and output is not that error, but its source.
        let inside = current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inside {
            Some(inside) => Some(inside),
            None => current.source(),
        };
    }
    None
}

fn last_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
