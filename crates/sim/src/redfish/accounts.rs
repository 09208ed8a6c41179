//! `AccountService`: who there is, what their roles let them do, and their passwords.

use super::find::Asked;
use super::refusal::Refusal;
use super::resource::{Body, Done, Privilege, Resource, collection, document, healthy, link};
use super::sessions::Who;
use super::{Service, locked};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const PATH: &str = "/redfish/v1/AccountService";
const PASSWORD_MIN: usize = 8;
const PASSWORD_MAX: usize = 64;

/// What of an account may be set.
const SETTABLE: &[&str] = &[
    "Password",
    "RoleId",
    "Enabled",
    "UserName",
    "PasswordChangeRequired",
];

/// The roles of DSP0266, and what each may.
const ROLES: &[(&str, &[&str])] = &[
    (
        "Administrator",
        &[
            "Login",
            "ConfigureManager",
            "ConfigureUsers",
            "ConfigureComponents",
            "ConfigureSelf",
        ],
    ),
    (
        "Operator",
        &["Login", "ConfigureComponents", "ConfigureSelf"],
    ),
    ("ReadOnly", &["Login", "ConfigureSelf"]),
];

struct Account {
    username: String,
    password: String,
    role: String,
    enabled: bool,
    must_change: bool,
}

#[derive(Default)]
pub(super) struct Accounts {
    made: u64,
    by_id: BTreeMap<u64, Account>,
}

impl Accounts {
    pub(super) fn with_administrator(username: &str, password: &str) -> Self {
        let mut accounts = Self::default();
        accounts.add(username, password, "Administrator", true);
        accounts
    }

    fn add(&mut self, username: &str, password: &str, role: &str, enabled: bool) -> u64 {
        self.made += 1;
        let account = Account {
            username: username.to_owned(),
            password: password.to_owned(),
            role: role.to_owned(),
            enabled,
            must_change: false,
        };
        self.by_id.insert(self.made, account);
        self.made
    }

    fn named(&self, username: &str) -> Option<&Account> {
        let mut accounts = self.by_id.values();
        accounts.find(|account| account.username == username)
    }

    pub(super) fn accepts(&self, username: &str, password: &str) -> bool {
        let account = self.named(username);
        account.is_some_and(|account| account.enabled && account.password == password)
    }

    /// The account as it asks; `None`: there is none of this name, or it is disabled.
    pub(super) fn who(&self, username: &str) -> Option<Who> {
        let mut accounts = self.by_id.iter();
        let (id, account) = accounts.find(|(_, account)| account.username == username)?;
        let (_, privileges) = ROLES.iter().find(|(role, _)| *role == account.role)?;
        account.enabled.then(|| Who {
            username: username.to_owned(),
            account: format!("{PATH}/Accounts/{id}"),
            privileges,
            must_change: account.must_change,
        })
    }

    fn shown(&self, id: u64) -> Option<Value> {
        let account = self.by_id.get(&id)?;
        let rest = json!({
            "UserName": account.username,
            "Password": null,
            "RoleId": account.role,
            "Enabled": account.enabled,
            "PasswordChangeRequired": account.must_change,
            "AccountTypes": ["Redfish"],
            "Links": {"Role": link(&format!("{PATH}/Roles/{}", account.role))},
        });
        let path = format!("{PATH}/Accounts/{id}");
        Some(document(
            &path,
            "ManagerAccount",
            &id.to_string(),
            "An account",
            rest,
        ))
    }
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let service = Arc::clone(asked.service);
    let found = match rest {
        [] => account_service(),
        ["Roles"] => {
            let paths = ROLES.iter().map(|(role, _)| format!("{PATH}/Roles/{role}"));
            Resource::of(collection(&format!("{PATH}/Roles"), "Role", paths))
        }
        ["Roles", id] => {
            let (role, privileges) = ROLES.iter().find(|(role, _)| role == id)?;
            let rest =
                json!({"RoleId": role, "IsPredefined": true, "AssignedPrivileges": privileges});
            let path = format!("{PATH}/Roles/{role}");
            Resource::of(document(&path, "Role", role, "A role", rest))
        }
        ["Accounts"] => {
            let accounts = locked(&service.accounts);
            let ids: Vec<u64> = accounts.by_id.keys().copied().collect();
            drop(accounts);
            let paths = ids.iter().map(|id| format!("{PATH}/Accounts/{id}"));
            let path = format!("{PATH}/Accounts");
            Resource::of(collection(&path, "ManagerAccount", paths))
                .posted(move |body| make(&service, body))
        }
        ["Accounts", id] => account(asked, service, id.parse().ok()?)?,
        _ => return None,
    };
    Some(match rest {
        ["Accounts", _] => found,
        _ => found.needing(Privilege::Users),
    })
}

fn account_service() -> Resource {
    let rest = json!({
        "Status": healthy(),
        "ServiceEnabled": true,
        "MinPasswordLength": PASSWORD_MIN,
        "MaxPasswordLength": PASSWORD_MAX,
        "LocalAccountAuth": "Enabled",
        "Accounts": link("/redfish/v1/AccountService/Accounts"),
        "Roles": link("/redfish/v1/AccountService/Roles"),
    });
    Resource::of(document(
        PATH,
        "AccountService",
        "AccountService",
        "Accounts",
        rest,
    ))
}

fn account(asked: &Asked<'_>, service: Arc<Service>, id: u64) -> Option<Resource> {
    let shown = locked(&service.accounts).shown(id)?;
    let username = shown["UserName"].as_str().unwrap_or_default().to_owned();
    let configures = asked.who.is_some_and(|who| who.has(Privilege::Users));
    let is_own = asked.who.is_some_and(|who| who.username == username);
    // Who may change neither users nor this one sees none of the others.
    if !configures && !is_own {
        return None;
    }
    let ended = Arc::clone(&service);
    let name = username.clone();
    let resource = Resource::of(shown)
        .needing(Privilege::Own)
        .patched(SETTABLE, move |body| change(&service, id, configures, body));
    Some(if configures {
        resource.deleted(move |_| {
            if is_own {
                let fix = "Delete it as another user.";
                return Err(Refusal::in_use("An account does not delete itself.", fix));
            }
            locked(&ended.accounts).by_id.remove(&id);
            locked(&ended.sessions).end_of(&name);
            Ok(Done::Nothing)
        })
    } else {
        resource
    })
}

fn check_password(password: &str) -> Result<(), Refusal> {
    if (PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len()) {
        return Ok(());
    }
    // The value is not repeated.
    Err(Refusal::bad_value(
        "Password",
        "…",
        "it has from 8 to 64 characters",
    ))
}

fn roles() -> Vec<&'static str> {
    ROLES.iter().map(|(role, _)| *role).collect()
}

fn make(service: &Service, body: &Value) -> Result<Done, Refusal> {
    let keys = body.as_object().into_iter().flatten();
    if let Some((unknown, _)) = keys
        .into_iter()
        .find(|(key, _)| !SETTABLE.contains(&key.as_str()))
    {
        return Err(Refusal::unknown_property(unknown));
    }
    let body = Body(body);
    let missing = |key: &'static str| move || Refusal::missing_property(key);
    let username = body.text("UserName")?.ok_or_else(missing("UserName"))?;
    let password = body.text("Password")?.ok_or_else(missing("Password"))?;
    let role = body
        .word("RoleId", &roles())?
        .ok_or_else(missing("RoleId"))?;
    let enabled = body.flag("Enabled")?.unwrap_or(true);
    let must_change = body.flag("PasswordChangeRequired")?.unwrap_or(false);
    check_password(password)?;
    let mut accounts = locked(&service.accounts);
    if username.is_empty() || accounts.named(username).is_some() {
        return Err(Refusal::exists("ManagerAccount", "UserName", username));
    }
    let id = accounts.add(username, password, role, enabled);
    if let Some(account) = accounts.by_id.get_mut(&id) {
        account.must_change = must_change;
    }
    Ok(Done::Created {
        location: format!("{PATH}/Accounts/{id}"),
        document: accounts.shown(id).unwrap_or_default(),
        token: None,
    })
}

fn change(service: &Service, id: u64, configures: bool, body: &Value) -> Result<Done, Refusal> {
    let body = Body(body);
    if !configures
        && ["RoleId", "Enabled", "UserName", "PasswordChangeRequired"]
            .iter()
            .any(|key| body.get(key).is_some())
    {
        return Err(Refusal::privilege(Privilege::Users.word()));
    }
    let password = body.text("Password")?;
    password.map(check_password).transpose()?;
    let role = body.word("RoleId", &roles())?;
    let enabled = body.flag("Enabled")?;
    let username = body.text("UserName")?;
    let must_change = body.flag("PasswordChangeRequired")?;
    let mut accounts = locked(&service.accounts);
    if let Some(username) = username
        && let Some((other, _)) = accounts
            .by_id
            .iter()
            .find(|(_, account)| account.username == username)
        && *other != id
    {
        return Err(Refusal::exists("ManagerAccount", "UserName", username));
    }
    let Some(account) = accounts.by_id.get_mut(&id) else {
        return Err(Refusal::missing(&format!("{PATH}/Accounts/{id}")));
    };
    if enabled == Some(false) || username.is_some() {
        locked(&service.sessions).end_of(&account.username);
    }
    account.enabled = enabled.unwrap_or(account.enabled);
    // A new password is what was required.
    account.must_change = must_change.unwrap_or(account.must_change && password.is_none());
    for (field, value) in [
        (&mut account.password, password),
        (&mut account.role, role),
        (&mut account.username, username),
    ] {
        if let Some(value) = value {
            value.clone_into(field);
        }
    }
    Ok(Done::Shown)
}
