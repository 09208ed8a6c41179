//! `/flavors/{id}/action` and `/os-flavor-access`: which projects may use a private flavor.

use super::microversion::Microversion;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_model::ids::{FlavorId, ProjectId};
use corten_model::refusal::Refusal;
use corten_operations::flavor;
use corten_store::flavors::FlavorAccess;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/flavors/{id}/action", post(action))
        .route("/flavors/{id}/os-flavor-access", get(list_access))
}

/// `POST /flavors/{id}/action`: exactly one of these.
#[derive(Deserialize)]
enum Action {
    #[serde(rename = "addTenantAccess")]
    Add(Tenant),
    #[serde(rename = "removeTenantAccess")]
    Remove(Tenant),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    tenant: ProjectId,
}

impl Tenant {
    fn checked(self) -> Result<ProjectId, Refusal> {
        if self.tenant.as_str().is_empty() || self.tenant.as_str().len() > 255 {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute tenant. It has 1 to 255 characters",
            ));
        }
        Ok(self.tenant)
    }
}

async fn action(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<FlavorId>,
    Body(action): Body<Action>,
) -> Answer<Json<Value>> {
    let rows = match action {
        Action::Add(tenant) => {
            flavor::grant(&app.cx, &actor, &id, &tenant.checked()?, mv.at_least(7)).await?
        }
        Action::Remove(tenant) => flavor::revoke(&app.cx, &actor, &id, &tenant.checked()?).await?,
    };
    Ok(access_list(&rows))
}

fn access_list(rows: &[FlavorAccess]) -> Json<Value> {
    let view = |FlavorAccess {
                    flavor_id,
                    project_id,
                }: &FlavorAccess| json!({"flavor_id": flavor_id, "tenant_id": project_id});
    Json(json!({"flavor_access": rows.iter().map(view).collect::<Vec<_>>()}))
}

async fn list_access(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<FlavorId>,
) -> Answer<Json<Value>> {
    Ok(access_list(&flavor::access(&app.cx, &actor, &id).await?))
}
