//! A request to its answer: faults, login, conditions, then the resource, then OData's headers.

use super::Service;
use super::faults::Fault;
use super::find::{Asked, find};
use super::refusal::Refusal;
use super::resource::{Done, Resource, check_patch};
use super::sessions::Who;
use super::{event_stream, locked, root, schema};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

/// More than any request of Redfish that is not an image.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Members of a collection on one page.
const PAGE: usize = 1000;

pub(super) async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let node = node_of(&service, &path);
    let fault = node.and_then(|node| node.faults.meet(is_read));
    match &fault {
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Slow(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Status(status, after)) => return refuse(&Refusal::ordered(*status, *after)),
        Some(Fault::WrongPassword) => return refuse(&Refusal::no_login()),
        _ => {}
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(&Refusal::malformed("it is whole, and has at most 1 MiB"));
    };
    let call = Call {
        service: &service,
        method: &parts.method,
        path: &path,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    };
    let answer = match call.answer() {
        Ok(answer) => answer,
        Err(refusal) => refuse(&refusal),
    };
    match fault {
        Some(Fault::Cut) => broken(answer, true).await,
        Some(Fault::Truncated) => broken(answer, false).await,
        _ => answer,
    }
}

fn node_of(service: &Service, path: &str) -> Option<Arc<super::RedfishNode>> {
    let mut parts = path.strip_prefix("/redfish/v1/")?.split('/');
    service.node_at(parts.next()?, parts.next()?)
}

struct Call<'a> {
    service: &'a Arc<Service>,
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
    body: Bytes,
}

impl Call<'_> {
    fn answer(&self) -> Result<Response, Refusal> {
        let is_read = matches!(*self.method, Method::GET | Method::HEAD);
        let version = self.headers.get("odata-version");
        if version.is_some_and(|version| version != "4.0") {
            return Err(Refusal::version());
        }
        // What has no resource's form.
        match self.path {
            "/redfish" if is_read => {
                return Ok(reply(StatusCode::OK, &json!({"v1": "/redfish/v1/"})));
            }
            "/redfish/v1/odata" if is_read => return Ok(reply(StatusCode::OK, &root::odata())),
            "/redfish/v1/$metadata" if is_read => {
                let kind = [(header::CONTENT_TYPE, "application/xml")];
                let mut answer = with_version((kind, schema::metadata()).into_response());
                set(&mut answer, header::LINK, &described_by("#Metadata"));
                return Ok(answer);
            }
            _ => {}
        }
        let who = Who::of(self.service, self.headers);
        // From here until it is done nobody else changes anything.
        let _turn = (!is_read).then(|| locked(&self.service.writes));
        let asked = Asked {
            service: self.service,
            who: who.as_ref().ok(),
            method: self.method,
        };
        let found = self.parts().and_then(|parts| find(&asked, &parts));
        // What is open to be made is not open to be read.
        let is_open = found.as_ref().is_some_and(|found| {
            found.is_open
                && match *self.method {
                    Method::GET | Method::HEAD => found.post.is_none(),
                    Method::POST => true,
                    _ => false,
                }
        });
        let who = match who {
            Err(_) if is_open => None,
            Err(refusal) => return Err(refusal),
            Ok(who) => Some(who),
        };
        if self.path == event_stream::PATH {
            return self.listen(who.as_ref());
        }
        let found = found.ok_or_else(|| Refusal::missing(self.path))?;
        if let Some(who) = who.as_ref().filter(|who| who.must_change) {
            self.check_change(who)?;
        }
        if is_read {
            return self.read(found);
        }
        let allow = found.allow();
        if *self.method == Method::OPTIONS {
            let headers = [(header::ALLOW, allow)];
            return Ok(with_version(
                (StatusCode::NO_CONTENT, headers).into_response(),
            ));
        }
        if let Some(who) = &who {
            who.must_have(found.needs)?;
        }
        self.change(found, allow, who.as_ref())
    }

    /// Who must change the password may do that, look at the account, and log in and out; nothing else.
    fn check_change(&self, who: &Who) -> Result<(), Refusal> {
        let path = self.path;
        let is_own = path == who.account;
        let is_login = *self.method == Method::POST && path.ends_with("/SessionService/Sessions");
        let sets = || self.json().is_ok_and(|body| body.get("Password").is_some());
        let may = match *self.method {
            Method::GET | Method::HEAD => is_own || path == "/redfish/v1",
            Method::PATCH => is_own && sets(),
            Method::DELETE => path.contains("/SessionService/Sessions/"),
            _ => is_login,
        };
        if may {
            Ok(())
        } else {
            Err(Refusal::must_change(&who.account))
        }
    }

    /// Of the path, below the root.
    fn parts(&self) -> Option<Vec<&str>> {
        let rest = self.path.strip_prefix("/redfish/v1")?;
        let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        // To make a member of a collection's members is to make one of the collection.
        if *self.method == Method::POST {
            parts.pop_if(|last| *last == "Members");
        }
        Some(parts)
    }

    /// A connection that stays open, in place of a resource.
    fn listen(&self, who: Option<&Who>) -> Result<Response, Refusal> {
        if let Some(who) = who.filter(|who| who.must_change) {
            self.check_change(who)?;
        }
        if *self.method != Method::GET {
            let allow = "GET".to_owned();
            return Err(Refusal::method(self.method.as_str(), self.path, allow));
        }
        let accepted = self.headers.get(header::ACCEPT);
        let stream = event_stream::open(self.service, self.query, accepted)?;
        Ok(with_version(stream))
    }

    fn read(&self, found: Resource) -> Result<Response, Refusal> {
        let allow = found.allow();
        let is_accepted = found.is_accepted;
        let Some(document) = found.document else {
            return Err(Refusal::method(self.method.as_str(), self.path, allow));
        };
        let mut document = page(document, self.path, self.query)?;
        let tag = tag(&document);
        document["@odata.etag"] = json!(tag);
        let known = self.headers.get(header::IF_NONE_MATCH);
        if known.is_some_and(|known| is_among(known, &tag)) {
            let headers = [(header::ETAG, tag)];
            return Ok(with_version(
                (StatusCode::NOT_MODIFIED, headers).into_response(),
            ));
        }
        let status = if is_accepted {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        };
        let mut answer = reply(status, &document);
        let kind = document["@odata.type"].as_str().unwrap_or_default();
        set(&mut answer, header::LINK, &described_by(kind));
        set(&mut answer, header::ETAG, &tag);
        set(&mut answer, header::ALLOW, &allow);
        Ok(answer)
    }

    fn change(
        &self,
        found: Resource,
        allow: String,
        who: Option<&Who>,
    ) -> Result<Response, Refusal> {
        let is_taken = match *self.method {
            Method::PATCH => found.patch.is_some(),
            Method::POST => found.post.is_some(),
            Method::DELETE => found.delete.is_some(),
            _ => false,
        };
        if !is_taken {
            return Err(Refusal::method(self.method.as_str(), self.path, allow));
        }
        if let (Some(wanted), Some(document)) =
            (self.headers.get(header::IF_MATCH), &found.document)
            && *self.method != Method::POST
            && !is_among(wanted, &tag(document))
        {
            return Err(Refusal::changed(self.path));
        }
        let body = self.json()?;
        let change = match *self.method {
            Method::PATCH => {
                let document = found.document.as_ref().unwrap_or(&Value::Null);
                check_patch(document, &body, found.writable)?;
                found.patch
            }
            Method::POST => found.post,
            _ => found.delete,
        };
        let Some(change) = change else {
            return Err(Refusal::method(self.method.as_str(), self.path, allow));
        };
        Ok(match change(&body)? {
            Done::Nothing => with_version(StatusCode::NO_CONTENT.into_response()),
            Done::Shown => self.shown(who)?,
            Done::Created {
                location,
                document,
                token,
            } => {
                let mut answer = reply(StatusCode::CREATED, &document);
                set(&mut answer, header::LOCATION, &location);
                if let Some(token) = token {
                    set(&mut answer, HeaderName::from_static("x-auth-token"), &token);
                }
                answer
            }
            Done::Accepted { monitor, task } => {
                let mut answer = reply(StatusCode::ACCEPTED, &task);
                set(&mut answer, header::LOCATION, &monitor);
                answer
            }
        })
    }

    /// The resource after a change, to who made it: the password may be another one by now.
    fn shown(&self, who: Option<&Who>) -> Result<Response, Refusal> {
        let asked = Asked {
            service: self.service,
            who,
            method: &Method::HEAD,
        };
        match self.parts().and_then(|parts| find(&asked, &parts)) {
            Some(found) => self.read(found),
            None => Ok(with_version(StatusCode::NO_CONTENT.into_response())),
        }
    }

    fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        let read: Result<Value, _> = serde_json::from_slice(&self.body);
        match read {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(Refusal::malformed("it is a JSON object")),
            Err(error) => Err(Refusal::malformed(&format!("it is JSON ({error})"))),
        }
    }
}

/// One page of a collection; other documents as they are.
fn page(mut document: Value, path: &str, query: &str) -> Result<Value, Refusal> {
    let (mut skip, mut top) = (0, PAGE);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let count = value.parse::<usize>().ok();
        match (name.replace("%24", "$").as_str(), count) {
            ("$skip", Some(count)) => skip = count,
            ("$top", Some(count)) => top = count.min(PAGE),
            // Options without the sign are nobody's.
            (name, _) if name.starts_with('$') || matches!(name, "only" | "excerpt") => {
                return Err(Refusal::query(name));
            }
            _ => {}
        }
    }
    let Some(Value::Array(members)) = document.get_mut("Members") else {
        return Ok(document);
    };
    let all = members.len();
    let shown: Vec<Value> = members.drain(..).skip(skip).take(top).collect();
    let next = skip + shown.len();
    *members = shown;
    if next < all && top > 0 {
        document["Members@odata.nextLink"] = json!(format!("{path}?$skip={next}"));
    }
    Ok(document)
}

/// A strong tag: another document, another tag.
fn tag(document: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether a list of tags holds this one, or is `*`.
fn is_among(header: &HeaderValue, tag: &str) -> bool {
    let text = header.to_str().unwrap_or_default();
    text.split(',')
        .any(|given| matches!(given.trim(), "*") || given.trim() == tag)
}

fn reply(status: StatusCode, document: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
    with_version((status, kind, document.to_string()).into_response())
}

/// The header `Link` to the schema of a type.
fn described_by(odata_type: &str) -> String {
    format!("<{}>; rel=describedby", schema::json_schema(odata_type))
}

fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status);
    let mut answer = reply(status.unwrap_or(StatusCode::BAD_REQUEST), &refusal.body());
    if refusal.status == 401 {
        set(
            &mut answer,
            header::WWW_AUTHENTICATE,
            "Basic realm=\"Redfish\"",
        );
    }
    if let Some(allow) = &refusal.allow {
        set(&mut answer, header::ALLOW, allow);
    }
    if let Some(after) = refusal.retry_after {
        set(&mut answer, header::RETRY_AFTER, &after.to_string());
    }
    answer
}

fn with_version(mut answer: Response) -> Response {
    set(&mut answer, HeaderName::from_static("odata-version"), "4.0");
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    answer
}

fn set(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Half of an answer: cut off before its end, or passed off as all of it.
async fn broken(answer: Response, is_cut: bool) -> Response {
    let (mut parts, body) = answer.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    if !is_cut {
        return Response::from_parts(parts, Body::from(half));
    }
    // An answer without a body is cut before its head, which is what an error at its first byte comes to.
    let lost = io::Error::new(io::ErrorKind::ConnectionReset, "cut, as was ordered");
    let pieces = [Ok(half), Err(lost)];
    if parts.status == StatusCode::NO_CONTENT {
        parts.status = StatusCode::OK;
    }
    let length = HeaderValue::from(whole.len().max(2));
    parts.headers.insert(header::CONTENT_LENGTH, length);
    Response::from_parts(parts, Body::from_stream(stream::iter(pieces)))
}
