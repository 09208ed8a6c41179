//! Who asks: `SessionService`, its sessions with their tokens, and HTTP's basic authentication.

use super::find::Asked;
use super::refusal::Refusal;
use super::resource::{Body, Done, Privilege, Resource, collection, document, healthy, link};
use super::{Service, locked};
use axum::http::{HeaderMap, header};
use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const PATH: &str = "/redfish/v1/SessionService";
/// What DSP0266 lets a session's time without a request be, in seconds.
const TIMEOUT_SECS: std::ops::RangeInclusive<u64> = 30..=86_400;

/// An account that was let in, and what it may do.
pub(super) struct Who {
    pub(super) username: String,
    /// The path of the account.
    pub(super) account: String,
    pub(super) privileges: &'static [&'static str],
    /// Nothing is let in but a change of the password.
    pub(super) must_change: bool,
}

impl Who {
    /// Whom the headers show; a token that is shown must be good, whatever else is.
    pub(super) fn of(service: &Service, headers: &HeaderMap) -> Result<Self, Refusal> {
        let username = match headers.get("x-auth-token") {
            Some(token) => {
                let token = token.to_str().unwrap_or_default();
                let mut sessions = locked(&service.sessions);
                sessions.renew(token, service.now())
            }
            None => headers
                .get(header::AUTHORIZATION)
                .and_then(|value| basic(value.to_str().ok()?))
                .filter(|(name, password)| locked(&service.accounts).accepts(name, password))
                .map(|(name, _)| name),
        };
        let who = username.and_then(|username| locked(&service.accounts).who(&username));
        who.ok_or_else(Refusal::no_login)
    }

    pub(super) fn has(&self, privilege: Privilege) -> bool {
        self.privileges.contains(&privilege.word())
    }

    pub(super) fn must_have(&self, privilege: Privilege) -> Result<(), Refusal> {
        if self.has(privilege) {
            Ok(())
        } else {
            Err(Refusal::privilege(privilege.word()))
        }
    }
}

/// The user and the password of `Authorization: Basic`.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let text = String::from_utf8(engine.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

struct Session {
    username: String,
    token: String,
    made: Timestamp,
    used: Timestamp,
}

pub(super) struct Sessions {
    timeout_secs: u64,
    made: u64,
    by_id: BTreeMap<u64, Session>,
    by_token: BTreeMap<String, u64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            timeout_secs: 1800,
            made: 0,
            by_id: BTreeMap::new(),
            by_token: BTreeMap::new(),
        }
    }
}

impl Sessions {
    fn is_over(&self, session: &Session, now: Timestamp) -> bool {
        let timeout = SignedDuration::from_secs(self.timeout_secs.cast_signed());
        now.duration_since(session.used) > timeout
    }

    /// Whose session the token is of; its time begins anew.
    fn renew(&mut self, token: &str, now: Timestamp) -> Option<String> {
        let id = *self.by_token.get(token)?;
        let session = self.by_id.get(&id)?;
        if self.is_over(session, now) {
            self.end(id);
            return None;
        }
        let session = self.by_id.get_mut(&id)?;
        session.used = now;
        Some(session.username.clone())
    }

    fn begin(&mut self, username: &str, now: Timestamp) -> (u64, String) {
        // Those that nobody ended; now and then is often enough.
        if self.made.is_multiple_of(256) {
            let all = self.by_id.iter();
            let over = all.filter(|(_, session)| self.is_over(session, now));
            let over: Vec<u64> = over.map(|(id, _)| *id).collect();
            for id in over {
                self.end(id);
            }
        }
        self.made += 1;
        let token = format!("{:032x}", rand::random::<u128>());
        let session = Session {
            username: username.to_owned(),
            token: token.clone(),
            made: now,
            used: now,
        };
        self.by_id.insert(self.made, session);
        self.by_token.insert(token.clone(), self.made);
        (self.made, token)
    }

    fn end(&mut self, id: u64) {
        if let Some(session) = self.by_id.remove(&id) {
            self.by_token.remove(&session.token);
        }
    }

    /// Of an account that is gone, or may no longer log in.
    pub(super) fn end_of(&mut self, username: &str) {
        let mut sessions = self.by_id.iter();
        let theirs = |(_, session): &(&u64, &Session)| session.username == username;
        let ids: Vec<u64> = sessions
            .by_ref()
            .filter(theirs)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end(id);
        }
    }

    pub(super) fn end_all(&mut self) {
        self.by_id.clear();
        self.by_token.clear();
    }

    pub(super) fn open(&self, now: Timestamp) -> usize {
        let sessions = self.by_id.values();
        sessions
            .filter(|session| !self.is_over(session, now))
            .count()
    }

    fn shown(&self, id: u64) -> Option<Value> {
        let session = self.by_id.get(&id)?;
        let path = format!("{PATH}/Sessions/{id}");
        let rest = json!({
            "UserName": session.username, "Password": null, "SessionType": "Redfish",
            "CreatedTime": session.made.to_string(),
        });
        Some(document(
            &path,
            "Session",
            &id.to_string(),
            "A session",
            rest,
        ))
    }
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let service = Arc::clone(asked.service);
    match rest {
        [] => Some(session_service(service)),
        ["Sessions"] => {
            let now = service.now();
            let sessions = locked(&service.sessions);
            let open = sessions.by_id.iter();
            let open = open.filter(|(_, session)| asked.shows() && !sessions.is_over(session, now));
            let paths: Vec<String> = open
                .map(|(id, _)| format!("{PATH}/Sessions/{id}"))
                .collect();
            drop(sessions);
            let listed = collection(&format!("{PATH}/Sessions"), "Session", paths);
            let resource = Resource::of(listed).needing(Privilege::Own);
            Some(resource.posted(move |body| log_in(&service, body)).open())
        }
        ["Sessions", id] => {
            let id: u64 = id.parse().ok()?;
            let sessions = locked(&service.sessions);
            let shown = sessions.shown(id)?;
            let is_own = asked.who.map(|who| who.username.as_str())
                == sessions
                    .by_id
                    .get(&id)
                    .map(|session| session.username.as_str());
            drop(sessions);
            let needs = if is_own {
                Privilege::Own
            } else {
                Privilege::Manager
            };
            let resource = Resource::of(shown).needing(needs).deleted(move |_| {
                locked(&service.sessions).end(id);
                Ok(Done::Nothing)
            });
            Some(resource)
        }
        _ => None,
    }
}

fn session_service(service: Arc<Service>) -> Resource {
    let timeout = locked(&service.sessions).timeout_secs;
    let rest = json!({
        "ServiceEnabled": true,
        "Status": healthy(),
        "SessionTimeout": timeout,
        "Sessions": link("/redfish/v1/SessionService/Sessions"),
    });
    let document = document(PATH, "SessionService", "SessionService", "Sessions", rest);
    Resource::of(document)
        .needing(Privilege::Manager)
        .patched(&["SessionTimeout"], move |body| {
            if let Some(secs) = Body(body).count("SessionTimeout")? {
                if !TIMEOUT_SECS.contains(&secs) {
                    let rule = "it is from 30 to 86400 seconds";
                    return Err(Refusal::bad_value(
                        "SessionTimeout",
                        &secs.to_string(),
                        rule,
                    ));
                }
                locked(&service.sessions).timeout_secs = secs;
            }
            Ok(Done::Shown)
        })
}

fn log_in(service: &Service, body: &Value) -> Result<Done, Refusal> {
    let body = Body(body);
    let required = |key: &'static str| {
        let value = body.text(key)?;
        value.ok_or_else(|| Refusal::missing_property(key))
    };
    let (username, password) = (required("UserName")?, required("Password")?);
    if !locked(&service.accounts).accepts(username, password) {
        return Err(Refusal::no_login());
    }
    let who = locked(&service.accounts).who(username);
    let mut sessions = locked(&service.sessions);
    let (id, token) = sessions.begin(username, service.now());
    let mut document = sessions.shown(id).unwrap_or_default();
    if let Some(who) = who.filter(|who| who.must_change) {
        document["@Message.ExtendedInfo"] = json!([Refusal::must_change(&who.account).info()]);
    }
    Ok(Done::Created {
        location: format!("{PATH}/Sessions/{id}"),
        document,
        token: Some(token),
    })
}
