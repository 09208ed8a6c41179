//! Rules for names and other texts that many resources share, and what happens when a name is taken.

use corten_model::refusal::Refusal;
use corten_store::{Error, Failure};

/// Keystone's limit for names.
const MAX_NAME: usize = 255;

/// A name of 1 to 255 characters that is not blank.
pub fn check_name(kind: &str, name: &str) -> Result<(), Refusal> {
    check_length(kind, name, MAX_NAME)
}

/// The same with another limit: a project's or domain's name has 64.
pub fn check_length(kind: &str, name: &str, limit: usize) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::invalid(format!(
            "The name of a {kind} cannot be empty."
        )));
    }
    if name.contains('\0') {
        return Err(Refusal::invalid(format!(
            "The name of a {kind} cannot hold the character NUL."
        )));
    }
    let length = name.chars().count();
    if length > limit {
        return Err(Refusal::invalid(format!(
            "The name of a {kind} has at most {limit} characters; this one has {length}."
        )));
    }
    Ok(())
}

/// Turns a unique constraint into the refusal for a name that is taken.
pub fn taken(kind: &str, name: &str) -> impl Fn(Error) -> Failure {
    let text = format!(
        "Conflict occurred attempting to store {kind} - Duplicate entry found with name {name}."
    );
    move |error| match error {
        Error::Exists { .. } => Refusal::conflict(&text).into(),
        other => other.into(),
    }
}

/// What an update does with an optional field: absent leaves it, null clears it.
pub type Given<T> = Option<Option<T>>;

/// Applies an optional field of an update.
pub fn give<T>(field: &mut Option<T>, given: Given<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

/// Applies the unknown attributes of an update: null takes one away.
pub fn merge_extra(
    into: &mut corten_store::identity::Extra,
    changes: corten_store::identity::Extra,
) {
    for (name, value) in changes {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}

/// Refuses a change of what was declared immutable, unless the change is to take that back.
pub fn check_immutable(
    kind: &str,
    id: &str,
    now: Option<bool>,
    change: Option<Option<bool>>,
) -> Result<(), Refusal> {
    let lifts = matches!(change, Some(None | Some(false)));
    if now == Some(true) && !lifts {
        return Err(Refusal::forbidden(format!(
            "Could not modify or delete {kind} {id}: its option 'immutable' is set; unset it first."
        )));
    }
    Ok(())
}
