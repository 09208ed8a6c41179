//! Choosing a node: for an allocation, or for an instance that is a whole server.

use super::inspect_node::architecture;
use corten_engine::StepError;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState;
use corten_store::metal::node::{Node, SUBJECT};
use corten_store::record::Direction;
use corten_store::{Query, Tx, operations, record};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// So many rows are read at a time.
const PAGE: i64 = 32;
/// After so many refusals no other node is asked.
const REFUSALS_MAX: usize = 16;
/// Of so many nodes that refused is told why.
const REFUSALS_TOLD: usize = 3;

/// What a node must be.
#[derive(Debug, Clone, Default)]
pub struct Need {
    pub resource_class: Option<String>,
    pub traits: BTreeSet<String>,
    /// The project that it is for: nodes that other projects own or lease do not fit.
    pub owner: Option<String>,
    /// Only one of these; empty for any.
    pub candidates: Vec<NodeId>,
    /// Of all that fit, the node of this name comes first.
    pub name: Option<String>,
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
    Search::of(need, None).next(tx).await
}

/// A search for one node after the other, until one takes what it is wanted for.
pub struct Search<'a> {
    need: &'a Need,
    /// What the image is for, as `cpu_arch` has it; `None` if it does not say.
    architecture: Option<&'a str>,
    /// Those that fitted and refused, each with its reason.
    refusals: Vec<(NodeId, String)>,
}

impl<'a> Search<'a> {
    pub fn of(need: &'a Need, architecture: Option<&'a str>) -> Self {
        Self {
            need,
            architecture,
            refusals: Vec::new(),
        }
    }

    /// The node that was chosen refused what it was wanted for: it is not chosen again.
    pub fn pass_over(&mut self, node: NodeId, why: String) {
        self.refusals.push((node, why));
    }

    /// The first node that fits, locked, or how many each rule dropped.
    pub async fn next(&self, tx: &mut Tx) -> Result<Result<Node, String>, StepError> {
        match self.free(tx).await? {
            Some(node) => Ok(Ok(node)),
            None => Ok(Err(self.why_none(tx).await?)),
        }
    }

    /// The rows of a large fleet are not all read for the one that is wanted.
    async fn free(&self, tx: &mut Tx) -> Result<Option<Node>, StepError> {
        if let Some(name) = self.need.name.as_deref().filter(|name| !name.is_empty()) {
            let namesake = idle(self.need).equals("name", name).all(tx).await?;
            if let Some(node) = self.first_fit(tx, &namesake).await? {
                return Ok(Some(node));
            }
        }
        let mut last: Option<Node> = None;
        loop {
            if self.is_enough() {
                return Ok(None);
            }
            let mut query = idle(self.need).limit(PAGE);
            if let Some(last) = &last {
                query = query.after(last);
            }
            let page = query.all(tx).await?;
            if let Some(node) = self.first_fit(tx, &page).await? {
                return Ok(Some(node));
            }
            last = page.into_iter().next_back();
            if last.is_none() {
                return Ok(None);
            }
        }
    }

    /// What so many refuse, the others will.
    fn is_enough(&self) -> bool {
        self.refusals.len() >= REFUSALS_MAX
    }

    /// The first of these that fits when it is locked.
    async fn first_fit(&self, tx: &mut Tx, found: &[Node]) -> Result<Option<Node>, StepError> {
        for node in found.iter().filter(|node| self.misfit(node).is_none()) {
            if let Some(node) = record::lock::<Node>(tx, node.id).await?
                && self.misfit_now(tx, &node).await?.is_none()
            {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// How many each rule dropped.
    async fn why_none(&self, tx: &mut Tx) -> Result<String, StepError> {
        let need = self.need;
        let mut dropped: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
        for found in candidates(need).all(tx).await? {
            let name = found.name.clone().unwrap_or_else(|| found.id.to_string());
            let rule = if self.is_enough() {
                self.misfit(&found).unwrap_or("not asked after so many")
            } else {
                let rule = self.misfit_now(tx, &found).await?;
                rule.unwrap_or("was taken meanwhile")
            };
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
            "No node fits the resource class {}{traits}: {why}. {}",
            need.resource_class.as_deref().unwrap_or_default(),
            self.advice(),
        ))
    }

    /// What the first refusals were; without one, when a node is free.
    fn advice(&self) -> String {
        if self.refusals.is_empty() {
            return "A node is free once it is provided and carries no instance.".to_owned();
        }
        let told = self.refusals.iter().take(REFUSALS_TOLD);
        let mut told: Vec<_> = told.map(|(_, why)| why.clone()).collect();
        let more = self.refusals.len() - told.len();
        if more > 0 {
            told.push(format!("{more} more refused it too."));
        }
        told.join(" ")
    }

    /// The rule that drops a node, with what only other rows tell.
    async fn misfit_now(
        &self,
        tx: &mut Tx,
        node: &Node,
    ) -> Result<Option<&'static str>, StepError> {
        if let Some(rule) = self.misfit(node) {
            return Ok(Some(rule));
        }
        let running = operations::running_on(tx, SUBJECT, &node.id.to_string()).await?;
        Ok(running.map(|_| "worked on by an operation"))
    }

    /// The rule that drops a node.
    fn misfit(&self, node: &Node) -> Option<&'static str> {
        let need = self.need;
        let class = |class: &Option<String>| class.as_deref().map(custom_class);
        if class(&node.resource_class) != class(&need.resource_class) {
            return Some("of another resource class");
        }
        if !need.traits.is_subset(&node.traits) {
            return Some("without the traits");
        }
        if let Some(rule) = withheld(node) {
            return Some(rule);
        }
        if is_for_others(node, need) {
            return Some("of another owner or lessee");
        }
        let has = node.properties.get("cpu_arch").and_then(Value::as_str);
        if let (Some(wanted), Some(has)) = (self.architecture, has)
            && architecture(wanted) != architecture(has)
        {
            return Some("of another architecture than the image");
        }
        if self.refusals.iter().any(|(refused, _)| *refused == node.id) {
            return Some("that refused it");
        }
        None
    }
}

/// The rule by which a node is given to nobody, whatever is needed.
pub fn withheld(node: &Node) -> Option<&'static str> {
    if node.instance_id.is_some() {
        return Some("in use by an instance");
    }
    if node.provision.state != ProvisionState::Available {
        return Some("not available");
    }
    if node.maintenance {
        return Some("in maintenance");
    }
    if node.retired {
        return Some("retired");
    }
    if node.allocation_id.is_some() {
        return Some("allocated already");
    }
    node.power.seen.is_none().then_some("of unknown power")
}

/// Whether a node is for other projects: what has an owner or a lessee is for these two, as in Ironic, and what has neither is
/// for everybody.
fn is_for_others(node: &Node, need: &Need) -> bool {
    let parties = [node.owner.as_ref(), node.lessee.as_ref()];
    let has_any = parties.iter().any(Option::is_some);
    need.owner.is_some() && has_any && !parties.contains(&need.owner.as_ref())
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

/// Those of them that look free.
fn idle(need: &Need) -> Query<Node> {
    candidates(need)
        .equals("provision_state", ProvisionState::Available.as_str())
        .equals("maintenance", false)
        .equals("instance_id", "")
        .equals("allocation_id", "")
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
