//! A Redfish service whose documents and faults are written by the test: it answers, remembers what it was asked, and breaks on order.

use super::{PASSWORD, USERNAME};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What happens to a request in place of its answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// A refusal in a BMC's words.
    Refuse(u16, String),
    /// It is done, then the connection is cut before the answer is whole.
    Cut,
    /// It is never answered.
    Hang,
    /// Half of the JSON.
    Truncated,
}

#[derive(Default)]
pub struct Rules {
    /// Keys of a POST to this path that are refused with 400.
    pub refused_keys: BTreeMap<String, Vec<String>>,
    /// Resets are taken and do nothing.
    pub power_lies: bool,
    /// Keys of PATCH that are taken and do nothing, as pointers: `/Boot/BootSourceOverrideMode`.
    pub ignored: BTreeSet<String>,
    /// A PATCH of `Boot` must have these keys.
    pub boot_needs: Vec<String>,
    /// `If-Match` is compared with the document's tag.
    pub etags: bool,
    /// Requests need a session's token or the password.
    pub protected: bool,
}

#[derive(Default)]
struct Inner {
    documents: BTreeMap<String, Value>,
    asked: Vec<String>,
    faults: Vec<(String, Fault)>,
    tokens: BTreeSet<String>,
    sessions_made: usize,
    at_once: usize,
    at_once_most: usize,
}

pub struct Service {
    inner: Mutex<Inner>,
    pub rules: Mutex<Rules>,
    pub url: String,
}

impl Service {
    /// Serves these documents on a free port of loopback.
    pub async fn start(documents: Value) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Self::new(documents, url);
        let router = service.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        service
    }

    pub fn new(documents: Value, url: String) -> Arc<Self> {
        let Value::Object(documents) = documents else {
            panic!("documents are an object of paths");
        };
        Arc::new(Self {
            inner: Mutex::new(Inner {
                documents: documents.into_iter().collect(),
                ..Inner::default()
            }),
            rules: Mutex::new(Rules::default()),
            url,
        })
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }

    /// The next request that begins so ("GET /redfish/v1/Systems/1") meets this. Faults of one request come in order.
    pub fn next(&self, request: &str, fault: Fault) {
        let mut inner = self.inner.lock().unwrap();
        inner.faults.push((request.to_owned(), fault));
    }

    pub fn faults_left(&self) -> usize {
        self.inner.lock().unwrap().faults.len()
    }

    /// Requests so far, as `METHOD PATH BODY`.
    pub fn asked(&self) -> Vec<String> {
        self.inner.lock().unwrap().asked.clone()
    }

    pub fn asked_of(&self, begin: &str) -> Vec<String> {
        let asked = self.asked();
        asked
            .into_iter()
            .filter(|line| line.starts_with(begin))
            .collect()
    }

    pub fn document(&self, path: &str) -> Value {
        self.inner.lock().unwrap().documents[path].clone()
    }

    pub fn set(&self, path: &str, pointer: &str, value: Value) {
        let mut inner = self.inner.lock().unwrap();
        let document = inner.documents.get_mut(path).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value;
    }

    pub fn remove(&self, path: &str) {
        self.inner.lock().unwrap().documents.remove(path);
    }

    pub fn end_sessions(&self) {
        self.inner.lock().unwrap().tokens.clear();
    }

    pub fn sessions_made(&self) -> usize {
        self.inner.lock().unwrap().sessions_made
    }

    pub fn sessions_open(&self) -> usize {
        self.inner.lock().unwrap().tokens.len()
    }

    /// The most requests that were at work at one time.
    pub fn at_once_most(&self) -> usize {
        self.inner.lock().unwrap().at_once_most
    }

    fn fault(&self, line: &str) -> Option<Fault> {
        let mut inner = self.inner.lock().unwrap();
        let index = inner
            .faults
            .iter()
            .position(|(begin, _)| line.starts_with(begin.as_str()))?;
        Some(inner.faults.remove(index).1)
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = text("x-auth-token") {
            return self.inner.lock().unwrap().tokens.contains(token);
        }
        let engine = base64::engine::general_purpose::STANDARD;
        let wanted = format!("Basic {}", engine.encode(format!("{USERNAME}:{PASSWORD}")));
        text("authorization") == Some(wanted.as_str())
    }

    fn make_session(&self, path: &str, body: &Value) -> Response {
        if body["UserName"] != USERNAME || body["Password"] != PASSWORD {
            return refusal(401, "wrong");
        }
        let mut inner = self.inner.lock().unwrap();
        inner.sessions_made += 1;
        let token = format!("token-{}", inner.sessions_made);
        inner.tokens.insert(token.clone());
        let location = format!("{path}/{token}");
        let headers = [("x-auth-token", token), ("location", location)];
        (StatusCode::CREATED, headers, "{}").into_response()
    }

    fn get(&self, path: &str) -> Response {
        let inner = self.inner.lock().unwrap();
        match inner.documents.get(path) {
            Some(document) => {
                let tag = tag(document);
                (
                    [
                        ("etag", tag),
                        ("content-type", "application/json".to_owned()),
                    ],
                    document.to_string(),
                )
                    .into_response()
            }
            None => refusal(404, "There is no such resource."),
        }
    }

    fn patch(&self, path: &str, headers: &HeaderMap, body: &Value) -> Response {
        let rules = self.rules.lock().unwrap();
        let mut inner = self.inner.lock().unwrap();
        let Some(document) = inner.documents.get_mut(path) else {
            return refusal(404, "There is no such resource.");
        };
        let given = headers.get("if-match").and_then(|tag| tag.to_str().ok());
        if rules.etags && given != Some(tag(document).as_str()) {
            return refusal(412, "It changed.");
        }
        if let Some(boot) = body.get("Boot")
            && let Some(missing) = rules
                .boot_needs
                .iter()
                .find(|key| boot.get(key.as_str()).is_none())
        {
            return refusal(400, &format!("{missing} is missing."));
        }
        merge(document, body, "", &rules.ignored);
        StatusCode::NO_CONTENT.into_response()
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        if path.ends_with("/Sessions") {
            return self.make_session(path, body);
        }
        let rules = self.rules.lock().unwrap();
        if let Some(refused) = rules.refused_keys.get(path)
            && let Some(key) = refused.iter().find(|key| body.get(key.as_str()).is_some())
        {
            return refusal(
                400,
                &format!("The property {key} is not in the list of valid properties."),
            );
        }
        let Some((subject, action)) = path.split_once("/Actions/") else {
            return refusal(405, "Nothing is made here.");
        };
        let mut inner = self.inner.lock().unwrap();
        let Some(document) = inner.documents.get_mut(subject) else {
            return refusal(404, "There is no such resource.");
        };
        match action {
            "ComputerSystem.Reset" => {
                let goal = match body["ResetType"].as_str().unwrap_or_default() {
                    "ForceOff" | "GracefulShutdown" => "Off",
                    _ => "On",
                };
                if document["PowerState"] == goal && goal == "On" && body["ResetType"] == "On" {
                    return refusal(409, "The server is on already.");
                }
                if !rules.power_lies {
                    document["PowerState"] = json!(goal);
                }
            }
            "VirtualMedia.InsertMedia" => {
                if document["Inserted"] == json!(true) {
                    return refusal(409, "Media is inserted already.");
                }
                document["Inserted"] = json!(true);
                document["Image"] = body["Image"].clone();
            }
            "VirtualMedia.EjectMedia" => {
                document["Inserted"] = json!(false);
                document["Image"] = Value::Null;
            }
            "UpdateService.SimpleUpdate" => {
                let task = [(
                    "location",
                    format!("{}/redfish/v1/TaskService/Tasks/1", self.url),
                )];
                return (StatusCode::ACCEPTED, task, "{}").into_response();
            }
            "LogService.ClearLog" => {
                let entries = document["Entries"]["@odata.id"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                inner.documents.get_mut(&entries).unwrap()["Members"] = json!([]);
            }
            _ => {}
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn delete(&self, path: &str) -> Response {
        let mut inner = self.inner.lock().unwrap();
        if let Some((_, token)) = path.rsplit_once("/Sessions/") {
            inner.tokens.remove(token);
        } else if inner.documents.remove(path).is_none() {
            return refusal(404, "There is no such resource.");
        }
        StatusCode::NO_CONTENT.into_response()
    }
}

async fn answer(State(service): State<Arc<Service>>, request: Request<Body>) -> Response {
    {
        let mut inner = service.inner.lock().unwrap();
        inner.at_once += 1;
        inner.at_once_most = inner.at_once_most.max(inner.at_once);
    }
    // Other requests get their chance to come in at the same time.
    tokio::task::yield_now().await;
    let answer = answer_in_turn(&service, request).await;
    service.inner.lock().unwrap().at_once -= 1;
    answer
}

async fn answer_in_turn(service: &Service, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let shown = shown_path(&parts.uri);
    // As BMCs do: with a slash at the end or without, it is the same.
    let path = match shown.strip_suffix('/') {
        Some(path) if path != "/redfish/v1" => path.to_owned(),
        _ => shown,
    };
    let line = format!(
        "{} {path} {}",
        parts.method,
        String::from_utf8_lossy(&bytes)
    );
    service.inner.lock().unwrap().asked.push(line.clone());
    match service.fault(&line) {
        Some(Fault::Status(status, after)) => {
            let mut answer = refusal(status, "Not now.");
            if let Some(seconds) = after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            answer
        }
        Some(Fault::Refuse(status, message)) => refusal(status, &message),
        Some(Fault::Hang) => {
            service.inner.lock().unwrap().at_once -= 1;
            std::future::pending().await
        }
        Some(fault) => {
            broken(
                fault,
                done(service, &parts.method, &path, &parts.headers, &bytes),
            )
            .await
        }
        None => done(service, &parts.method, &path, &parts.headers, &bytes),
    }
}

fn shown_path(uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

fn done(
    service: &Service,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Response {
    let open = path == "/redfish/v1/" || (*method == Method::POST && path.ends_with("/Sessions"));
    if service.rules.lock().unwrap().protected && !open && !service.lets_in(headers) {
        return refusal(401, "Who are you?");
    }
    let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    match method.as_str() {
        "GET" => service.get(path),
        "PATCH" => service.patch(path, headers, &body),
        "POST" => service.post(path, &body),
        "DELETE" => service.delete(path),
        _ => refusal(405, "Not so."),
    }
}

/// An answer that does not come whole.
async fn broken(fault: Fault, whole: Response) -> Response {
    let (parts, body) = whole.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let half = bytes.slice(..bytes.len() / 2);
    match fault {
        Fault::Truncated => Response::from_parts(parts, Body::from(half)),
        _ => {
            let pieces = [Ok(half), Err(std::io::Error::other("cut"))];
            let stream = futures_util::stream::iter(pieces);
            (StatusCode::OK, Body::from_stream(stream)).into_response()
        }
    }
}

fn refusal(status: u16, message: &str) -> Response {
    let body = json!({"error": {"code": "Base.1.8.GeneralError", "message": "See @Message.ExtendedInfo",
        "@Message.ExtendedInfo": [{"MessageId": "Base.1.8.GeneralError", "Message": message}]}});
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

/// Changes with the document.
fn tag(document: &Value) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    document.to_string().hash(&mut hasher);
    format!("W/\"{:x}\"", hasher.finish())
}

fn merge(document: &mut Value, change: &Value, place: &str, ignored: &BTreeSet<String>) {
    match (document, change) {
        (Value::Object(object), Value::Object(change)) => {
            for (key, value) in change {
                let place = format!("{place}/{key}");
                if !ignored.contains(&place) {
                    merge(
                        object.entry(key.clone()).or_insert(Value::Null),
                        value,
                        &place,
                        ignored,
                    );
                }
            }
        }
        (document, change) => *document = change.clone(),
    }
}
