//! Whichever one key of a BMC's documents is missing or odd, what is asked is
//! answered, and the answer lacks no more than that key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::service::Service;
use common::{limits, open_redfish};
use corten_bmc::{Bmc, BmcError, RedfishAddress, Trust};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Without these nothing of a server can be found; they give an error that says so.
const STRUCTURE: &[&str] = &["/redfish/v1/ /Systems", "/redfish/v1/Systems /Members"];

fn documents(vendor: &str) -> Value {
    let path = format!("{}/tests/vendors/{vendor}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Each key of a value, as a pointer; of a list the first item, for the others are like it.
fn pointers(value: &Value, place: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => items
            .first()
            .map(|item| ("0".to_owned(), item))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in children {
        let place = format!("{place}/{key}");
        pointers(value, &place, found);
        found.push(place);
    }
}

/// Something else than was there.
fn odd(turn: usize) -> Value {
    [
        json!(null),
        json!("?"),
        json!(-7.5),
        json!([[]]),
        json!({"?": []}),
        json!(true),
    ][turn % 6]
        .clone()
}

/// A question that only reads.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Inventory,
    Sensors,
    Capabilities,
    Boot,
    EventLog,
    Bios,
    Power,
    Media,
    Firmware,
    SecureBoot,
    Indicator,
}

const CALLS: [Call; 11] = [
    Call::Inventory,
    Call::Sensors,
    Call::Capabilities,
    Call::Boot,
    Call::EventLog,
    Call::Bios,
    Call::Power,
    Call::Media,
    Call::Firmware,
    Call::SecureBoot,
    Call::Indicator,
];

impl Call {
    async fn ask(self, bmc: &dyn Bmc) -> Result<(), BmcError> {
        match self {
            Self::Inventory => bmc.inventory().await.map(drop),
            Self::Sensors => bmc.sensors().await.map(drop),
            Self::Capabilities => bmc.capabilities().await.map(drop),
            Self::Boot => bmc.boot().await.map(drop),
            Self::EventLog => bmc.event_log().await.map(drop),
            Self::Bios => bmc.bios().await.map(drop),
            Self::Power => bmc.power().await.map(drop),
            Self::Media => bmc.media().await.map(drop),
            Self::Firmware => bmc.firmware().await.map(drop),
            Self::SecureBoot => bmc.secure_boot().await.map(drop),
            Self::Indicator => bmc.indicator().await.map(drop),
        }
    }

    /// It asks for one thing, so without that it is an error that says so; the others tell what there is.
    fn may_fail(self, error: &BmcError) -> bool {
        let asks_for_one = matches!(
            self,
            Self::EventLog
                | Self::Bios
                | Self::Power
                | Self::Firmware
                | Self::SecureBoot
                | Self::Indicator
        );
        asks_for_one && matches!(error, BmcError::Lacks { .. } | BmcError::Odd { .. })
    }
}

/// Without a list of authorities to read, which would take longer than all else.
fn bmc_of(service: &Service) -> Arc<dyn Bmc> {
    let address = RedfishAddress::new(&service.url).unwrap();
    open_redfish(address.with_trust(Trust::Anybody), limits())
}

/// Which calls read which documents.
async fn readers(whole: &Value) -> Vec<(Call, Vec<String>)> {
    let mut readers = Vec::new();
    for call in CALLS {
        let service = Service::start(whole.clone()).await;
        let bmc = bmc_of(&service);
        let asked = call.ask(&*bmc).await;
        assert!(
            asked
                .as_ref()
                .err()
                .is_none_or(|error| call.may_fail(error)),
            "{asked:?}"
        );
        readers.push((call, service.asked()));
    }
    readers
}

async fn each_key_in_turn(vendor: &str) {
    let whole = documents(vendor);
    let readers = readers(&whole).await;
    let mut turn = 0;
    for (path, document) in whole.as_object().unwrap() {
        let line = format!("GET {path} ");
        let reads = |asked: &Vec<String>| asked.contains(&line);
        let calls: Vec<Call> = readers
            .iter()
            .filter(|(_, asked)| reads(asked))
            .map(|(call, _)| *call)
            .collect();
        let mut places = Vec::new();
        pointers(document, "", &mut places);
        for place in places {
            turn += 1;
            let mut broken = whole.clone();
            *broken[path].pointer_mut(&place).unwrap() = odd(turn);
            let service = Service::start(broken).await;
            let bmc = bmc_of(&service);
            let at = format!("{path} {place}");
            let is_structure = STRUCTURE.iter().any(|structure| at.starts_with(structure));
            for call in &calls {
                let asked = tokio::time::timeout(Duration::from_secs(20), call.ask(&*bmc)).await;
                let asked = asked.unwrap_or_else(|_| panic!("{at}: it never ends"));
                if let Err(error) = asked
                    && !is_structure
                    && !call.may_fail(&error)
                {
                    panic!("{vendor}: {at} is {}: {error}", odd(turn));
                }
            }
        }
    }
    assert!(turn > 100);
}

#[tokio::test]
async fn each_key_of_dells_can_be_odd() {
    each_key_in_turn("dell").await;
}

#[tokio::test]
async fn each_key_of_hpes_can_be_odd() {
    each_key_in_turn("hpe").await;
}

#[tokio::test]
async fn each_key_of_supermicros_can_be_odd() {
    each_key_in_turn("supermicro").await;
}

#[tokio::test]
async fn each_key_of_lenovos_can_be_odd() {
    each_key_in_turn("lenovo").await;
}
