//! Choosing a node: for an allocation, or for an instance that is a whole server.

use corten_engine::StepError;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState;
use corten_store::metal::node::Node;
use corten_store::record::Direction;
use corten_store::{Query, Tx, record};
use std::collections::{BTreeMap, BTreeSet};

/// So many rows are read at a time.
const PAGE: i64 = 32;

/// What a node must be.
#[derive(Debug, Clone, Default)]
pub struct Need {
    pub resource_class: Option<String>,
    pub traits: BTreeSet<String>,
    /// The project that it is for: nodes of other owners do not fit.
    pub owner: Option<String>,
    /// Only one of these; empty for any.
    pub candidates: Vec<NodeId>,
}

/// A resource class as Placement writes it: `bm.small` is `CUSTOM_BM_SMALL`.
pub fn custom_class(class: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let upper: String = class.chars().map(word).collect();
    match upper.strip_prefix("CUSTOM_") {
        Some(_) => upper,
        None => format!("CUSTOM_{upper}"),
    }
}

/// The first node that fits, locked, or how many each rule dropped.
pub async fn choose(tx: &mut Tx, need: &Need) -> Result<Result<Node, String>, StepError> {
    match free(tx, need).await? {
        Some(node) => Ok(Ok(node)),
        None => Ok(Err(why_none(tx, need).await?)),
    }
}

/// The nodes to choose from, oldest first.
fn candidates(need: &Need) -> Query<Node> {
    let query = Query::<Node>::new().order_by("created_at", Direction::Ascending);
    if need.candidates.is_empty() {
        return query;
    }
    let ids = need.candidates.iter().map(ToString::to_string);
    query.any_of("id", ids)
}

/// The rows of a large fleet are not all read for the one that is wanted.
async fn free(tx: &mut Tx, need: &Need) -> Result<Option<Node>, StepError> {
    let mut last: Option<Node> = None;
    loop {
        let mut query = candidates(need)
            .equals("provision_state", ProvisionState::Available.as_str())
            .equals("maintenance", false)
            .equals("instance_id", "")
            .equals("allocation_id", "")
            .limit(PAGE);
        if let Some(last) = &last {
            query = query.after(last);
        }
        let page = query.all(tx).await?;
        for found in page.iter().filter(|node| misfit(node, need).is_none()) {
            if let Some(node) = record::lock::<Node>(tx, found.id).await?
                && misfit(&node, need).is_none()
            {
                return Ok(Some(node));
            }
        }
        last = page.into_iter().next_back();
        if last.is_none() {
            return Ok(None);
        }
    }
}

/// How many each rule dropped.
async fn why_none(tx: &mut Tx, need: &Need) -> Result<String, StepError> {
    let mut dropped: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
    for found in candidates(need).all(tx).await? {
        let name = found.name.clone().unwrap_or_else(|| found.id.to_string());
        let rule = misfit(&found, need).unwrap_or("was taken meanwhile");
        dropped.entry(rule).or_insert((0, name)).0 += 1;
    }
    let dropped: Vec<String> = dropped
        .into_iter()
        .map(|(rule, (count, example))| format!("{count} {rule} (for example {example})"))
        .collect();
    let why = if dropped.is_empty() {
        "there is no node".to_owned()
    } else {
        dropped.join("; ")
    };
    let traits: Vec<&str> = need.traits.iter().map(String::as_str).collect();
    let traits = if traits.is_empty() {
        String::new()
    } else {
        format!(" and the traits {}", traits.join(", "))
    };
    Ok(format!(
        "No node fits the resource class {}{traits}: {why}. A node is free once it is provided and carries no instance.",
        need.resource_class.as_deref().unwrap_or_default(),
    ))
}

/// The rule that drops a node.
fn misfit(node: &Node, need: &Need) -> Option<&'static str> {
    let class = |class: &Option<String>| class.as_deref().map(custom_class);
    if class(&node.resource_class) != class(&need.resource_class) {
        return Some("of another resource class");
    }
    if !need.traits.is_subset(&node.traits) {
        return Some("without the traits");
    }
    if node.instance_id.is_some() {
        return Some("in use by an instance");
    }
    if node.provision.state != ProvisionState::Available {
        return Some("not available");
    }
    if node.maintenance {
        return Some("in maintenance");
    }
    if node.allocation_id.is_some() {
        return Some("allocated already");
    }
    if node.power.seen.is_none() {
        return Some("of unknown power");
    }
    let stranger = node.owner.is_some() && need.owner.is_some() && node.owner != need.owner;
    if stranger {
        return Some("of another owner");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::custom_class;

    #[test]
    fn a_class_is_known_by_its_name_and_by_placements() {
        assert_eq!(custom_class("bm.small"), "CUSTOM_BM_SMALL");
        assert_eq!(custom_class("CUSTOM_BM_SMALL"), "CUSTOM_BM_SMALL");
        assert_eq!(custom_class("custom-gpu"), "CUSTOM_GPU");
    }
}
