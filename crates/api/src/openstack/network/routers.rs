//! `/routers`.

use super::kit::{self, Collection, created, creates, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router as Routes};
use corten_model::ids::{NetworkId, PortId, ProjectId, QosPolicyId, RouterId, SubnetId};
use corten_model::refusal::Refusal;
use corten_operations::network::ipam::Wanted;
use corten_operations::network::router::{self, NewRouter, RouterChange, Shown};
use corten_operations::network::router_gateway::WantedGateway;
use corten_operations::network::router_interface::{self as interface, Asked, Interface};
use corten_operations::network::router_routes as routes_of;
use corten_store::network::router::Router;
use corten_store::network::subnet::Route;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub fn routes() -> Routes<App> {
    Routes::new()
        .route("/routers", get(index).post(create))
        .route("/routers/{id}", get(show).put(update).delete(delete))
        .route("/routers/{id}/add_router_interface", put(add_interface))
        .route(
            "/routers/{id}/remove_router_interface",
            put(remove_interface),
        )
        .route("/routers/{id}/add_extraroutes", put(add_routes))
        .route("/routers/{id}/remove_extraroutes", put(remove_routes))
}

const ROUTERS: Collection<'static> = Collection {
    one: "router",
    many: "routers",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "admin_state_up",
        "status",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown) -> Value {
    let router = &shown.router;
    let gateway = router.gateway.as_ref().map(|gateway| {
        json!({
            "network_id": gateway.network_id,
            "enable_snat": gateway.snat,
            "external_fixed_ips": shown.gateway_addresses,
        })
    });
    let view = json!({
        "id": router.id,
        "admin_state_up": router.enabled,
        "status": "ACTIVE",
        "external_gateway_info": gateway,
        "routes": router.routes,
        "availability_zone_hints": router.zone_hints,
        "availability_zones": ["nova"],
    });
    with_standard(view, &router.standard)
}

fn interface_view(interface: &Interface) -> Value {
    json!({
        "id": interface.router_id,
        "project_id": interface.project_id,
        "tenant_id": interface.project_id,
        "port_id": interface.port_id,
        "network_id": interface.network_id,
        "subnet_id": interface.subnet_ids.last(),
        "subnet_ids": interface.subnet_ids,
    })
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
    let found = router::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(ROUTERS.answer(&params, &base, found.iter().map(view).collect())?)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let found = router::show(&app.cx, &actor, id).await?;
    Ok(ROUTERS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayInfo {
    network_id: Option<NetworkId>,
    #[serde(default, deserialize_with = "kit::truth")]
    enable_snat: Option<bool>,
    external_fixed_ips: Option<Vec<FixedIp>>,
    qos_policy_id: Option<QosPolicyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    subnet_id: Option<SubnetId>,
    ip_address: Option<IpAddr>,
}

impl GatewayInfo {
    /// The gateway that is asked for; nothing in it asks for none.
    fn checked(self) -> Result<Option<WantedGateway>, Refusal> {
        let Self {
            network_id,
            enable_snat,
            external_fixed_ips,
            qos_policy_id,
        } = self;
        if qos_policy_id.is_some() {
            return Err(Refusal::invalid(
                "Invalid input for external_gateway_info. Reason: qos_policy_id is not enforced on gateways here; put \
                 the policy on ports or their network.",
            ));
        }
        let says_more = enable_snat.is_some() || external_fixed_ips.is_some();
        let Some(network_id) = network_id else {
            return if says_more {
                Err(Refusal::invalid(
                    "Invalid input for external_gateway_info. Reason: Validation of dictionary's keys failed. Expected \
                     keys: {'network_id'}.",
                ))
            } else {
                Ok(None)
            };
        };
        let wanted = |fixed: FixedIp| Wanted {
            subnet_id: fixed.subnet_id,
            ip_address: fixed.ip_address,
        };
        Ok(Some(WantedGateway {
            network_id,
            snat: enable_snat,
            addresses: external_fixed_ips.map(|list| list.into_iter().map(wanted).collect()),
        }))
    }
}

/// What Neutron's own agents offer, if it is asked for.
fn agents(ha: Option<Value>, distributed: Option<Value>) -> Option<&'static str> {
    let ha = ha.map(|_| "ha");
    ha.or(distributed.map(|_| "distributed"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRouter {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    external_gateway_info: Option<GatewayInfo>,
    ha: Option<Value>,
    distributed: Option<Value>,
    #[serde(default)]
    availability_zone_hints: Vec<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

impl CreateRouter {
    fn checked(self) -> Result<NewRouter, Refusal> {
        let Self {
            project_id,
            tenant_id,
            name,
            description,
            admin_state_up,
            external_gateway_info,
            ha,
            distributed,
            availability_zone_hints,
            tags,
        } = self;
        let gateway = external_gateway_info
            .map(GatewayInfo::checked)
            .transpose()?;
        Ok(NewRouter {
            project_id: kit::project(project_id, tenant_id)?,
            name: kit::text("name", name)?.unwrap_or_default(),
            description: kit::text("description", description)?.unwrap_or_default(),
            enabled: admin_state_up.unwrap_or(true),
            gateway: gateway.flatten(),
            zone_hints: availability_zone_hints,
            agents: agents(ha, distributed),
            tags,
        })
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let asked = creates::<CreateRouter>(body, "router", "routers")?;
    let new = asked
        .items
        .into_iter()
        .map(CreateRouter::checked)
        .collect::<Result<_, _>>()?;
    let made = router::create(&app.cx, &actor, new).await?;
    let views = made.iter().map(view).collect();
    Ok(created(views, asked.is_bulk, "router", "routers"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateRouter {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    #[serde(default, deserialize_with = "kit::nullable")]
    external_gateway_info: Option<Option<GatewayInfo>>,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    routes: Option<Vec<Route>>,
    ha: Option<Value>,
    distributed: Option<Value>,
}

impl UpdateRouter {
    fn checked(self) -> Result<RouterChange, Refusal> {
        let Self {
            name,
            description,
            admin_state_up,
            external_gateway_info,
            routes,
            ha,
            distributed,
        } = self;
        let gateway = match external_gateway_info {
            None => None,
            Some(None) => Some(None),
            Some(Some(info)) => Some(info.checked()?),
        };
        Ok(RouterChange {
            name: kit::text("name", name)?,
            description: kit::text("description", description)?,
            enabled: admin_state_up,
            gateway,
            routes,
            agents: agents(ha, distributed),
        })
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let change = kit::only::<UpdateRouter>(body, "router")?.checked()?;
    let shown = router::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"router": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    router::delete(&app.cx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichInterface {
    subnet_id: Option<SubnetId>,
    port_id: Option<PortId>,
}

impl WhichInterface {
    fn read(body: Map<String, Value>) -> Result<Asked, Refusal> {
        let Self { subnet_id, port_id } = kit::read(Value::Object(body), "router")?;
        Ok(Asked { subnet_id, port_id })
    }
}

async fn add_interface(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let asked = WhichInterface::read(body)?;
    let made = interface::add(&app.cx, &actor, id, asked).await?;
    Ok(Json(interface_view(&made)))
}

async fn remove_interface(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let asked = WhichInterface::read(body)?;
    let gone = interface::remove(&app.cx, &actor, id, asked).await?;
    Ok(Json(interface_view(&gone)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraRoutes {
    routes: Vec<Route>,
}

async fn add_routes(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let ExtraRoutes { routes } = kit::only(body, "router")?;
    let shown = routes_of::add(&app.cx, &actor, id, routes).await?;
    Ok(Json(json!({"router": view(&shown)})))
}

async fn remove_routes(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = kit::id_of::<Router, RouterId>(&id)?;
    let ExtraRoutes { routes } = kit::only(body, "router")?;
    let shown = routes_of::remove(&app.cx, &actor, id, &routes).await?;
    Ok(Json(json!({"router": view(&shown)})))
}
