//! The configuration of a domain, as clients of Keystone deposit it. Users of every domain are kept in Corten's own
//! store; a deposited LDAP configuration is kept for those who ask for it and connects to nothing.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::domain;
use crate::policy::Target;
use corten_model::ids::DomainId;
use corten_model::refusal::Refusal;
use corten_store::identity::domain_config::{DomainConfig, Options};
use corten_store::{Failure, record};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Options without a default of their own.
const LDAP: [&str; 44] = [
    "url",
    "user",
    "password",
    "suffix",
    "page_size",
    "debug_level",
    "chase_referrals",
    "user_tree_dn",
    "user_filter",
    "user_objectclass",
    "user_id_attribute",
    "user_name_attribute",
    "user_mail_attribute",
    "user_description_attribute",
    "user_pass_attribute",
    "user_enabled_attribute",
    "user_enabled_invert",
    "user_enabled_mask",
    "user_enabled_default",
    "user_attribute_ignore",
    "user_default_project_id_attribute",
    "user_enabled_emulation",
    "user_enabled_emulation_dn",
    "user_enabled_emulation_use_group_config",
    "user_additional_attribute_mapping",
    "group_tree_dn",
    "group_filter",
    "group_objectclass",
    "group_id_attribute",
    "group_name_attribute",
    "group_members_are_ids",
    "group_member_attribute",
    "group_desc_attribute",
    "group_attribute_ignore",
    "group_additional_attribute_mapping",
    "tls_cacertfile",
    "tls_cacertdir",
    "use_tls",
    "tls_req_cert",
    "use_pool",
    "pool_size",
    "pool_retry_max",
    "query_scope",
    "alias_dereferencing",
];

/// What there is to be set, with what holds if nothing is.
pub fn defaults() -> Options {
    let identity = BTreeMap::from([
        ("driver".to_owned(), json!("sql")),
        ("list_limit".to_owned(), Value::Null),
    ]);
    let ldap = LDAP
        .iter()
        .filter(|name| **name != "password")
        .map(|name| ((*name).to_owned(), Value::Null))
        .collect();
    Options::from([("identity".to_owned(), identity), ("ldap".to_owned(), ldap)])
}

fn is_known(group: &str, option: &str) -> bool {
    match group {
        "identity" => matches!(option, "driver" | "list_limit"),
        "ldap" => LDAP.contains(&option),
        _ => false,
    }
}

fn check(options: &Options) -> Result<(), Refusal> {
    let wrong = |reason: String| {
        Refusal::forbidden(format!("Invalid domain specific configuration: {reason}."))
    };
    if options.values().all(BTreeMap::is_empty) {
        return Err(wrong("no options specified".to_owned()));
    }
    for (group, values) in options {
        for (option, value) in values {
            if !is_known(group, option) {
                return Err(wrong(format!(
                    "there is no option {option} in group {group}"
                )));
            }
            if value.is_object() || value.is_array() {
                return Err(wrong(format!(
                    "option {option} in group {group} is a text, a number or a truth value"
                )));
            }
        }
    }
    Ok(())
}

/// What of a configuration is meant: all of it, a group, or one option.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    All,
    Group(&'a str),
    Option(&'a str, &'a str),
}

impl Part<'_> {
    /// Only this part; 404 if it is empty.
    pub fn of(&self, options: &Options) -> Result<Options, Refusal> {
        let mut part = options.clone();
        part.retain(|group, values| {
            values.retain(|option, _| self.holds(group, option));
            !values.is_empty()
        });
        if part.is_empty() {
            Err(self.absent())
        } else {
            Ok(part)
        }
    }

    fn holds(&self, group: &str, option: &str) -> bool {
        match self {
            Self::All => true,
            Self::Group(wanted) => *wanted == group,
            Self::Option(wanted, name) => *wanted == group && *name == option,
        }
    }

    fn absent(&self) -> Refusal {
        let what = match self {
            Self::All => "any option".to_owned(),
            Self::Group(group) => format!("group {group}"),
            Self::Option(group, option) => format!("option {option} in group {group}"),
        };
        Refusal::not_found(format!(
            "Could not find {what} in the domain configuration."
        ))
    }
}

/// What is shown: never a password.
fn shown(mut options: Options) -> Options {
    if let Some(ldap) = options.get_mut("ldap") {
        ldap.remove("password");
    }
    options
}

impl Iam {
    pub async fn domain_config(
        &self,
        actor: &Actor,
        domain: &DomainId,
        part: Part<'_>,
    ) -> Result<Options, Failure> {
        self.policy
            .check(actor, action::DOMAIN_CONFIG_READ, &Target::domain(domain))?;
        let found = record::get::<DomainConfig>(&mut self.read().await?, domain).await?;
        Ok(part.of(&shown(found.ok_or_else(|| part.absent())?.options))?)
    }

    /// Puts a whole configuration in place. True if there was none.
    pub async fn put_domain_config(
        &self,
        actor: &Actor,
        domain: &DomainId,
        options: Options,
    ) -> Result<(Options, bool), Failure> {
        self.policy
            .check(actor, action::DOMAIN_CONFIG_WRITE, &Target::domain(domain))?;
        check(&options)?;
        let mut change = self.change().await?;
        domain::existing(&mut change, domain).await?;
        let config = DomainConfig {
            domain_id: domain.clone(),
            options,
        };
        let is_new = !record::update(&mut change, &config).await?;
        if is_new {
            record::insert(&mut change, &config).await?;
        }
        change.commit().await?;
        Ok((shown(config.options), is_new))
    }

    /// Changes options of a part that is there. Gives the whole configuration.
    pub async fn update_domain_config(
        &self,
        actor: &Actor,
        domain: &DomainId,
        part: Part<'_>,
        options: Options,
    ) -> Result<Options, Failure> {
        self.policy
            .check(actor, action::DOMAIN_CONFIG_WRITE, &Target::domain(domain))?;
        check(&options)?;
        let outside = options
            .iter()
            .any(|(group, values)| values.keys().any(|option| !part.holds(group, option)));
        if outside {
            return Err(Refusal::forbidden(
                "Invalid domain specific configuration: the body names options outside the group or option of the path.",
            )
            .into());
        }
        let mut change = self.change().await?;
        let found = record::lock::<DomainConfig>(&mut change, domain).await?;
        let mut config = found.ok_or_else(|| part.absent())?;
        if !matches!(part, Part::All) {
            part.of(&config.options)?;
        }
        for (group, values) in options {
            config.options.entry(group).or_default().extend(values);
        }
        record::update(&mut change, &config).await?;
        change.commit().await?;
        Ok(shown(config.options))
    }

    pub async fn delete_domain_config(
        &self,
        actor: &Actor,
        domain: &DomainId,
        part: Part<'_>,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::DOMAIN_CONFIG_WRITE, &Target::domain(domain))?;
        let mut change = self.change().await?;
        let found = record::lock::<DomainConfig>(&mut change, domain).await?;
        let mut config = found.ok_or_else(|| part.absent())?;
        part.of(&config.options)?;
        config.options.retain(|group, values| {
            values.retain(|option, _| !part.holds(group, option));
            !values.is_empty()
        });
        if config.options.is_empty() {
            record::delete::<DomainConfig>(&mut change, domain).await?;
        } else {
            record::update(&mut change, &config).await?;
        }
        change.commit().await
    }
}
