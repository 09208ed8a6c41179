//! Requests to a Redfish service: one at a time per turn, again when it is worth it, with the password kept in.
//!
//! What is tried again: anything while the BMC says that it is busy or cannot be reached, for it did nothing then; reading, and
//! writing that says what must hold (PATCH), also when the answer was lost. A POST whose answer was lost is not: it may
//! have had its effect, and only the caller knows how to look.

use super::answer::{Answer, Raw, Try};
use super::client::client;
use super::document::Document;
use super::login::{Login, Pass};
use crate::address::{Credentials, Limits, RedfishAddress};
use crate::error::BmcError;
use crate::gate::{Gate, StreamTurn};
use crate::oddity::Oddities;
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;
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
    pub(super) method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    etag: Option<String>,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            body: None,
            etag: None,
        }
    }

    fn with_body(self, body: &'a Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.method != Method::POST
    }
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
        let client = client(&address.trust, &limits)?;
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
        let request = Request::new(Method::GET, path);
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
                etag: etag.clone(),
                ..Request::new(Method::PATCH, path).with_body(body)
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
        self.send(Request::new(Method::POST, path).with_body(body))
            .await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, BmcError> {
        self.send(Request::new(Method::DELETE, path)).await
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
        let request = Request::new(Method::POST, path).with_body(body);
        self.send_with(&request, pass).await
    }

    pub(super) async fn get_as(&self, pass: &Pass, path: &str) -> Result<Document, BmcError> {
        let request = Request::new(Method::GET, path);
        let answer = self.send_with(&request, pass).await?;
        Ok(Document::new(
            path,
            answer.value,
            None,
            self.oddities.clone(),
        ))
    }

    /// To log out: tried once, for nobody waits for it.
    pub(super) async fn delete_as(&self, pass: &Pass, path: &str) {
        let request = Request::new(Method::DELETE, path);
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
                // "At once" is not meant so by who says that it is busy.
                Try::Again(error, after) => (error, after.unwrap_or_default().max(back_off)),
            };
            if wait > deadline.saturating_duration_since(Instant::now()) {
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
            Ok(raw) => self.judge(request, raw),
            Err(error) => self.judge_loss(request, error),
        }
    }

    async fn exchange(&self, request: &Request<'_>, pass: &Pass) -> reqwest::Result<Raw> {
        let builder = self
            .prepare(request, pass)
            .header(ACCEPT, "application/json");
        whole(builder.send().await?).await
    }

    /// A turn that a stream may keep.
    pub(super) async fn stream_turn(&self) -> Result<StreamTurn, BmcError> {
        let turn = self.gate.stream_turn().await;
        turn.ok_or_else(|| BmcError::NoConnectionLeft {
            bmc: self.name.clone(),
            connections: self.limits.connections,
        })
    }

    pub(super) fn prepare(&self, request: &Request<'_>, pass: &Pass) -> RequestBuilder {
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
            .header("OData-Version", "4.0");
        if let Some(body) = request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        if let Some(etag) = &request.etag {
            builder = builder.header(IF_MATCH, etag);
        }
        pass.apply(builder, &self.credentials)
    }
}

/// An answer with all of its body.
pub(super) async fn whole(mut answer: Response) -> reqwest::Result<Raw> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(Raw {
        status: answer.status(),
        headers: answer.headers().clone(),
        body,
    })
}
