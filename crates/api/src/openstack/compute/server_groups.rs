//! `/os-server-groups`: servers that should, or should not, share a host.

use super::input::{self, Whole};
use super::microversion::Microversion;
use super::paging::{MAX_LIMIT, only};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::ServerGroupId;
use corten_model::refusal::Refusal;
use corten_operations::server_group::{self, WithMembers};
use corten_store::server_groups::GroupPolicy;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-server-groups", get(index).post(create))
        .route("/os-server-groups/{id}", get(show).delete(delete))
}

fn view(WithMembers { group, members }: &WithMembers, mv: Microversion) -> Value {
    let mut view = json!({"id": group.id, "name": group.name, "members": members});
    if mv.at_least(64) {
        view["policy"] = json!(group.policy.as_str());
        view["rules"] = match group.max_server_per_host {
            Some(most) => json!({"max_server_per_host": most}),
            None => json!({}),
        };
    } else {
        view["policies"] = json!([group.policy.as_str()]);
        view["metadata"] = json!({});
    }
    if mv.at_least(13) {
        view["project_id"] = json!(group.project_id);
        view["user_id"] = json!(group.user_id);
    }
    view
}

fn one(group: &WithMembers, mv: Microversion) -> Json<Value> {
    Json(json!({"server_group": view(group, mv)}))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(&params, &["all_projects", "limit", "offset"])?;
    }
    let limit = params.count("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let offset = params.count("offset")?.unwrap_or(0);
    let all_projects = params.get("all_projects").is_some();
    let groups = server_group::list(&app.cx, &actor, all_projects, offset, limit).await?;
    Ok(Json(
        json!({"server_groups": groups.iter().map(|group| view(group, mv)).collect::<Vec<_>>()}),
    ))
}

/// A text that is no UUID names no group.
fn group_id(text: &str) -> Result<ServerGroupId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such("Instance group", text))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(one(
        &server_group::show(&app.cx, &actor, group_id(&id)?).await?,
        mv,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    server_group: NewGroup,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    policies: Option<Vec<String>>,
    policy: Option<String>,
    rules: Option<Rules>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    max_server_per_host: Option<Whole>,
}

impl NewGroup {
    fn checked(self, mv: Microversion) -> Result<(String, GroupPolicy, Option<u32>), Refusal> {
        let Self {
            name,
            policies,
            policy,
            rules,
        } = self;
        let name = input::name("name", &name)?;
        mv.takes_until(63, "policies", policies.is_some())?;
        mv.takes_from(64, "policy", policy.is_some())?;
        mv.takes_from(64, "rules", rules.is_some())?;
        let word = match policies {
            Some(policies) => match <[String; 1]>::try_from(policies) {
                Ok([policy]) => Some(policy),
                Err(_) => {
                    return Err(Refusal::invalid(
                        "Invalid input for field/attribute policies. It holds exactly one policy",
                    ));
                }
            },
            None => policy,
        };
        let word = word.ok_or_else(|| {
            let field = if mv.at_least(64) {
                "policy"
            } else {
                "policies"
            };
            Refusal::invalid(format!(
                "Invalid input for field/attribute server_group. '{field}' is a required property"
            ))
        })?;
        let known = |policy: &GroupPolicy| mv.at_least(15) || !policy.as_str().starts_with("soft-");
        let policy = GroupPolicy::parse(&word).filter(known).ok_or_else(|| {
            let words: Vec<_> = GroupPolicy::ALL
                .iter()
                .filter(|policy| known(policy))
                .map(|policy| policy.as_str())
                .collect();
            Refusal::invalid(format!(
                "Invalid input for field/attribute policy. Value: {word}. It is one of {}",
                words.join(", ")
            ))
        })?;
        let most = rules.and_then(|rules| rules.max_server_per_host);
        let most = most
            .map(|most| most.size("max_server_per_host", 1))
            .transpose()?;
        Ok((name, policy, most))
    }
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(body): Body<CreateBody>,
) -> Answer<Json<Value>> {
    let (name, policy, most) = body.server_group.checked(mv)?;
    Ok(one(
        &server_group::create(&app.cx, &actor, name, policy, most).await?,
        mv,
    ))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    server_group::delete(&app.cx, &actor, group_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(group: &str, minor: u16) -> Result<(String, GroupPolicy, Option<u32>), Refusal> {
        let text = format!(r#"{{"server_group": {group}}}"#);
        crate::body::parse::<CreateBody>(text.as_bytes())?
            .server_group
            .checked(Microversion::of(minor))
    }

    #[test]
    fn a_policy_was_a_list_of_one_until_2_64() {
        let old = r#"{"name": "g", "policies": ["affinity"]}"#;
        let new =
            r#"{"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": "3"}}"#;
        assert_eq!(parse(old, 63).unwrap().1, GroupPolicy::Affinity);
        assert!(parse(old, 64).is_err());
        assert!(parse(new, 63).is_err());
        assert_eq!(
            parse(new, 64).unwrap(),
            ("g".to_owned(), GroupPolicy::AntiAffinity, Some(3))
        );
        assert!(parse(r#"{"name": "g", "policies": []}"#, 1).is_err());
        assert!(
            parse(
                r#"{"name": "g", "policies": ["affinity", "anti-affinity"]}"#,
                1
            )
            .is_err()
        );
        assert!(
            parse(r#"{"name": "g"}"#, 64)
                .unwrap_err()
                .message
                .contains("'policy' is a required")
        );
    }

    #[test]
    fn soft_policies_came_with_2_15() {
        let soft = r#"{"name": "g", "policies": ["soft-affinity"]}"#;
        assert!(parse(soft, 14).is_err());
        assert_eq!(parse(soft, 15).unwrap().1, GroupPolicy::SoftAffinity);
    }
}
