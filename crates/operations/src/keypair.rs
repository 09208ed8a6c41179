//! Key pairs: making, importing, and who may take one away.

use crate::context::Context;
use crate::{public_key, quota};
use corten_iam::action::compute::{
    KEYPAIRS_CREATE, KEYPAIRS_DELETE, KEYPAIRS_MANAGE, KEYPAIRS_READ,
};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::UserId;
use corten_model::refusal::Refusal;
use corten_store::keypairs::{self, KeyKind, KeyPair};
use corten_store::{Error, Failure, record, sequences};

/// A key pair to be made (no public key given) or imported.
#[derive(Debug, Clone)]
pub struct NewKeyPair {
    /// `None` means the actor.
    pub user_id: Option<UserId>,
    pub name: String,
    pub kind: KeyKind,
    pub public_key: Option<String>,
}

/// A key pair and, if it was made here, its private half: this is the only time anybody sees it (K131, K135).
#[derive(Debug)]
pub struct Created {
    pub key_pair: KeyPair,
    pub private_key: Option<String>,
}

fn missing(name: &str, user: &UserId) -> Refusal {
    Refusal::not_found(format!("Keypair {name} not found for user {user}"))
}

pub async fn create(cx: &Context, actor: &Actor, new: NewKeyPair) -> Result<Created, Failure> {
    let NewKeyPair {
        user_id,
        name,
        kind,
        public_key,
    } = new;
    let user_id = user_id.unwrap_or_else(|| actor.user_id.clone());
    cx.policy
        .check(actor, KEYPAIRS_CREATE, &Target::user(&user_id))?;
    // A reader of a project only looks at key pairs (K121).
    if let Some(project) = actor.project_id() {
        cx.policy
            .check(actor, KEYPAIRS_MANAGE, &Target::project(project))?;
    }
    // Before the key is made, which takes a while, and again with the row.
    quota::check_key_pairs(cx, &mut cx.store.read().await?, actor, &user_id).await?;
    let made = match public_key {
        Some(text) => public_key::import(kind, &text)?,
        None => {
            let owner = user_id.clone();
            tokio::task::spawn_blocking(move || public_key::generate(kind, &owner))
                .await
                .map_err(|source| Failure::outside("making a key", source))??
        }
    };
    let mut tx = cx.store.write().await?;
    quota::check_key_pairs(cx, &mut tx, actor, &user_id).await?;
    let key_pair = KeyPair {
        number: sequences::next(&mut tx, "key_pairs").await?,
        user_id,
        name,
        kind,
        public_key: made.public_key,
        fingerprint: made.fingerprint,
        created_by: actor.user_id.clone(),
        created_at: cx.now(),
    };
    record::insert(&mut tx, &key_pair)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::from(Refusal::conflict(format!(
                "Key pair '{}' already exists.",
                key_pair.name
            ))),
            other => other.into(),
        })?;
    tx.commit().await?;
    Ok(Created {
        key_pair,
        private_key: made.private_key,
    })
}

/// One of a user's key pairs; the actor's own if no user is named.
pub async fn show(
    cx: &Context,
    actor: &Actor,
    user: Option<UserId>,
    name: &str,
) -> Result<KeyPair, Failure> {
    let user = user.unwrap_or_else(|| actor.user_id.clone());
    cx.policy
        .check(actor, KEYPAIRS_READ, &Target::user(&user))?;
    let found = record::get(&mut cx.store.read().await?, KeyPair::key(&user, name)).await?;
    Ok(found.ok_or_else(|| missing(name, &user))?)
}

/// A page of a user's key pairs, by name.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    user: Option<UserId>,
    marker: Option<&str>,
    limit: usize,
) -> Result<Vec<KeyPair>, Failure> {
    let user = user.unwrap_or_else(|| actor.user_id.clone());
    cx.policy
        .check(actor, KEYPAIRS_READ, &Target::user(&user))?;
    let mut tx = cx.store.read().await?;
    let marker = match marker {
        None => None,
        Some(name) => Some(
            record::get::<KeyPair>(&mut tx, KeyPair::key(&user, name))
                .await?
                .ok_or_else(|| Refusal::invalid(format!("Marker {name} could not be found.")))?,
        ),
    };
    Ok(keypairs::page(&mut tx, &user, marker.as_ref(), limit as i64).await?)
}

/// Only who made it, or the user it belongs to, may delete a key pair; an administrator may not (K130). Servers that
/// have it keep it (K135).
pub async fn delete(
    cx: &Context,
    actor: &Actor,
    user: Option<UserId>,
    name: &str,
) -> Result<(), Failure> {
    let user = user.unwrap_or_else(|| actor.user_id.clone());
    let mut tx = cx.store.write().await?;
    let key_pair = record::lock::<KeyPair>(&mut tx, KeyPair::key(&user, name)).await?;
    let target = match &key_pair {
        Some(key_pair) if key_pair.created_by == actor.user_id => {
            Target::user(&key_pair.created_by)
        }
        _ => Target::user(&user),
    };
    cx.policy
        .check_hidden(actor, KEYPAIRS_DELETE, KEYPAIRS_READ, &target, || {
            missing(name, &user)
        })?;
    if key_pair.is_none() {
        return Err(missing(name, &user).into());
    }
    record::delete::<KeyPair>(&mut tx, KeyPair::key(&user, name)).await?;
    tx.commit().await?;
    Ok(())
}
