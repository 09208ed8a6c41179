//! Logging in, scopes, and what makes a token void.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::*;
use corten_iam::authenticate::{DomainRef, ProjectRef, Proof, ScopeWish};
use corten_iam::domain::{DomainChanges, NewDomain};
use corten_iam::project::ProjectChanges;
use corten_iam::user::UserChanges;
use corten_iam::{IamConfig, ScopeView};
use corten_model::ids::{DomainId, ProjectId, RequestId};
use corten_model::refusal::Reason;
use corten_store::identity::Extra;
use corten_store::identity::assignment::{Extent, Holder};
use std::time::Duration;

fn role_names(view: &corten_iam::TokenView) -> Vec<&str> {
    view.roles.iter().map(|role| role.name.as_str()).collect()
}

#[tokio::test]
async fn a_new_cloud_has_its_people_and_starting_again_only_moves_addresses() {
    let cloud = Cloud::new().await;
    let token = cloud
        .log_in("admin", ADMIN_PASSWORD, on_project("admin"))
        .await
        .unwrap();
    let before = cloud.iam.catalog(&token.view).await.unwrap();
    let kinds: Vec<&str> = before.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "baremetal",
            "compute",
            "identity",
            "image",
            "network",
            "placement"
        ]
    );
    assert!(before.iter().all(|entry| entry.endpoints.len() == 3));
    cloud
        .iam
        .bootstrap(&bootstrap("https://cloud.example"))
        .await
        .unwrap();
    let after = cloud.iam.catalog(&token.view).await.unwrap();
    let compute = &after[1].endpoints[0];
    assert_eq!(compute.url, "https://cloud.example/compute/v2.1");
    let ids = |entries: &[corten_iam::catalog::CatalogEntry]| -> Vec<String> {
        entries
            .iter()
            .flat_map(|entry| entry.endpoints.iter().map(|one| one.id.clone()))
            .collect()
    };
    assert_eq!(ids(&before), ids(&after), "nothing was made twice");
    let users = cloud
        .iam
        .users(&cloud.admin().await, Default::default())
        .await
        .unwrap();
    assert_eq!(users.len(), 2);
}

#[tokio::test]
async fn a_token_has_the_scope_asked_for_and_the_roles_implied() {
    let cloud = Cloud::new().await;
    let token = cloud
        .log_in("admin", ADMIN_PASSWORD, on_project("admin"))
        .await
        .unwrap();
    assert_eq!(
        role_names(&token.view),
        ["admin", "manager", "member", "reader"]
    );
    let ScopeView::Project(project) = &token.view.scope else {
        panic!("not on a project")
    };
    assert_eq!(
        (project.name.as_str(), project.domain.name.as_str()),
        ("admin", "Default")
    );

    let by_id = ScopeWish::Project(ProjectRef::Id(project.id.clone()));
    assert!(
        cloud.log_in("ADMIN", ADMIN_PASSWORD, by_id).await.is_ok(),
        "names have no case"
    );
    let system = cloud
        .log_in("admin", ADMIN_PASSWORD, ScopeWish::System)
        .await
        .unwrap();
    assert_eq!(system.view.scope, ScopeView::System);
    let unscoped = cloud
        .log_in("admin", ADMIN_PASSWORD, ScopeWish::Unscoped)
        .await
        .unwrap();
    assert!(unscoped.view.is_unscoped() && unscoped.view.roles.is_empty());
    assert!(cloud.iam.catalog(&unscoped.view).await.unwrap().is_empty());
    let default = cloud
        .log_in("demo", DEMO_PASSWORD, ScopeWish::Default)
        .await
        .unwrap();
    assert!(matches!(&default.view.scope, ScopeView::Project(project) if project.name == "demo"));
    assert_eq!(role_names(&default.view), ["member", "reader"]);

    let actor = cloud.actor(&system.text).await.unwrap();
    assert!(actor.is_admin());
    assert!(!cloud.actor(&default.text).await.unwrap().is_admin());
}

#[tokio::test]
async fn what_one_has_no_role_on_is_no_scope() {
    let cloud = Cloud::new().await;
    let domain = ScopeWish::Domain(DomainRef::Id(DomainId::from("default")));
    for wish in [
        on_project("admin"),
        on_project("nowhere"),
        ScopeWish::System,
        domain,
    ] {
        assert_eq!(
            reason(cloud.log_in("demo", DEMO_PASSWORD, wish).await),
            Reason::Unauthenticated
        );
    }
}

#[tokio::test]
async fn a_stranger_learns_nothing_from_a_refusal() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = cloud.user("default", "sleeper", "right").await;
    let off = UserChanges {
        enabled: Some(false),
        ..UserChanges::default()
    };
    cloud.iam.update_user(&admin, &user.id, off).await.unwrap();
    let wrong = refusal(cloud.log_in("demo", "wrong", ScopeWish::Unscoped).await);
    assert_eq!(
        refusal(cloud.log_in("nobody", "wrong", ScopeWish::Unscoped).await),
        wrong
    );
    assert_eq!(
        refusal(cloud.log_in("sleeper", "wrong", ScopeWish::Unscoped).await),
        wrong
    );
    assert_eq!(
        reason(cloud.log_in("sleeper", "right", ScopeWish::Unscoped).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn a_token_is_exchanged_for_one_of_another_scope_that_lives_no_longer() {
    let cloud = Cloud::new().await;
    let first = cloud
        .log_in("admin", ADMIN_PASSWORD, ScopeWish::Unscoped)
        .await
        .unwrap();
    cloud.pass(Duration::from_secs(1000));
    let second = cloud
        .iam
        .authenticate(&[Proof::Token(first.text.clone())], &ScopeWish::System)
        .await
        .unwrap();
    assert_eq!(second.view.expires_at, first.view.expires_at);
    assert_eq!(second.view.methods, ["password", "token"]);
    assert_eq!(second.view.audit_ids[1], first.view.audit_ids[0]);
    cloud.pass(Duration::from_secs(2600));
    assert_eq!(
        reason(cloud.actor(&second.text).await),
        Reason::Unauthenticated
    );
    let gone = cloud
        .iam
        .authenticate(&[Proof::Token(first.text)], &ScopeWish::System)
        .await;
    assert_eq!(
        reason(gone),
        Reason::NotFound,
        "Keystone answers 404 for the token method"
    );
}

#[tokio::test]
async fn a_revoked_token_is_void_in_every_replica_and_the_others_are_not() {
    let cloud = Cloud::new().await;
    let replica = cloud.replica().await;
    let (one, other) = (cloud.demo_token().await, cloud.demo_token().await);
    assert!(
        replica
            .validate(&one.text, RequestId::random())
            .await
            .is_ok()
    );
    let demo = cloud.actor(&one.text).await.unwrap();
    cloud.iam.revoke(&demo, &one.text).await.unwrap();
    assert_eq!(
        reason(replica.validate(&one.text, RequestId::random()).await),
        Reason::Unauthenticated
    );
    assert_eq!(
        reason(cloud.actor(&one.text).await),
        Reason::Unauthenticated
    );
    assert!(cloud.actor(&other.text).await.is_ok());
}

#[tokio::test]
async fn only_the_bearer_a_service_or_an_administrator_inspects_a_token() {
    let cloud = Cloud::new().await;
    let token = cloud.demo_token().await;
    let demo = cloud.actor(&token.text).await.unwrap();
    let admins = cloud
        .log_in("admin", ADMIN_PASSWORD, on_project("admin"))
        .await
        .unwrap();
    assert!(cloud.iam.inspect(&demo, &token.text).await.is_ok());
    assert!(
        cloud
            .iam
            .inspect(&cloud.admin().await, &token.text)
            .await
            .is_ok()
    );
    assert_eq!(
        reason(cloud.iam.inspect(&demo, &admins.text).await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(cloud.iam.revoke(&demo, &admins.text).await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(cloud.iam.inspect(&demo, "nonsense").await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn losing_the_role_or_being_disabled_voids_tokens_and_coming_back_does_not_revive_them() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project("default", "p", None).await;
    let user = cloud.user("default", "u", "pw").await;
    let extent = Extent::Project(project.id.clone());
    let enabled = |enabled| UserChanges {
        enabled: Some(enabled),
        ..UserChanges::default()
    };
    let opened = |enabled| ProjectChanges {
        enabled: Some(enabled),
        ..ProjectChanges::default()
    };

    cloud.give(&user.id, "member", extent.clone()).await;
    let token = cloud.log_in("u", "pw", on_project("p")).await.unwrap();
    assert!(cloud.actor(&token.text).await.is_ok());
    cloud.take(&user.id, "member", extent.clone()).await;
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );

    cloud.give(&user.id, "reader", extent).await;
    assert!(
        !cloud.actor(&token.text).await.unwrap().has_role("member"),
        "roles are those of now"
    );
    cloud
        .iam
        .update_user(&admin, &user.id, enabled(false))
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );
    cloud
        .iam
        .update_user(&admin, &user.id, enabled(true))
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );

    let token = cloud.log_in("u", "pw", on_project("p")).await.unwrap();
    cloud
        .iam
        .update_project(&admin, &project.id, opened(false))
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );
    cloud
        .iam
        .update_project(&admin, &project.id, opened(true))
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );

    let token = cloud.log_in("u", "pw", on_project("p")).await.unwrap();
    cloud.iam.delete_user(&admin, &user.id).await.unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn tokens_outlive_a_rotation_of_the_keys() {
    let cloud = Cloud::new().await;
    let token = cloud.demo_token().await;
    cloud.iam.rotate_keys().unwrap();
    let replica = cloud.replica().await;
    assert!(
        replica
            .validate(&token.text, RequestId::random())
            .await
            .is_ok()
    );
    let newer = cloud.demo_token().await;
    assert!(
        replica
            .validate(&newer.text, RequestId::random())
            .await
            .is_ok()
    );
    cloud.iam.rotate_keys().unwrap();
    cloud.iam.rotate_keys().unwrap();
    let fresh = cloud.replica().await;
    assert_eq!(
        reason(fresh.validate(&token.text, RequestId::random()).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn roles_reach_through_groups_and_down_the_tree() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let top = cloud.project("default", "top", None).await;
    let leaf = cloud.project("default", "leaf", Some(&top.id)).await;
    let user = cloud.user("default", "u", "pw").await;
    let new = corten_iam::group::NewGroup {
        name: "g".into(),
        domain_id: None,
        description: None,
        extra: Extra::new(),
    };
    let group = cloud.iam.create_group(&admin, new).await.unwrap();
    cloud
        .iam
        .add_member(&admin, &group.id, &user.id)
        .await
        .unwrap();
    let grant = corten_iam::assignment::Grant {
        holder: Holder::Group(group.id.clone()),
        extent: Extent::Project(top.id.clone()),
        inherited: true,
    };
    let role = cloud.role("member").await;
    cloud.iam.grant(&admin, &grant, &role).await.unwrap();
    assert!(cloud.log_in("u", "pw", on_project("leaf")).await.is_ok());
    assert_eq!(
        reason(cloud.log_in("u", "pw", on_project("top")).await),
        Reason::Unauthenticated
    );
    let open: Vec<ProjectId> = cloud
        .iam
        .projects_open_to(&user.id)
        .await
        .unwrap()
        .into_iter()
        .map(|project| project.id)
        .collect();
    assert_eq!(open, [leaf.id]);
    cloud
        .iam
        .remove_member(&admin, &group.id, &user.id)
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.log_in("u", "pw", on_project("leaf")).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn a_domain_must_be_disabled_before_it_goes_and_takes_everything_in_it_along() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let new = NewDomain {
        id: None,
        name: "d".into(),
        description: None,
        enabled: true,
        immutable: None,
        extra: Extra::new(),
    };
    let domain = cloud.iam.create_domain(&admin, new).await.unwrap().domain();
    let top = cloud.project(domain.as_str(), "top", None).await;
    let leaf = cloud.project(domain.as_str(), "leaf", Some(&top.id)).await;
    let user = cloud.user(domain.as_str(), "u", "pw").await;
    cloud
        .give(&user.id, "member", Extent::Project(leaf.id.clone()))
        .await;
    assert_eq!(
        reason(cloud.iam.delete_domain(&admin, &domain).await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(cloud.iam.delete_project(&admin, &top.id).await),
        Reason::Forbidden,
        "it has a child"
    );
    let off = DomainChanges {
        enabled: Some(false),
        ..DomainChanges::default()
    };
    cloud.iam.update_domain(&admin, &domain, off).await.unwrap();
    cloud.iam.delete_domain(&admin, &domain).await.unwrap();
    assert_eq!(
        reason(cloud.iam.domain(&admin, &domain).await),
        Reason::NotFound
    );
    assert_eq!(
        reason(cloud.iam.project(&admin, &leaf.id).await),
        Reason::NotFound
    );
    assert_eq!(
        reason(cloud.iam.user(&admin, &user.id).await),
        Reason::NotFound
    );
    let left = cloud
        .iam
        .assignments(&admin, &Default::default())
        .await
        .unwrap();
    assert!(
        left.iter()
            .all(|line| line.assignment.holder.id() != user.id.as_str())
    );
    let default = DomainId::from("default");
    let off = DomainChanges {
        enabled: Some(false),
        ..DomainChanges::default()
    };
    assert_eq!(
        reason(cloud.iam.update_domain(&admin, &default, off).await),
        Reason::Forbidden
    );
}

#[tokio::test]
async fn a_rule_of_several_methods_wants_them_all() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = cloud.user("default", "u", "pw").await;
    let options = serde_json::json!({"multi_factor_auth_rules": [["password", "token"]]});
    let changes = UserChanges {
        options: options.as_object().cloned(),
        ..UserChanges::default()
    };
    let early = cloud.log_in("u", "pw", ScopeWish::Unscoped).await.unwrap();
    cloud
        .iam
        .update_user(&admin, &user.id, changes)
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.log_in("u", "pw", ScopeWish::Unscoped).await),
        Reason::Unauthenticated
    );
    let both = [by_password("u", "pw"), Proof::Token(early.text)];
    assert!(
        cloud
            .iam
            .authenticate(&both, &ScopeWish::Unscoped)
            .await
            .is_ok()
    );
    let unknown = serde_json::json!({"multi_factor_auth_rules": [["password", "totp"]]});
    let changes = UserChanges {
        options: unknown.as_object().cloned(),
        ..UserChanges::default()
    };
    let refused = refusal(cloud.iam.update_user(&admin, &user.id, changes).await);
    assert!(refused.message.contains("'totp'"), "{refused}");
}

#[tokio::test]
async fn a_bad_setting_is_refused_at_the_start() {
    for config in [
        IamConfig {
            password_regex: Some("(".into()),
            ..IamConfig::default()
        },
        IamConfig {
            max_active_keys: 2,
            ..IamConfig::default()
        },
        IamConfig {
            minimum_password_age_days: 30,
            password_expires_days: 30,
            ..IamConfig::default()
        },
    ] {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("corten.db").display());
        let store = corten_store::Store::open(&url).await.unwrap();
        let config = IamConfig {
            key_directory: directory.path().into(),
            ..config
        };
        assert!(corten_iam::Iam::open(store, config).await.is_err());
    }
}
