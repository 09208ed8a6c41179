//! `/default-security-group-rules`.

use super::kit::{self, Collection};
use super::security_group_rules::{Protocol, family};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{AddressGroupId, SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_operations::network::default_rule::{self, NewDefaultRule, RemoteGroup};
use corten_store::network::default_rule::{DefaultRemote, DefaultRule, Own};
use corten_store::network::security_group::{Direction, Remote, SecurityGroup};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/default-security-group-rules", get(index).post(create))
        .route(
            "/default-security-group-rules/{id}",
            get(show).delete(delete),
        )
}

const RULES: Collection<'static> = Collection {
    one: "default_security_group_rule",
    many: "default_security_group_rules",
    heeded: &[],
    fields: &[
        "id",
        "description",
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
        "remote_address_group_id",
        "used_in_default_sg",
        "used_in_non_default_sg",
    ],
};

fn view(rule: &DefaultRule) -> Value {
    let (prefix, group, addresses) = match &rule.remote {
        DefaultRemote::Own(own) => (None, Some(json!(own)), None),
        DefaultRemote::Other(Remote::Anyone) => (None, None, None),
        DefaultRemote::Other(Remote::Prefix(prefix)) => (Some(prefix), None, None),
        DefaultRemote::Other(Remote::Group(id)) => (None, Some(json!(id)), None),
        DefaultRemote::Other(Remote::AddressGroup(id)) => (None, None, Some(id)),
    };
    json!({
        "id": rule.id,
        "description": rule.standard.description,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": prefix,
        "remote_group_id": group,
        "remote_address_group_id": addresses,
        "used_in_default_sg": rule.in_default_groups,
        "used_in_non_default_sg": rule.in_other_groups,
    })
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let found = default_rule::list(&app.cx, &actor).await?;
    Ok(RULES.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<DefaultRule, SecurityGroupRuleId>(&id)?;
    let found = default_rule::show(&app.cx, &actor, id).await?;
    Ok(RULES.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRule {
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
    #[serde(default, deserialize_with = "kit::truth")]
    used_in_default_sg: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    used_in_non_default_sg: Option<bool>,
}

impl CreateRule {
    fn checked(self) -> Result<NewDefaultRule, Refusal> {
        let Self {
            description,
            direction,
            ethertype,
            protocol,
            port_range_min,
            port_range_max,
            remote_ip_prefix,
            remote_group_id,
            remote_address_group_id,
            used_in_default_sg,
            used_in_non_default_sg,
        } = self;
        Ok(NewDefaultRule {
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
            remote_group: remote_group_id.as_deref().map(remote_group).transpose()?,
            remote_address_group_id,
            in_default_groups: used_in_default_sg.unwrap_or(false),
            in_other_groups: used_in_non_default_sg.unwrap_or(true),
        })
    }
}

fn remote_group(text: &str) -> Result<RemoteGroup, Refusal> {
    if json!(Own::Parent) == text {
        return Ok(RemoteGroup::Own);
    }
    kit::id_of::<SecurityGroup, SecurityGroupId>(text).map(RemoteGroup::This)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let new = kit::only::<CreateRule>(body, RULES.one)?.checked()?;
    let made = default_rule::create(&app.cx, &actor, new).await?;
    let body = json!({ RULES.one: view(&made) });
    Ok((StatusCode::CREATED, Json(body)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<DefaultRule, SecurityGroupRuleId>(&id)?;
    default_rule::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
