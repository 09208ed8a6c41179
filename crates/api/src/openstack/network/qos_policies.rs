//! `/qos/policies`, their bandwidth limits, and which kinds of rules there are.

use super::kit::{self, Collection, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::{ProjectId, QosPolicyId, QosRuleId};
use corten_model::refusal::Refusal;
use corten_operations::network::qos_policy::{self, LimitChange, NewQosPolicy, QosPolicyChange};
use corten_operations::network::rbac_policy::Shown;
use corten_store::network::qos_policy::{BandwidthLimit, QosPolicy};
use corten_store::network::security_group::Direction;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/qos/policies", get(index).post(create))
        .route("/qos/policies/{id}", get(show).put(update).delete(delete))
        .route(
            "/qos/policies/{id}/bandwidth_limit_rules",
            get(limits).post(add_limit),
        )
        .route(
            "/qos/policies/{id}/bandwidth_limit_rules/{rule_id}",
            get(limit).put(update_limit).delete(remove_limit),
        )
        .route(
            "/qos/alias-bandwidth-limit-rules/{rule_id}",
            get(alias).put(update_alias).delete(remove_alias),
        )
        .route("/qos/rule-types", get(rule_types))
        .route("/qos/rule-types/{kind}", get(rule_type))
}

/// The kind of rule that this cloud enforces.
const BANDWIDTH_LIMIT: &str = "bandwidth_limit";

const POLICIES: Collection<'static> = Collection {
    one: "policy",
    many: "policies",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "shared",
        "is_default",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

const LIMITS: Collection<'static> = Collection {
    one: "bandwidth_limit_rule",
    many: "bandwidth_limit_rules",
    heeded: &[],
    fields: &["id", "direction", "max_kbps", "max_burst_kbps"],
};

fn view(shown: &Shown<QosPolicy>) -> Value {
    let policy = &shown.resource;
    let rules = policy.bandwidth_limits.iter().map(|limit| {
        let mut rule = limit_view(limit);
        rule["qos_policy_id"] = json!(policy.id);
        rule["type"] = json!(BANDWIDTH_LIMIT);
        rule
    });
    let view = json!({
        "id": policy.id,
        "shared": shown.shared,
        "is_default": policy.is_default,
        "rules": rules.collect::<Vec<_>>(),
    });
    with_standard(view, &policy.standard)
}

fn limit_view(limit: &BandwidthLimit) -> Value {
    let BandwidthLimit {
        id,
        direction,
        max_kbps,
        max_burst_kbps,
    } = limit;
    json!({
        "id": id,
        "direction": direction,
        "max_kbps": max_kbps,
        "max_burst_kbps": max_burst_kbps,
    })
}

fn policy_id(text: &str) -> Result<QosPolicyId, Refusal> {
    kit::id_of::<QosPolicy, QosPolicyId>(text)
}

fn rule_id(text: &str) -> Result<QosRuleId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such("QoS rule", text).named("QosRuleNotFound"))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = qos_policy::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(POLICIES.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let found = qos_policy::show(&app.cx, &actor, policy_id(&id)?).await?;
    Ok(POLICIES.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePolicy {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreatePolicy {
        project_id,
        tenant_id,
        name,
        description,
        shared,
        is_default,
        tags,
    } = kit::only(body, "policy")?;
    let name = kit::text("name", name)?.ok_or_else(|| {
        Refusal::invalid("Failed to parse request. Required attribute 'name' not specified")
    })?;
    let new = NewQosPolicy {
        project_id: kit::project(project_id, tenant_id)?,
        name,
        description: kit::text("description", description)?.unwrap_or_default(),
        shared: shared.unwrap_or(false),
        is_default: is_default.unwrap_or(false),
        tags,
    };
    let made = qos_policy::create(&app.cx, &actor, new).await?;
    Ok((StatusCode::CREATED, Json(json!({"policy": view(&made)}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePolicy {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = policy_id(&id)?;
    let UpdatePolicy {
        name,
        description,
        shared,
        is_default,
    } = kit::only(body, "policy")?;
    let change = QosPolicyChange {
        name: kit::text("name", name)?,
        description: kit::text("description", description)?,
        shared,
        is_default,
    };
    let shown = qos_policy::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"policy": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    qos_policy::delete(&app.cx, &actor, policy_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn limits(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let found = qos_policy::limits(&app.cx, &actor, policy_id(&id)?).await?;
    Ok(LIMITS.answer(&params, &base, found.iter().map(limit_view).collect())?)
}

async fn limit(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path((id, rule)): Path<(String, String)>,
) -> Answer {
    let found = qos_policy::limit(&app.cx, &actor, policy_id(&id)?, rule_id(&rule)?).await?;
    Ok(LIMITS.show(&params, limit_view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    direction: Option<Direction>,
    #[serde(default, deserialize_with = "kit::number")]
    max_kbps: Option<i64>,
    #[serde(default, deserialize_with = "kit::number")]
    max_burst_kbps: Option<i64>,
}

fn asked(body: Map<String, Value>, name: &str) -> Result<LimitChange, Refusal> {
    let Limit {
        direction,
        max_kbps,
        max_burst_kbps,
    } = kit::only(body, name)?;
    Ok(LimitChange {
        direction,
        max_kbps,
        max_burst_kbps,
    })
}

async fn add_limit(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let id = policy_id(&id)?;
    let made = qos_policy::add_limit(&app.cx, &actor, id, asked(body, LIMITS.one)?).await?;
    let body = json!({ LIMITS.one: limit_view(&made) });
    Ok((StatusCode::CREATED, Json(body)))
}

async fn update_limit(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, rule)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let (id, rule) = (policy_id(&id)?, rule_id(&rule)?);
    let change = asked(body, LIMITS.one)?;
    let limit = qos_policy::update_limit(&app.cx, &actor, id, rule, change).await?;
    Ok(Json(json!({ LIMITS.one: limit_view(&limit) })))
}

async fn remove_limit(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, rule)): Path<(String, String)>,
) -> Answer<StatusCode> {
    qos_policy::remove_limit(&app.cx, &actor, policy_id(&id)?, rule_id(&rule)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A rule under its own address, for clients that do not know its policy.
const ALIAS: &str = "alias_bandwidth_limit_rule";

async fn alias(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(rule): Path<String>,
) -> Answer<Json<Value>> {
    let rule = rule_id(&rule)?;
    let policy = qos_policy::policy_of(&app.cx, &actor, rule).await?;
    let found = qos_policy::limit(&app.cx, &actor, policy, rule).await?;
    Ok(Json(json!({ ALIAS: limit_view(&found) })))
}

async fn update_alias(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(rule): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let rule = rule_id(&rule)?;
    let policy = qos_policy::policy_of(&app.cx, &actor, rule).await?;
    let change = asked(body, ALIAS)?;
    let limit = qos_policy::update_limit(&app.cx, &actor, policy, rule, change).await?;
    Ok(Json(json!({ ALIAS: limit_view(&limit) })))
}

async fn remove_alias(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(rule): Path<String>,
) -> Answer<StatusCode> {
    let rule = rule_id(&rule)?;
    let policy = qos_policy::policy_of(&app.cx, &actor, rule).await?;
    qos_policy::remove_limit(&app.cx, &actor, policy, rule).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rule_types(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    qos_policy::check_reader(&app.cx, &actor)?;
    Ok(Json(json!({"rule_types": [{"type": BANDWIDTH_LIMIT}]})))
}

async fn rule_type(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(kind): Path<String>,
) -> Answer<Json<Value>> {
    qos_policy::check_operator(&app.cx, &actor)?;
    if kind != BANDWIDTH_LIMIT {
        return Err(Refusal::invalid(format!(
            "Invalid input for operation: rule type '{kind}' is not offered: this cloud has {BANDWIDTH_LIMIT}."
        ))
        .named("InvalidInput")
        .into());
    }
    let range = json!({"start": 0, "end": i32::MAX});
    let parameters = json!([
        {"parameter_name": "max_kbps", "parameter_type": "range", "parameter_values": range},
        {"parameter_name": "max_burst_kbps", "parameter_type": "range", "parameter_values": range},
        {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": ["ingress", "egress"]},
    ]);
    let drivers = json!([{"name": "ovn", "supported_parameters": parameters}]);
    Ok(Json(
        json!({"rule_type": {"type": BANDWIDTH_LIMIT, "drivers": drivers}}),
    ))
}
