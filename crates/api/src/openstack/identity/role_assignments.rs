//! `/v3/role_assignments`.

use crate::app::App;
use crate::auth::Bearer;
use crate::params::{BaseUrl, Params, parse_truth};
use crate::problem::Answer;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::assignment::{AssignmentFilter, Line, Names};
use corten_model::ids::{DomainId, GroupId, ProjectId, RoleId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::assignment::{Extent, Holder};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/role_assignments", get(list))
}

fn filter(params: &Params) -> Result<AssignmentFilter, Refusal> {
    // `?effective` alone means yes.
    let asks = |name: &str| {
        params
            .get(name)
            .is_some_and(|text| parse_truth(text).unwrap_or(true))
    };
    let mut extents = Vec::new();
    extents.extend(
        params
            .get("scope.project.id")
            .map(|id| Extent::Project(ProjectId::from(id))),
    );
    extents.extend(
        params
            .get("scope.domain.id")
            .map(|id| Extent::Domain(DomainId::from(id))),
    );
    extents.extend(params.get("scope.system").map(|_| Extent::System));
    if extents.len() > 1 {
        return Err(Refusal::invalid(
            "Specify a domain, a project or the system as scope, not more than one of them.",
        ));
    }
    let (user, group) = (params.get("user.id"), params.get("group.id"));
    if user.is_some() && group.is_some() {
        return Err(Refusal::invalid("Specify a user or a group, not both."));
    }
    let inherited_to = params.get("scope.OS-INHERIT:inherited_to");
    if inherited_to.is_some_and(|to| to != "projects") {
        return Err(Refusal::invalid(
            "scope.OS-INHERIT:inherited_to can only be 'projects'.",
        ));
    }
    let include_subtree = asks("include_subtree");
    if include_subtree && params.get("scope.project.id").is_none() {
        return Err(Refusal::invalid("include_subtree needs scope.project.id."));
    }
    Ok(AssignmentFilter {
        user: user.map(UserId::from),
        group: group.map(GroupId::from),
        role: params.get("role.id").map(RoleId::from),
        extent: extents.pop(),
        inherited_only: inherited_to.is_some(),
        effective: asks("effective"),
        include_subtree,
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    let lines = app
        .iam
        .assignments(&bearer.actor, &filter(&params)?)
        .await?;
    let names = match params.get("include_names") {
        Some(text) if parse_truth(text).unwrap_or(true) => Some(app.iam.names_of(&lines).await?),
        Some(_) | None => None,
    };
    let base = format!("{base}/identity/v3");
    let rendered: Vec<Value> = lines
        .iter()
        .map(|line| render(&base, line, names.as_ref()))
        .collect();
    let query = params.with(&[]);
    let own = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    let own = format!("{base}/role_assignments{own}");
    Ok(Json(
        json!({"role_assignments": rendered, "links": {"next": null, "self": own, "previous": null}}),
    ))
}

fn render(base: &str, line: &Line, names: Option<&Names>) -> Value {
    let assignment = &line.assignment;
    let role = &assignment.role_id;
    let (holder_key, holder_path, holder) = match &assignment.holder {
        Holder::User(id) => {
            let known = names.and_then(|names| names.users.get(id));
            (
                "user",
                format!("users/{id}"),
                named(id.as_str(), known, names),
            )
        }
        Holder::Group(id) => {
            let known = names.and_then(|names| names.groups.get(id));
            (
                "group",
                format!("groups/{id}"),
                named(id.as_str(), known, names),
            )
        }
    };
    let (mut scope, extent_path) = match &assignment.extent {
        Extent::Project(id) => {
            let known = names.and_then(|names| names.projects.get(id));
            (
                json!({"project": named(id.as_str(), known, names)}),
                format!("projects/{id}"),
            )
        }
        Extent::Domain(id) => {
            let mut domain = json!({"id": id});
            if let Some(name) = names.and_then(|names| names.domains.get(id)) {
                domain["name"] = json!(name);
            }
            (json!({"domain": domain}), format!("domains/{id}"))
        }
        Extent::System => (json!({"system": {"all": true}}), "system".to_owned()),
    };
    let inherited = assignment.inherited || line.inherited_from.is_some();
    if inherited {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    let made_on = match &line.inherited_from {
        Some(Extent::Project(id)) => format!("projects/{id}"),
        Some(Extent::Domain(id)) => format!("domains/{id}"),
        Some(Extent::System) | None => extent_path,
    };
    let made_for = line
        .through_group
        .as_ref()
        .map_or(holder_path, |group| format!("groups/{group}"));
    let made_role = line.prior_role.as_ref().unwrap_or(role);
    let made = match inherited {
        true => format!(
            "{base}/OS-INHERIT/{made_on}/{made_for}/roles/{made_role}/inherited_to_projects"
        ),
        false => format!("{base}/{made_on}/{made_for}/roles/{made_role}"),
    };
    let mut body = json!({"role": {"id": role}, "scope": scope, "links": {"assignment": made}});
    body[holder_key] = holder;
    if let Some(known) = names.and_then(|names| names.roles.get(role)) {
        body["role"]["name"] = json!(known.name);
        if let (Some(domain), Some(names)) = (&known.domain_id, names) {
            body["role"]["domain"] = json!({"id": domain, "name": names.domains.get(domain)});
        }
    }
    if let (Some(group), Holder::User(user)) = (&line.through_group, &assignment.holder) {
        body["links"]["membership"] = json!(format!("{base}/groups/{group}/users/{user}"));
    }
    if let Some(prior) = &line.prior_role {
        body["links"]["prior_role"] = json!(format!("{base}/prior_role/{prior}/implies/{role}"));
    }
    body
}

/// An id, with its name and domain if names were asked for.
fn named(id: &str, known: Option<&(String, DomainId)>, names: Option<&Names>) -> Value {
    let mut body = json!({"id": id});
    if let (Some((name, domain)), Some(names)) = (known, names) {
        body["name"] = json!(name);
        body["domain"] = json!({"id": domain, "name": names.domains.get(domain)});
    }
    body
}
