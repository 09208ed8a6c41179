//! Traits: what a node is fit for, in words that schedulers compare.

use super::access::{self, Ident};
use crate::context::Context;
use corten_iam::action::baremetal::{NODES_READ, NODES_WRITE};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use std::collections::BTreeSet;

const MOST: usize = 50;
const LENGTH_MAX: usize = 255;

/// Whether a word is a trait: one that a cloud made up, `CUSTOM_…`, or a standard one by its form.
pub fn is_trait(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let prefixes = [
        "CUSTOM_", "HW_", "COMPUTE_", "STORAGE_", "MISC_", "OWNER_", "HOST_", "NETWORK_",
    ];
    word.len() <= LENGTH_MAX
        && word.chars().all(legal)
        && prefixes
            .iter()
            .any(|prefix| word.len() > prefix.len() && word.starts_with(prefix))
}

pub fn check(word: &str) -> Result<(), Refusal> {
    if is_trait(word) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "'{word}' is no trait: a trait is up to {LENGTH_MAX} capital letters, digits and '_', and a standard one or one that begins with CUSTOM_."
    )))
}

pub async fn list(cx: &Context, actor: &Actor, ident: &Ident) -> Result<BTreeSet<String>, Failure> {
    let mut tx = cx.store.read().await?;
    Ok(access::node(cx, actor, &mut tx, ident, NODES_READ)
        .await?
        .traits)
}

/// Refuses more traits than a node can have.
pub(super) fn check_count(node: &Node) -> Result<(), Refusal> {
    let count = node.traits.len();
    if count <= MOST {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Error setting traits for node {}: it would have {count} of them, and at most {MOST} are kept.",
        node.id
    )))
}

async fn change(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    change: impl FnOnce(&mut Node) -> Result<(), Refusal> + Send,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node(cx, actor, &mut tx, ident, NODES_WRITE).await?;
    change(&mut node)?;
    check_count(&node)?;
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    tx.commit().await?;
    Ok(())
}

pub async fn set(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    traits: BTreeSet<String>,
) -> Result<(), Failure> {
    change(cx, actor, ident, |node| {
        traits.iter().try_for_each(|word| check(word))?;
        node.traits = traits;
        Ok(())
    })
    .await
}

pub async fn add(cx: &Context, actor: &Actor, ident: &Ident, word: String) -> Result<(), Failure> {
    change(cx, actor, ident, |node| {
        check(&word)?;
        node.traits.insert(word);
        Ok(())
    })
    .await
}

pub async fn remove(cx: &Context, actor: &Actor, ident: &Ident, word: &str) -> Result<(), Failure> {
    change(cx, actor, ident, |node| {
        if node.traits.remove(word) {
            return Ok(());
        }
        Err(Refusal::not_found(format!(
            "Node {} doesn't have a trait '{word}'.",
            node.id
        )))
    })
    .await
}

pub async fn clear(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    change(cx, actor, ident, |node| {
        node.traits.clear();
        Ok(())
    })
    .await
}
