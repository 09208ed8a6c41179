//! What an answer means: done, to be tried again, or an error, in the BMC's words but without the password.

use super::transport::{Request, Transport};
use crate::error::BmcError;
use crate::oddity::shortened;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::{Duration, SystemTime};
use url::Url;

/// An answer as it came.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
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
pub(super) fn path_of(link: &str) -> String {
    match Url::parse(link) {
        Ok(url) => match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
        Err(_) => link.to_owned(),
    }
}

/// How one try went.
pub(super) enum Try {
    Done(Answer),
    /// Not done, or harmless to do again: not before this.
    Again(BmcError, Option<Duration>),
    /// As [`Try::Again`], but seldom worth it.
    AgainSometimes(BmcError),
    LoggedOut,
    Failed(BmcError),
}

impl Transport {
    pub(super) fn judge(&self, request: &Request<'_>, raw: Raw) -> Try {
        let status = raw.status;
        let code = status.as_u16();
        if status.is_success() {
            return self.judge_success(request, raw);
        }
        let (bmc, shown) = (self.name.clone(), request.shown());
        if status == StatusCode::UNAUTHORIZED {
            return Try::LoggedOut;
        }
        if matches!(code, 429 | 503) {
            let after = retry_after(&raw.headers);
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
        let message = self.message(&raw.body);
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

    fn judge_success(&self, request: &Request<'_>, raw: Raw) -> Try {
        let body = raw.body.as_slice();
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
            status: raw.status,
            headers: raw.headers,
            value,
        })
    }

    /// There was no whole answer.
    pub(super) fn judge_loss(&self, request: &Request<'_>, error: reqwest::Error) -> Try {
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

pub(super) fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
