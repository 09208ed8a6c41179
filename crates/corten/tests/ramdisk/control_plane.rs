//! A control plane that does what a test's script says, on loopback, over TLS.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_ramdisk::protocol::{
    BOOT_TOKEN_HEADER, CommandResult, CommandStatus, Heartbeat, Inspection, LogLine,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const BOOT_TOKEN: &str = "good-for-one-lookup";
pub const AGENT_TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NODE: &str = "5a1ed1c5-0000-4000-8000-00000000beef";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Welcome,
    /// The token is not taken.
    Refuse,
    /// Its certificate is not the one that the server is told to believe.
    Impostor,
}

#[derive(Default)]
struct Heard {
    calls: u32,
    boot_tokens: Vec<String>,
    inspection: Option<Inspection>,
    heartbeat: Option<Heartbeat>,
    log: Vec<LogLine>,
}

struct Shared {
    script: Script,
    heard: watch::Sender<Heard>,
    images: Mutex<HashMap<String, Vec<u8>>>,
}

pub struct ControlPlane {
    shared: Arc<Shared>,
    pub port: u16,
    pub pin: String,
    /// Where the test reaches the ramdisk's own API.
    pub agent_port: u16,
    /// Where it reaches the SSH server of a rescue.
    pub ssh_port: u16,
    client: reqwest::Client,
}

impl ControlPlane {
    pub async fn start(script: Script) -> Self {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let certificate = rcgen::generate_simple_self_signed(["10.0.2.2".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script,
            heard: watch::Sender::default(),
            images: Mutex::default(),
        });
        let routes = routes(Arc::clone(&shared));
        let listener = TlsListener {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
        };
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let pinned: &[u8] = match script {
            Script::Impostor => b"the real one",
            _ => certificate.cert.der(),
        };
        Self {
            shared,
            port,
            pin: format!("sha256:{:x}", Sha256::digest(pinned)),
            agent_port: free_port(),
            ssh_port: free_port(),
            // The certificate is for the guest's own address, and the test comes in through QEMU's.
            client: reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .build()
                .unwrap(),
        }
    }

    pub fn serve_image(&self, name: &str, content: Vec<u8>) {
        self.shared
            .images
            .lock()
            .unwrap()
            .insert(name.to_owned(), content);
    }

    pub fn image_url(&self, name: &str) -> String {
        format!("https://10.0.2.2:{}/images/{name}", self.port)
    }

    pub fn calls(&self) -> u32 {
        self.shared.heard.borrow().calls
    }

    pub fn boot_tokens(&self) -> Vec<String> {
        self.shared.heard.borrow().boot_tokens.clone()
    }

    async fn hear<T>(&self, what: impl Fn(&Heard) -> Option<T>) -> T {
        let mut heard = self.shared.heard.subscribe();
        let heard = heard.wait_for(|heard| what(heard).is_some()).await.unwrap();
        what(&heard).unwrap()
    }

    pub async fn inspection(&self) -> Inspection {
        self.hear(|heard| heard.inspection.clone()).await
    }

    pub async fn heartbeat(&self) -> Heartbeat {
        self.hear(|heard| heard.heartbeat.clone()).await
    }

    pub async fn log_line(&self, text: &str) -> LogLine {
        let find = |heard: &Heard| {
            heard
                .log
                .iter()
                .find(|line| line.text.contains(text))
                .cloned()
        };
        self.hear(find).await
    }

    /// Runs a command to its end.
    async fn command(&self, name: &str, params: Value) -> CommandResult {
        let url = format!(
            "https://127.0.0.1:{}/v1/commands/?wait=true&agent_token={AGENT_TOKEN}",
            self.agent_port
        );
        let body = json!({"name": name, "params": params});
        let response = self.client.post(url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{name}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn succeeds(&self, name: &str, params: Value) -> Value {
        let result = self.command(name, params).await;
        assert_eq!(
            result.command_status,
            CommandStatus::Succeeded,
            "{result:?}"
        );
        result.command_result.unwrap_or_default()
    }

    /// Returns why it failed.
    pub async fn fails(&self, name: &str, params: Value) -> String {
        let result = self.command(name, params).await;
        assert_eq!(result.command_status, CommandStatus::Failed, "{result:?}");
        result.command_error.unwrap().message
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/lookup", get(lookup))
        .route("/v1/heartbeat/{node}", post(heartbeat))
        .route("/v1/continue_inspection", post(inspected))
        .route("/v1/ramdisk_log/{node}", post(log))
        .route("/images/{name}", get(image))
        .layer(axum::extract::DefaultBodyLimit::max(16 << 20))
        .with_state(shared)
}

async fn lookup(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let token = headers
        .get(BOOT_TOKEN_HEADER)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    shared.heard.send_modify(|heard| {
        heard.calls += 1;
        heard.boot_tokens.push(token);
    });
    if shared.script == Script::Refuse {
        return (StatusCode::UNAUTHORIZED, "the token was used before").into_response();
    }
    let config = json!({"heartbeat_timeout": 300, "agent_token": AGENT_TOKEN});
    Json(json!({"node": {"uuid": NODE, "properties": {}}, "config": config})).into_response()
}

async fn heartbeat(
    State(shared): State<Arc<Shared>>,
    Path(node): Path<String>,
    Json(heartbeat): Json<Heartbeat>,
) -> StatusCode {
    assert_eq!(node, NODE);
    shared
        .heard
        .send_modify(|heard| heard.heartbeat = Some(heartbeat));
    StatusCode::ACCEPTED
}

async fn inspected(
    State(shared): State<Arc<Shared>>,
    Json(inspection): Json<Inspection>,
) -> Response {
    if shared.script == Script::Refuse {
        shared.heard.send_modify(|heard| heard.calls += 1);
        return (StatusCode::UNAUTHORIZED, "the token was used before").into_response();
    }
    shared
        .heard
        .send_modify(|heard| heard.inspection = Some(inspection));
    Json(json!({"uuid": NODE})).into_response()
}

async fn log(State(shared): State<Arc<Shared>>, Json(lines): Json<Vec<LogLine>>) -> StatusCode {
    shared.heard.send_modify(|heard| heard.log.extend(lines));
    StatusCode::NO_CONTENT
}

async fn image(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match shared.images.lock().unwrap().get(&name) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not believe the certificate hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
