//! Roles of a user or group on a project, a domain or the system; `OS-INHERIT` for the projects below.

use super::listing::Listing;
use super::roles;
use crate::app::App;
use crate::auth::Bearer;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::Router;
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use corten_iam::assignment::Grant;
use corten_model::ids::{DomainId, GroupId, ProjectId, RoleId, UserId};
use corten_store::identity::assignment::{Extent, Holder};

pub fn routes() -> Router<App> {
    let mut routes = Router::new();
    for holder in ["users/{user_id}", "groups/{group_id}"] {
        for extent in ["projects/{project_id}", "domains/{domain_id}", "system"] {
            let path = format!("/{extent}/{holder}/roles");
            routes = routes
                .route(&path, get(list))
                .route(&format!("{path}/{{role_id}}"), one());
        }
        for extent in ["projects/{project_id}", "domains/{domain_id}"] {
            let path = format!("/OS-INHERIT/{extent}/{holder}/roles");
            routes = routes
                .route(&format!("{path}/inherited_to_projects"), get(list))
                .route(&format!("{path}/{{role_id}}/inherited_to_projects"), one());
        }
    }
    routes
}

fn one() -> axum::routing::MethodRouter<App> {
    get(check).put(grant).delete(revoke)
}

/// What the path of one of these calls names.
struct Named {
    grant: Grant,
    role: RoleId,
    /// From `/v3` on.
    path: String,
}

impl FromRequestParts<App> for Named {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let full = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(parts.uri.path(), |uri| uri.path())
            .to_owned();
        let path = full
            .strip_prefix("/identity/v3")
            .unwrap_or(&full)
            .to_owned();
        let (mut holder, mut extent, mut role) = (None, Extent::System, String::new());
        if let Ok(params) = RawPathParams::from_request_parts(parts, app).await {
            for (name, value) in &params {
                match name {
                    "user_id" => holder = Some(Holder::User(UserId::from(value))),
                    "group_id" => holder = Some(Holder::Group(GroupId::from(value))),
                    "project_id" => extent = Extent::Project(ProjectId::from(value)),
                    "domain_id" => extent = Extent::Domain(DomainId::from(value)),
                    "role_id" => role = value.to_owned(),
                    _ => {}
                }
            }
        }
        let holder = holder.unwrap_or_else(|| Holder::User(UserId::from("")));
        let inherited = path.starts_with("/OS-INHERIT/");
        Ok(Self {
            grant: Grant {
                holder,
                extent,
                inherited,
            },
            role: RoleId(role),
            path,
        })
    }
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    named: Named,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let granted = app.iam.granted(&bearer.actor, &named.grant).await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: &named.path,
        key: "roles",
        params: &params,
        filters: &["name"],
    };
    Ok(listing.answer(
        granted
            .iter()
            .map(|role| roles::render(&base, role))
            .collect(),
    )?)
}

async fn check(State(app): State<App>, bearer: Bearer, named: Named) -> Answer<StatusCode> {
    app.iam
        .check_grant(&bearer.actor, &named.grant, &named.role)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn grant(State(app): State<App>, bearer: Bearer, named: Named) -> Answer<StatusCode> {
    app.iam
        .grant(&bearer.actor, &named.grant, &named.role)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn revoke(State(app): State<App>, bearer: Bearer, named: Named) -> Answer<StatusCode> {
    app.iam
        .revoke_grant(&bearer.actor, &named.grant, &named.role)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
