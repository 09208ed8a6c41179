//! The ramdisk's own API, as the stock agent's: over TLS with a certificate that the heartbeat carries, for whoever has the
//! token.

use super::{Agent, Rejected};
use crate::protocol::{CommandList, CommandRequest};
use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use serde::Deserialize;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// How long the answers under way may still take when the work has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until `ended`, and then until the answers under way are out.
pub async fn serve(
    agent: Arc<Agent>,
    listener: TcpListener,
    tls: ServerConfig,
    ended: impl Future<Output = ()>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let routes = routes(agent);
    let connections = GracefulShutdown::new();
    tokio::pin!(ended);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = &mut ended => break,
        };
        let (acceptor, routes, watcher) = (acceptor.clone(), routes.clone(), connections.watcher());
        tokio::spawn(async move {
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await
            else {
                return;
            };
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection =
                builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            // A client that hangs up is no event.
            watcher.watch(connection.into_owned()).await.ok();
        });
    }
    drop(listener);
    tokio::time::timeout(LAST_ANSWERS, connections.shutdown())
        .await
        .ok();
    Ok(())
}

fn routes(agent: Arc<Agent>) -> Router {
    let commands = Router::new()
        .route("/v1/commands/", get(list).post(run))
        .route("/v1/commands", get(list).post(run))
        .route("/v1/commands/{id}", get(show))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&agent),
            check_token,
        ));
    Router::new()
        .route("/", get(root))
        .route("/v1/", get(root))
        .route("/v1/status", get(status))
        .merge(commands)
        .with_state(agent)
}

#[derive(Deserialize)]
struct Asked {
    agent_token: Option<String>,
    wait: Option<String>,
}

impl Asked {
    fn waits(&self) -> bool {
        self.wait
            .as_deref()
            .is_some_and(|wait| wait.eq_ignore_ascii_case("true"))
    }
}

async fn check_token(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    request: Request,
    next: Next,
) -> Response {
    if asked
        .agent_token
        .is_some_and(|token| same(&token, &agent.token))
    {
        return next.run(request).await;
    }
    fault(StatusCode::UNAUTHORIZED, "Token invalid.")
}

/// Takes as long whether the first or the last byte differs.
fn same(given: &str, wanted: &str) -> bool {
    given.len() == wanted.len()
        && given
            .bytes()
            .zip(wanted.bytes())
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

fn fault(status: StatusCode, text: &str) -> Response {
    let code = if status.is_server_error() {
        "Server"
    } else {
        "Client"
    };
    (
        status,
        Json(json!({"faultcode": code, "faultstring": text})),
    )
        .into_response()
}

async fn root() -> Response {
    let version = json!({"id": "v1", "links": []});
    Json(json!({
        "name": "Corten deploy ramdisk",
        "description": "Speaks the API of ironic-python-agent",
        "versions": [version],
        "default_version": version,
    }))
    .into_response()
}

async fn status(State(agent): State<Arc<Agent>>) -> Response {
    Json(json!({"started_at": agent.started_at_secs, "version": env!("CARGO_PKG_VERSION")}))
        .into_response()
}

async fn list(State(agent): State<Arc<Agent>>) -> Response {
    let commands = agent.all_results();
    Json(CommandList { commands }).into_response()
}

async fn show(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let missing = || {
        fault(
            StatusCode::NOT_FOUND,
            &format!("there is no command with the id {id}"),
        )
    };
    let Ok(id) = id.parse::<Uuid>() else {
        return missing();
    };
    let result = if asked.waits() {
        agent.wait_for(id).await
    } else {
        agent.result(id)
    };
    result.map_or_else(missing, |result| Json(result).into_response())
}

async fn run(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    body: Result<Json<CommandRequest>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => {
            return fault(
                StatusCode::BAD_REQUEST,
                &format!("Missing or invalid name or params: {error}"),
            );
        }
    };
    let waits = asked.waits() || super::table::answers_at_once(&request.name);
    let id = match agent.begin(request) {
        Ok(id) => id,
        Err(error @ Rejected::Busy(_)) => return fault(StatusCode::CONFLICT, &error.to_string()),
        Err(error @ Rejected::Over { .. }) => {
            return fault(StatusCode::PRECONDITION_FAILED, &error.to_string());
        }
        Err(error @ Rejected::Unknown(_)) => {
            return fault(StatusCode::NOT_FOUND, &error.to_string());
        }
    };
    let result = if waits {
        agent.wait_for(id).await
    } else {
        agent.result(id)
    };
    match result {
        Some(result) => Json(result).into_response(),
        None => fault(StatusCode::INTERNAL_SERVER_ERROR, "the command is lost"),
    }
}
