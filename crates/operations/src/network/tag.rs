//! Tags: words that an owner puts on any resource, to find it by.

use super::access::{self, Access, lock};
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::{Failure, record};
use std::collections::BTreeSet;

/// As many as Neutron keeps on one resource, and their length in characters.
const TAGS_MAX: usize = 50;
const TAG_MAX: usize = 255;

fn checked(tags: &BTreeSet<String>) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX {
        return Err(Refusal::invalid(format!(
            "Invalid input for tags. Reason: {} are too many: a resource has at most {TAGS_MAX}.",
            tags.len()
        )));
    }
    let is_wrong = |tag: &&String| tag.is_empty() || tag.chars().count() > TAG_MAX;
    match tags.iter().find(is_wrong) {
        None => Ok(()),
        Some(tag) => Err(Refusal::invalid(format!(
            "Invalid input for tags. Reason: '{tag}' is not 1 to {TAG_MAX} characters long."
        ))),
    }
}

/// The tags of a resource that the actor sees.
pub async fn list<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
) -> Result<BTreeSet<String>, Failure> {
    let mut tx = cx.store.read().await?;
    let resource = access::get::<T>(cx, actor, &mut tx, id).await?;
    Ok(resource.standard().tags.clone())
}

/// Whether a resource has a tag: 404 if not.
pub async fn check<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
    tag: &str,
) -> Result<(), Failure> {
    let tags = list::<T>(cx, actor, id).await?;
    if tags.contains(tag) {
        return Ok(());
    }
    Err(no_tag(tag).into())
}

fn no_tag(tag: &str) -> Refusal {
    Refusal::not_found(format!("Tag {tag} could not be found.")).named("TagNotFound")
}

/// Changes the tags of a resource and answers with what they are now.
async fn change<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
    change: impl FnOnce(&mut BTreeSet<String>) -> Result<(), Refusal> + Send,
) -> Result<BTreeSet<String>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut resource = lock::<T>(cx, actor, &mut tx, id).await?;
    let before = resource.standard().tags.clone();
    let mut tags = before.clone();
    change(&mut tags)?;
    checked(&tags)?;
    if tags != before {
        let standard = resource.standard_mut();
        standard.tags = tags.clone();
        standard.touch(cx.now());
        record::update(&mut tx, &resource).await?;
        tx.commit().await?;
    }
    Ok(tags)
}

pub async fn replace<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
    tags: BTreeSet<String>,
) -> Result<BTreeSet<String>, Failure> {
    change::<T>(cx, actor, id, |present| {
        *present = tags;
        Ok(())
    })
    .await
}

pub async fn add<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
    tag: String,
) -> Result<BTreeSet<String>, Failure> {
    change::<T>(cx, actor, id, |present| {
        present.insert(tag);
        Ok(())
    })
    .await
}

pub async fn remove<T: Access>(
    cx: &Context,
    actor: &Actor,
    id: &str,
    tag: &str,
) -> Result<BTreeSet<String>, Failure> {
    change::<T>(cx, actor, id, |present| {
        if present.remove(tag) {
            Ok(())
        } else {
            Err(no_tag(tag))
        }
    })
    .await
}
