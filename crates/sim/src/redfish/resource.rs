//! A resource: its document, and what may be done with it. Each is made anew for each request.

use super::refusal::Refusal;
use super::schema;
use axum::http::Method;
use serde_json::{Map, Value, json};

/// What a change comes to.
pub(super) enum Done {
    Nothing,
    /// The resource as it is now.
    Shown,
    /// Something was made, and is here.
    Created {
        location: String,
        document: Value,
        /// Of a session.
        token: Option<String>,
    },
    /// A task goes on; its monitor is here.
    Accepted {
        monitor: String,
        task: Value,
    },
}

type Change = Box<dyn FnOnce(&Value) -> Result<Done, Refusal> + Send>;

/// What an account must be allowed to configure, to change a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Components,
    Manager,
    Users,
    /// Whoever is logged in; the resource itself looks who it is.
    Own,
}

impl Privilege {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Components => "ConfigureComponents",
            Self::Manager => "ConfigureManager",
            Self::Users => "ConfigureUsers",
            Self::Own => "ConfigureSelf",
        }
    }
}

pub(super) struct Resource {
    /// `None`: an action, which can only be asked for.
    pub(super) document: Option<Value>,
    pub(super) needs: Privilege,
    pub(super) patch: Option<Change>,
    /// What PATCH may set, as ways through the document; `*` at the end is all below.
    pub(super) writable: &'static [&'static str],
    pub(super) post: Option<Change>,
    pub(super) delete: Option<Change>,
    /// To be asked by anybody: the root, and the making of a session.
    pub(super) is_open: bool,
    /// Answered with 202 while it is not at its end: a task's monitor.
    pub(super) is_accepted: bool,
}

impl Resource {
    pub(super) fn of(document: Value) -> Self {
        Self {
            document: Some(document),
            needs: Privilege::Components,
            patch: None,
            writable: &[],
            post: None,
            delete: None,
            is_open: false,
            is_accepted: false,
        }
    }

    /// What is only there to be asked for.
    pub(super) fn action(
        ask: impl FnOnce(&Value) -> Result<Done, Refusal> + Send + 'static,
    ) -> Self {
        Self {
            document: None,
            post: Some(Box::new(ask)),
            ..Self::of(Value::Null)
        }
    }

    pub(super) fn needing(self, needs: Privilege) -> Self {
        Self { needs, ..self }
    }

    pub(super) fn open(self) -> Self {
        Self {
            is_open: true,
            ..self
        }
    }

    pub(super) fn patched(
        self,
        writable: &'static [&'static str],
        change: impl FnOnce(&Value) -> Result<Done, Refusal> + Send + 'static,
    ) -> Self {
        Self {
            patch: Some(Box::new(change)),
            writable,
            ..self
        }
    }

    pub(super) fn posted(
        self,
        make: impl FnOnce(&Value) -> Result<Done, Refusal> + Send + 'static,
    ) -> Self {
        Self {
            post: Some(Box::new(make)),
            ..self
        }
    }

    pub(super) fn deleted(
        self,
        end: impl FnOnce(&Value) -> Result<Done, Refusal> + Send + 'static,
    ) -> Self {
        Self {
            delete: Some(Box::new(end)),
            ..self
        }
    }

    /// The methods that it takes, as `Allow` names them.
    pub(super) fn allow(&self) -> String {
        let reads = self.document.is_some();
        let all = [
            (Method::GET, reads),
            (Method::HEAD, reads),
            (Method::OPTIONS, true),
            (Method::PATCH, self.patch.is_some()),
            (Method::POST, self.post.is_some()),
            (Method::DELETE, self.delete.is_some()),
        ];
        let taken = all.iter().filter(|(_, is_taken)| *is_taken);
        let words: Vec<&str> = taken.map(|(method, _)| method.as_str()).collect();
        words.join(", ")
    }
}

/// A document with what each must have: its path, its type, its id and its name.
pub(super) fn document(path: &str, kind: &str, id: &str, name: &str, rest: Value) -> Value {
    let mut document = Map::new();
    document.insert("@odata.id".to_owned(), json!(path));
    document.insert("@odata.type".to_owned(), json!(schema::of(kind)));
    document.insert("Id".to_owned(), json!(id));
    document.insert("Name".to_owned(), json!(name));
    if let Value::Object(rest) = rest {
        document.extend(rest);
    }
    Value::Object(document)
}

/// A collection of links; `kind` is its members' type.
pub(super) fn collection(
    path: &str,
    kind: &str,
    members: impl IntoIterator<Item = String>,
) -> Value {
    let members: Vec<Value> = members.into_iter().map(|path| link(&path)).collect();
    collection_of(path, kind, members)
}

/// A collection of what may be whole documents.
pub(super) fn collection_of(path: &str, kind: &str, members: Vec<Value>) -> Value {
    json!({
        "@odata.id": path,
        "@odata.type": schema::of_collection(kind),
        "Name": format!("{kind} collection"),
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

pub(super) fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

/// What a part that works says of itself.
pub(super) fn healthy() -> Value {
    json!({"State": "Enabled", "Health": "OK"})
}

/// Sets what a JSON merge patch (RFC 7396) says, so that null takes a key away.
pub(super) fn merge(into: &mut Value, with: &Value) {
    let (Value::Object(target), Value::Object(with)) = (&mut *into, with) else {
        into.clone_from(with);
        return;
    };
    for (key, value) in with {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Refuses a PATCH with a key that is not to be set, or that is not there at all.
pub(super) fn check_patch(
    document: &Value,
    body: &Value,
    writable: &[&str],
) -> Result<(), Refusal> {
    let Value::Object(keys) = body else {
        return Err(Refusal::malformed("a PATCH is an object"));
    };
    if keys.keys().all(|key| key.starts_with("@odata.")) {
        return Err(Refusal::no_operation());
    }
    check_keys(document, keys, "", writable)
}

fn check_keys(
    document: &Value,
    keys: &Map<String, Value>,
    place: &str,
    writable: &[&str],
) -> Result<(), Refusal> {
    for (key, value) in keys {
        if key.starts_with("@odata.") {
            continue;
        }
        let way = format!("{place}{key}");
        let is_writable = |allowed: &&str| match allowed.strip_suffix('*') {
            Some(begin) => way.starts_with(begin),
            None => way == *allowed,
        };
        if writable.iter().any(is_writable) {
            continue;
        }
        let within = format!("{way}/");
        let leads_on = writable.iter().any(|allowed| allowed.starts_with(&within));
        match value {
            Value::Object(inside) if leads_on => check_keys(document, inside, &within, writable)?,
            _ if leads_on => return Err(Refusal::wrong_type(&way, value)),
            _ if document.pointer(&format!("/{way}")).is_some() => {
                return Err(Refusal::not_writable(&way));
            }
            _ => return Err(Refusal::unknown_property(&way)),
        }
    }
    Ok(())
}

/// Typed reading of a request's body: `None` is absent, another type is refused.
pub(super) struct Body<'a>(pub(super) &'a Value);

impl<'a> Body<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.pointer(&format!("/{key}"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Refusal::wrong_type(key, other)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Refusal::wrong_type(key, other)),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(Refusal::wrong_type(key, value)),
            },
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, Refusal> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let items = value.as_array();
        let items = items.ok_or_else(|| Refusal::wrong_type(key, value))?;
        let texts = items.iter().map(|item| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(Refusal::wrong_type(key, other)),
        });
        texts.collect()
    }

    /// One of these words.
    pub(super) fn word(
        &self,
        key: &str,
        allowed: &[impl AsRef<str>],
    ) -> Result<Option<&'a str>, Refusal> {
        let Some(word) = self.text(key)? else {
            return Ok(None);
        };
        if allowed.iter().any(|other| other.as_ref() == word) {
            return Ok(Some(word));
        }
        Err(Refusal::not_in_list(key, word, allowed))
    }

    /// Refuses an action's parameter that the action does not have.
    pub(super) fn only(&self, parameters: &[impl AsRef<str>]) -> Result<(), Refusal> {
        let Value::Object(keys) = self.0 else {
            return Err(Refusal::malformed(
                "the parameters of an action are an object",
            ));
        };
        let is_known = |key: &&String| parameters.iter().any(|known| known.as_ref() == *key);
        match keys.keys().find(|key| !is_known(key)) {
            Some(key) => Err(Refusal::unknown_parameter(key)),
            None => Ok(()),
        }
    }
}
