//! The host's end of its connection: [`Near`] answers what the control plane asks.

use crate::holder::Holds;
use crate::spool::{self, Spool};
use crate::wire::{Answer, Question};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_host::{ConsoleKind, Fence, GuestEvent, Hands, HostError, Report, Task};
use corten_model::ids::InstanceId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::io::{ReaderStream, StreamReader};

/// A control plane that is silent for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// One that does not answer that within this is gone, and looked for again.
const GRACE: Duration = Duration::from_secs(5);
const WINDOW_BYTES: u32 = 4 << 20;

/// This machine, as the control plane uses it.
#[derive(Clone)]
pub struct Near {
    hands: Arc<dyn Hands>,
    holds: Option<Arc<dyn Holds>>,
    spool: Arc<Spool>,
}

impl Near {
    /// `spool` is a directory of its own. A host without a switch holds nothing.
    pub async fn new(
        hands: Arc<dyn Hands>,
        holds: Option<Arc<dyn Holds>>,
        spool: PathBuf,
    ) -> Result<Self, HostError> {
        Ok(Self {
            hands,
            holds,
            spool: Arc::new(Spool::open(spool).await?),
        })
    }

    /// Answers on this connection until it ends.
    pub async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), hyper::Error> {
        let service = TowerToHyperService::new(routes(self.clone()));
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(GRACE)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        match task {
            Task::EnsureImage { mut image } => {
                image.path = self.spool.image(&image.sha512).unwrap_or_default();
                let brought = image.path.clone();
                let done = self.hands.perform(fence, Task::EnsureImage { image }).await;
                spool::forget(&brought).await?;
                done
            }
            Task::Snapshot { id, format, .. } => {
                let target = self.spool.capture(id);
                let task = Task::Snapshot { id, target, format };
                self.hands.perform(fence, task).await
            }
            other => self.hands.perform(fence, other).await,
        }
    }
}

fn routes(near: Near) -> Router {
    Router::new()
        .route("/questions", post(question))
        .route("/events", get(events))
        .route("/images/{sha512}", put(image))
        .route("/captures/{id}", get(capture).delete(forget_capture))
        .route("/guests/{id}/consoles/{kind}", post(console))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(near)
}

async fn question(State(near): State<Near>, Json(question): Json<Question>) -> Json<Answer> {
    Json(answer(&near, question).await)
}

async fn answer(near: &Near, question: Question) -> Answer {
    let hands = &near.hands;
    match question {
        Question::Perform { fence, task } => value(near.perform(fence, *task).await?),
        Question::ConsoleLog { id, tail_lines } => {
            let log = hands.console_log(id, tail_lines).await?;
            value(STANDARD.encode(log))
        }
        Question::Observe { id } => value(hands.observe(id).await?),
        Question::ObserveAll => value(hands.observe_all().await?),
        Question::CachedImages => value(hands.cached_images().await?),
        Question::Diagnostics { id } => value(hands.diagnostics(id).await?),
        Question::Consoles { id } => value(hands.consoles(id).await?),
        Question::Capacity => value(hands.capacity().await?),
        Question::Hold { side } => match &near.holds {
            Some(holds) => value(holds.hold(side).await?),
            None => value(()),
        },
    }
}

fn value(answer: impl Serialize) -> Answer {
    serde_json::to_value(answer).map_err(|error| HostError::Internal {
        doing: "writing an answer".to_owned(),
        reason: error.to_string(),
    })
}

async fn events(State(near): State<Near>) -> Body {
    let events = stream::unfold(near.hands.subscribe(), |mut events| async {
        // One that is behind is cut off: who connects anew looks at every guest.
        let line = match events.recv().await {
            Ok(event) => line(&event),
            Err(RecvError::Lagged(_)) => Err(io::Error::other("events were missed")),
            Err(RecvError::Closed) => return None,
        };
        Some((line, events))
    });
    Body::from_stream(events)
}

fn line(event: &GuestEvent) -> io::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(event)?))
}

async fn image(State(near): State<Near>, Path(sha512): Path<String>, body: Body) -> Json<Answer> {
    let received = match near.spool.image(&sha512) {
        Some(path) => spool::receive(body, &path).await,
        None => Err(HostError::InvalidSpec {
            field: "sha512".to_owned(),
            value: sha512,
            rule: "it is 128 hexadecimal digits".to_owned(),
        }),
    };
    Json(received.and_then(value))
}

async fn capture(State(near): State<Near>, Path(id): Path<InstanceId>) -> Response {
    match spool::send(&near.spool.capture(id)).await {
        Ok(body) => body.into_response(),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}

async fn forget_capture(State(near): State<Near>, Path(id): Path<InstanceId>) -> Json<Answer> {
    let forgotten = spool::forget(&near.spool.capture(id)).await;
    Json(forgotten.and_then(value))
}

/// Carries bytes both ways until either side ends.
async fn console(
    State(near): State<Near>,
    Path((id, kind)): Path<(InstanceId, ConsoleKind)>,
    body: Body,
) -> Response {
    let opened = match near.hands.open_console(id, kind).await {
        Ok(opened) => opened,
        Err(error) => return (StatusCode::CONFLICT, error.to_string()).into_response(),
    };
    let (shown, mut to_guest) = tokio::io::split(opened);
    let typed = body.into_data_stream().map_err(io::Error::other);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        if let Err(error) = tokio::io::copy(&mut StreamReader::new(typed), &mut to_guest).await {
            tracing::debug!(%error, "a console's client broke off");
        }
        drop(end);
    });
    // Who stops typing has closed the console.
    let shown = ReaderStream::new(shown).take_until(ended);
    Body::from_stream(shown).into_response()
}
