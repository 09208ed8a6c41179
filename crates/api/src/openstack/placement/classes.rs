//! `/resource_classes` and `/traits`: the words that inventories and hosts are described with.

use super::microversion::Microversion;
use super::query::only;
use crate::app::App;
use crate::auth::Caller;
use crate::params::{Params, parse_truth};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::resource_provider;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/resource_classes", get(classes))
        .route("/resource_classes/{name}", get(class))
        .route("/traits", get(traits))
        .route("/traits/{name}", get(has_trait))
}

/// Placement's standard classes, in its order.
const CLASSES: [&str; 21] = [
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "PCPU",
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
];

fn class_view(name: &str) -> Value {
    json!({"name": name, "links": [{"rel": "self", "href": format!("/placement/resource_classes/{name}")}]})
}

async fn classes(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
) -> Answer<Json<Value>> {
    mv.exists_from(2)?;
    let providers = resource_provider::list(&app.cx, &actor).await?;
    let custom = resource_provider::custom_classes(&providers);
    let all: Vec<_> = CLASSES.into_iter().chain(custom).map(class_view).collect();
    Ok(Json(json!({"resource_classes": all})))
}

async fn class(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_from(2)?;
    let providers = resource_provider::list(&app.cx, &actor).await?;
    let is_custom = resource_provider::custom_classes(&providers).contains(name.as_str());
    if !is_custom && !CLASSES.contains(&name.as_str()) {
        return Err(Refusal::not_found(format!("No such resource class {name}.")).into());
    }
    Ok(Json(class_view(&name)))
}

async fn traits(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_from(6)?;
    only(&params, &["name", "associated"])?;
    let providers = resource_provider::list(&app.cx, &actor).await?;
    let associated = params.get("associated").map(|text| {
        parse_truth(text).ok_or_else(|| {
            Refusal::invalid(format!(
                "The query parameter \"associated\" only accepts \"true\" or \"false\", got: {text}"
            ))
        })
    });
    let associated = associated.transpose()?;
    let name = params.get("name").unwrap_or_default();
    let named = |word: &str| match (name.strip_prefix("in:"), name.strip_prefix("startswith:")) {
        (Some(names), _) => names.split(',').any(|name| name == word),
        (None, Some(start)) => word.starts_with(start),
        (None, None) => name.is_empty(),
    };
    let used = |word: &String| {
        providers
            .iter()
            .any(|provider| provider.traits.contains(word))
    };
    let found: Vec<_> = resource_provider::traits_of(&providers)
        .into_iter()
        .filter(|word| named(word) && associated.is_none_or(|wanted| used(word) == wanted))
        .collect();
    Ok(Json(json!({"traits": found})))
}

async fn has_trait(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_from(6)?;
    let providers = resource_provider::list(&app.cx, &actor).await?;
    if !resource_provider::traits_of(&providers).contains(&name) {
        return Err(Refusal::not_found(format!("No such trait(s): {name}.")).into());
    }
    Ok(StatusCode::NO_CONTENT)
}
