//! Who sees and who may change a resource, how one is named, and pages of lists.

use crate::context::Context;
use corten_iam::action::Action;
use corten_iam::action::baremetal::{
    EVENTS_POST, NODES_OPERATE, NODES_OPERATE_AS_LESSEE, NODES_PASSTHRU, NODES_READ,
    NODES_READ_ALL, NODES_WRITE,
};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NodeId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::metal::Resource;
use corten_store::metal::node::Node;
use corten_store::record::Direction;
use corten_store::{Error, Failure, Query, Tx, record};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How a request names a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident {
    pub text: String,
    /// Names count too, not ids alone.
    pub by_name: bool,
}

impl Ident {
    pub fn id(id: impl ToString) -> Self {
        Self {
            text: id.to_string(),
            by_name: false,
        }
    }

    fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.text).ok()
    }
}

/// RFC 3986's unreserved characters.
pub fn is_name(text: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    (1..=255).contains(&text.len())
        && text.chars().all(unreserved)
        && Uuid::parse_str(text).is_err()
}

/// Words that stand in addresses where a node's name would: no node can have one of them as its name.
const RESERVED: &[&str] = &[
    "detail",
    "maintenance",
    "management",
    "states",
    "validate",
    "vendor_passthru",
];

/// Refuses a node's new name that an address could not tell from something else.
pub(super) fn check_reserved(name: Option<&str>) -> Result<(), Refusal> {
    match name.filter(|name| RESERVED.contains(name)) {
        Some(name) => Err(Refusal::invalid(format!(
            "The word \"{name}\" is reserved and can not be used as a node name. Reserved words are: {}.",
            RESERVED.join(", ")
        ))),
        None => Ok(()),
    }
}

/// What a list is narrowed to before it is read: columns, each with the values it may have.
#[derive(Debug, Clone, Default)]
pub struct Narrow(pub Vec<(&'static str, Vec<String>)>);

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    Column(&'static str),
    /// A value that is no column, by its place (RFC 6901) in the record as it is kept: `/provision/since`.
    Place(&'static str),
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub marker: Option<Ident>,
    pub limit: usize,
    /// The time of its making by default.
    pub sort: Option<SortBy>,
    pub direction: Direction,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            marker: None,
            limit: 1000,
            sort: None,
            direction: Direction::Ascending,
        }
    }
}

/// The resource that a request names.
pub(crate) async fn find<T: Resource>(tx: &mut Tx, ident: &Ident) -> Result<Option<T>, Failure> {
    if let Some(id) = ident.uuid() {
        return Ok(record::get(tx, id.hyphenated()).await?);
    }
    match T::NAME {
        Some(column) if ident.by_name => {
            let query = Query::new().equals(column, ident.text.as_str());
            Ok(query.first(tx).await?)
        }
        _ => Err(malformed(ident, T::NAME.is_some() && ident.by_name).into()),
    }
}

fn malformed(ident: &Ident, names: bool) -> Refusal {
    let expected = if names { "UUID or name" } else { "UUID" };
    Refusal::invalid(format!(
        "Expected {expected} for ident, got {}.",
        ident.text
    ))
}

pub(crate) fn missing<T: Resource>(ident: impl std::fmt::Display) -> Refusal {
    Refusal::no_such(T::KIND, ident)
}

pub(crate) async fn get<T: Resource>(tx: &mut Tx, ident: &Ident) -> Result<T, Failure> {
    if ident.uuid().is_none() && ident.by_name && T::NAME.is_some() && !is_name(&ident.text) {
        return Err(malformed(ident, true).into());
    }
    let found = find::<T>(tx, ident).await?;
    found.ok_or_else(|| missing::<T>(&ident.text).into())
}

/// Adds a resource, whose id a request may have named. `word` is what people call its kind.
pub(crate) async fn insert<T: Resource>(tx: &mut Tx, made: &T, word: &str) -> Result<(), Failure> {
    match record::insert(tx, made).await {
        Err(Error::Exists { .. }) => Err(Refusal::conflict(format!(
            "A {word} with UUID {} already exists.",
            made.id()
        ))
        .into()),
        other => Ok(other?),
    }
}

/// Refuses a value that another resource of the kind has in this column; `what` it is, for people.
pub(crate) async fn check_free<T: Resource>(
    tx: &mut Tx,
    one: &T,
    word: &str,
    (column, what): (&'static str, &str),
    value: &str,
) -> Result<(), Failure> {
    let other: Option<T> = Query::new()
        .equals(column, value)
        .differs("id", one.id())
        .first(tx)
        .await?;
    match other {
        Some(_) => {
            let why = format!("A {word} with {what} {value} already exists.");
            Err(Refusal::conflict(why).into())
        }
        None => Ok(()),
    }
}

/// One page of what belongs to the nodes that an actor sees.
pub(crate) async fn page_of_parts<T: Resource>(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    wanted: &Page,
) -> Result<Vec<T>, Failure> {
    let mut tx = cx.store.read().await?;
    let mut query = Query::new();
    if let Some(nodes) = visible_nodes(cx, actor, &mut tx).await? {
        query = query.any_of("node_id", nodes);
    }
    page(&mut tx, query, narrow, wanted).await
}

/// One page of what the request narrowed the list to.
pub(crate) async fn page<T: Resource>(
    tx: &mut Tx,
    query: Query<T>,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<T>, Failure> {
    let column = match page.sort {
        None => "created_at",
        Some(SortBy::Column(column)) => column,
        Some(SortBy::Place(place)) => {
            let value = |one: &T| {
                let kept = serde_json::to_value(one).unwrap_or_default();
                kept.pointer(place).cloned().unwrap_or_default()
            };
            return page_by(tx, query, narrow, page, value).await;
        }
    };
    let mut query = narrowed(query, narrow).order_by(column, page.direction);
    if let Some(marker) = &page.marker {
        query = query.after(&marked::<T>(tx, marker).await?);
    }
    Ok(query.limit(page.limit as i64).all(tx).await?)
}

/// The same, sorted by a value that no column has: every row is read, and of equal ones the older comes first.
pub(super) async fn page_by<T: Resource>(
    tx: &mut Tx,
    query: Query<T>,
    narrow: Narrow,
    page: &Page,
    value: impl Fn(&T) -> Value,
) -> Result<Vec<T>, Failure> {
    let query = narrowed(query, narrow).order_by("created_at", Direction::Ascending);
    let mut sorted: Vec<(Value, T)> = query
        .all(tx)
        .await?
        .into_iter()
        .map(|one| (value(&one), one))
        .collect();
    sorted.sort_by(|(a, _), (b, _)| match page.direction {
        Direction::Ascending => compare(a, b),
        Direction::Descending => compare(b, a),
    });
    let begin = match &page.marker {
        None => 0,
        Some(marker) => {
            let id = marked::<T>(tx, marker).await?.id();
            let place = sorted.iter().position(|(_, one)| one.id() == id);
            place.map_or(sorted.len(), |place| place + 1)
        }
    };
    let page = sorted.into_iter().skip(begin).take(page.limit);
    Ok(page.map(|(_, one)| one).collect())
}

fn narrowed<T: Resource>(query: Query<T>, narrow: Narrow) -> Query<T> {
    let narrow = narrow.0.into_iter();
    narrow.fold(query, |query, (column, values)| {
        query.any_of(column, values)
    })
}

async fn marked<T: Resource>(tx: &mut Tx, marker: &Ident) -> Result<T, Failure> {
    let found = find::<T>(tx, marker).await?;
    found.ok_or_else(|| {
        Refusal::invalid(format!("The marker {} is no {}.", marker.text, T::KIND)).into()
    })
}

/// What is not known comes first, then truths, numbers and texts.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            a.total_cmp(&b)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn target(project: Option<&str>) -> Target {
    project.map_or_else(Target::cloud, |id| Target::project(&ProjectId::from(id)))
}

fn may(cx: &Context, actor: &Actor, action: Action, project: Option<&str>) -> Result<(), Refusal> {
    cx.policy.check(actor, action, &target(project))
}

pub(crate) fn sees_all_nodes(cx: &Context, actor: &Actor) -> bool {
    may(cx, actor, NODES_READ_ALL, None).is_ok()
}

/// Whether an actor sees what belongs to an owner or is let to a lessee.
pub(crate) fn sees(cx: &Context, actor: &Actor, node: &Node) -> bool {
    let projects = [node.owner.as_deref(), node.lessee.as_deref()];
    sees_all_nodes(cx, actor)
        || projects
            .into_iter()
            .flatten()
            .any(|project| may(cx, actor, NODES_READ, Some(project)).is_ok())
}

/// Refuses what the actor may not do to a node: 404 if it is not theirs to see.
pub(crate) fn check(
    cx: &Context,
    actor: &Actor,
    node: &Node,
    ident: &Ident,
    action: Action,
) -> Result<(), Refusal> {
    if !sees(cx, actor, node) {
        return Err(missing::<Node>(&ident.text));
    }
    if action == NODES_READ {
        return Ok(());
    }
    may(cx, actor, action, node.owner.as_deref())
}

/// The same for what a lessee's manager may do too.
pub(crate) fn check_operate(
    cx: &Context,
    actor: &Actor,
    node: &Node,
    ident: &Ident,
    action: Action,
) -> Result<(), Refusal> {
    let refused = match check(cx, actor, node, ident, action) {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    match node.lessee.as_deref() {
        Some(lessee) => may(cx, actor, NODES_OPERATE_AS_LESSEE, Some(lessee)).map_err(|_| refused),
        None => Err(refused),
    }
}

/// The node that a request names, if the actor may do this to it.
pub(crate) async fn node(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
    action: Action,
) -> Result<Node, Failure> {
    let found = get::<Node>(tx, ident).await?;
    check(cx, actor, &found, ident, action)?;
    Ok(found)
}

/// The same for reading, of a request that does not change it.
pub async fn read_node(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Node, Failure> {
    node(cx, actor, &mut cx.store.read().await?, ident, NODES_READ).await
}

/// The same, to be changed in this transaction.
pub(crate) async fn lock_node(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
    action: Action,
) -> Result<Node, Failure> {
    let found = node(cx, actor, tx, ident, action).await?;
    locked(tx, found.id).await
}

/// The same for what a lessee's manager may do too.
pub(crate) async fn lock_node_to_operate(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
    action: Action,
) -> Result<Node, Failure> {
    let found = get::<Node>(tx, ident).await?;
    check_operate(cx, actor, &found, ident, action)?;
    locked(tx, found.id).await
}

async fn locked(tx: &mut Tx, id: NodeId) -> Result<Node, Failure> {
    let node = record::lock::<Node>(tx, id).await?;
    node.ok_or_else(|| missing::<Node>(id).into())
}

/// The nodes that an actor sees, as conditions of a list; `None`: all of them.
pub(crate) fn own_nodes(
    cx: &Context,
    actor: &Actor,
    query: Query<Node>,
) -> Result<Query<Node>, Refusal> {
    if sees_all_nodes(cx, actor) {
        return Ok(query);
    }
    let project = actor.project_id().ok_or_else(|| {
        Refusal::forbidden("A list of nodes needs a token for the system or for a project.")
    })?;
    cx.policy
        .check(actor, NODES_READ, &Target::project(project))?;
    Ok(query.either(("owner", project), ("lessee", project)))
}

/// The nodes of these ids, for what belongs to them.
pub(crate) async fn nodes_by_id(
    tx: &mut Tx,
    ids: impl IntoIterator<Item = NodeId>,
) -> Result<BTreeMap<NodeId, Node>, Failure> {
    let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
    let ids = ids.iter().map(ToString::to_string);
    let found: Vec<Node> = Query::new().any_of("id", ids).all(tx).await?;
    Ok(found.into_iter().map(|node| (node.id, node)).collect())
}

/// The ids of the nodes whose parts an actor sees; `None`: of all.
pub(crate) async fn visible_nodes(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
) -> Result<Option<Vec<String>>, Failure> {
    if sees_all_nodes(cx, actor) {
        return Ok(None);
    }
    let own = own_nodes(cx, actor, Query::new())?.all(tx).await?;
    Ok(Some(own.iter().map(|node| node.id.to_string()).collect()))
}

/// Whether an actor may operate a node, before anything else of a request is looked at.
pub async fn may_operate(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Node, Failure> {
    let node = get::<Node>(&mut cx.store.read().await?, ident).await?;
    check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    Ok(node)
}

/// Whether an actor may change a node.
pub async fn may_write(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let mut tx = cx.store.read().await?;
    node(cx, actor, &mut tx, ident, NODES_WRITE)
        .await
        .map(|_| ())
}

/// Whether an actor may use what a node's vendor adds.
pub async fn may_pass_through(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let mut tx = cx.store.read().await?;
    node(cx, actor, &mut tx, ident, NODES_PASSTHRU)
        .await
        .map(|_| ())
}

/// Refuses a call of a method that a node's vendor would add: no driver has one.
pub async fn pass_through(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    method: &str,
) -> Result<(), Failure> {
    let mut tx = cx.store.read().await?;
    let node = node(cx, actor, &mut tx, ident, NODES_PASSTHRU).await?;
    Err(no_method(&node.driver, method).into())
}

/// The same for a method of a driver as a whole.
pub fn pass_through_driver(
    cx: &Context,
    actor: &Actor,
    driver: &str,
    method: &str,
) -> Result<(), Refusal> {
    super::driver::methods(cx, actor, driver)?;
    Err(no_method(driver, method))
}

fn no_method(driver: &str, method: &str) -> Refusal {
    Refusal::invalid(format!(
        "The driver {driver} has no vendor method '{method}': it has none at all. What it can do is asked for by \
         provision verbs, steps and the management calls of a node."
    ))
}

/// Whether an actor may tell of events.
pub fn may_post_events(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    may(cx, actor, EVENTS_POST, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unknown_comes_first_and_a_later_moment_last() {
        let mut values = [json!("b"), json!(20), json!(null), json!(3), json!("a")];
        values.sort_by(compare);
        assert_eq!(json!(values), json!([null, 3, 20, "a", "b"]));
    }

    #[test]
    fn a_reserved_word_is_no_name_of_a_node() {
        let refused = check_reserved(Some("detail")).unwrap_err();
        assert!(refused.message.contains("vendor_passthru"), "{refused:?}");
        assert!(check_reserved(Some("details")).is_ok());
        assert!(check_reserved(None).is_ok());
    }
}
