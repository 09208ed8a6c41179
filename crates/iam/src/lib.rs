//! Identity: who is asking, what they are scoped to, and whether they may. Keystone v3's rules.
//!
//! * [`Iam`] is the door: [`Iam::authenticate`](authenticate) gives tokens, [`Iam::validate`](validate) reads them.
//! * [`actor`] is the answer to "who": what a validated token says.
//! * [`policy`] is the answer to "may they": Cedar policies over the actor, an [`action::Action`] and a
//!   [`policy::Target`]. The decision is made next to the row, in the function that touches it.
//! * Each resource has a file of its own, with the same name as in the store and in the API.

mod access;
pub mod access_rule;
pub mod action;
pub mod actor;
pub mod application_credential;
pub mod assignment;
pub mod authenticate;
pub mod bootstrap;
mod cache;
pub mod catalog;
pub mod config;
pub mod consumer;
pub mod credential;
mod decisions;
pub mod domain;
pub mod domain_config;
pub mod endpoint;
pub mod endpoint_filter;
pub mod group;
pub mod keys;
pub mod limit;
mod naming;
mod password;
pub mod policy;
pub mod policy_blob;
pub mod policy_source;
pub mod project;
pub mod region;
pub mod registered_limit;
pub mod role;
mod role_book;
pub mod service;
pub mod token;
pub mod trust;
pub mod user;
pub mod validate;
mod view;

pub use config::IamConfig;
pub use view::{
    ApplicationCredentialView, ProjectView, Reference, ScopeView, TokenView, TrustView, UserView,
};

use cache::Cache;
use corten_model::time::Timestamp;
use corten_store::identity::bump_generation;
use corten_store::{Failure, Store, Tx};
use keys::KeyRing;
use password::{Hasher, Rules};
use policy::Policy;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::SystemTime;

/// Identity that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Keys(#[from] keys::KeyError),
    #[error(transparent)]
    Policy(#[from] policy_source::PolicyError),
    #[error("the password hash cannot be computed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Tells the time; a test's own can be set.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Identity, on one store.
pub struct Iam {
    store: Store,
    config: IamConfig,
    token_keys: KeyRing,
    credential_keys: KeyRing,
    policy: Arc<Policy>,
    hasher: Hasher,
    rules: Rules,
    cache: Cache,
    clock: Clock,
}

impl Iam {
    /// Opens identity: reads or makes the keys, compiles the policies, checks the settings.
    pub async fn open(store: Store, config: IamConfig) -> Result<Self, OpenError> {
        Self::open_with_clock(store, config, Arc::new(system_now)).await
    }

    /// The same with a clock of the caller's.
    pub async fn open_with_clock(
        store: Store,
        config: IamConfig,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let regex = config.check()?;
        let policy = match &config.policy_directory {
            Some(directory) => Policy::from_directory(directory)?,
            None => Policy::shipped()?,
        };
        Ok(Self {
            store,
            token_keys: KeyRing::open(
                &config.key_directory.join("tokens"),
                config.max_active_keys,
            )?,
            credential_keys: KeyRing::open(
                &config.key_directory.join("credentials"),
                config.max_active_keys,
            )?,
            policy: Arc::new(policy),
            hasher: Hasher::new().map_err(OpenError::Hash)?,
            rules: Rules::new(&config, regex),
            cache: Cache::default(),
            clock,
            config,
        })
    }

    /// The policies in force, for the floors that check their own rows.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.clone()
    }

    pub fn config(&self) -> &IamConfig {
        &self.config
    }

    /// Makes the staged token key the primary and stages a new one. Tokens that are out stay valid until their key is
    /// rotated away, so rotate no more often than a token's lifetime divided by the number of secondary keys.
    pub fn rotate_keys(&self) -> Result<(), keys::KeyError> {
        self.token_keys.rotate()
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn read(&self) -> Result<Tx, Failure> {
        Ok(self.store.read().await?)
    }

    async fn change(&self) -> Result<Change, Failure> {
        Ok(Change(self.store.write().await?))
    }
}

fn system_now() -> Timestamp {
    let elapsed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(elapsed.as_micros().min(i64::MAX as u128) as i64)
}

/// A transaction that changes identity. Its commit raises the generation, so no replica goes on with what it remembers.
struct Change(Tx);

impl Change {
    async fn commit(mut self) -> Result<(), Failure> {
        bump_generation(&mut self.0).await?;
        Ok(self.0.commit().await?)
    }
}

impl Deref for Change {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.0
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.0
    }
}
