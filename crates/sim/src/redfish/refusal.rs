//! How a request is refused: a status, and a message of DMTF's Base registry (DSP8011) that says which rule and what to do.

use super::schema;
use serde_json::{Value, json};
use std::ops::{Deref, DerefMut};

/// The version of the registry that the keys of messages are of.
pub(super) const BASE: &str = "Base.1.18";

/// On the heap, for it is seldom and large.
#[derive(Debug, Clone)]
pub(super) struct Refusal(Box<Told>);

#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: u16,
    key: &'static str,
    message: String,
    args: Vec<String>,
    resolution: String,
    /// The property that it is about.
    property: Option<String>,
    /// `Allow`, with a 405.
    pub(super) allow: Option<String>,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Deref for Refusal {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

impl Refusal {
    fn new(
        status: u16,
        key: &'static str,
        message: impl Into<String>,
        resolution: impl Into<String>,
    ) -> Self {
        Self(Box::new(Told {
            status,
            key,
            message: message.into(),
            args: Vec::new(),
            resolution: resolution.into(),
            property: None,
            allow: None,
            retry_after: None,
        }))
    }

    fn about(mut self, property: &str, args: &[&str]) -> Self {
        self.property = Some(property.to_owned());
        self.with(args)
    }

    fn with(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    pub(super) fn missing(path: &str) -> Self {
        Self::new(
            404,
            "ResourceMissingAtURI",
            format!("There is no resource at {path}."),
            "Follow the links from /redfish/v1.",
        )
        .with(&[path])
    }

    pub(super) fn method(method: &str, path: &str, allow: String) -> Self {
        let mut refusal = Self::new(
            405,
            "OperationNotAllowed",
            format!("{method} is not a method of {path}."),
            format!("Use one of {allow}."),
        );
        refusal.allow = Some(allow);
        refusal
    }

    pub(super) fn no_login() -> Self {
        Self::new(
            401,
            "NoValidSession",
            "A request is let in by a session or by a user and a password; there was none, or it is not valid.",
            "Make a session at /redfish/v1/SessionService/Sessions, or send the user and the password.",
        )
    }

    pub(super) fn privilege(needed: &str) -> Self {
        Self::new(
            403,
            "InsufficientPrivilege",
            format!("The account lacks the privilege {needed}, which this needs."),
            "Use an account whose role has it.",
        )
    }

    pub(super) fn changed(path: &str) -> Self {
        Self::new(
            412,
            "PreconditionFailed",
            format!("The ETag in If-Match is not that of {path} now."),
            "Read the resource anew and repeat the change with its ETag.",
        )
    }

    pub(super) fn version() -> Self {
        Self::new(
            412,
            "PreconditionFailed",
            "The service speaks version 4.0 of OData, and OData-Version asks for another.",
            "Send 4.0, or leave the header out.",
        )
    }

    /// A change of nothing.
    pub(super) fn no_operation() -> Self {
        Self::new(
            400,
            "NoOperation",
            "A PATCH sets at least one property; this one has annotations only.",
            "Name a property and its value.",
        )
    }

    /// The account at this path has a password that it must not keep.
    pub(super) fn must_change(account: &str) -> Self {
        Self::new(
            403,
            "PasswordChangeRequired",
            format!(
                "The password of this account must be changed before anything else: {account}."
            ),
            "PATCH the account with a new one.",
        )
        .with(&[account])
    }

    pub(super) fn malformed(rule: &str) -> Self {
        Self::new(
            400,
            "MalformedJSON",
            format!("The body cannot be used: {rule}."),
            "Send a JSON object of the form that the resource's schema has.",
        )
    }

    pub(super) fn query(option: &str) -> Self {
        Self::new(
            501,
            "QueryNotSupported",
            format!("The query option {option} is not one of $skip and $top."),
            "Leave it out.",
        )
    }

    pub(super) fn unknown_property(property: &str) -> Self {
        Self::new(
            400,
            "PropertyUnknown",
            format!("The resource has no property {property}."),
            "Leave it out, or name one that the resource has.",
        )
        .about(property, &[property])
    }

    pub(super) fn not_writable(property: &str) -> Self {
        Self::new(
            400,
            "PropertyNotWritable",
            format!("The property {property} is only read."),
            "Leave it out.",
        )
        .about(property, &[property])
    }

    pub(super) fn wrong_type(property: &str, value: &Value) -> Self {
        let shown = value.to_string();
        Self::new(
            400,
            "PropertyValueTypeError",
            format!("{shown} is not of the type of {property}."),
            "Send a value of the type that the schema has.",
        )
        .about(property, &[&shown, property])
    }

    pub(super) fn not_in_list(property: &str, value: &str, allowed: &[impl AsRef<str>]) -> Self {
        let allowed: Vec<&str> = allowed.iter().map(AsRef::as_ref).collect();
        Self::new(
            400,
            "PropertyValueNotInList",
            format!("{value:?} is not a value of {property}."),
            format!("Use one of {}.", allowed.join(", ")),
        )
        .about(property, &[value, property])
    }

    pub(super) fn bad_value(property: &str, value: &str, rule: &str) -> Self {
        Self::new(
            400,
            "PropertyValueIncorrect",
            format!("{value:?} is not taken for {property}: {rule}."),
            "Send a value that keeps to the rule.",
        )
        .about(property, &[property, value])
    }

    pub(super) fn missing_property(property: &str) -> Self {
        Self::new(
            400,
            "PropertyMissing",
            format!("The property {property} is required."),
            "Send it.",
        )
        .about(property, &[property])
    }

    pub(super) fn missing_parameter(parameter: &str, action: &str) -> Self {
        Self::new(
            400,
            "ActionParameterMissing",
            format!("The action {action} requires the parameter {parameter}."),
            "Send it.",
        )
        .about(parameter, &[action, parameter])
    }

    pub(super) fn unknown_parameter(parameter: &str) -> Self {
        Self::new(
            400,
            "ActionParameterUnknown",
            format!("The action has no parameter {parameter}."),
            "Leave it out.",
        )
        .about(parameter, &[parameter])
    }

    pub(super) fn in_use(what: &str, fix: &str) -> Self {
        Self::new(409, "ResourceInUse", what, fix)
    }

    pub(super) fn exists(kind: &str, property: &str, value: &str) -> Self {
        Self::new(
            409,
            "ResourceAlreadyExists",
            format!("There is a {kind} whose {property} is {value:?}."),
            "Change that one, or use another value.",
        )
        .about(property, &[kind, property, value])
    }

    /// What `Accept` allows is not what there is.
    pub(super) fn not_acceptable(kind: &str) -> Self {
        Self::new(
            406,
            "GeneralError",
            format!("The answer is of the type {kind}, which Accept does not allow."),
            format!("Accept {kind}."),
        )
    }

    /// Of a fault that was ordered.
    pub(super) fn ordered(status: u16, retry_after: Option<u64>) -> Self {
        let key = if status == 503 {
            "ServiceTemporarilyUnavailable"
        } else {
            "GeneralError"
        };
        let mut refusal = Self::new(
            status,
            key,
            format!("The service answers with status {status}, as was ordered."),
            "Ask again later.",
        );
        refusal.retry_after = retry_after;
        refusal
    }

    /// The message, as it is in `@Message.ExtendedInfo`.
    pub(super) fn info(&self) -> Value {
        let mut info = json!({
            "@odata.type": schema::of("Message"),
            "MessageId": format!("{BASE}.{}", self.key),
            "Message": self.message,
            "MessageArgs": self.args,
            "MessageSeverity": if self.status >= 500 { "Critical" } else { "Warning" },
            "Resolution": self.resolution,
        });
        if let Some(property) = &self.property {
            info["RelatedProperties"] = json!([format!("#/{property}")]);
        }
        info
    }

    /// The body, as DSP0266 has it under "Error responses".
    pub(super) fn body(&self) -> Value {
        json!({"error": {
            "code": format!("{BASE}.{}", self.key),
            "message": self.message,
            "@Message.ExtendedInfo": [self.info()],
        }})
    }
}
