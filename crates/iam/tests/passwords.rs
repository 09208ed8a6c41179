//! Lock-out, history, age and expiry of passwords.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::*;
use corten_iam::IamConfig;
use corten_iam::authenticate::ScopeWish;
use corten_iam::user::UserChanges;
use corten_model::refusal::Reason;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn wrong_passwords_in_a_row_lock_the_account_for_a_while() {
    let config = IamConfig {
        lockout_failure_attempts: 3,
        lockout_duration_secs: 60,
        ..IamConfig::default()
    };
    let cloud = Cloud::with(config).await;
    let admin = cloud.admin().await;
    let user = cloud.user("default", "u", "right").await;
    let log_in = |password: &'static str| cloud.log_in("u", password, ScopeWish::Unscoped);
    for _ in 0..2 {
        assert_eq!(reason(log_in("wrong").await), Reason::Unauthenticated);
    }
    assert!(
        log_in("right").await.is_ok(),
        "two are not three, and a right one starts the count anew"
    );
    for _ in 0..3 {
        assert_eq!(reason(log_in("wrong").await), Reason::Unauthenticated);
    }
    let locked = refusal(log_in("right").await);
    assert_eq!(
        locked,
        refusal(log_in("wrong").await),
        "a locked account looks like a wrong password"
    );
    let change = cloud.iam.change_password(&user.id, "right", "other").await;
    assert_eq!(
        reason(change),
        Reason::Unauthenticated,
        "nor can it be guessed here"
    );
    cloud.pass(Duration::from_secs(61));
    assert!(log_in("right").await.is_ok());

    for _ in 0..3 {
        assert_eq!(reason(log_in("wrong").await), Reason::Unauthenticated);
    }
    let enable = UserChanges {
        enabled: Some(true),
        ..UserChanges::default()
    };
    cloud
        .iam
        .update_user(&admin, &user.id, enable)
        .await
        .unwrap();
    assert!(
        log_in("right").await.is_ok(),
        "an administrator unlocks by enabling"
    );

    let ignore = serde_json::json!({"ignore_lockout_failure_attempts": true})
        .as_object()
        .cloned();
    let changes = UserChanges {
        options: ignore,
        ..UserChanges::default()
    };
    cloud
        .iam
        .update_user(&admin, &user.id, changes)
        .await
        .unwrap();
    for _ in 0..4 {
        assert_eq!(reason(log_in("wrong").await), Reason::Unauthenticated);
    }
    assert!(log_in("right").await.is_ok());
}

#[tokio::test]
async fn the_last_passwords_cannot_be_taken_again_but_an_administrator_may_set_them() {
    let cloud = Cloud::with(IamConfig {
        unique_last_password_count: 2,
        ..IamConfig::default()
    })
    .await;
    let admin = cloud.admin().await;
    let user = cloud.user("default", "u", "one").await;
    cloud
        .iam
        .change_password(&user.id, "one", "two")
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.iam.change_password(&user.id, "two", "two").await),
        Reason::Invalid
    );
    assert_eq!(
        reason(cloud.iam.change_password(&user.id, "two", "one").await),
        Reason::Invalid
    );
    assert_eq!(
        reason(cloud.iam.change_password(&user.id, "one", "three").await),
        Reason::Unauthenticated
    );
    let reset = UserChanges {
        password: Some(Some("two".into())),
        ..UserChanges::default()
    };
    cloud
        .iam
        .update_user(&admin, &user.id, reset)
        .await
        .unwrap();
    cloud
        .iam
        .change_password(&user.id, "two", "three")
        .await
        .unwrap();
    cloud
        .iam
        .change_password(&user.id, "three", "one")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_changed_password_voids_the_tokens_that_are_out() {
    let cloud = Cloud::new().await;
    let user = cloud.user("default", "u", "one").await;
    let token = cloud.log_in("u", "one", ScopeWish::Unscoped).await.unwrap();
    assert!(cloud.actor(&token.text).await.is_ok());
    cloud
        .iam
        .change_password(&user.id, "one", "two")
        .await
        .unwrap();
    assert_eq!(
        reason(cloud.actor(&token.text).await),
        Reason::Unauthenticated
    );
    let token = cloud.log_in("u", "two", ScopeWish::Unscoped).await.unwrap();
    assert!(cloud.actor(&token.text).await.is_ok());
}

#[tokio::test]
async fn an_expired_password_is_good_for_nothing_but_its_change() {
    let config = IamConfig {
        password_expires_days: 30,
        minimum_password_age_days: 2,
        ..IamConfig::default()
    };
    let cloud = Cloud::with(config).await;
    let user = cloud.user("default", "u", "one").await;
    let token = cloud.log_in("u", "one", ScopeWish::Unscoped).await.unwrap();
    let expiry = token.view.user.password_expires_at.unwrap();
    assert_eq!(expiry.since(user.passwords[0].created_at), DAY * 30);
    cloud.pass(DAY * 31);
    let refused = refusal(cloud.log_in("u", "one", ScopeWish::Unscoped).await);
    assert!(refused.message.contains("expired"), "{refused}");
    cloud
        .iam
        .change_password(&user.id, "one", "two")
        .await
        .unwrap();
    assert!(cloud.log_in("u", "two", ScopeWish::Unscoped).await.is_ok());
    let soon = refusal(cloud.iam.change_password(&user.id, "two", "three").await);
    assert!(soon.message.contains("minimum age"), "{soon}");
    cloud.pass(DAY * 2);
    cloud
        .iam
        .change_password(&user.id, "two", "three")
        .await
        .unwrap();
    assert!(
        cloud
            .log_in("admin", ADMIN_PASSWORD, ScopeWish::Unscoped)
            .await
            .is_ok(),
        "the first users' do not expire"
    );
}

#[tokio::test]
async fn a_password_set_by_an_administrator_must_be_changed_first_if_so_configured() {
    let cloud = Cloud::with(IamConfig {
        change_password_upon_first_use: true,
        ..IamConfig::default()
    })
    .await;
    let user = cloud.user("default", "u", "given").await;
    assert_eq!(
        reason(cloud.log_in("u", "given", ScopeWish::Unscoped).await),
        Reason::Unauthenticated
    );
    cloud
        .iam
        .change_password(&user.id, "given", "own")
        .await
        .unwrap();
    assert!(cloud.log_in("u", "own", ScopeWish::Unscoped).await.is_ok());
}

#[tokio::test]
async fn a_password_must_match_the_rule_and_a_locked_one_stays() {
    let config = IamConfig {
        password_regex: Some("^.{8,}$".into()),
        password_regex_description: Some("at least 8 characters".into()),
        ..IamConfig::default()
    };
    let cloud = Cloud::with(config).await;
    let admin = cloud.admin().await;
    let refused = refusal(
        cloud
            .iam
            .create_user(&admin, new_user("default", "u", "short"))
            .await,
    );
    assert!(
        refused.message.contains("at least 8 characters"),
        "{refused}"
    );
    let user = cloud.user("default", "u", "long enough").await;
    assert_eq!(
        reason(
            cloud
                .iam
                .change_password(&user.id, "long enough", "short")
                .await
        ),
        Reason::Invalid
    );
    let lock = serde_json::json!({"lock_password": true})
        .as_object()
        .cloned();
    let changes = UserChanges {
        options: lock,
        ..UserChanges::default()
    };
    cloud
        .iam
        .update_user(&admin, &user.id, changes)
        .await
        .unwrap();
    let locked = cloud
        .iam
        .change_password(&user.id, "long enough", "another one")
        .await;
    assert_eq!(reason(locked), Reason::Forbidden);
}
