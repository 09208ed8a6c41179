//! A Redfish service that breaks on order: what is tried again, what is not, and what is told of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::child::wait_until;
use common::service::{Fault, Service};
use common::{PASSWORD, USERNAME, credentials, limits, oddities, open_redfish, redfish_at};
use corten_bmc::{
    Address, BmcError, Boot, BootDevice, Credentials, Limits, PowerAction, PowerState,
    RedfishAddress, change_power, open,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// A small service in the form of the standard.
fn documents() -> Value {
    json!({
        "/redfish/v1/": {
            "RedfishVersion": "1.11.0", "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "SessionService": {"@odata.id": "/redfish/v1/SessionService"},
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
            "UpdateService": {"@odata.id": "/redfish/v1/UpdateService"},
            "Tasks": {"@odata.id": "/redfish/v1/TaskService"},
        },
        "/redfish/v1/Systems": {"Members": [{"@odata.id": SYSTEM}]},
        SYSTEM: {
            "@odata.id": SYSTEM, "Id": "1", "PowerState": "Off", "Manufacturer": "Weathered", "Model": "W1", "SerialNumber": "W1-7",
            "MemorySummary": {"TotalSystemMemoryGiB": 16},
            "EthernetInterfaces": {"@odata.id": "/redfish/v1/Systems/1/EthernetInterfaces"},
            "Boot": {
                "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Cd", "Hdd"],
            },
            "Actions": {"#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "ForceRestart", "GracefulShutdown"],
            }},
        },
        "/redfish/v1/Systems/1/EthernetInterfaces": {"Members": [
            {"@odata.id": "/redfish/v1/Systems/1/EthernetInterfaces/1"}, null,
            {"@odata.id": "/redfish/v1/Systems/1/EthernetInterfaces/2"},
            {"@odata.id": "/redfish/v1/Systems/1/EthernetInterfaces/3"},
        ]},
        "/redfish/v1/Systems/1/EthernetInterfaces/1": {"Id": "1", "MACAddress": "52-54-00-00-00-01", "LinkStatus": "LinkUp", "SpeedMbps": "10000"},
        "/redfish/v1/Systems/1/EthernetInterfaces/2": {"MACAddress": 7, "LinkStatus": ["?"]},
        "/redfish/v1/Systems/1/EthernetInterfaces/3": {"Id": 3, "MACAddress": "52:54:00:00:00:03", "LinkStatus": "Sleeping"},
        "/redfish/v1/UpdateService": {"Actions": {"#UpdateService.SimpleUpdate": {
            "target": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate"}}},
        "/redfish/v1/TaskService": {"Tasks": {"@odata.id": "/redfish/v1/TaskService/Tasks"}},
        "/redfish/v1/TaskService/Tasks": {
            "Members": [{"@odata.id": "/redfish/v1/TaskService/Tasks/1"}], "Members@odata.count": 1,
        },
        "/redfish/v1/TaskService/Tasks/1": {"Id": "1", "TaskState": "Running", "PercentComplete": 40},
    })
}

async fn service() -> Arc<Service> {
    let service = Service::start(documents()).await;
    service.rules.lock().unwrap().protected = true;
    service
}

#[tokio::test]
async fn a_busy_bmc_is_left_alone_for_as_long_as_it_asks() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    bmc.power().await.unwrap();

    service.next(&format!("GET {SYSTEM}"), Fault::Status(503, Some(1)));
    service.next(&format!("GET {SYSTEM}"), Fault::Status(429, None));
    let begin = Instant::now();
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(service.faults_left(), 0);

    // Not to be taken at its word, in either direction.
    service.next(&format!("GET {SYSTEM}"), Fault::Status(503, Some(0)));
    bmc.power().await.unwrap();
    service.next(&format!("GET {SYSTEM}"), Fault::Status(503, Some(u64::MAX)));
    bmc.power().await.unwrap_err();

    // Longer than anyone waits here: the caller is told when to come back.
    service.next(&format!("GET {SYSTEM}"), Fault::Status(503, Some(600)));
    let error = bmc.power().await.unwrap_err();
    assert!(error.is_transient());
    assert!(
        matches!(error, BmcError::Busy { after: Some(after), .. } if after == Duration::from_secs(600)),
        "{error}"
    );
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again_for_what_it_did_not_do() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    service.next(RESET, Fault::Status(503, None));
    change_power(&*bmc, PowerAction::On, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(service.asked_of(RESET).len(), 2);
}

#[tokio::test]
async fn a_hung_request_ends_within_its_limit() {
    let service = service().await;
    let short = Limits {
        request: Duration::from_millis(300),
        patience: Duration::from_millis(700),
        ..limits()
    };
    let bmc = open_redfish(RedfishAddress::new(&service.url).unwrap(), short);
    service.next(&format!("GET {SYSTEM}"), Fault::Hang);
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);

    // A reset whose answer never came is not sent twice.
    service.next(RESET, Fault::Hang);
    let error = bmc.set_power(PowerAction::On).await.unwrap_err();
    assert!(matches!(error, BmcError::TimedOut { .. }), "{error}");
    assert!(error.is_transient());
    assert_eq!(service.asked_of(RESET).len(), 1);
}

#[tokio::test]
async fn a_reset_whose_answer_was_cut_is_not_repeated_and_asking_again_finds_it_done() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    service.next(RESET, Fault::Cut);
    let error = bmc.set_power(PowerAction::On).await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
    change_power(&*bmc, PowerAction::On, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(service.asked_of(RESET).len(), 1);
}

#[tokio::test]
async fn half_an_answer_is_asked_for_again() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    for fault in [Fault::Truncated, Fault::Cut, Fault::Status(500, None)] {
        service.next(&format!("GET {SYSTEM}"), fault);
        assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
        assert_eq!(service.faults_left(), 0);
    }
    for _ in 0..3 {
        service.next(&format!("GET {SYSTEM}"), Fault::Truncated);
    }
    let error = bmc.power().await.unwrap_err();
    assert!(
        matches!(&error, BmcError::Odd { expected, .. } if expected == "JSON"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_told_nowhere() {
    let service = service().await;
    let wrong = "hunter2-hunter2";
    let address = Address::Redfish(RedfishAddress::new(&service.url).unwrap());
    let bmc = open(address, Credentials::new(USERNAME, wrong), limits()).unwrap();
    let sessions = "POST /redfish/v1/SessionService/Sessions";
    let error = bmc.power().await.unwrap_err();
    assert!(matches!(error, BmcError::LoginRefused { .. }), "{error}");
    assert!(!error.is_transient());
    assert_eq!(service.asked_of(sessions).len(), 1);

    // A BMC that repeats the password in its complaint.
    service.next(
        sessions,
        Fault::Refuse(400, format!("{wrong} is not strong enough")),
    );
    let error = bmc.power().await.unwrap_err();
    let told = format!("{error} {error:?} {}", oddities(&*bmc));
    assert!(told.contains("is not strong enough"), "{told}");
    assert!(!told.contains(wrong), "{told}");
}

#[tokio::test]
async fn a_session_is_used_renewed_when_it_ended_and_closed() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    bmc.power().await.unwrap();
    bmc.power().await.unwrap();
    assert_eq!(service.sessions_made(), 1);

    service.end_sessions();
    bmc.power().await.unwrap();
    assert_eq!(service.sessions_made(), 2);

    // Two that find the session ended share the new one.
    service.end_sessions();
    let (one, other) = tokio::join!(bmc.power(), bmc.boot());
    one.unwrap();
    other.unwrap();
    assert_eq!(service.sessions_made(), 3);

    bmc.close().await;
    assert_eq!(service.sessions_open(), 0);
    bmc.power().await.unwrap();
    assert_eq!(service.sessions_open(), 1);
    drop(bmc);
    let limit = Duration::from_secs(5);
    wait_until("logged out", limit, async || service.sessions_open() == 0).await;
}

#[tokio::test]
async fn a_service_whose_sessions_are_full_takes_the_password() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    let sessions = "POST /redfish/v1/SessionService/Sessions";
    service.next(
        sessions,
        Fault::Refuse(400, "The maximum of sessions is reached.".to_owned()),
    );
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    assert!(oddities(&*bmc).contains("maximum of sessions"));
    assert_eq!(service.sessions_made(), 0);
}

#[tokio::test]
async fn one_bmc_is_not_asked_more_at_once_than_its_limit() {
    let service = service().await;
    let one = Limits {
        connections: 1,
        ..limits()
    };
    let address = || RedfishAddress::new(&service.url).unwrap();
    let first = open_redfish(address(), one);
    // Opened a second time with a wider limit, it is the same BMC.
    let second = open_redfish(address(), limits());
    let asked = (0..20).map(|turn| {
        let bmc = if turn % 2 == 0 { &first } else { &second };
        async move { bmc.power().await.unwrap() }
    });
    futures_util::future::join_all(asked).await;
    assert_eq!(service.at_once_most(), 1);
}

#[tokio::test]
async fn a_power_command_that_lies_is_found_out() {
    let service = service().await;
    service.rules.lock().unwrap().power_lies = true;
    let bmc = redfish_at(&service.url);
    let error = change_power(&*bmc, PowerAction::On, Duration::from_millis(300))
        .await
        .unwrap_err();
    let BmcError::NotAsAsked { asked, seen, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((asked.as_str(), seen.as_str()), ("On", "Off"));
}

#[tokio::test]
async fn a_boot_override_that_does_not_take_is_found_out() {
    let service = service().await;
    let ignored = "/Boot/BootSourceOverrideTarget".to_owned();
    service.rules.lock().unwrap().ignored.insert(ignored);
    let short = Limits {
        settle: Duration::from_millis(300),
        ..limits()
    };
    let bmc = open_redfish(RedfishAddress::new(&service.url).unwrap(), short);
    let error = bmc
        .set_boot(Boot::once(BootDevice::Network))
        .await
        .unwrap_err();
    assert!(matches!(error, BmcError::NotAsAsked { .. }), "{error}");
}

#[tokio::test]
async fn what_others_changed_meanwhile_is_not_overwritten_unseen() {
    let service = service().await;
    service.rules.lock().unwrap().etags = true;
    let bmc = redfish_at(&service.url);
    // Between our reading and our writing, somebody else writes.
    let patch = format!("PATCH {SYSTEM}");
    service.next(&patch, Fault::Status(412, None));
    let shown = bmc.set_boot(Boot::once(BootDevice::Network)).await.unwrap();
    assert_eq!(shown.device, BootDevice::Network);
    assert_eq!(service.asked_of(&patch).len(), 2);
}

#[tokio::test]
async fn what_is_there_already_is_not_asked_for() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    bmc.set_power(PowerAction::Off).await.unwrap();
    bmc.set_boot(Boot::once(BootDevice::Network)).await.unwrap();
    bmc.set_boot(Boot::once(BootDevice::Network)).await.unwrap();
    assert_eq!(service.asked_of("POST /redfish/v1/Systems").len(), 0);
    assert_eq!(service.asked_of("PATCH").len(), 1);
}

#[tokio::test]
async fn a_missing_or_odd_part_hides_no_other() {
    let service = service().await;
    service.remove("/redfish/v1/Systems/1/EthernetInterfaces/2");
    service.set(SYSTEM, "/SerialNumber", json!(7007));
    service.set(SYSTEM, "/Model", json!(null));
    service.set(SYSTEM, "/Status", json!("fine"));
    let bmc = redfish_at(&service.url);
    let inventory = bmc.inventory().await.unwrap();
    assert_eq!(
        inventory.identity.manufacturer.as_deref(),
        Some("Weathered")
    );
    assert_eq!(inventory.identity.serial_number.as_deref(), Some("7007"));
    assert_eq!(inventory.identity.model, None);
    assert_eq!(inventory.memory_mib, Some(16 * 1024));
    let cards: Vec<(&str, Option<u64>)> = inventory
        .network_cards
        .iter()
        .map(|card| (card.mac.as_str(), card.speed_mbps))
        .collect();
    assert_eq!(
        cards,
        [
            ("52:54:00:00:00:01", Some(10000)),
            ("52:54:00:00:00:03", None)
        ]
    );
    let told = oddities(&*bmc);
    for place in [
        "EthernetInterfaces/2",
        "#/SerialNumber",
        "#/Model",
        "SpeedMbps",
        "LinkStatus",
    ] {
        assert!(told.contains(place), "{place} is not in:\n{told}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_tell_its_power_is_an_error_that_says_so() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    service.set(SYSTEM, "/PowerState", json!("Hibernating"));
    assert_eq!(bmc.power().await.unwrap(), PowerState::Unknown);
    service.set(SYSTEM, "/PowerState", json!(null));
    let error = bmc.power().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected On or Off in PowerState, found nothing"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_bmc_lacks_is_said_with_what_to_do() {
    let service = service().await;
    let bmc = redfish_at(&service.url);
    let error = bmc.set_power(PowerAction::Nmi).await.unwrap_err();
    assert!(matches!(error, BmcError::Invalid { .. }), "{error}");
    service.set(SYSTEM, "/PowerState", json!("On"));
    let error = bmc.set_power(PowerAction::SoftReboot).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has no soft reboot; turn the power off and on again"),
        "{error}"
    );
    let error = bmc.secure_boot().await.unwrap_err();
    assert!(matches!(error, BmcError::Lacks { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn of_several_systems_one_must_be_named() {
    let service = service().await;
    let two = json!([{"@odata.id": SYSTEM}, {"@odata.id": "/redfish/v1/Systems/2"}]);
    service.set("/redfish/v1/Systems", "/Members", two);
    let error = redfish_at(&service.url).power().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("one of /redfish/v1/Systems/1, /redfish/v1/Systems/2"),
        "{error}"
    );
    let named = RedfishAddress::new(&service.url)
        .unwrap()
        .with_system(SYSTEM);
    let bmc = open(Address::Redfish(named), credentials(), limits()).unwrap();
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn a_bmc_that_is_not_there_is_unreachable() {
    let [port] = common::child::free_ports();
    let short = Limits {
        patience: Duration::from_millis(200),
        ..limits()
    };
    let address = RedfishAddress::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let error = open_redfish(address, short).power().await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_redirection_to_another_host_gets_no_password() {
    let service = service().await;
    let other = Service::start(documents()).await;
    let elsewhere = axum::Router::new().fallback({
        let to = other.url.clone();
        move |uri: axum::http::Uri| async move {
            axum::response::Redirect::temporary(&format!("{to}{uri}"))
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, elsewhere).await });
    let error = redfish_at(&url).power().await.unwrap_err();
    assert!(matches!(error, BmcError::Refused { .. }), "{error}");
    assert!(other.asked().is_empty());
    assert!(!format!("{:?}", service.asked()).contains(PASSWORD));
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    use corten_bmc::{FirmwareUpdate, TaskRef, TaskState, follow};
    const TASK: &str = "/redfish/v1/TaskService/Tasks/1";
    let service = service().await;
    let bmc = redfish_at(&service.url);
    let update = FirmwareUpdate {
        image: "http://10.0.0.1/bios.bin".parse().unwrap(),
        targets: Vec::new(),
    };
    let task = bmc.update_firmware(&update).await.unwrap().unwrap();
    assert_eq!(task, TaskRef(TASK.to_owned()));
    assert_eq!(bmc.task(&task).await.unwrap().percent, Some(40));

    let limit = Duration::from_millis(300);
    let error = follow(&*bmc, &task, limit).await.unwrap_err();
    assert!(matches!(error, BmcError::TimedOut { .. }), "{error}");
    service.set(
        TASK,
        "/Messages",
        json!([{"MessageId": "Base.1.8.ResetRequired"}]),
    );
    assert_eq!(
        follow(&*bmc, &task, limit).await.unwrap().state,
        TaskState::NeedsBoot
    );
    service.set(TASK, "/TaskState", json!("Completed"));
    assert_eq!(
        follow(&*bmc, &task, limit).await.unwrap().state,
        TaskState::Completed
    );
    service.set(TASK, "/TaskState", json!("Exception"));
    service.set(
        TASK,
        "/Messages",
        json!([{"Message": "The image is for another model."}]),
    );
    let error = follow(&*bmc, &task, limit).await.unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");
    assert!(!error.is_transient());
}

/// What is concluded from the absence of a task must not come of a list that was cut short.
#[tokio::test]
async fn tasks_are_listed_whole_or_not_at_all() {
    use corten_bmc::{TaskState, TaskWork};
    const TASKS: &str = "/redfish/v1/TaskService/Tasks";
    const TASK: &str = "/redfish/v1/TaskService/Tasks/1";
    let service = service().await;
    let bmc = redfish_at(&service.url);
    let one = async || bmc.tasks().await.unwrap().unwrap().remove(0);
    assert_eq!(one().await.task.0, TASK);
    assert_eq!(one().await.work, TaskWork::Untold);

    let payload = json!({
        "TargetUri": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate",
        "JsonBody": r#"{"ImageURI": "http://10.0.0.1/bios.bin", "Targets": ["/bios"]}"#,
    });
    service.set(TASK, "/Payload", payload);
    let update = TaskWork::Update {
        image: "http://10.0.0.1/bios.bin".to_owned(),
        targets: vec!["/bios".to_owned()],
    };
    assert_eq!(one().await.work, update);
    service.set(TASK, "/Payload/TargetUri", json!("/redfish/v1/Systems/1"));
    assert_eq!(one().await.work, TaskWork::Other);
    service.set(TASK, "/TaskState", json!("Levitating"));
    assert_eq!(one().await.state, TaskState::Running);

    service.set(TASKS, "/Members@odata.count", json!(2));
    assert_eq!(bmc.tasks().await.unwrap(), None);
    service.set(TASKS, "/Members", json!([{"@odata.id": TASK}, null]));
    assert!(bmc.tasks().await.is_err());
    service.set("/redfish/v1/TaskService", "/Tasks", json!(null));
    assert_eq!(bmc.tasks().await.unwrap(), None);
}
