//! `/networks`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::{NetworkId, ProjectId, QosPolicyId};
use corten_model::refusal::Refusal;
use corten_operations::network::network::{self, NetworkChange, NewNetwork, Shown};
use corten_operations::network::segment::Provider;
use corten_store::network::network::{Network, Segment};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/networks", get(index).post(create))
        .route("/networks/{id}", get(show).put(update).delete(delete))
}

const NETWORKS: Collection<'static> = Collection {
    one: "network",
    many: "networks",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "admin_state_up",
        "status",
        "shared",
        "router:external",
        "is_default",
        "mtu",
        "port_security_enabled",
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
        "dns_domain",
        "qos_policy_id",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown, sees_segments: bool) -> Value {
    let network = &shown.network;
    let mut view = json!({
        "id": network.id,
        "admin_state_up": network.enabled,
        "status": "ACTIVE",
        "shared": shown.shared,
        "router:external": network.external,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security,
        "dns_domain": network.dns_domain,
        "qos_policy_id": network.qos_policy_id,
        "subnets": shown.subnets.iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        "availability_zone_hints": network.zone_hints,
        "availability_zones": ["nova"],
        "ipv4_address_scope": shown.ipv4_scope,
        "ipv6_address_scope": shown.ipv6_scope,
        "vlan_transparent": null,
        "l2_adjacency": true,
    });
    if network.external {
        view["is_default"] = json!(network.is_default);
    }
    if sees_segments {
        let (kind, physical, id) = match &network.segment {
            Segment::Geneve { id } => ("geneve", None, Some(*id)),
            Segment::Flat { physical_network } => ("flat", Some(physical_network), None),
            Segment::Vlan {
                physical_network,
                id,
            } => ("vlan", Some(physical_network), Some(i64::from(*id))),
        };
        view["provider:network_type"] = json!(kind);
        view["provider:physical_network"] = json!(physical);
        view["provider:segmentation_id"] = json!(id);
    }
    with_standard(view, &network.standard)
}

/// How networks travel is the operator's business.
fn views(app: &App, actor: &Actor, shown: &[Shown]) -> Vec<Value> {
    let sees_segments = network::sees_segments(&app.cx, actor);
    shown
        .iter()
        .map(|shown| view(shown, sees_segments))
        .collect()
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let narrow = narrow(
        &params,
        &[
            ("id", "id"),
            ("name", "name"),
            ("project_id", "project_id"),
            ("tenant_id", "project_id"),
        ],
    );
    let found = network::list(&app.cx, &actor, narrow).await?;
    Ok(NETWORKS.answer(&params, &base, views(&app, &actor, &found))?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Network, NetworkId>(&id)?;
    let found = network::show(&app.cx, &actor, id).await?;
    let mut views = views(&app, &actor, &[found]);
    Ok(NETWORKS.show(&params, views.pop().unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateNetwork {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, rename = "router:external", deserialize_with = "kit::truth")]
    external: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    port_security_enabled: Option<bool>,
    #[serde(default, deserialize_with = "kit::number")]
    mtu: Option<i64>,
    dns_domain: Option<String>,
    #[serde(rename = "provider:network_type")]
    network_type: Option<String>,
    #[serde(rename = "provider:physical_network")]
    physical_network: Option<String>,
    #[serde(
        default,
        rename = "provider:segmentation_id",
        deserialize_with = "kit::number"
    )]
    segmentation_id: Option<i64>,
    qos_policy_id: Option<QosPolicyId>,
    #[serde(default)]
    availability_zone_hints: Vec<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateNetwork {
    fn checked(self) -> Result<NewNetwork, Refusal> {
        let Self {
            project_id,
            tenant_id,
            name,
            description,
            admin_state_up,
            shared,
            external,
            is_default,
            port_security_enabled,
            mtu,
            dns_domain,
            network_type,
            physical_network,
            segmentation_id,
            qos_policy_id,
            availability_zone_hints,
            tags,
        } = self;
        Ok(NewNetwork {
            project_id: kit::project(project_id, tenant_id)?,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            enabled: admin_state_up.unwrap_or(true),
            shared: shared.unwrap_or(false),
            external: external.unwrap_or(false),
            is_default: is_default.unwrap_or(false),
            port_security: port_security_enabled.unwrap_or(true),
            mtu,
            dns_domain: dns_domain.unwrap_or_default(),
            provider: Provider {
                network_type,
                physical_network,
                segmentation_id,
            },
            qos_policy_id,
            zone_hints: availability_zone_hints,
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateNetwork>(body, "network", "networks")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateNetwork::checked)
        .collect::<Result<_, _>>()?;
    let made = network::create(&app.cx, &actor, new).await?;
    let views = views(&app, &actor, &made);
    Ok(created(views, asked.is_bulk, "network", "networks"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateNetwork {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    shared: Option<bool>,
    #[serde(default, rename = "router:external", deserialize_with = "kit::truth")]
    external: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    is_default: Option<bool>,
    #[serde(default, deserialize_with = "kit::truth")]
    port_security_enabled: Option<bool>,
    #[serde(default, deserialize_with = "kit::number")]
    mtu: Option<i64>,
    dns_domain: Option<String>,
    #[serde(default, deserialize_with = "kit::nullable")]
    qos_policy_id: Option<Option<QosPolicyId>>,
}

impl UpdateNetwork {
    fn checked(self) -> Result<NetworkChange, Refusal> {
        let Self {
            name,
            description,
            admin_state_up,
            shared,
            external,
            is_default,
            port_security_enabled,
            mtu,
            dns_domain,
            qos_policy_id,
        } = self;
        Ok(NetworkChange {
            name: kit::text("name", name)?,
            description: kit::text("description", description)?,
            enabled: admin_state_up,
            shared,
            external,
            is_default,
            port_security: port_security_enabled,
            mtu,
            dns_domain,
            qos_policy_id,
        })
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Network, NetworkId>(&id)?;
    let change = kit::only::<UpdateNetwork>(body, "network")?.checked()?;
    let shown = network::update(&app.cx, &actor, id, change).await?;
    let mut views = views(&app, &actor, &[shown]);
    Ok(Json(json!({"network": views.pop()})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<Network, NetworkId>(&id)?;
    network::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
