//! Every operation on instances, disturbed at every point of every step in every way (K5–K14, K17, K18, K26).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::lifecycle::Command;
use corten_operations::instance::command::{self, Rebuild};
use harness::{Cloud, End, member, survive_everything, visible};

async fn command_from_running(asked: Command) {
    survive_everything(
        async |cloud| cloud.running().await,
        async |cloud, id| cloud.simple(id, asked).await,
    )
    .await;
}

async fn command_after(first: Command, asked: Command) {
    let prepare = async |cloud: &Cloud| {
        let id = cloud.running().await;
        cloud.simple(id, first).await;
        cloud.drain().await;
        id
    };
    survive_everything(prepare, async |cloud, id| cloud.simple(id, asked).await).await;
}

#[tokio::test]
async fn create() {
    survive_everything(async |cloud| cloud.create().await, async |_, _| {}).await;
}

#[tokio::test]
async fn stop() {
    command_from_running(Command::Stop).await;
}

#[tokio::test]
async fn start() {
    command_after(Command::Stop, Command::Start).await;
}

#[tokio::test]
async fn soft_reboot() {
    command_from_running(Command::SoftReboot).await;
}

#[tokio::test]
async fn hard_reboot() {
    command_from_running(Command::HardReboot).await;
}

#[tokio::test]
async fn pause() {
    command_from_running(Command::Pause).await;
}

#[tokio::test]
async fn unpause() {
    command_after(Command::Pause, Command::Unpause).await;
}

#[tokio::test]
async fn suspend() {
    command_from_running(Command::Suspend).await;
}

#[tokio::test]
async fn resume() {
    command_after(Command::Suspend, Command::Resume).await;
}

#[tokio::test]
async fn rescue() {
    let ask = async |cloud: &Cloud, id| {
        command::rescue(&cloud.cx, &member(), id, None, None)
            .await
            .unwrap();
    };
    survive_everything(async |cloud| cloud.running().await, ask).await;
}

#[tokio::test]
async fn unrescue() {
    let prepare = async |cloud: &Cloud| {
        let id = cloud.running().await;
        command::rescue(&cloud.cx, &member(), id, None, None)
            .await
            .unwrap();
        cloud.drain().await;
        id
    };
    survive_everything(prepare, async |cloud, id| {
        cloud.simple(id, Command::Unrescue).await
    })
    .await;
}

#[tokio::test]
async fn rebuild() {
    let ask = async |cloud: &Cloud, id| {
        command::rebuild(&cloud.cx, &member(), id, Rebuild::default())
            .await
            .unwrap();
    };
    survive_everything(async |cloud| cloud.running().await, ask).await;
}

#[tokio::test]
async fn delete() {
    let ask = async |cloud: &Cloud, id| command::delete(&cloud.cx, &member(), id).await.unwrap();
    survive_everything(async |cloud| cloud.running().await, ask).await;
}

/// Delete breaks whatever runs: here a create, at each point of it.
#[tokio::test]
async fn delete_in_the_middle_of_a_create() {
    let probe = Cloud::open().await;
    probe.create().await;
    probe.drain().await;
    let moments = probe.moments().len();
    for moment in 0..moments {
        let cloud = Cloud::open().await;
        cloud.plan(moment, harness::Disturbance::Kill);
        let id = cloud.create().await;
        cloud.run_until_killed().await;
        command::delete(&cloud.cx, &member(), id).await.unwrap();
        cloud.drain().await;
        cloud
            .assert_nothing_leaked(&format!("killed at moment {moment}, then deleted"))
            .await;
        assert!(!visible(&cloud, id).await);
        let End { state, .. } = cloud.end(id).await;
        assert_eq!(state, "Deleted");
    }
}
