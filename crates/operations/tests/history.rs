//! What was done to an instance, as its owner reads it: also what was over at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_iam::actor::{Actor, Scope};
use corten_model::ids::{InstanceId, RequestId};
use corten_model::lifecycle::Command;
use corten_operations::instance::history::{self, Action};
use corten_operations::instance::{command, edit};
use harness::{Cloud, member};

fn administrator() -> Actor {
    Actor {
        roles: ["admin", "manager", "member", "reader"]
            .map(str::to_owned)
            .into(),
        scope: Scope::System,
        ..member()
    }
}

/// Newest first.
async fn actions(cloud: &Cloud, id: InstanceId) -> Vec<Action> {
    history::actions(&cloud.cx, &member(), id).await.unwrap()
}

#[tokio::test]
async fn what_is_over_at_once_is_an_action_like_the_others() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let request_id = RequestId::random();
    let locker = Actor {
        request_id: request_id.clone(),
        ..member()
    };
    edit::lock(&cloud.cx, &locker, id, Some("a freeze".to_owned()))
        .await
        .unwrap();
    edit::unlock(&cloud.cx, &member(), id).await.unwrap();
    cloud.simple(id, Command::Stop).await;
    cloud.drain().await;
    command::reset_state(&cloud.cx, &administrator(), id, true)
        .await
        .unwrap();

    let actions = actions(&cloud, id).await;
    let mut names: Vec<_> = actions.iter().map(|action| action.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["create", "lock", "resetState", "stop", "unlock"]);
    let lock = actions.iter().find(|action| action.name == "lock").unwrap();
    assert_eq!((&lock.request_id, &lock.message), (&request_id, &None));
    assert_eq!(lock.user_id, Some(member().user_id));
    let events = history::events(&cloud.cx, lock).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].name.as_str(), events[0].result),
        ("api_lock", Some("Success"))
    );
    assert_eq!(events[0].finished, Some(events[0].started));
}

/// Without an agent in the guest a password cannot be set; that it was tried is told, with the reason.
#[tokio::test]
async fn a_password_that_could_not_be_set_is_a_failed_action() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let refused = command::change_password(&cloud.cx, &member(), id).await;
    let refusal = refused.unwrap_err().to_string();
    assert!(refusal.contains("no agent"), "{refusal}");

    let action = &actions(&cloud, id).await[0];
    assert_eq!(action.name, "changePassword");
    assert_eq!(action.message.as_deref(), Some("Error"));
    let events = history::events(&cloud.cx, action).await.unwrap();
    assert_eq!(events[0].result, Some("Error"));
    assert_eq!(events[0].details.as_deref(), Some(refusal.as_str()));
}

/// What was over at once holds up nothing: the next command starts, and its epoch is a newer one.
#[tokio::test]
async fn a_recorded_deed_holds_up_nothing() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    edit::lock(&cloud.cx, &member(), id, None).await.unwrap();
    edit::lock(&cloud.cx, &member(), id, None).await.unwrap();
    edit::unlock(&cloud.cx, &member(), id).await.unwrap();
    cloud.simple(id, Command::Stop).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Stopped");
    cloud.assert_nothing_leaked("after a lock and a stop").await;
}
