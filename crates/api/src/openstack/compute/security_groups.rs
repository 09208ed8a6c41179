//! `/os-security-groups` and `/os-security-group-rules`, until 2.35: the network service's groups in Nova's shape.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::input::WordOrNumber;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::{SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_operations::network::Narrow;
use corten_operations::network::security_group::{
    self, NewSecurityGroup, SecurityGroupChange, Shown,
};
use corten_operations::network::security_group_rule::{self as rule, NewRule};
use corten_store::network::security_group::{Direction, Ethertype, Remote, Rule};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/os-security-groups",
            get(list).post(create).delete(remove_nothing),
        )
        .route(
            "/os-security-groups/{id}",
            get(show).put(update).delete(remove),
        )
        .route("/os-security-group-rules", post(create_rule))
        .route("/os-security-group-rules/{id}", delete(remove_rule))
}

/// The last version that has these.
const UNTIL: u16 = 35;

/// The names and projects of groups that rules are about.
type Names = BTreeMap<SecurityGroupId, (String, String)>;

fn rule_view(rule: &Rule, names: &Names) -> Value {
    let (prefix, group) = match &rule.remote {
        Remote::Prefix(prefix) => (json!({"cidr": prefix}), json!({})),
        Remote::Group(id) => match names.get(id) {
            Some((name, project)) => (json!({}), json!({"name": name, "tenant_id": project})),
            None => (json!({}), json!({})),
        },
        Remote::Anyone | Remote::AddressGroup(_) => {
            let everyone = match rule.ethertype {
                Ethertype::IPv4 => "0.0.0.0/0",
                Ethertype::IPv6 => "::/0",
            };
            (json!({"cidr": everyone}), json!({}))
        }
    };
    json!({
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": rule.port_min,
        "to_port": rule.port_max,
        "ip_range": prefix,
        "group": group,
    })
}

/// Nova's groups only say what may come in.
fn view(shown: &Shown, names: &Names) -> Value {
    let incoming = shown.rules.iter();
    let incoming = incoming.filter(|rule| rule.direction == Direction::Ingress);
    let standard = &shown.group.standard;
    json!({
        "id": shown.group.id,
        "name": standard.name,
        "description": standard.description,
        "tenant_id": standard.project_id,
        "rules": incoming.map(|rule| rule_view(rule, names)).collect::<Vec<_>>(),
    })
}

/// The names of the groups that these groups' rules are about.
async fn names(app: &App, actor: &Actor, shown: &[Shown]) -> Answer<Names> {
    let rules = shown.iter().flat_map(|shown| &shown.rules);
    let ids: BTreeSet<String> = rules
        .filter_map(|rule| match &rule.remote {
            Remote::Group(id) => Some(id.to_string()),
            _ => None,
        })
        .collect();
    let mut names: Names = BTreeMap::new();
    if !ids.is_empty() {
        let narrow = Narrow(vec![("id", ids.into_iter().collect())]);
        for found in security_group::list(&app.cx, actor, narrow).await? {
            let standard = found.group.standard;
            names.insert(
                found.group.id,
                (standard.name, standard.project_id.to_string()),
            );
        }
    }
    Ok(names)
}

async fn views(app: &App, actor: &Actor, shown: &[Shown]) -> Answer<Vec<Value>> {
    let names = names(app, actor, shown).await?;
    Ok(shown.iter().map(|shown| view(shown, &names)).collect())
}

/// These groups, as far as the actor sees them.
pub async fn these(app: &App, actor: &Actor, ids: BTreeSet<SecurityGroupId>) -> Answer<Vec<Value>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = ids.iter().map(ToString::to_string).collect();
    let shown = security_group::list(&app.cx, actor, Narrow(vec![("id", ids)])).await?;
    views(app, actor, &shown).await
}

fn id_of(text: &str) -> Result<SecurityGroupId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::not_found(format!("Security group {text} not found.")))
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let all = params.truth("all_tenants")?.unwrap_or(false);
    let narrow = match actor.project_id() {
        Some(project) if !all => Narrow(vec![("project_id", vec![project.to_string()])]),
        _ => Narrow::default(),
    };
    let shown = security_group::list(&app.cx, &actor, narrow).await?;
    let mut groups = views(&app, &actor, &shown).await?;
    let skipped = params.count("offset")?.unwrap_or(0).min(groups.len());
    groups.drain(..skipped);
    groups.truncate(params.count("limit")?.unwrap_or(usize::MAX));
    Ok(Json(json!({"security_groups": groups})))
}

async fn one(app: &App, actor: &Actor, shown: Shown) -> Answer<Json<Value>> {
    let mut views = views(app, actor, &[shown]).await?;
    Ok(Json(json!({"security_group": views.pop()})))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let shown = security_group::show(&app.cx, &actor, id_of(&id)?).await?;
    one(&app, &actor, shown).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupBody {
    security_group: Group,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: Option<String>,
    description: Option<String>,
}

impl Group {
    /// Name and description: each is a text of at most 255 characters, and a group has a name.
    fn checked(self) -> Result<(String, String), Refusal> {
        let text = |field: &str, value: Option<String>, least: usize| {
            let value = value.unwrap_or_default();
            let value = value.trim();
            if (least..=255).contains(&value.chars().count()) {
                return Ok(value.to_owned());
            }
            Err(Refusal::invalid(format!(
                "Security group {field} should be {least} to 255 characters long."
            )))
        };
        Ok((
            text("name", self.name, 1)?,
            text("description", self.description, 0)?,
        ))
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(body): Body<GroupBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let (name, description) = body.security_group.checked()?;
    let new = NewSecurityGroup {
        project_id: None,
        name,
        description,
        stateful: true,
        tags: BTreeSet::new(),
    };
    let made = security_group::create(&app.cx, &actor, vec![new]).await;
    let mut made = made.map_err(over_quota)?;
    match made.pop() {
        Some(shown) => one(&app, &actor, shown).await,
        None => Err(Refusal::unavailable("The group was not made; try again.").into()),
    }
}

/// Nova's answer to a quota that is used up is 403, the network service's 409.
fn over_quota(failure: corten_store::Failure) -> corten_store::Failure {
    match failure {
        corten_store::Failure::Refused(refusal) if refusal.name == Some("OverQuota") => {
            Refusal::over_quota(refusal.message).into()
        }
        other => other,
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(body): Body<GroupBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let id = id_of(&id)?;
    let (name, description) = body.security_group.checked()?;
    let change = SecurityGroupChange {
        name: Some(name),
        description: Some(description),
        stateful: None,
    };
    let shown = security_group::update(&app.cx, &actor, id, change).await;
    one(&app, &actor, shown.map_err(in_the_way)?).await
}

async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_until(UNTIL)?;
    let deleted = security_group::delete(&app.cx, &actor, id_of(&id)?).await;
    deleted.map_err(in_the_way)?;
    Ok(StatusCode::ACCEPTED)
}

/// A trailing slash is cut off, so this is the removal of a group without an id.
async fn remove_nothing(Caller(_): Caller) -> Answer<StatusCode> {
    Err(Refusal::not_found("Security group not found: the path names none.").into())
}

/// A group that is in use, or the default one, is a wrong request to Nova.
fn in_the_way(failure: corten_store::Failure) -> corten_store::Failure {
    match failure {
        corten_store::Failure::Refused(refusal)
            if refusal.reason == corten_model::refusal::Reason::Conflict =>
        {
            Refusal::invalid(refusal.message).into()
        }
        other => other,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    security_group_rule: RuleFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    parent_group_id: String,
    ip_protocol: Option<String>,
    from_port: Option<WordOrNumber>,
    to_port: Option<WordOrNumber>,
    cidr: Option<String>,
    group_id: Option<String>,
}

impl RuleFields {
    fn checked(self) -> Result<NewRule, Refusal> {
        let Self {
            parent_group_id,
            ip_protocol,
            from_port,
            to_port,
            cidr,
            group_id,
        } = self;
        let group = parent_group_id.parse().map_err(|_| {
            Refusal::invalid(format!(
                "Parent group id should be uuid: '{parent_group_id}' is not."
            ))
        })?;
        let remote_group_id = group_id.map(|id| id_of(&id)).transpose()?;
        let cidr = cidr.filter(|cidr| !cidr.is_empty() && remote_group_id.is_none());
        let remote_prefix = cidr.map(|cidr| range(&cidr)).transpose()?;
        let protocol = ip_protocol.map(|name| name.to_lowercase());
        let is_ipv6 = matches!(remote_prefix, Some(IpNet::V6(_)));
        let ports = (port("from_port", from_port)?, port("to_port", to_port)?);
        if let (Some(first), Some(last)) = ports
            && protocol.as_deref() != Some("icmp")
            && first > last
        {
            return Err(Refusal::invalid(format!(
                "Former value cannot be greater than the later: ports {first} to {last}."
            )));
        }
        Ok(NewRule {
            project_id: None,
            security_group_id: group,
            description: String::new(),
            direction: Direction::Ingress,
            ethertype: if is_ipv6 {
                Ethertype::IPv6
            } else {
                Ethertype::IPv4
            },
            protocol,
            port_min: ports.0.map(i64::from),
            port_max: ports.1.map(i64::from),
            remote_prefix,
            remote_group_id,
            remote_address_group_id: None,
            tags: BTreeSet::new(),
        })
    }
}

fn range(cidr: &str) -> Result<IpNet, Refusal> {
    let parsed = match cidr.parse::<IpNet>() {
        Ok(range) => Some(range),
        Err(_) => cidr
            .parse()
            .ok()
            .map(|ip: std::net::IpAddr| IpNet::from(ip)),
    };
    parsed.ok_or_else(|| Refusal::invalid(format!("Invalid cidr {cidr}.")))
}

/// A port, or a type or code of ICMP; -1 is any.
fn port(field: &str, value: Option<WordOrNumber>) -> Result<Option<u16>, Refusal> {
    let Some(text) = value.map(WordOrNumber::into_text) else {
        return Ok(None);
    };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number) if (0..=65_535).contains(&number) => Ok(u16::try_from(number).ok()),
        _ => Err(Refusal::invalid(format!(
            "Invalid port range: {field} {text} is not a port, 0 to 65535, or -1 for any."
        ))),
    }
}

async fn create_rule(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(body): Body<RuleBody>,
) -> Answer<Json<Value>> {
    mv.exists_until(UNTIL)?;
    let new = body.security_group_rule.checked()?;
    let group = new.security_group_id;
    let made = rule::create(&app.cx, &actor, vec![new]).await;
    let mut made = made.map_err(over_quota).map_err(in_the_way)?;
    let Some(made) = made.pop() else {
        return Err(Refusal::unavailable("The rule was not made; try again.").into());
    };
    let shown = security_group::show(&app.cx, &actor, group).await?;
    let names = names(&app, &actor, &[shown]).await?;
    Ok(Json(
        json!({"security_group_rule": rule_view(&made, &names)}),
    ))
}

async fn remove_rule(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_until(UNTIL)?;
    let id: SecurityGroupRuleId = id
        .parse()
        .map_err(|_| Refusal::not_found(format!("Rule ({id}) not found")))?;
    rule::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::ACCEPTED)
}
