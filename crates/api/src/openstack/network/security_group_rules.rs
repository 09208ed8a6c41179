//! `/security-group-rules`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use corten_model::ids::{AddressGroupId, ProjectId, SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_operations::network::security_group_rule::{self as rule, NewRule};
use corten_store::network::security_group::{Direction, Ethertype, Remote, Rule, SecurityGroup};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/security-group-rules", get(index).post(create))
        .route("/security-group-rules/{id}", get(show).delete(delete))
}

const RULES: Collection<'static> = Collection {
    one: "security_group_rule",
    many: "security_group_rules",
    heeded: &[],
    fields: &[
        "id",
        "project_id",
        "tenant_id",
        "description",
        "security_group_id",
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
        "remote_address_group_id",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

pub(super) fn view(rule: &Rule) -> Value {
    let (prefix, group, addresses) = match &rule.remote {
        Remote::Anyone => (None, None, None),
        Remote::Prefix(prefix) => (Some(prefix), None, None),
        Remote::Group(id) => (None, Some(id), None),
        Remote::AddressGroup(id) => (None, None, Some(id)),
    };
    let view = json!({
        "id": rule.id,
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": prefix,
        "normalized_cidr": prefix.map(IpNet::trunc),
        "remote_group_id": group,
        "remote_address_group_id": addresses,
        "belongs_to_default_sg": null,
    });
    let mut view = with_standard(view, &rule.standard);
    if let Value::Object(fields) = &mut view {
        fields.remove("name");
    }
    view
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("security_group_id", "security_group_id"),
        ("remote_group_id", "remote_group_id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = rule::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(RULES.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Rule, SecurityGroupRuleId>(&id)?;
    let found = rule::show(&app.cx, &actor, id).await?;
    Ok(RULES.show(&params, view(&found)))
}

/// A protocol by name or number; numbers may come as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Protocol {
    Name(String),
    Number(u8),
}

impl Protocol {
    pub(super) fn text(self) -> String {
        match self {
            Self::Name(name) => name,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRule {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    security_group_id: SecurityGroupId,
    description: Option<String>,
    direction: Direction,
    ethertype: Option<String>,
    protocol: Option<Protocol>,
    #[serde(default, deserialize_with = "kit::number")]
    port_range_min: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    port_range_max: Option<i64>,
    remote_ip_prefix: Option<String>,
    remote_group_id: Option<String>,
    remote_address_group_id: Option<AddressGroupId>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateRule {
    fn checked(self) -> Result<NewRule, Refusal> {
        let Self {
            project_id,
            tenant_id,
            security_group_id,
            description,
            direction,
            ethertype,
            protocol,
            port_range_min,
            port_range_max,
            remote_ip_prefix,
            remote_group_id,
            remote_address_group_id,
            tags,
        } = self;
        Ok(NewRule {
            project_id: kit::project(project_id, tenant_id)?,
            security_group_id,
            description: kit::text("description", description)?.unwrap_or_default(),
            direction,
            ethertype: family(ethertype.as_deref())?,
            protocol: protocol.map(Protocol::text),
            port_min: port_range_min,
            port_max: port_range_max,
            remote_prefix: remote_ip_prefix
                .filter(|text| !text.is_empty())
                .map(|text| kit::range("remote_ip_prefix", &text))
                .transpose()?,
            remote_group_id: remote_group_id
                .map(|id| kit::id_of::<SecurityGroup, SecurityGroupId>(&id))
                .transpose()?,
            remote_address_group_id,
            tags,
        })
    }
}

pub(super) fn family(text: Option<&str>) -> Result<Ethertype, Refusal> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("ipv4") => Ok(Ethertype::IPv4),
        Some("ipv6") => Ok(Ethertype::IPv6),
        Some(other) => Err(Refusal::invalid(format!(
            "Invalid input for ethertype. Reason: '{other}' is not in ['IPv4', 'IPv6']."
        ))),
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateRule>(body, "security_group_rule", "security_group_rules")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateRule::checked)
        .collect::<Result<_, _>>()?;
    let made = rule::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(
        views,
        asked.is_bulk,
        "security_group_rule",
        "security_group_rules",
    ))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<Rule, SecurityGroupRuleId>(&id)?;
    rule::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
