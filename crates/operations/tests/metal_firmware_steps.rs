//! The step `firmware.update`: one component after the other, each proved, none twice, and never cut off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::{
    Address, Bmc, BmcError, Credentials, Limits, Machine, RedfishAddress, TaskWork, open,
};
use corten_iam::actor::Actor;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodePowerTarget, NodeVerb, ProvisionState};
use corten_model::refusal::Reason;
use corten_model::time::Timestamp;
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::{Ident, driver, node, power_node};
use corten_operations::{Settings, operation};
use corten_sim::redfish::{RedfishService, Shape};
use corten_sim::{SimMachine, Touch};
use corten_store::Failure;
use corten_store::metal::boot_sign;
use corten_store::metal::flash::Stage;
use corten_store::metal::node::{Node, PowerSeen, SUBJECT};
use corten_store::operations;
use harness::metal::{after, assert_sound, enroll, firmware, node_of, operator, with_args};
use harness::{Cloud, Disturbance, member};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use NodeVerb::{Abort, Active, Clean, Deleted, Manage, Provide, Service};

const BMC_IMAGE: &str = "http://127.0.0.1/bmc-2.1.bin";
const BIOS_IMAGE: &str = "http://127.0.0.1/bios-3.0.bin";

fn both() -> Wish {
    firmware(Clean, &[("bmc", "bmc-2.1.bin"), ("bios", "bios-3.0.bin")])
}

fn the_bmc() -> Wish {
    firmware(Clean, &[("bmc", "bmc-2.1.bin")])
}

async fn ask_for(cloud: &Cloud, id: NodeId, wish: Wish) -> Result<(), Failure> {
    provision::set(&cloud.cx, &operator(), &Ident::id(id), wish).await
}

async fn carried_out(cloud: &Cloud, id: NodeId, wish: Wish) -> Node {
    ask_for(cloud, id, wish).await.unwrap();
    cloud.drain().await;
    node_of(cloud, id).await
}

fn machine_of(cloud: &Cloud, id: NodeId) -> Arc<SimMachine> {
    cloud.machines.get(&id.to_string())
}

async fn managed(cloud: &Cloud) -> (NodeId, Arc<SimMachine>) {
    let id = after(cloud, true, &[Manage]).await;
    (id, machine_of(cloud, id))
}

/// What the list of a node's firmware says: component, version, and what was flashed last.
fn shown(node: &Node) -> Vec<(&str, &str, Option<&str>)> {
    let items = node.firmware.iter().map(|item| {
        (
            item.component.as_str(),
            item.current_version.as_deref().unwrap(),
            item.last_version_flashed.as_deref(),
        )
    });
    items.collect()
}

async fn signs(cloud: &Cloud, id: NodeId, event: &str) -> Vec<String> {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let signs = boot_sign::of_node(&mut tx, id, Timestamp::from_micros(0)).await;
    let signs = signs.unwrap().into_iter();
    let signs = signs.filter(|sign| sign.event == event);
    signs.map(|sign| sign.detail).collect()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn lost() -> BmcError {
    BmcError::TimedOut {
        bmc: "sim".to_owned(),
        request: "an update".to_owned(),
        limit: Duration::from_secs(30),
    }
}

/// The node has failed, is kept from everybody, and tells this.
async fn assert_failed(cloud: &Cloud, id: NodeId, parts: &[&str]) {
    let node = node_of(cloud, id).await;
    let why = node.last_error.clone().unwrap_or_default();
    assert_eq!(node.provision.state, ProvisionState::CleanFailed, "{why}");
    assert!(node.maintenance);
    assert_says(&why, parts);
    assert_sound(cloud, id, "failed").await;
}

/// Goes on until the BMC is at it.
async fn in_flight(cloud: &Cloud, id: NodeId) {
    cloud
        .step_until(async || {
            cloud.ramdisks.call().await;
            let node = node_of(cloud, id).await;
            node.flashes.iter().any(|flash| flash.stage == Stage::Begun)
        })
        .await;
}

#[tokio::test]
async fn two_components_are_installed_one_after_the_other_and_their_versions_shown() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let node = carried_out(&cloud, id, both()).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(machine.flashes(), [BMC_IMAGE, BIOS_IMAGE]);
    assert_eq!(
        shown(&node),
        [("bios", "3.0", Some("3.0")), ("bmc", "2.1", Some("2.1"))]
    );
    assert_eq!(
        signs(&cloud, id, "firmware installed").await,
        ["bmc: 1.0 became 2.1", "bios: 1.0 became 3.0"]
    );
    // The ramdisk, and the boot from which on the BIOS holds.
    assert_eq!(signs(&cloud, id, "boot planned").await.len(), 2);
    assert_sound(&cloud, id, "installed").await;
}

#[tokio::test]
async fn an_instance_s_server_is_serviced_and_goes_on() {
    let cloud = Cloud::open().await;
    for booted in [false, true] {
        let id = after(&cloud, booted, &[Manage, Provide, Active]).await;
        let wish = firmware(Service, &[("bios", "bios-3.0.bin")]);
        let node = carried_out(&cloud, id, wish).await;
        assert_eq!(
            node.provision.state,
            ProvisionState::Active,
            "{:?}",
            node.last_error
        );
        assert_eq!(node.power.seen, Some(PowerSeen::On));
        assert_eq!(shown(&node)[0], ("bios", "3.0", Some("3.0")));
        assert_sound(&cloud, id, "serviced").await;
    }
}

#[tokio::test]
async fn a_wait_that_was_asked_for_is_kept() {
    let cloud = Cloud::open().await;
    let (id, _) = managed(&cloud).await;
    let args = json!({"settings": [
        {"component": "bmc", "url": BMC_IMAGE, "wait": 600},
        {"component": "bios", "url": BIOS_IMAGE},
    ]});
    carried_out(&cloud, id, with_args(Clean, &args)).await;
    let mut tx = cloud.cx.store.read().await.unwrap();
    let signs = boot_sign::of_node(&mut tx, id, Timestamp::from_micros(0)).await;
    let signs = signs.unwrap();
    let time = |event: &str, component: &str| {
        let mut signs = signs.iter();
        let sign = signs.find(|sign| sign.event == event && sign.detail.starts_with(component));
        sign.unwrap().at
    };
    let pause = time("firmware begins", "bios").since(time("firmware installed", "bmc"));
    assert!(pause >= Duration::from_secs(600), "{pause:?}");
}

#[tokio::test]
async fn the_same_version_counts_by_the_word_of_the_task() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let node = carried_out(&cloud, id, firmware(Clean, &[("bmc", "bmc-1.0.bin")])).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(machine.flashes().len(), 1);
    let proofs = signs(&cloud, id, "firmware installed").await;
    assert_says(&proofs[0], &["1.0 as before", "by the word of its task"]);
    assert_eq!(shown(&node)[1], ("bmc", "1.0", Some("1.0")));
}

#[tokio::test]
async fn a_bmc_that_says_no_is_quoted() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let refused = BmcError::Refused {
        bmc: "sim".to_owned(),
        request: "an update".to_owned(),
        status: Some(400),
        message: "the image is not signed".to_owned(),
    };
    machine.fail_next(Touch::Update, 1, refused);
    carried_out(&cloud, id, both()).await;
    assert_failed(&cloud, id, &["'bmc'", "the image is not signed"]).await;
    assert!(machine.flashes().is_empty());
}

#[tokio::test]
async fn a_task_that_fails_ends_the_step_with_what_it_says() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let wish = firmware(Clean, &[("bmc", "holiday.jpg"), ("bios", "bios-3.0.bin")]);
    carried_out(&cloud, id, wish).await;
    assert_failed(&cloud, id, &["'bmc'", "holiday.jpg is not of a known form"]).await;
    assert_eq!(machine.flashes().len(), 1, "the next one is not begun");
    assert_eq!(signs(&cloud, id, "firmware failed").await.len(), 1);
}

/// The BMC heard, its answer was lost, and so was the worker: its task is found.
#[tokio::test]
async fn an_update_whose_answer_is_lost_is_found_and_not_begun_again() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    // The moment at which the worker that asked the BMC would write what it heard.
    cloud.forget_moments();
    ask_for(&cloud, id, the_bmc()).await.unwrap();
    cloud
        .step_until(async || {
            cloud.ramdisks.call().await;
            !machine.flashes().is_empty()
        })
        .await;
    let asked_by = cloud.moments().len() - 2;
    cloud.drain().await;

    let (id, machine) = managed(&cloud).await;
    machine.lose_update_answers(1);
    cloud.plan(asked_by, Disturbance::Kill);
    let node = carried_out(&cloud, id, the_bmc()).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(machine.flashes(), [BMC_IMAGE]);
    assert_eq!(signs(&cloud, id, "firmware begins").await.len(), 1);
}

/// The BMC did not hear, and can show it: it has not forgotten the task of the component before.
#[tokio::test]
async fn an_update_that_was_surely_not_begun_is_begun_again() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    carried_out(&cloud, id, the_bmc()).await;
    machine.fail_next(Touch::Update, 1, lost());
    let node = carried_out(&cloud, id, firmware(Clean, &[("bios", "bios-3.0.bin")])).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(machine.flashes(), [BMC_IMAGE, BIOS_IMAGE]);
    assert_eq!(signs(&cloud, id, "firmware begins").await.len(), 3);
}

/// The same without anything by which it could be told.
#[tokio::test]
async fn an_update_of_which_nothing_can_be_told_is_not_begun_again() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    machine.fail_next(Touch::Update, 1, lost());
    carried_out(&cloud, id, both()).await;
    let parts = ["'bmc' cannot be told", "not asked again", "Look at the BMC"];
    assert_failed(&cloud, id, &parts).await;
    assert!(machine.flashes().is_empty());

    // Nor where the task may be it, and ended without another version.
    let (id, machine) = managed(&cloud).await;
    machine.keep_tasks_to_itself();
    machine.lose_update_answers(1);
    carried_out(&cloud, id, firmware(Clean, &[("bmc", "holiday.jpg")])).await;
    assert_failed(&cloud, id, &["'bmc' cannot be told", "task/1"]).await;
    assert_eq!(machine.flashes().len(), 1);
}

#[tokio::test]
async fn a_bmc_that_is_away_for_its_own_firmware_is_waited_for() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    machine.hold_flashes(true);
    ask_for(&cloud, id, the_bmc()).await.unwrap();
    in_flight(&cloud, id).await;
    // It restarts, by which it forgets its task.
    let away = BmcError::Unreachable {
        bmc: "sim".to_owned(),
        reason: "it restarts".to_owned(),
    };
    machine.fail_next(Touch::Task, 8, away);
    machine.restart_bmc();
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    let proofs = signs(&cloud, id, "firmware installed").await;
    assert_says(&proofs[0], &["1.0 became 2.1", "forgot the task"]);
}

#[tokio::test]
async fn the_waiting_has_a_limit_and_what_still_runs_is_not_begun_again() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    machine.hold_flashes(true);
    carried_out(&cloud, id, both()).await;
    assert_failed(&cloud, id, &["'bmc'", "within 60 min", "still be at it"]).await;
    assert_eq!(machine.flashes(), [BMC_IMAGE]);

    // Nobody knows whether it goes on, so it is left alone for an hour.
    let (cx, actor, ident) = (&cloud.cx, operator(), Ident::id(id));
    let off = async || power_node::set(cx, &actor, &ident, NodePowerTarget::Off, None).await;
    let Err(Failure::Refused(refusal)) = off().await else {
        panic!("it is switched off in the midst of it");
    };
    assert_says(&refusal.message, &["'bmc' is not known", "ask again in"]);
    cloud.clock.advance(Duration::from_secs(3600));

    // A person lets it go on, and it is still at it.
    node::maintain(&cloud.cx, &operator(), &Ident::id(id), false, None)
        .await
        .unwrap();
    harness::metal::ask(&cloud, id, Manage).await;
    cloud.drain().await;
    carried_out(&cloud, id, the_bmc()).await;
    assert_failed(&cloud, id, &["at an update of firmware already"]).await;
    assert_eq!(machine.flashes(), [BMC_IMAGE]);
}

#[tokio::test]
async fn nothing_cuts_it_off_while_it_is_in_flight() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let (cx, actor, ident) = (&cloud.cx, operator(), Ident::id(id));
    machine.hold_flashes(true);
    ask_for(&cloud, id, the_bmc()).await.unwrap();
    in_flight(&cloud, id).await;
    assert_eq!(
        node_of(&cloud, id).await.provision.state,
        ProvisionState::CleanWait
    );

    let aborted = ask_for(&cloud, id, harness::metal::wish(Abort)).await;
    let given_back = ask_for(&cloud, id, harness::metal::wish(Deleted)).await;
    let switched = power_node::set(cx, &actor, &ident, NodePowerTarget::Off, None).await;
    let deleted = node::delete(cx, &actor, &ident).await;
    let mut tx = cx.store.read().await.unwrap();
    let running = operations::running_on(&mut tx, SUBJECT, &id.to_string()).await;
    let running = running.unwrap().unwrap();
    drop(tx);
    let cancelled = operation::cancel(cx, &actor, running.id).await;
    for refused in [aborted, given_back, switched, deleted, cancelled] {
        let Err(Failure::Refused(refusal)) = refused else {
            panic!("not refused: {refused:?}");
        };
        assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
        assert_says(&refusal.message, &["the firmware of 'bmc'", "Ask again"]);
    }

    machine.hold_flashes(false);
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    power_node::set(cx, &actor, &ident, NodePowerTarget::On, None)
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(node_of(&cloud, id).await.power.seen, Some(PowerSeen::On));
    node::delete(cx, &actor, &ident).await.unwrap();
}

/// What its BMC was not asked for yet may be aborted.
#[tokio::test]
async fn a_step_whose_firmware_is_not_begun_is_aborted() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    ask_for(&cloud, id, the_bmc()).await.unwrap();
    let waits = async || node_of(&cloud, id).await.provision.state == ProvisionState::CleanWait;
    cloud.step_until(waits).await;
    ask_for(&cloud, id, harness::metal::wish(Abort))
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(
        node_of(&cloud, id).await.provision.state,
        ProvisionState::CleanFailed
    );
    assert!(machine.flashes().is_empty());
}

#[tokio::test]
async fn a_component_that_is_not_there_ends_the_step_before_the_first_is_begun() {
    let cloud = Cloud::open().await;
    let (id, machine) = managed(&cloud).await;
    let wish = firmware(Clean, &[("bmc", "bmc-2.1.bin"), ("gpu", "gpu-3.0.bin")]);
    carried_out(&cloud, id, wish).await;
    assert_failed(&cloud, id, &["no component 'gpu'", "It has: bios, bmc"]).await;
    assert!(machine.flashes().is_empty());

    let (id, machine) = managed(&cloud).await;
    machine.lock_firmware("bios");
    carried_out(&cloud, id, both()).await;
    assert_failed(&cloud, id, &["'bios' cannot be updated"]).await;
    assert!(machine.flashes().is_empty());
}

#[tokio::test]
async fn arguments_that_mean_nothing_are_refused_with_the_verb() {
    let cloud = Cloud::open().await;
    let (id, _) = managed(&cloud).await;
    let one = |url: &str| json!({"settings": [{"component": "bmc", "url": url}]});
    let good = "http://127.0.0.1/bmc-2.1.bin";
    let wrong = [
        (json!({}), "at least one"),
        (json!({"settings": []}), "at least one"),
        (
            json!({"settings": [{"component": "bmc", "url": good}], "force": true}),
            "no other",
        ),
        (json!({"settings": [{"component": "bmc"}]}), "'url'"),
        (json!({"settings": [{"url": good}]}), "'component'"),
        (json!({"settings": ["bmc"]}), "'component'"),
        (
            json!({"settings": [{"component": "bmc", "url": good, "flavour": 1}]}),
            "'flavour'",
        ),
        (
            json!({"settings": [{"component": "bmc", "url": good, "checksum": "00"}]}),
            "checksum",
        ),
        (
            json!({"settings": [{"component": "bmc", "url": good, "wait": 0}]}),
            "1 to 3600 s",
        ),
        (
            json!({"settings": [{"component": "bmc", "url": good}, {"component": "BMC", "url": good}]}),
            "twice",
        ),
        (one("bmc.bin"), "bmc.bin"),
        (one("ftp://127.0.0.1/bmc.bin"), "http or https"),
        (
            one("http://user:secret@127.0.0.1/bmc.bin"),
            "no user or password",
        ),
        (one("http://10.0.0.9/bmc.bin"), "images.web_download_hosts"),
    ];
    for (args, rule) in wrong {
        let refused = ask_for(&cloud, id, with_args(Clean, &args)).await;
        let refused = refused.unwrap_err().to_string();
        assert_says(&refused, &["firmware.update", rule]);
        assert!(!refused.contains("secret"), "{refused}");
    }
    let state = node_of(&cloud, id).await.provision.state;
    assert_eq!(state, ProvisionState::Manageable);
}

#[tokio::test]
async fn a_deployment_and_a_driver_without_it_are_refused() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    let wish = firmware(Active, &[("bmc", "bmc-2.1.bin")]);
    let refused = ask_for(&cloud, id, wish).await.unwrap_err().to_string();
    assert_says(&refused, &["only clean and service"]);

    let id = enroll(&cloud, false).await;
    let mut node = node_of(&cloud, id).await;
    let ipmi = driver::of_node(&cloud.cx.metal, driver::IPMI).unwrap();
    node.driver = ipmi.name.to_owned();
    node.interfaces = ipmi.defaults();
    let steps = the_bmc().steps.unwrap();
    let refused = corten_operations::metal::steps::check(&node, &steps);
    assert_says(&refused.unwrap_err().message, &["firmware update", "ipmi"]);
}

/// Where the operator lists no hosts, a tenant's BMC is not sent to look one up.
#[tokio::test]
async fn whoever_is_no_administrator_names_an_address() {
    let cloud = Cloud::with(Settings::default()).await;
    let (id, _) = managed(&cloud).await;
    let node = node_of(&cloud, id).await;
    let steps = |url: &str| {
        let args = json!({"settings": [{"component": "bmc", "url": url}]});
        with_args(Clean, &args).steps.unwrap()
    };
    let check = |actor: &Actor, url: &str| {
        corten_operations::metal::steps::check(&node, &steps(url)).unwrap();
        corten_operations::metal::firmware_args::check_asked(&cloud.cx, actor, Clean, &steps(url))
    };
    let tenant = member();
    for url in ["http://mirror.example/bmc.bin", "http://169.254.169.254/x"] {
        assert!(check(&tenant, url).is_err(), "{url}");
        check(&operator(), url).unwrap();
    }
    check(&tenant, "http://203.0.113.7/bmc.bin").unwrap();
}

/// The same over the wire: a Redfish service whose tasks go on as they are looked at.
#[tokio::test]
async fn a_redfish_service_installs_two_components() {
    const PASSWORD: &str = "s3cret-horse";
    let service = RedfishService::new("admin", PASSWORD).with_task_polls(2);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = service.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    let reach = move |system: String| -> Arc<dyn Bmc> {
        let address = RedfishAddress::new(&url).unwrap().with_system(system);
        let credentials = Credentials::new("admin", PASSWORD);
        open(Address::Redfish(address), credentials, Limits::default()).unwrap()
    };
    let bmc_of = reach.clone();
    let mut settings = Settings::default();
    settings.images.web_download_hosts = vec!["127.0.0.1".to_owned()];
    let shown_by = service.clone();
    let cloud = Cloud::of(settings, move |machines| {
        Arc::new(move |id| {
            let id = id.to_string();
            let machine = machines.get(&id);
            let node = shown_by.node(&id).unwrap_or_else(|| {
                shown_by.add(&id, machine.clone(), Shape::named("standard").unwrap())
            });
            Machine {
                bmc: bmc_of(node.system_path()),
                inside: Some(machine),
            }
        })
    })
    .await;
    let (id, _) = managed(&cloud).await;
    let node = carried_out(&cloud, id, both()).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(
        shown(&node),
        [("BIOS", "3.0", Some("3.0")), ("BMC", "2.1", Some("2.1"))]
    );
    let bmc = reach(service.node(&id.to_string()).unwrap().system_path());
    let tasks = bmc.tasks().await.unwrap().unwrap();
    let images: Vec<_> = tasks
        .iter()
        .filter_map(|task| match &task.work {
            TaskWork::Update { image, .. } => Some(image.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(images, [BMC_IMAGE, BIOS_IMAGE]);
    assert_sound(&cloud, id, "over the wire").await;

    // An image that is none, by the service's own words.
    let wish = firmware(Clean, &[("bmc", "holiday.jpg")]);
    carried_out(&cloud, id, wish).await;
    assert_failed(&cloud, id, &["'bmc'", "not of a known form"]).await;
}
