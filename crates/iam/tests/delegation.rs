//! Lent power: application credentials, access rules, trusts, and what managers of a domain cannot take for themselves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::*;
use corten_iam::actor::Actor;
use corten_iam::application_credential::{AccessRuleRef, NewApplicationCredential, RoleRef};
use corten_iam::assignment::Grant;
use corten_iam::authenticate::{
    ApplicationCredentialRef, DomainRef, IssuedToken, Proof, ScopeWish,
};
use corten_iam::domain::NewDomain;
use corten_iam::group::NewGroup;
use corten_iam::trust::NewTrust;
use corten_iam::user::UserChanges;
use corten_iam::validate::Visit;
use corten_model::ids::{DomainId, RequestId};
use corten_model::refusal::Reason;
use corten_store::identity::Extra;
use corten_store::identity::assignment::{Extent, Holder};
use std::time::Duration;

fn named(name: &str) -> NewApplicationCredential {
    NewApplicationCredential {
        name: name.to_owned(),
        description: None,
        secret: None,
        roles: None,
        expires_at: None,
        unrestricted: false,
        access_rules: None,
    }
}

/// Makes an application credential of demo's; gives its id and secret.
async fn make(cloud: &Cloud, new: NewApplicationCredential) -> (String, String) {
    let token = cloud.demo_token().await;
    let actor = token.view.actor(RequestId::random());
    let made = cloud
        .iam
        .create_application_credential(&actor, &token.view, &actor.user_id, new)
        .await
        .unwrap();
    (made.0.credential.id, made.1)
}

async fn log_in_with(
    cloud: &Cloud,
    (id, secret): &(String, String),
    wish: ScopeWish,
) -> Result<IssuedToken, corten_store::Failure> {
    let credential = ApplicationCredentialRef::Id(id.clone());
    cloud
        .iam
        .authenticate(
            &[Proof::ApplicationCredential {
                credential,
                secret: secret.clone(),
            }],
            &wish,
        )
        .await
}

#[tokio::test]
async fn an_application_credential_acts_on_its_project_with_its_roles() {
    let cloud = Cloud::new().await;
    let new = NewApplicationCredential {
        roles: Some(vec![RoleRef::Name("reader".into())]),
        ..named("ci")
    };
    let keys = make(&cloud, new).await;
    let token = log_in_with(&cloud, &keys, ScopeWish::Default)
        .await
        .unwrap();
    let actor = cloud.actor(&token.text).await.unwrap();
    assert!(actor.has_role("reader") && !actor.has_role("member"));
    assert_eq!(
        reason(log_in_with(&cloud, &keys, ScopeWish::Unscoped).await),
        Reason::Unauthenticated
    );
    assert_eq!(
        reason(log_in_with(&cloud, &keys, on_project("admin")).await),
        Reason::Unauthenticated
    );
    let wrong = (keys.0.clone(), "wrong".to_owned());
    assert_eq!(
        reason(log_in_with(&cloud, &wrong, ScopeWish::Default).await),
        Reason::Unauthenticated
    );
    let exchanged = cloud
        .iam
        .authenticate(&[Proof::Token(token.text.clone())], &ScopeWish::Default)
        .await
        .unwrap();
    assert!(
        !exchanged
            .view
            .roles
            .iter()
            .any(|role| role.name == "member"),
        "an exchange gains nothing"
    );
    let out = cloud
        .iam
        .authenticate(&[Proof::Token(token.text)], &ScopeWish::Unscoped)
        .await;
    assert_eq!(reason(out), Reason::Unauthenticated);
}

#[tokio::test]
async fn more_than_the_token_has_cannot_be_lent() {
    let cloud = Cloud::new().await;
    let token = cloud.demo_token().await;
    let actor = token.view.actor(RequestId::random());
    let new = NewApplicationCredential {
        roles: Some(vec![RoleRef::Name("admin".into())]),
        ..named("x")
    };
    let made = cloud
        .iam
        .create_application_credential(&actor, &token.view, &actor.user_id, new)
        .await;
    assert_eq!(reason(made), Reason::Invalid);
    let admin = cloud.admin().await;
    let made = cloud
        .iam
        .create_application_credential(&admin, &token.view, &actor.user_id, named("x"))
        .await;
    assert_eq!(
        reason(made),
        Reason::Forbidden,
        "not even an administrator makes one for somebody else"
    );
}

#[tokio::test]
async fn a_restricted_credential_cannot_make_another_and_an_unrestricted_one_can() {
    let cloud = Cloud::new().await;
    let restricted = make(&cloud, named("restricted")).await;
    let free = make(
        &cloud,
        NewApplicationCredential {
            unrestricted: true,
            ..named("free")
        },
    )
    .await;
    for (keys, allowed) in [(restricted, false), (free, true)] {
        let token = log_in_with(&cloud, &keys, ScopeWish::Default)
            .await
            .unwrap();
        let actor = token.view.actor(RequestId::random());
        let user = actor.user_id.clone();
        let made = cloud
            .iam
            .create_application_credential(&actor, &token.view, &user, named("child"))
            .await;
        assert_eq!(made.is_ok(), allowed);
        let deleted = cloud
            .iam
            .delete_application_credential(&actor, &token.view, &user, &keys.0)
            .await;
        assert_eq!(deleted.is_ok(), allowed);
    }
}

#[tokio::test]
async fn a_credential_ends_with_its_row_its_date_or_the_role_it_stands_on() {
    let cloud = Cloud::new().await;
    let token = cloud.demo_token().await;
    let actor = token.view.actor(RequestId::random());
    let project = actor.project_id().unwrap().clone();

    let deleted = make(&cloud, named("deleted")).await;
    let running = log_in_with(&cloud, &deleted, ScopeWish::Default)
        .await
        .unwrap();
    cloud
        .iam
        .delete_application_credential(&actor, &token.view, &actor.user_id, &deleted.0)
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&running.text).await),
        Reason::Unauthenticated
    );

    let expires_at = Some(running.view.issued_at.plus(Duration::from_secs(60)));
    let dated = make(
        &cloud,
        NewApplicationCredential {
            expires_at,
            ..named("dated")
        },
    )
    .await;
    let running = log_in_with(&cloud, &dated, ScopeWish::Default)
        .await
        .unwrap();
    assert!(cloud.actor(&running.text).await.is_ok());
    cloud.pass(Duration::from_secs(61));
    assert_eq!(
        reason(log_in_with(&cloud, &dated, ScopeWish::Default).await),
        Reason::Unauthenticated
    );
    assert_eq!(
        reason(cloud.actor(&running.text).await),
        Reason::Unauthenticated
    );

    let standing = make(&cloud, named("standing")).await;
    cloud
        .take(&actor.user_id, "member", Extent::Project(project.clone()))
        .await;
    cloud
        .give(&actor.user_id, "reader", Extent::Project(project))
        .await;
    assert_eq!(
        reason(log_in_with(&cloud, &standing, ScopeWish::Default).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn access_rules_let_through_what_they_name_and_cannot_be_deleted_in_use() {
    let cloud = Cloud::new().await;
    let rule = AccessRuleRef::New {
        service: "compute".into(),
        method: "GET".into(),
        path: "/v2.1/servers/*".into(),
    };
    let keys = make(
        &cloud,
        NewApplicationCredential {
            access_rules: Some(vec![rule]),
            ..named("ruled")
        },
    )
    .await;
    let token = log_in_with(&cloud, &keys, ScopeWish::Default)
        .await
        .unwrap();
    let actor = token.view.actor(RequestId::random());
    let visit = |method, path| cloud.iam.admit(&token.text, Visit { method, path });
    assert!(visit("GET", "/compute/v2.1/servers/7").await.is_ok());
    assert_eq!(
        reason(visit("DELETE", "/compute/v2.1/servers/7").await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(visit("GET", "/image/v2/images").await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Forbidden,
        "where it cannot be checked"
    );
    let rules = cloud
        .iam
        .access_rules(&actor, &actor.user_id)
        .await
        .unwrap();
    let deleted = cloud
        .iam
        .delete_access_rule(&actor, &actor.user_id, &rules[0].id)
        .await;
    assert_eq!(reason(deleted), Reason::Forbidden);
}

fn lend(from: &Actor, to: &Actor, impersonation: bool) -> NewTrust {
    NewTrust {
        trustor_user_id: from.user_id.clone(),
        trustee_user_id: to.user_id.clone(),
        project_id: from.project_id().cloned(),
        impersonation,
        roles: vec![RoleRef::Name("reader".into())],
        expires_at: None,
        remaining_uses: Some(2),
        allow_redelegation: false,
        redelegation_count: None,
    }
}

#[tokio::test]
async fn a_trust_lends_its_roles_as_often_as_it_says_and_ends_when_taken_back() {
    let cloud = Cloud::new().await;
    let demo = cloud.demo_token().await;
    let trustor = demo.view.actor(RequestId::random());
    let trustee = cloud.admin().await;
    let new = lend(&trustor, &trustee, true);
    let trust = cloud
        .iam
        .create_trust(&trustor, &demo.view, new)
        .await
        .unwrap()
        .trust;
    let stranger = cloud.user("default", "stranger", "pw").await;
    let wish = ScopeWish::Trust(trust.id.clone());
    let stolen = cloud
        .iam
        .authenticate(&[by_id(&stranger.id, "pw")], &wish)
        .await;
    assert_eq!(reason(stolen), Reason::Forbidden);

    let first = cloud
        .log_in("admin", ADMIN_PASSWORD, wish.clone())
        .await
        .unwrap();
    let actor = cloud.actor(&first.text).await.unwrap();
    assert_eq!(actor.user_id, trustor.user_id, "it impersonates");
    assert!(actor.has_role("reader") && !actor.has_role("member") && !actor.is_admin());
    let exchange = cloud
        .iam
        .authenticate(&[Proof::Token(first.text.clone())], &ScopeWish::Default)
        .await;
    assert_eq!(reason(exchange), Reason::Forbidden);
    let credential = cloud
        .iam
        .create_application_credential(&actor, &first.view, &actor.user_id, named("kept"))
        .await;
    assert_eq!(
        reason(credential),
        Reason::Forbidden,
        "nothing that outlives the trust"
    );
    let onward = cloud
        .iam
        .create_trust(&actor, &first.view, lend(&actor, &trustee, true))
        .await;
    assert_eq!(
        reason(onward),
        Reason::Forbidden,
        "redelegation was not allowed"
    );

    cloud
        .log_in("admin", ADMIN_PASSWORD, wish.clone())
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.log_in("admin", ADMIN_PASSWORD, wish).await),
        Reason::Forbidden,
        "used up"
    );
    cloud
        .iam
        .delete_trust(&trustor, &demo.view, &trust.id)
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&first.text).await),
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn without_impersonation_the_trustee_stays_who_he_is() {
    let cloud = Cloud::new().await;
    let demo = cloud.demo_token().await;
    let trustor = demo.view.actor(RequestId::random());
    let trustee = cloud.admin().await;
    let trust = cloud
        .iam
        .create_trust(&trustor, &demo.view, lend(&trustor, &trustee, false))
        .await
        .unwrap()
        .trust;
    let token = cloud
        .log_in("admin", ADMIN_PASSWORD, ScopeWish::Trust(trust.id))
        .await
        .unwrap();
    let actor = cloud.actor(&token.text).await.unwrap();
    assert_eq!(actor.user_id, trustee.user_id);
    assert!(!actor.is_admin(), "only what was lent");
    cloud
        .take(
            &trustor.user_id,
            "member",
            Extent::Project(trustor.project_id().unwrap().clone()),
        )
        .await;
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated,
        "he has nothing to lend any more"
    );
}

/// A domain with a manager, and the manager's token on it.
async fn managed_domain(cloud: &Cloud) -> (DomainId, Actor) {
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
    let manager = cloud.user(domain.as_str(), "boss", "pw").await;
    cloud
        .give(&manager.id, "manager", Extent::Domain(domain.clone()))
        .await;
    let wish = ScopeWish::Domain(DomainRef::Id(domain.clone()));
    let token = cloud
        .iam
        .authenticate(&[by_id(&manager.id, "pw")], &wish)
        .await
        .unwrap();
    (domain, token.view.actor(RequestId::random()))
}

#[tokio::test]
async fn a_manager_manages_his_domain_and_no_other() {
    let cloud = Cloud::new().await;
    let (domain, boss) = managed_domain(&cloud).await;
    let iam = &cloud.iam;
    let user = iam
        .create_user(&boss, new_user(domain.as_str(), "u", "pw"))
        .await
        .unwrap();
    let project = iam
        .create_project(&boss, new_project(domain.as_str(), "p"))
        .await
        .unwrap();
    let member = cloud.role("member").await;
    let here = grant(&user.id, Extent::Project(project.id.clone()));
    iam.grant(&boss, &here, &member).await.unwrap();
    assert_eq!(
        iam.users(&boss, Default::default()).await.unwrap().len(),
        2,
        "his users only"
    );
    assert_eq!(
        iam.assignments(&boss, &Default::default())
            .await
            .unwrap()
            .len(),
        2
    );

    assert_eq!(
        reason(
            iam.create_user(&boss, new_user("default", "spy", "pw"))
                .await
        ),
        Reason::Forbidden
    );
    assert_eq!(
        reason(iam.create_project(&boss, new_project("default", "p")).await),
        Reason::Forbidden
    );
    let demo = cloud.demo_token().await.view.actor(RequestId::random());
    let there = grant(
        &user.id,
        Extent::Project(demo.project_id().unwrap().clone()),
    );
    assert_eq!(
        reason(iam.grant(&boss, &there, &member).await),
        Reason::Forbidden
    );
    let guest = grant(&demo.user_id, Extent::Project(project.id));
    assert_eq!(
        reason(iam.grant(&boss, &guest, &member).await),
        Reason::Forbidden
    );
    assert_eq!(
        reason(iam.user(&boss, &demo.user_id).await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_manager_cannot_raise_his_own_power() {
    let cloud = Cloud::new().await;
    let (domain, boss) = managed_domain(&cloud).await;
    let (iam, admin) = (&cloud.iam, cloud.admin().await);
    let project = iam
        .create_project(&boss, new_project(domain.as_str(), "p"))
        .await
        .unwrap();
    let admin_role = cloud.role("admin").await;
    let own = grant(&boss.user_id, Extent::Project(project.id.clone()));
    assert_eq!(
        reason(iam.grant(&boss, &own, &admin_role).await),
        Reason::Forbidden,
        "admin on a project is the cloud"
    );

    let chief = cloud.user(domain.as_str(), "chief", "pw").await;
    cloud
        .give(&chief.id, "admin", Extent::Project(project.id.clone()))
        .await;
    let reset = UserChanges {
        password: Some(Some("mine".into())),
        ..UserChanges::default()
    };
    assert_eq!(
        reason(iam.update_user(&boss, &chief.id, reset).await),
        Reason::Forbidden
    );

    let new = NewGroup {
        name: "g".into(),
        domain_id: Some(domain),
        description: None,
        extra: Extra::new(),
    };
    let group = iam.create_group(&boss, new).await.unwrap();
    iam.add_member(&boss, &group.id, &boss.user_id)
        .await
        .unwrap();
    iam.remove_member(&boss, &group.id, &boss.user_id)
        .await
        .unwrap();
    let to_group = Grant {
        holder: Holder::Group(group.id.clone()),
        extent: Extent::Project(project.id),
        inherited: false,
    };
    iam.grant(&admin, &to_group, &admin_role).await.unwrap();
    assert_eq!(
        reason(iam.add_member(&boss, &group.id, &boss.user_id).await),
        Reason::Forbidden
    );
}
