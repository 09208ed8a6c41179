//! The control plane's end of a host's connection: [`FarHost`], the hands of a host on another machine.

use crate::holder::Holds;
use crate::spool;
use crate::wire::{Answer, Question};
use async_trait::async_trait;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_host::{
    ConsoleKind, ConsoleSockets, ConsoleStream, Diagnostics, Fence, GuestEvent, Hands,
    HostCapacity, HostError, ImageRef, Observation, Report, Task,
};
use corten_model::ids::InstanceId;
use corten_network::chassis::HostSide;
use futures_util::{StreamExt as _, TryStreamExt as _};
use hyper::client::conn::http2;
use hyper::header::CONTENT_TYPE;
use hyper::http::request;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::{ReaderStream, StreamReader};

/// A host that is silent for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// One that does not answer that within this is away.
const GRACE: Duration = Duration::from_secs(5);
/// For questions that are answered from memory.
const PROMPT: Duration = Duration::from_secs(30);
/// For questions that take work which is bounded at the host.
const SLOWLY: Duration = Duration::from_secs(90);
const ANSWER_MAX_BYTES: usize = 64 << 20;
const WINDOW_BYTES: u32 = 4 << 20;
/// Events that a slow subscriber may be behind.
const EVENT_BACKLOG: usize = 4096;
const EVENT_MAX_BYTES: usize = 64 << 10;
const CONSOLE_BYTES: usize = 64 << 10;

/// A host on another machine, for as long as its connection lasts. Its clones are the same host.
#[derive(Clone)]
pub struct FarHost {
    requests: http2::SendRequest<Body>,
    /// No sender is kept here, so that subscribers see the stream end with the connection.
    events: broadcast::WeakSender<GuestEvent>,
    ended: watch::Receiver<()>,
    work: Arc<Work>,
}

/// The tasks that carry a connection. It is closed with the last clone of its host: one on which something is still read
/// would stay open by itself.
#[derive(Default)]
struct Work(Mutex<JoinSet<()>>);

impl Work {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }

    fn abort(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

/// Has the HTTP library's tasks belong to a connection, which it may outlive.
#[derive(Clone)]
struct Executor(Weak<Work>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        if let Some(work) = self.0.upgrade() {
            work.spawn(async move { drop(task.await) });
        }
    }
}

impl FarHost {
    /// Takes a connection on which the host answers.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, HostError> {
        let work = Arc::new(Work::default());
        let executor = Executor(Arc::downgrade(&work));
        let (requests, connection) = http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(GRACE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(away)?;
        // Its sender is dropped with the connection.
        let (end, ended) = watch::channel(());
        work.spawn(async move {
            if let Err(error) = connection.await {
                tracing::info!(%error, "the connection of a host broke");
            }
            drop(end);
        });
        let stream = send(
            &requests,
            "/events",
            Request::get(url("/events")),
            Body::empty(),
        )
        .await?;
        let events = broadcast::Sender::new(EVENT_BACKLOG);
        let weak = events.downgrade();
        work.spawn(relay_events(stream, events));
        Ok(Self {
            requests,
            events: weak,
            ended,
            work,
        })
    }

    /// Ends the connection, whoever uses it still.
    pub fn close(&self) {
        self.work.abort();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Comes back when the connection has ended.
    pub async fn ended(&self) {
        // Nothing is ever sent.
        let _ = self.ended.clone().changed().await;
    }

    async fn request(&self, method: Method, path: &str, body: Body) -> Result<Body, HostError> {
        let request = Request::builder().method(method).uri(url(path));
        send(&self.requests, path, request, body).await
    }

    async fn ask<T: DeserializeOwned>(&self, question: &Question) -> Result<T, HostError> {
        let path = "/questions";
        let request = Request::post(url(path)).header(CONTENT_TYPE, "application/json");
        let body = serde_json::to_vec(question).map_err(away)?;
        read(send(&self.requests, path, request, body.into()).await?).await
    }

    async fn ask_promptly<T: DeserializeOwned>(&self, question: &Question) -> Result<T, HostError> {
        self.ask_within(PROMPT, question).await
    }

    async fn ask_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        question: &Question,
    ) -> Result<T, HostError> {
        let answered = tokio::time::timeout(limit, self.ask(question)).await;
        answered.unwrap_or_else(|_| Err(away(format!("no answer within {} s", limit.as_secs()))))
    }

    /// Brings an image to the host, unless it has it.
    async fn bring(&self, image: &ImageRef) -> Result<(), HostError> {
        if self.cached_images().await?.contains(&image.sha512) {
            return Ok(());
        }
        let path = format!("/images/{}", image.sha512);
        let bytes = spool::send(&image.path).await?;
        read(self.request(Method::PUT, &path, bytes).await?).await
    }

    async fn fetch_capture(&self, id: InstanceId, target: &Path) -> Result<(), HostError> {
        let path = format!("/captures/{id}");
        let bytes = self.request(Method::GET, &path, Body::empty()).await?;
        spool::receive(bytes, target).await?;
        read(self.request(Method::DELETE, &path, Body::empty()).await?).await
    }
}

#[async_trait]
impl Hands for FarHost {
    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        let capture = match &task {
            Task::EnsureImage { image } => {
                self.bring(image).await?;
                None
            }
            Task::Snapshot { id, target, .. } => Some((*id, target.clone())),
            _ => None,
        };
        let report = self
            .ask(&Question::Perform {
                fence,
                task: Box::new(task),
            })
            .await?;
        if let Some((id, target)) = capture {
            self.fetch_capture(id, &target).await?;
        }
        Ok(report)
    }

    async fn console_log(
        &self,
        id: InstanceId,
        tail_lines: Option<usize>,
    ) -> Result<Vec<u8>, HostError> {
        let question = Question::ConsoleLog { id, tail_lines };
        let text: String = self.ask_promptly(&question).await?;
        STANDARD.decode(text).map_err(away)
    }

    async fn observe(&self, id: InstanceId) -> Result<Option<Observation>, HostError> {
        self.ask_promptly(&Question::Observe { id }).await
    }

    async fn observe_all(&self) -> Result<Vec<Observation>, HostError> {
        self.ask_promptly(&Question::ObserveAll).await
    }

    async fn cached_images(&self) -> Result<Vec<String>, HostError> {
        self.ask_promptly(&Question::CachedImages).await
    }

    async fn diagnostics(&self, id: InstanceId) -> Result<Diagnostics, HostError> {
        self.ask_promptly(&Question::Diagnostics { id }).await
    }

    async fn consoles(&self, id: InstanceId) -> Result<ConsoleSockets, HostError> {
        self.ask_promptly(&Question::Consoles { id }).await
    }

    async fn open_console(
        &self,
        id: InstanceId,
        kind: ConsoleKind,
    ) -> Result<ConsoleStream, HostError> {
        // The answer to why it cannot be opened is better than a broken stream.
        self.consoles(id).await?;
        let kind = match kind {
            ConsoleKind::Serial => "serial",
            ConsoleKind::Vnc => "vnc",
        };
        let path = format!("/guests/{id}/consoles/{kind}");
        let (typed, given) = tokio::io::duplex(CONSOLE_BYTES);
        let body = Body::from_stream(ReaderStream::new(typed));
        let shown = self.request(Method::POST, &path, body).await?;
        let shown = StreamReader::new(shown.into_data_stream().map_err(io::Error::other));
        Ok(Box::new(tokio::io::join(shown, given)))
    }

    fn subscribe(&self) -> broadcast::Receiver<GuestEvent> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // The connection has ended: so has the stream.
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    async fn capacity(&self) -> Result<HostCapacity, HostError> {
        // The host may have to find out its acceleration first.
        self.ask_within(SLOWLY, &Question::Capacity).await
    }
}

#[async_trait]
impl Holds for FarHost {
    async fn hold(&self, side: HostSide) -> Result<(), HostError> {
        self.ask_within(SLOWLY, &Question::Hold { side }).await
    }
}

fn url(path: &str) -> String {
    format!("http://host{path}")
}

/// What the host answers, if it is not a refusal of the whole request.
async fn send(
    requests: &http2::SendRequest<Body>,
    path: &str,
    request: request::Builder,
    body: Body,
) -> Result<Body, HostError> {
    let mut requests = requests.clone();
    requests.ready().await.map_err(away)?;
    let request = request.body(body).map_err(away)?;
    let response = requests.send_request(request).await.map_err(away)?;
    if response.status() == StatusCode::OK {
        return Ok(Body::new(response.into_body()));
    }
    let status = response.status();
    Err(away(format!("its agent answered {path} with {status}")))
}

async fn relay_events(stream: Body, events: broadcast::Sender<GuestEvent>) {
    let stream = stream.into_data_stream().map_err(io::Error::other);
    let lines = LinesCodec::new_with_max_length(EVENT_MAX_BYTES);
    let mut lines = FramedRead::new(StreamReader::new(stream), lines);
    while let Some(Ok(line)) = lines.next().await {
        match serde_json::from_str(&line) {
            // Nobody listening is fine.
            Ok(event) => drop(events.send(event)),
            Err(error) => {
                tracing::error!(%error, "a host told of an event in other words");
                return;
            }
        }
    }
}

async fn read<T: DeserializeOwned>(answer: Body) -> Result<T, HostError> {
    let bytes = axum::body::to_bytes(answer, ANSWER_MAX_BYTES)
        .await
        .map_err(away)?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(away)?;
    serde_json::from_value(answer?).map_err(away)
}

fn away(reason: impl Display) -> HostError {
    HostError::Away {
        reason: reason.to_string(),
    }
}
