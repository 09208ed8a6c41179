//! Passwords: the hash, and the rules for choosing one.

use crate::config::IamConfig;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::Failure;
use corten_store::identity::user::{Password, User};
use regex::Regex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The cost of one hash, as OWASP's Password Storage Cheat Sheet gives it for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Longer secrets are refused: hashing them would only cost time.
const MAX_BYTES: usize = 4096;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Hashes off the async threads, a few at a time, so that a flood of log-ins neither stalls the API nor fills memory.
pub struct Hasher {
    permits: Arc<Semaphore>,
    /// A hash of nothing, verified in place of the hash of a user who does not exist.
    decoy: String,
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(MEMORY_KIB, PASSES, LANES, None)?,
    ))
}

fn hash(secret: &str) -> Result<String, argon2::password_hash::Error> {
    use rand::RngCore as _;
    let mut random = [0u8; 16];
    rand::rng().fill_bytes(&mut random);
    let salt = SaltString::encode_b64(&random)?;
    Ok(argon2()?
        .hash_password(secret.as_bytes(), &salt)?
        .to_string())
}

fn verify(secret: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    argon2().is_ok_and(|argon2| argon2.verify_password(secret.as_bytes(), &parsed).is_ok())
}

impl Hasher {
    pub fn new() -> Result<Self, argon2::password_hash::Error> {
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            permits: Arc::new(Semaphore::new(at_once)),
            decoy: hash("")?,
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let doing = "hashing a password";
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| Failure::outside(doing, error))?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|error| Failure::outside(doing, error))
    }

    /// A PHC string.
    pub async fn hash(&self, secret: &str) -> Result<String, Failure> {
        let secret = secret.to_owned();
        self.run(move || hash(&secret))
            .await?
            .map_err(|error| Failure::outside("hashing a password", error.to_string()))
    }

    /// Whether the secret is the one that was hashed. Takes as long when there is no hash to compare with.
    pub async fn verify(&self, secret: &str, hash: Option<&str>) -> Result<bool, Failure> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).to_owned();
        let secret: String = secret.chars().take(MAX_BYTES).collect();
        Ok(self.run(move || verify(&secret, &hash)).await? && known)
    }
}

/// The rules for choosing a password.
pub struct Rules {
    regex: Option<Regex>,
    regex_description: Option<String>,
    unique_last: usize,
    expires_days: u32,
    minimum_age_days: u32,
    change_upon_first_use: bool,
}

impl Rules {
    pub fn new(config: &IamConfig, regex: Option<Regex>) -> Self {
        Self {
            regex,
            regex_description: config.password_regex_description.clone(),
            unique_last: config.unique_last_password_count,
            expires_days: config.password_expires_days,
            minimum_age_days: config.minimum_password_age_days,
            change_upon_first_use: config.change_password_upon_first_use,
        }
    }

    /// Refuses what is not allowed as a password, whoever sets it.
    pub fn check_form(&self, secret: &str) -> Result<(), Refusal> {
        if secret.len() > MAX_BYTES {
            return Err(Refusal::invalid(format!(
                "The password is longer than {MAX_BYTES} bytes."
            )));
        }
        match &self.regex {
            Some(regex) if !regex.is_match(secret) => Err(Refusal::invalid(format!(
                "Password validation error: The password does not match the requirements: {}.",
                self.regex_description.as_deref().unwrap_or(regex.as_str())
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a change that comes too soon after the last one.
    pub fn check_age(&self, user: &User, now: Timestamp) -> Result<(), Refusal> {
        let Some(current) = user.passwords.last() else {
            return Ok(());
        };
        let allowed_at = current.created_at.plus(DAY * self.minimum_age_days);
        if current.self_service && now < allowed_at {
            return Err(Refusal::invalid(format!(
                "Cannot change password before minimum age {} days is met; it can be changed from {}.",
                self.minimum_age_days,
                allowed_at.micros_z()
            )));
        }
        Ok(())
    }

    /// Refuses one of the last passwords.
    pub async fn check_history(
        &self,
        user: &User,
        secret: &str,
        hasher: &Hasher,
    ) -> Result<(), Failure> {
        for old in user.passwords.iter().rev().take(self.unique_last) {
            if hasher.verify(secret, Some(&old.hash)).await? {
                return Err(Refusal::invalid(format!(
                    "Password validation error: The new password cannot be identical to a previous password. The \
                     total number which includes the new password must be unique is {}.",
                    self.unique_last
                ))
                .into());
            }
        }
        Ok(())
    }

    /// Makes this the password in force, keeping as many old ones as the rules look at.
    pub fn put(&self, user: &mut User, hash: String, now: Timestamp, self_service: bool) {
        let options = &user.options;
        let must_change = self.change_upon_first_use
            && !self_service
            && options.ignore_change_password_upon_first_use != Some(true);
        let expires_at = if must_change {
            Some(now)
        } else if self.expires_days > 0 && options.ignore_password_expiry != Some(true) {
            Some(now.plus(DAY * self.expires_days))
        } else {
            None
        };
        user.passwords.push(Password {
            hash,
            created_at: now,
            expires_at,
            self_service,
        });
        let surplus = user.passwords.len().saturating_sub(self.unique_last.max(1));
        user.passwords.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_with_the_costs_of_this_file_and_only_its_secret_matches() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash("s3cret").await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(hasher.verify("s3cret", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("s3cret ", Some(&hash)).await.unwrap());
        assert!(
            !hasher.verify("", None).await.unwrap(),
            "nobody's password is the decoy's"
        );
    }
}
