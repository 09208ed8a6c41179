//! How a Redfish service lets us in: with a session where it has them, else with the password in each request.

use super::transport::Transport;
use crate::address::Credentials;
use crate::error::BmcError;
use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Mutex;

pub(super) struct Login {
    sessions: bool,
    /// `None` until the first request, and after a session ended.
    pass: Mutex<Option<Pass>>,
}

/// What a request shows.
#[derive(Clone)]
pub(super) enum Pass {
    Nothing,
    Password,
    Session {
        token: Arc<SecretString>,
        /// Of the session, to log out.
        path: Option<String>,
    },
}

impl Pass {
    pub(super) fn apply(
        &self,
        builder: RequestBuilder,
        credentials: &Credentials,
    ) -> RequestBuilder {
        match self {
            Self::Nothing => builder,
            Self::Password => {
                builder.basic_auth(&credentials.username, Some(credentials.password()))
            }
            Self::Session { token, .. } => match HeaderValue::from_str(token.expose_secret()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    builder.header("X-Auth-Token", value)
                }
                Err(_) => builder,
            },
        }
    }
}

impl Login {
    pub(super) fn new(sessions: bool) -> Self {
        Self {
            sessions,
            pass: Mutex::new(None),
        }
    }

    /// What lets a request in. The first caller logs in; others wait for it.
    pub(super) async fn pass(&self, transport: &Transport) -> Result<Pass, BmcError> {
        let mut kept = self.pass.lock().await;
        if let Some(pass) = &*kept {
            return Ok(pass.clone());
        }
        let pass = if self.sessions {
            open_session(transport).await?.unwrap_or(Pass::Password)
        } else {
            Pass::Password
        };
        *kept = Some(pass.clone());
        Ok(pass)
    }

    /// A session that the BMC no longer knows, unless somebody else renewed it already.
    pub(super) async fn forget(&self, ended: &Pass) {
        let mut kept = self.pass.lock().await;
        if let (Some(Pass::Session { token, .. }), Pass::Session { token: ended, .. }) =
            (&*kept, ended)
            && Arc::ptr_eq(token, ended)
        {
            *kept = None;
        }
    }

    pub(super) async fn log_out(&self, transport: &Transport) {
        let pass = self.pass.lock().await.take();
        if let Some(Pass::Session {
            path: Some(path), ..
        }) = &pass
            && let Some(pass) = &pass
        {
            transport.delete_as(pass, path).await;
        }
    }
}

/// `None` where the service has no sessions, or none left.
async fn open_session(transport: &Transport) -> Result<Option<Pass>, BmcError> {
    let root = transport.get_as(&Pass::Nothing, super::ROOT).await?;
    let sessions = match (root.link("Links/Sessions"), root.link("SessionService")) {
        (Some(path), _) => path,
        (None, Some(service)) => format!("{}/Sessions", service.trim_end_matches('/')),
        (None, None) => return Ok(None),
    };
    let credentials = &transport.credentials;
    let body = json!({"UserName": credentials.username, "Password": credentials.password()});
    let answer = match transport.post_as(&Pass::Nothing, &sessions, &body).await {
        Ok(answer) => answer,
        Err(
            error @ (BmcError::Refused { .. } | BmcError::Failed { .. } | BmcError::Busy { .. }),
        ) => {
            let oddities = &transport.oddities;
            oddities.note(&sessions, "a session", error.to_string());
            return Ok(None);
        }
        // Some answer a wrong password so.
        Err(BmcError::NotAllowed { bmc, username, .. }) => {
            return Err(BmcError::LoginRefused { bmc, username });
        }
        Err(error) => return Err(error),
    };
    let token = answer.headers.get("X-Auth-Token");
    match token.and_then(|token| token.to_str().ok()) {
        Some(token) => Ok(Some(Pass::Session {
            token: Arc::new(SecretString::from(token)),
            path: answer.location().or_else(|| {
                let path = answer.value.get("@odata.id")?.as_str()?;
                Some(path.to_owned())
            }),
        })),
        None => {
            transport
                .oddities
                .note(&sessions, "a token in X-Auth-Token", "none");
            Ok(None)
        }
    }
}
