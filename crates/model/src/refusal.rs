//! A refusal: the answer to a request that breaks a rule. It names the rule, the value and what to do next.
//!
//! The floors that decide return refusals; the API floor renders each in the error body of its service. Trouble that
//! is not the caller's doing (a broken disk, a lost database) is never a refusal.

use std::fmt;

/// Why a request was refused, as far as a client has to tell the cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request itself is wrong: 400.
    Invalid,
    /// Nobody is logged in, or the credentials are wrong: 401.
    Unauthenticated,
    /// The actor may not do this: 403.
    Forbidden,
    /// A quota would be exceeded: 403 for compute, 413 or 409 elsewhere.
    OverQuota,
    /// No such thing, or none that the actor may see: 404.
    NotFound,
    /// The API has it, in a newer version than was asked for: 406.
    NotAcceptable,
    /// The object is in a state that forbids this, or a name is taken: 409.
    Conflict,
    /// The thing was here and has gone for good: 410.
    Gone,
    /// The body or an image is too large: 413.
    TooLarge,
    /// The media type is not understood: 415.
    UnsupportedMedia,
    /// A byte range that the object does not have: 416.
    RangeNotSatisfiable,
    /// A feature that this cloud does not have: 501.
    NotImplemented,
    /// Something this needs is away for the moment: 503.
    Unavailable,
}

/// A request that was refused, with the text for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
    /// The API's own name of the rule, where it has one: Neutron's error type.
    pub name: Option<&'static str>,
}

macro_rules! constructors {
    ($($name:ident = $reason:ident;)*) => {$(
        pub fn $name(message: impl fmt::Display) -> Self {
            Self { reason: Reason::$reason, message: message.to_string(), name: None }
        }
    )*};
}

impl Refusal {
    constructors! {
        invalid = Invalid;
        unauthenticated = Unauthenticated;
        forbidden = Forbidden;
        over_quota = OverQuota;
        not_found = NotFound;
        not_acceptable = NotAcceptable;
        conflict = Conflict;
        gone = Gone;
        too_large = TooLarge;
        unsupported_media = UnsupportedMedia;
        range_not_satisfiable = RangeNotSatisfiable;
        not_implemented = NotImplemented;
        unavailable = Unavailable;
    }

    /// The same under the API's own name of the rule.
    pub fn named(self, name: &'static str) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// The usual 404: `Image 1234 could not be found.`
    pub fn no_such(kind: &str, id: impl fmt::Display) -> Self {
        Self::not_found(format!("{kind} {id} could not be found."))
    }
}
