//! The body of `POST /v3/auth/tokens`: proofs and the scope wished for. API reference "Authentication and token
//! management".

use crate::strict::Strict;
use corten_iam::authenticate::{
    ApplicationCredentialRef, DomainRef, ProjectRef, Proof, ScopeWish, UserRef,
};
use corten_model::refusal::Refusal;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;

#[derive(Deserialize)]
pub struct Request {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    identity: Identity,
    #[serde(default)]
    scope: Option<Scope>,
}

#[derive(Deserialize)]
struct Identity {
    methods: Vec<String>,
    #[serde(default)]
    password: Option<PasswordMethod>,
    #[serde(default)]
    token: Option<TokenMethod>,
    #[serde(default)]
    application_credential: Option<ApplicationCredentialMethod>,
}

#[derive(Deserialize)]
struct PasswordMethod {
    user: PasswordUser,
}

#[derive(Deserialize)]
struct PasswordUser {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    domain: Option<Domain>,
    password: String,
}

#[derive(Deserialize)]
struct TokenMethod {
    id: String,
}

#[derive(Deserialize)]
struct ApplicationCredentialMethod {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    user: Option<User>,
    secret: String,
}

/// A thing by its id, or by its name in a domain.
#[derive(Deserialize)]
struct User {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
enum Scope {
    Word(String),
    Object(Box<ScopeObject>),
}

impl TryFrom<Value> for Scope {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, serde_json::Error> {
        match value {
            Value::String(word) => Ok(Self::Word(word)),
            object @ Value::Object(_) => {
                ScopeObject::deserialize(Strict(object)).map(|scope| Self::Object(Box::new(scope)))
            }
            _ => Err(serde_json::Error::custom(
                "a scope is \"unscoped\" or an object with project, domain, system or OS-TRUST:trust",
            )),
        }
    }
}

#[derive(Deserialize)]
struct ScopeObject {
    #[serde(default)]
    unscoped: Option<Value>,
    #[serde(default)]
    project: Option<User>,
    #[serde(default)]
    domain: Option<Domain>,
    #[serde(default)]
    system: Option<System>,
    #[serde(default, rename = "OS-TRUST:trust")]
    trust: Option<TrustScope>,
}

#[derive(Deserialize)]
struct System {
    all: bool,
}

#[derive(Deserialize)]
struct TrustScope {
    id: String,
}

impl Request {
    pub fn read(self) -> Result<(Vec<Proof>, ScopeWish), Refusal> {
        let Auth { identity, scope } = self.auth;
        Ok((
            identity.proofs()?,
            scope.map_or(Ok(ScopeWish::Default), Scope::wish)?,
        ))
    }
}

impl Identity {
    fn proofs(self) -> Result<Vec<Proof>, Refusal> {
        let Self {
            mut methods,
            mut password,
            mut token,
            mut application_credential,
        } = self;
        if methods.is_empty() {
            return Err(Refusal::invalid(
                "auth.identity.methods is empty; name at least one method.",
            ));
        }
        methods.sort();
        methods.dedup();
        methods
            .iter()
            .map(|method| match method.as_str() {
                "password" => password.take().ok_or_else(|| absent("password"))?.proof(),
                "token" => Ok(Proof::Token(token.take().ok_or_else(|| absent("token"))?.id)),
                "application_credential" => {
                    application_credential.take().ok_or_else(|| absent("application_credential"))?.proof()
                }
                other => Err(Refusal::unauthenticated(format!(
                    "Attempted to authenticate with an unsupported method: '{other}'; supported are password, token and \
                     application_credential."
                ))),
            })
            .collect()
    }
}

fn absent(what: &str) -> Refusal {
    Refusal::invalid(format!(
        "Expecting to find {what} in identity. The server could not comply with the request."
    ))
}

impl PasswordMethod {
    fn proof(self) -> Result<Proof, Refusal> {
        let PasswordUser {
            id,
            name,
            domain,
            password,
        } = self.user;
        let user = User { id, name, domain }.user("user")?;
        Ok(Proof::Password { user, password })
    }
}

impl ApplicationCredentialMethod {
    fn proof(self) -> Result<Proof, Refusal> {
        let Self {
            id,
            name,
            user,
            secret,
        } = self;
        let credential = match (id, name, user) {
            (Some(id), _, _) => ApplicationCredentialRef::Id(id),
            (None, Some(name), Some(user)) => ApplicationCredentialRef::Name {
                name,
                user: user.user("user")?,
            },
            (None, _, _) => return Err(absent("application_credential.id, or its name and user,")),
        };
        Ok(Proof::ApplicationCredential { credential, secret })
    }
}

impl Domain {
    fn reference(self) -> Result<DomainRef, Refusal> {
        match (self.id, self.name) {
            (Some(id), _) => Ok(DomainRef::Id(id.into())),
            (None, Some(name)) => Ok(DomainRef::Name(name)),
            (None, None) => Err(absent("id or name of the domain")),
        }
    }
}

impl User {
    fn user(self, what: &str) -> Result<UserRef, Refusal> {
        match (self.id, self.name, self.domain) {
            (Some(id), _, _) => Ok(UserRef::Id(id.into())),
            (None, Some(name), Some(domain)) => Ok(UserRef::Name {
                name,
                domain: domain.reference()?,
            }),
            (None, Some(_), None) => Err(absent(&format!("the domain of the {what}"))),
            (None, None, _) => Err(absent(&format!("id or name of the {what}"))),
        }
    }

    fn project(self) -> Result<ProjectRef, Refusal> {
        Ok(match self.user("project")? {
            UserRef::Id(id) => ProjectRef::Id(id.0.into()),
            UserRef::Name { name, domain } => ProjectRef::Name { name, domain },
        })
    }
}

impl Scope {
    fn wish(self) -> Result<ScopeWish, Refusal> {
        let object = match self {
            Self::Word(word) if word == "unscoped" => return Ok(ScopeWish::Unscoped),
            Self::Word(word) => {
                return Err(Refusal::invalid(format!(
                    "'{word}' is not a scope; the only word is 'unscoped'."
                )));
            }
            Self::Object(object) => *object,
        };
        let ScopeObject {
            unscoped,
            project,
            domain,
            system,
            trust,
        } = object;
        let given = [
            unscoped.is_some(),
            project.is_some(),
            domain.is_some(),
            system.is_some(),
            trust.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(Refusal::invalid(
                "A token has one scope; auth.scope names more than one.",
            ));
        }
        if let Some(project) = project {
            return Ok(ScopeWish::Project(project.project()?));
        }
        if let Some(domain) = domain {
            return Ok(ScopeWish::Domain(domain.reference()?));
        }
        if let Some(trust) = trust {
            return Ok(ScopeWish::Trust(trust.id));
        }
        match system {
            Some(System { all: true }) => Ok(ScopeWish::System),
            Some(System { all: false }) => {
                Err(Refusal::invalid("auth.scope.system.all can only be true."))
            }
            None if unscoped.is_some() => Ok(ScopeWish::Unscoped),
            None => Err(Refusal::invalid(
                "auth.scope names neither project, domain, system nor OS-TRUST:trust.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Request;
    use crate::body::parse;

    fn body(identity: &str, scope: &str) -> String {
        format!(r#"{{"auth": {{"identity": {identity}, "scope": {scope}}}}}"#)
    }

    fn refused(text: &str) -> String {
        parse::<Request>(text.as_bytes())
            .and_then(Request::read)
            .map(drop)
            .unwrap_err()
            .message
    }

    #[test]
    fn a_list_is_no_object_anywhere_in_it() {
        let user = r#"{"methods": ["password"], "password": {"user": {"name": "u", "password": "p", "domain": {"id": "d"}}}}"#;
        let scope = r#"{"project": {"name": "p", "domain": {"id": "d"}}}"#;
        let read = parse::<Request>(body(user, scope).as_bytes()).unwrap();
        assert!(read.read().is_ok());
        for text in [
            body(&user.replace(r#"{"id": "d"}"#, r#"["d", null]"#), scope),
            body(user, &scope.replace(r#"{"id": "d"}"#, r#"["d", null]"#)),
            body(user, r#"[null, null, null, null, null]"#),
        ] {
            let refusal = refused(&text);
            assert!(refusal.contains("object"), "{text}: {refusal}");
        }
        assert!(refused(&body(user, r#""everything""#)).contains("not a scope"));
    }
}
