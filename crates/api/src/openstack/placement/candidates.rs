//! `/allocation_candidates`: the hosts and nodes that have room for something.

use super::microversion::Microversion;
use super::query::{Filter, only};
use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::resource_provider::{self, Amounts, Provider};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/allocation_candidates", get(index))
}

/// Parameters and the version each came with. Numbered groups of resources are not among them: each provider is alone,
/// so nothing can be asked of two.
const KNOWN: [(&str, u16); 5] = [
    ("resources", 10),
    ("limit", 16),
    ("required", 17),
    ("member_of", 21),
    ("in_tree", 31),
];

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    mv.exists_from(10)?;
    let known: Vec<_> = KNOWN
        .iter()
        .filter(|(_, since)| mv.at_least(*since))
        .map(|(name, _)| *name)
        .collect();
    only(&params, &known)?;
    let filter = Filter::of(&params)?;
    let wanted = filter.resources.clone().ok_or_else(|| {
        Refusal::invalid(
            "'resources' is a required query parameter: ?resources=VCPU:1,MEMORY_MB:64",
        )
    })?;
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    if limit == 0 {
        return Err(
            Refusal::invalid("Invalid query string parameters: limit is at least 1").into(),
        );
    }
    let mut found = resource_provider::list(&app.cx, &actor).await?;
    found.retain(|provider| {
        filter.wants(provider)
            && params
                .get("in_tree")
                .is_none_or(|tree| tree.eq_ignore_ascii_case(&provider.id))
    });
    found.truncate(limit);
    let summaries: Map<_, _> = found
        .iter()
        .map(|provider| (provider.id.clone(), summary(provider, &wanted, mv)))
        .collect();
    Ok(Json(json!({
        "allocation_requests": found.iter().map(|provider| request(provider, &wanted, mv)).collect::<Vec<_>>(),
        "provider_summaries": summaries,
    })))
}

/// What to ask this provider for: a list before 1.12, an object since.
fn request(provider: &Provider, resources: &Amounts, mv: Microversion) -> Value {
    let id = &provider.id;
    if !mv.at_least(12) {
        return json!({"allocations": [{"resource_provider": {"uuid": id}, "resources": resources}]});
    }
    let mut request = json!({"allocations": {id: {"resources": resources}}});
    if mv.at_least(34) {
        request["mappings"] = json!({"": [id]});
    }
    request
}

/// What the provider has in all, of the classes asked for; of every class from 1.27 on.
fn summary(provider: &Provider, wanted: &Amounts, mv: Microversion) -> Value {
    let resources: Map<_, _> = provider
        .inventories
        .iter()
        .filter(|inventory| mv.at_least(27) || wanted.contains_key(&inventory.class))
        .map(|inventory| {
            (
                inventory.class.clone(),
                json!({"capacity": inventory.limit, "used": inventory.used}),
            )
        })
        .collect();
    let mut summary = json!({"resources": resources});
    if mv.at_least(17) {
        summary["traits"] = json!(provider.traits);
    }
    if mv.at_least(29) {
        summary["parent_provider_uuid"] = Value::Null;
        summary["root_provider_uuid"] = json!(provider.id);
    }
    summary
}
