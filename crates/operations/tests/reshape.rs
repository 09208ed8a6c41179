//! Resize, shelve and their ways back: each disturbed at every point of every step in every way (K2, K15, K16,
//! K19–K25), and what a user or an operator notices besides.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_host::{HostError, Power};
use corten_iam::actor::Actor;
use corten_model::ids::{FlavorId, InstanceId};
use corten_model::lifecycle::Command;
use corten_model::refusal::Reason;
use corten_operations::instance::reshape::{self, Unshelve};
use corten_operations::instance::{command, history};
use corten_operations::{image, placement, quota};
use corten_sim::TaskKind;
use corten_store::hosts::{self, Resources};
use corten_store::quotas::Quota;
use corten_store::{Failure, record};
use harness::{Cloud, Disturbance, member, survive_everything, visible};
use std::time::Duration;

const SMALL: &str = "2";

fn admin() -> Actor {
    Actor {
        roles: ["admin", "manager", "member", "reader"]
            .map(str::to_owned)
            .into(),
        ..member()
    }
}

async fn resize(cloud: &Cloud, id: InstanceId) {
    ask_resize(cloud, id, SMALL).await.unwrap();
}

async fn ask_resize(cloud: &Cloud, id: InstanceId, flavor: &str) -> Result<(), Failure> {
    reshape::resize(&cloud.cx, &member(), id, &FlavorId::from(flavor), None).await
}

async fn confirm(cloud: &Cloud, id: InstanceId) {
    reshape::confirm_resize(&cloud.cx, &member(), id)
        .await
        .unwrap();
}

async fn revert(cloud: &Cloud, id: InstanceId) {
    reshape::revert_resize(&cloud.cx, &member(), id)
        .await
        .unwrap();
}

async fn shelve(cloud: &Cloud, id: InstanceId) {
    reshape::shelve(&cloud.cx, &member(), id).await.unwrap();
}

async fn unshelve(cloud: &Cloud, id: InstanceId) {
    let anywhere = Unshelve::default();
    reshape::unshelve(&cloud.cx, &member(), id, anywhere)
        .await
        .unwrap();
}

async fn running(cloud: &Cloud) -> InstanceId {
    cloud.running().await
}

async fn after(cloud: &Cloud, first: Command) -> InstanceId {
    let id = cloud.running().await;
    cloud.simple(id, first).await;
    cloud.drain().await;
    id
}

async fn stopped(cloud: &Cloud) -> InstanceId {
    after(cloud, Command::Stop).await
}

async fn resized(cloud: &Cloud) -> InstanceId {
    let id = running(cloud).await;
    resize(cloud, id).await;
    cloud.drain().await;
    id
}

async fn shelved(cloud: &Cloud) -> InstanceId {
    let id = running(cloud).await;
    shelve(cloud, id).await;
    cloud.drain().await;
    id
}

#[tokio::test]
async fn resize_of_a_running_instance() {
    survive_everything(running, resize).await;
}

#[tokio::test]
async fn resize_of_a_stopped_instance() {
    survive_everything(stopped, resize).await;
}

#[tokio::test]
async fn confirm_a_resize() {
    survive_everything(resized, confirm).await;
}

#[tokio::test]
async fn revert_a_resize() {
    survive_everything(resized, revert).await;
}

#[tokio::test]
async fn shelve_a_running_instance() {
    survive_everything(running, shelve).await;
}

#[tokio::test]
async fn shelve_a_stopped_instance() {
    survive_everything(stopped, shelve).await;
}

#[tokio::test]
async fn shelve_a_suspended_instance() {
    let suspended = async |cloud: &Cloud| after(cloud, Command::Suspend).await;
    survive_everything(suspended, shelve).await;
}

#[tokio::test]
async fn unshelve_what_was_offloaded() {
    survive_everything(shelved, unshelve).await;
}

#[tokio::test]
async fn delete_what_is_shelved() {
    let delete = async |cloud: &Cloud, id| command::delete(&cloud.cx, &member(), id).await.unwrap();
    survive_everything(shelved, delete).await;
}

#[tokio::test]
async fn delete_what_waits_to_be_confirmed() {
    let delete = async |cloud: &Cloud, id| command::delete(&cloud.cx, &member(), id).await.unwrap();
    survive_everything(resized, delete).await;
}

/// Deletes in the middle of what `ask` began, at each of its points.
async fn delete_in_the_middle(
    prepare: impl AsyncFn(&Cloud) -> InstanceId,
    ask: impl AsyncFn(&Cloud, InstanceId),
) {
    let probe = Cloud::open().await;
    let id = prepare(&probe).await;
    probe.forget_moments();
    ask(&probe, id).await;
    probe.drain().await;
    let moments = probe.moments().len();
    assert!(moments >= 3, "the harness saw no step");
    for moment in 0..moments {
        let cloud = Cloud::open().await;
        let id = prepare(&cloud).await;
        cloud.plan(moment, Disturbance::Kill);
        ask(&cloud, id).await;
        cloud.run_until_killed().await;
        command::delete(&cloud.cx, &member(), id).await.unwrap();
        cloud.drain().await;
        // Files of an image whose row is gone are removed at the next start.
        image::recover(&cloud.cx).await.unwrap();
        let context = format!("killed at moment {moment}, then deleted");
        cloud.assert_nothing_leaked(&context).await;
        assert!(!visible(&cloud, id).await, "{context}");
    }
}

#[tokio::test]
async fn delete_in_the_middle_of_a_resize() {
    delete_in_the_middle(running, resize).await;
}

#[tokio::test]
async fn delete_in_the_middle_of_a_shelve() {
    delete_in_the_middle(running, shelve).await;
}

#[tokio::test]
async fn delete_in_the_middle_of_an_unshelve() {
    delete_in_the_middle(shelved, unshelve).await;
}

async fn held(cloud: &Cloud, id: InstanceId) -> Vec<Resources> {
    let mut tx = cloud.store.read().await.unwrap();
    let allocations = hosts::allocations_of(&mut tx, id).await.unwrap();
    allocations.into_iter().map(|row| row.resources).collect()
}

async fn guest_vcpus_and_memory(cloud: &Cloud, id: InstanceId) -> (usize, u64) {
    let instance = cloud.instance(id).await;
    let hands = cloud.cx.hosts.get(instance.host_id.unwrap()).unwrap();
    let seen = hands.diagnostics(id).await.unwrap();
    (seen.cpus.len(), seen.memory_maximum_mib)
}

async fn power(cloud: &Cloud, id: InstanceId) -> Option<Power> {
    let instance = cloud.instance(id).await;
    let hands = cloud.cx.hosts.get(instance.host_id?).unwrap();
    hands.observe(id).await.unwrap().map(|seen| seen.power)
}

/// The refusal that a rule answers with.
fn refused(outcome: Result<(), Failure>) -> (Reason, String) {
    match outcome {
        Err(Failure::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

#[tokio::test]
async fn until_its_end_a_resize_holds_and_counts_what_both_flavors_need() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let tiny = placement::resources(&cloud.instance(id).await.intent.flavor);
    let host = cloud.instance(id).await.host_id;
    resize(&cloud, id).await;
    let project = cloud.instance(id).await.project_id;
    let used = async || {
        let mut tx = cloud.store.read().await.unwrap();
        quota::in_use(&mut tx, &project, None).await.unwrap()["ram"]
    };
    assert_eq!(used().await, 2048, "counted from acceptance on");
    assert_eq!(cloud.instance(id).await.intent.flavor.name, "m1.tiny");
    cloud.drain().await;
    let small = placement::resources(&cloud.instance(id).await.intent.flavor);
    assert_eq!(
        cloud.instance(id).await.host_id,
        host,
        "it stays on its host"
    );
    assert_eq!((small.memory_mib, small.disk_gib), (2048, 20));
    let both = Resources {
        disk_gib: tiny.disk_gib + small.disk_gib,
        ..small
    };
    assert_eq!(held(&cloud, id).await, [both]);
    assert_eq!(guest_vcpus_and_memory(&cloud, id).await, (1, 2048));

    revert(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(held(&cloud, id).await, [tiny]);
    assert_eq!(used().await, 128);
    assert_eq!(guest_vcpus_and_memory(&cloud, id).await, (1, 128));
    let end = cloud.end(id).await;
    assert_eq!((end.state, end.flavor.as_str()), ("Active", "m1.tiny"));

    resize(&cloud, id).await;
    cloud.drain().await;
    confirm(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(held(&cloud, id).await, [small]);
    let end = cloud.end(id).await;
    assert_eq!((end.state, end.flavor.as_str()), ("Active", "m1.small"));
    let actions = history::actions(&cloud.cx, &member(), id).await.unwrap();
    let names: Vec<_> = actions
        .iter()
        .rev()
        .map(|action| action.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "create",
            "resize",
            "revertResize",
            "resize",
            "confirmResize"
        ]
    );
}

#[tokio::test]
async fn what_was_stopped_stays_so_through_a_resize() {
    let cloud = Cloud::open().await;
    let id = stopped(&cloud).await;
    resize(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(power(&cloud, id).await, Some(Power::Shutdown));
    revert(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Stopped");
    assert_eq!(power(&cloud, id).await, Some(Power::Shutdown));
    resize(&cloud, id).await;
    cloud.drain().await;
    confirm(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Stopped");
    assert_eq!(power(&cloud, id).await, Some(Power::Shutdown));
}

/// K55: a resize that nobody confirms is no way to compute for nothing.
#[tokio::test]
async fn a_resize_is_confirmed_by_itself_after_its_window() {
    let cloud = Cloud::open().await;
    let id = resized(&cloud).await;
    cloud.clock.advance(Duration::from_secs(86_399));
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Resized");
    cloud.clock.advance(Duration::from_secs(1));
    // The first look finds it, then the operation runs.
    cloud.drain().await;
    cloud.drain().await;
    let end = cloud.end(id).await;
    assert_eq!((end.state, end.flavor.as_str()), ("Active", "m1.small"));
    cloud.assert_nothing_leaked("confirmed by itself").await;
    let actions = history::actions(&cloud.cx, &member(), id).await.unwrap();
    assert_eq!(
        (actions[0].name.as_str(), &actions[0].user_id),
        ("confirmResize", &None)
    );
}

/// Sets the quota of the instance's project for memory, or takes it away.
async fn limit_ram(cloud: &Cloud, id: InstanceId, mib: Option<i64>) {
    let project = cloud.instance(id).await.project_id;
    let mut tx = cloud.store.write().await.unwrap();
    let key = Quota::key(&project, None);
    let mut quota: Quota = record::lock(&mut tx, key).await.unwrap().unwrap();
    quota.limits.remove("ram");
    quota.limits.extend(mib.map(|mib| ("ram".to_owned(), mib)));
    record::update(&mut tx, &quota).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn impossible_resizes_are_refused_and_change_nothing() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let (reason, text) = refused(ask_resize(&cloud, id, "1").await);
    assert_eq!(
        (reason, text.as_str()),
        (
            Reason::Invalid,
            "When resizing, instances must change flavor!"
        )
    );
    let (reason, text) = refused(ask_resize(&cloud, id, "no-such").await);
    assert_eq!(
        (reason, text.as_str()),
        (Reason::Invalid, "Flavor no-such could not be found.")
    );
    limit_ram(&cloud, id, Some(1024)).await;
    let (reason, text) = refused(ask_resize(&cloud, id, SMALL).await);
    assert_eq!(reason, Reason::OverQuota);
    assert_eq!(
        text,
        "Quota exceeded for ram: Requested 1920, but already used 128 of 1024 ram"
    );
    limit_ram(&cloud, id, None).await;

    resize(&cloud, id).await;
    cloud.drain().await;
    confirm(&cloud, id).await;
    cloud.drain().await;
    let (reason, text) = refused(ask_resize(&cloud, id, "1").await);
    assert_eq!(reason, Reason::Invalid);
    assert!(
        text.starts_with(
            "Server disk was unable to be resized because: Unable to resize disk down."
        ),
        "{text}"
    );
    let end = cloud.end(id).await;
    assert_eq!((end.state, end.flavor.as_str()), ("Active", "m1.small"));
    let refusal = reshape::confirm_resize(&cloud.cx, &member(), id).await;
    assert_eq!(refused(refusal).0, Reason::Conflict);
    cloud.assert_nothing_leaked("refusals").await;
}

/// B4 row 9: in prep the task is cleared.
#[tokio::test]
async fn a_host_without_room_leaves_the_instance_as_it_is_and_says_why() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let host_id = cloud.instance(id).await.host_id.unwrap();
    let mut tx = cloud.store.write().await.unwrap();
    let mut row: hosts::Host = record::lock(&mut tx, host_id).await.unwrap().unwrap();
    row.facts.capacity.memory_mib = 1024;
    record::update(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    resize(&cloud, id).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    let fault = instance.fault.clone().unwrap().details;
    assert!(
        fault.contains("No valid host") && fault.contains("MEMORY_MB"),
        "{fault}"
    );
    assert!(fault.contains("own host"), "{fault}");
    let end = cloud.end(id).await;
    assert_eq!((end.state, end.flavor.as_str()), ("Active", "m1.tiny"));
    assert_eq!(instance.resize, None);
    cloud.assert_nothing_leaked("no room").await;
    let actions = history::actions(&cloud.cx, &member(), id).await.unwrap();
    assert_eq!(actions[0].message.as_deref(), Some("Error"));
}

/// B4 row 9: an instance whose move failed is in Error, but its guest is as it was, and runs.
#[tokio::test]
async fn a_failed_reshape_is_undone() {
    for kind in [TaskKind::Reshape, TaskKind::Start] {
        let cloud = Cloud::open().await;
        let id = running(&cloud).await;
        let host = cloud.instance(id).await.host_id.unwrap();
        let (_, sim) = cloud
            .hosts
            .iter()
            .find(|(known, _)| *known == host)
            .unwrap();
        let error = HostError::ImageNotCached {
            sha512: "00".to_owned(),
        };
        sim.fail_next(kind, 1, error);
        resize(&cloud, id).await;
        cloud.drain().await;
        let end = cloud.end(id).await;
        assert_eq!((end.state, end.fault), ("Error", true), "{kind:?}");
        assert_eq!(end.flavor, "m1.tiny");
        assert_eq!(power(&cloud, id).await, Some(Power::Running), "{kind:?}");
        assert_eq!(
            guest_vcpus_and_memory(&cloud, id).await,
            (1, 128),
            "{kind:?}"
        );
        cloud.assert_nothing_leaked("undone").await;
        cloud.simple(id, Command::HardReboot).await;
        cloud.drain().await;
        assert_eq!(cloud.end(id).await.state, "Active");
    }
}

/// There is no way for disks from host to host yet, so nobody is told that there is.
#[tokio::test]
async fn migrations_are_refused_with_the_way_out() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let admin = admin();
    for way in [Command::Migrate, Command::LiveMigrate] {
        let ask = async |host: Option<&str>| {
            let host = host.map(str::to_owned);
            refused(reshape::migrate(&cloud.cx, &admin, id, way, host).await)
        };
        let (reason, text) = ask(None).await;
        assert_eq!(reason, Reason::Invalid);
        assert!(
            text.contains("No valid host") && text.contains("unshelve"),
            "{text}"
        );
        let own = cloud.instance(id).await.host_name;
        assert!(
            ask(own.as_deref()).await.1.contains("migrate"),
            "to its own host"
        );
        assert_eq!(
            ask(Some("nowhere")).await.1,
            "Compute host nowhere could not be found."
        );
        let by_member = reshape::migrate(&cloud.cx, &member(), id, way, None).await;
        assert_eq!(refused(by_member).0, Reason::Forbidden);
    }
    cloud.simple(id, Command::Suspend).await;
    cloud.drain().await;
    let refusal = reshape::migrate(&cloud.cx, &admin, id, Command::Migrate, None).await;
    assert_eq!(refused(refusal).0, Reason::Conflict);
    assert_eq!(cloud.end(id).await.state, "Suspended");
    cloud.assert_nothing_leaked("refused").await;
}
