//! `[identity]` of `corten.toml`.

use regex::Regex;
use serde::Deserialize;
use std::path::PathBuf;

/// How identity behaves. Every field has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IamConfig {
    /// Where the token and credential keys are kept; made if absent, readable by the owner only.
    pub key_directory: PathBuf,
    /// Token keys kept at a time: one staged, one primary, the rest for tokens that are still out. At least 3.
    pub max_active_keys: usize,
    pub token_lifetime_secs: u64,
    /// Wrong passwords in a row after which an account is locked; 0 for never.
    pub lockout_failure_attempts: u32,
    /// How long an account stays locked; 0 until an administrator enables it again.
    pub lockout_duration_secs: u64,
    /// A user cannot take one of this many last passwords, the present one included; 0 allows any.
    pub unique_last_password_count: usize,
    /// Days after which a password must be changed; 0 for never.
    pub password_expires_days: u32,
    /// Days that a user must keep a password before changing it again.
    pub minimum_password_age_days: u32,
    /// What a password must match.
    pub password_regex: Option<String>,
    /// The same in words, for the people who choose passwords.
    pub password_regex_description: Option<String>,
    /// A password that an administrator set must be changed before it is good for a token.
    pub change_password_upon_first_use: bool,
    /// A directory of `*.cedar` files that take the place of the policies shipped with Corten.
    pub policy_directory: Option<PathBuf>,
}

impl Default for IamConfig {
    fn default() -> Self {
        Self {
            key_directory: PathBuf::from("identity-keys"),
            max_active_keys: 3,
            token_lifetime_secs: 3600,
            lockout_failure_attempts: 10,
            lockout_duration_secs: 300,
            unique_last_password_count: 0,
            password_expires_days: 0,
            minimum_password_age_days: 0,
            password_regex: None,
            password_regex_description: None,
            change_password_upon_first_use: false,
            policy_directory: None,
        }
    }
}

/// A setting that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("identity.password_regex '{pattern}' is not a regular expression")]
    PasswordRegex {
        pattern: String,
        #[source]
        source: regex::Error,
    },
    #[error(
        "identity.max_active_keys is {value}; at least 3 are needed: staged, primary and secondary"
    )]
    TooFewKeys { value: usize },
    #[error("identity.token_lifetime_secs is 0; a token must live for at least a second")]
    NoLifetime,
    #[error(
        "identity.minimum_password_age_days ({minimum}) is not below identity.password_expires_days ({expires})"
    )]
    AgeAboveExpiry { minimum: u32, expires: u32 },
}

impl IamConfig {
    /// Checks the settings against each other; gives the compiled password rule.
    pub(crate) fn check(&self) -> Result<Option<Regex>, ConfigError> {
        if self.max_active_keys < 3 {
            return Err(ConfigError::TooFewKeys {
                value: self.max_active_keys,
            });
        }
        if self.token_lifetime_secs == 0 {
            return Err(ConfigError::NoLifetime);
        }
        let (minimum, expires) = (self.minimum_password_age_days, self.password_expires_days);
        if expires > 0 && minimum >= expires {
            return Err(ConfigError::AgeAboveExpiry { minimum, expires });
        }
        let Some(pattern) = &self.password_regex else {
            return Ok(None);
        };
        Regex::new(pattern)
            .map(Some)
            .map_err(|source| ConfigError::PasswordRegex {
                pattern: pattern.clone(),
                source,
            })
    }
}
