//! Inspection rules: what is done to a node when its inspection ends, if what was found meets conditions.
//!
//! ```text
//!  written down ─▶ read (what this cloud cannot do is refused) ─▶ row; of a sensitive rule sealed
//!  inspection ends ─▶ rules by priority ─▶ conditions ─▶ actions, in memory ─▶ node and ports, in one transaction
//! ```
//!
//! A rule that cannot be applied ends the inspection, with its name and the cause as the node's last error.

mod action;
mod args;
mod attribute;
mod condition;
mod subject;
mod text;

use super::access::{self, Ident, Narrow, Page};
use super::vault::Vault;
use super::{node_rules, port, rotate_key, secrets, traits};
use crate::context::Context;
use action::{Action, Stop};
use condition::Condition;
use corten_iam::action::baremetal::{INSPECTION_RULES_READ, INSPECTION_RULES_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InspectionRuleId, NodeId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::inspection_rule::{InspectionRule, MAIN, of_phase};
use corten_store::metal::node::Node;
use corten_store::metal::port::of_node;
use corten_store::{Failure, Query, Tx, record};
use serde_json::Value;
use subject::Subject;

const PRIORITY_MAX: i64 = 9999;
const DESCRIPTION_MAX: usize = 255;
/// The place of a sealed rule: what is sealed is bound to it and to the rule's id.
const PLACE: &str = "inspection_rule";

fn check(rule: &InspectionRule) -> Result<(), Refusal> {
    if rule.phase != MAIN {
        return Err(Refusal::invalid(format!(
            "Invalid phase: {}. Valid phases are: {MAIN}.",
            rule.phase
        )));
    }
    if !(0..=PRIORITY_MAX).contains(&rule.priority) {
        return Err(Refusal::invalid(format!(
            "The priority of an inspection rule is {}: it must be between 0 and {PRIORITY_MAX}.",
            rule.priority
        )));
    }
    let length = rule.description.as_deref().unwrap_or_default().chars();
    if length.count() > DESCRIPTION_MAX {
        return Err(Refusal::invalid(format!(
            "The description of an inspection rule has more than {DESCRIPTION_MAX} characters: shorten it."
        )));
    }
    if rule.actions.is_empty() {
        return Err(Refusal::invalid(
            "No actions specified. There must be at least one.",
        ));
    }
    for condition in &rule.conditions {
        Condition::read(condition).map_err(|why| {
            Refusal::invalid(format!("Invalid condition of an inspection rule: {why}."))
        })?;
    }
    for action in &rule.actions {
        Action::read(action).map_err(|why| {
            Refusal::invalid(format!("Invalid action of an inspection rule: {why}."))
        })?;
    }
    Ok(())
}

/// Sealed values are bound to an id, whatever it is of.
fn bound(id: InspectionRuleId) -> NodeId {
    NodeId(id.0)
}

/// The rule as its row holds it: what is sensitive is sealed.
async fn row(cx: &Context, tx: &mut Tx, rule: &InspectionRule) -> Result<InspectionRule, Failure> {
    let mut row = rule.clone();
    row.sealed = None;
    if rule.sensitive {
        let open = serde_json::json!([rule.conditions, rule.actions]).to_string();
        let key = rotate_key::sealing_key(tx).await?;
        let vault = &cx.metal.vault;
        let sealed = vault.seal(key.as_deref(), bound(rule.id), PLACE, &open);
        row.sealed = Some(sealed.map_err(unsealable)?);
        row.conditions = Vec::new();
        row.actions = Vec::new();
    }
    Ok(row)
}

fn unsealable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::outside("sealing or opening an inspection rule", error)
}

/// The rule with its conditions and actions.
fn opened(cx: &Context, mut rule: InspectionRule) -> Result<InspectionRule, Failure> {
    if let Some(sealed) = rule.sealed.take() {
        let open = cx.metal.vault.unseal(bound(rule.id), PLACE, &sealed);
        let open = open.map_err(unsealable)?;
        (rule.conditions, rule.actions) = serde_json::from_str(&open).map_err(unsealable)?;
    }
    Ok(rule)
}

/// Whether what is sealed of a rule is sealed under this key.
pub(super) fn is_sealed_under(key: &str, rule: &InspectionRule) -> bool {
    let sealed = rule.sealed.as_deref();
    sealed.is_none_or(|sealed| super::vault::key_of(sealed) == Some(key))
}

/// Seals a rule anew under this key.
pub(super) fn seal_anew(
    vault: &Vault,
    key: &str,
    rule: &mut InspectionRule,
) -> Result<(), super::vault::VaultError> {
    if let Some(sealed) = &mut rule.sealed {
        let open = vault.unseal(bound(rule.id), PLACE, sealed)?;
        *sealed = vault.seal(Some(key), bound(rule.id), PLACE, &open)?;
    }
    Ok(())
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    rule: InspectionRule,
) -> Result<InspectionRule, Failure> {
    may_write(cx, actor)?;
    check(&rule)?;
    let mut tx = cx.store.write().await?;
    let row = row(cx, &mut tx, &rule).await?;
    access::insert(&mut tx, &row, "inspection rule").await?;
    tx.commit().await?;
    Ok(rule)
}

/// Rules as their rows hold them: of sensitive ones without conditions and actions.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<InspectionRule>, Failure> {
    may_read(cx, actor)?;
    access::page(&mut cx.store.read().await?, Query::new(), narrow, page).await
}

/// The same for one.
pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<InspectionRule, Failure> {
    may_read(cx, actor)?;
    access::get(&mut cx.store.read().await?, ident).await
}

/// Changes a rule. `edit` gets it with its conditions and actions, also if it is sensitive.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&InspectionRule) -> Result<InspectionRule, Refusal> + Send,
) -> Result<InspectionRule, Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    let named = access::get::<InspectionRule>(&mut tx, ident).await?;
    let before = record::lock::<InspectionRule>(&mut tx, named.id)
        .await?
        .ok_or_else(|| access::missing::<InspectionRule>(&ident.text))?;
    let before = opened(cx, before)?;
    let mut rule = edit(&before)?;
    if before.sensitive && !rule.sensitive {
        return Err(Refusal::invalid(
            "Inspection rules cannot have the sensitive flag unset: delete the rule, and write it down anew.",
        )
        .into());
    }
    check(&rule)?;
    rule.standard.updated_at = Some(cx.now());
    let row = row(cx, &mut tx, &rule).await?;
    record::update(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(rule)
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    let rule = access::get::<InspectionRule>(&mut tx, ident).await?;
    record::delete::<InspectionRule>(&mut tx, rule.id).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes every rule.
pub async fn delete_all(cx: &Context, actor: &Actor) -> Result<(), Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    Query::<InspectionRule>::new().delete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

fn may_read(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, INSPECTION_RULES_READ, &Target::cloud())
}

/// Whether an actor may write rules down.
pub fn may_write(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, INSPECTION_RULES_WRITE, &Target::cloud())
}

/// Applies all rules to a node whose inspection ends, in the transaction that writes what was found.
pub(super) async fn apply(
    cx: &Context,
    tx: &mut Tx,
    node: &mut Node,
    now: Timestamp,
) -> Result<(), Failure> {
    let rules = of_phase(tx, MAIN).await?;
    if rules.is_empty() {
        return Ok(());
    }
    let mut subject = Subject::new(node.clone(), of_node(tx, node.id).await?);
    for rule in rules {
        let rule = opened(cx, rule)?;
        match subject.apply(&rule, &cx.metal) {
            Ok(true) => tracing::info!(node = %node.id, rule = %rule.id, "inspection rule applied"),
            Ok(false) => {}
            Err(stop) => return Err(ended_by(&rule, stop).into()),
        }
    }
    let changed = subject.changed_ports.clone();
    let Subject {
        node: mut after,
        ports,
        plugin_data,
        ..
    } = subject;
    seal_secrets(cx, tx, &mut after).await?;
    node_rules::check_values(&after)?;
    traits::check_count(&after)?;
    after.inspection.plugin_data = Some(Value::Object(plugin_data));
    *node = after;
    for mut port in ports {
        if changed.contains(&port.id) {
            port::check_group(tx, &port).await?;
            port.standard.updated_at = Some(now);
            record::update(tx, &port).await?;
        }
    }
    Ok(())
}

/// What a node's last error says of a rule that ended its inspection.
fn ended_by(rule: &InspectionRule, stop: Stop) -> Refusal {
    let named = match &rule.description {
        Some(description) => format!("{} ({description})", rule.id),
        None => rule.id.to_string(),
    };
    Refusal::invalid(match stop {
        Stop::Asked(message) => format!("Inspection rule {named} ended the inspection: {message}"),
        // Its values are shown to nobody.
        Stop::Trouble(_) if rule.sensitive => format!(
            "Inspection rule {named} could not be applied. It is sensitive, so the cause is not shown: try it without."
        ),
        Stop::Trouble(why) => format!("Inspection rule {named} could not be applied: {why}."),
    })
}

/// Secrets that rules wrote leave the node's open values.
async fn seal_secrets(cx: &Context, tx: &mut Tx, node: &mut Node) -> Result<(), Failure> {
    let mut found = Vec::new();
    for (name, object) in [
        ("driver_info", &mut node.driver_info),
        ("instance_info", &mut node.instance_info),
    ] {
        object.retain(|key, value| {
            let is_secret = !value.is_null() && secrets::is_secret(key, value);
            if is_secret {
                found.push((format!("{name}/{key}"), value.to_string()));
            }
            !is_secret
        });
    }
    if !found.is_empty() {
        let key = rotate_key::sealing_key(tx).await?;
        for (place, secret) in found {
            let vault = &cx.metal.vault;
            let sealed = vault.seal(key.as_deref(), node.id, &place, &secret);
            let sealed = sealed.map_err(|error| Failure::outside("sealing a secret", error))?;
            node.secrets.insert(place, sealed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
