//! An answer that goes on: server-sent events, one at a time, each bounded, for as long as the BMC keeps the connection.
//!
//! That the other end is gone shows by TCP's keep-alive within a minute; a BMC that is there and says nothing looks like one to
//! which nothing happens, so a stream is opened anew after a day.

use super::answer::{Try, last_cause};
use super::login::Pass;
use super::transport::{Request, Transport, whole};
use crate::error::BmcError;
use crate::gate::StreamTurn;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};
use sse_stream::SseByteStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

const KIND: &str = "text/event-stream";
const STREAM_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// From one event to the next, comments in between included: more than any real event.
pub(super) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The texts of events, as they come.
pub(super) type Texts = BoxStream<'static, Result<String, BmcError>>;

/// Why no more is read.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Lost(#[from] reqwest::Error),
    #[error("an event of more than {EVENT_BYTES_MAX} bytes")]
    TooLong,
}

impl Transport {
    /// Opens a stream of events. A session that ended is renewed once.
    pub(super) async fn open_stream(self: &Arc<Self>, path: &str) -> Result<Texts, BmcError> {
        let turn = self.stream_turn().await?;
        let pass = self.login.pass(self).await?;
        let answer = match self.begin_stream(path, &pass).await {
            Err(BmcError::LoginRefused { .. }) if matches!(pass, Pass::Session { .. }) => {
                self.login.forget(&pass).await;
                let renewed = self.login.pass(self).await?;
                self.begin_stream(path, &renewed).await?
            }
            other => other?,
        };
        Ok(texts(Arc::clone(self), path.to_owned(), answer, turn))
    }

    /// Until the head of the answer is there.
    async fn begin_stream(&self, path: &str, pass: &Pass) -> Result<Response, BmcError> {
        let request = Request::new(Method::GET, path);
        let builder = self.prepare(&request, pass).header(ACCEPT, KIND);
        let head = timeout(self.limits.request, builder.timeout(STREAM_MAX).send()).await;
        let late = |_| BmcError::TimedOut {
            bmc: self.name.clone(),
            request: request.shown(),
            limit: self.limits.request,
        };
        let lost = |error| self.error_of(self.judge_loss(&request, error));
        let answer = head.map_err(late)?.map_err(lost)?;
        if !answer.status().is_success() {
            let raw = timeout(self.limits.request, whole(answer)).await;
            let raw = raw.map_err(late)?.map_err(lost)?;
            return Err(self.error_of(self.judge(&request, raw)));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.to_ascii_lowercase().starts_with(KIND) {
            return Ok(answer);
        }
        Err(BmcError::Odd {
            bmc: self.name.clone(),
            request: request.shown(),
            expected: KIND.to_owned(),
            found: format!("the type {kind:?}"),
        })
    }

    /// The error of a try that did not succeed.
    fn error_of(&self, tried: Try) -> BmcError {
        match tried {
            Try::Again(error, _) | Try::AgainSometimes(error) | Try::Failed(error) => error,
            Try::LoggedOut | Try::Done(_) => BmcError::LoginRefused {
                bmc: self.name.clone(),
                username: self.credentials.username.clone(),
            },
        }
    }

    fn stream_error(&self, path: &str, error: &sse_stream::Error) -> BmcError {
        let request = format!("GET {path}");
        let broken = match error {
            sse_stream::Error::Body(body) => body.downcast_ref(),
            _ => None,
        };
        match broken {
            Some(Broken::Lost(lost)) => BmcError::Unreachable {
                bmc: self.name.clone(),
                reason: format!("{request}: {}", last_cause(lost)),
            },
            _ => BmcError::Odd {
                bmc: self.name.clone(),
                request,
                expected: "events in UTF-8".to_owned(),
                found: last_cause(error),
            },
        }
    }
}

/// The texts of the events that an answer brings. Its turn is given back with it.
fn texts(transport: Arc<Transport>, path: String, answer: Response, turn: StreamTurn) -> Texts {
    // Of the event that is being read.
    let length = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&length);
    let bytes = answer.bytes_stream().map(move |piece| {
        let piece = piece?;
        let before = counted.fetch_add(piece.len(), Ordering::Relaxed);
        if before + piece.len() > EVENT_BYTES_MAX {
            return Err(Broken::TooLong);
        }
        Ok(piece)
    });
    let events = Box::pin(SseByteStream::new(bytes));
    stream::unfold((events, turn), move |(mut events, turn)| {
        let (transport, path, length) = (transport.clone(), path.clone(), length.clone());
        async move {
            loop {
                let text = match events.next().await? {
                    Ok(event) => Ok(event.data),
                    // After a day; it is no fault.
                    Err(error) if is_timeout(&error) => return None,
                    Err(error) => Err(transport.stream_error(&path, &error)),
                };
                length.store(0, Ordering::Relaxed);
                if let Some(text) = text.transpose() {
                    return Some((text, (events, turn)));
                }
            }
        }
    })
    .boxed()
}

fn is_timeout(error: &sse_stream::Error) -> bool {
    let sse_stream::Error::Body(body) = error else {
        return false;
    };
    matches!(body.downcast_ref(), Some(Broken::Lost(lost)) if lost.is_timeout())
}
