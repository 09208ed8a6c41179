//! The stock agent's protocol: what it is asked, in which order, and what its answers prove. The agent here is a sketch of
//! `ironic-python-agent`: one command at a time, no marks, results in a list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::tls::TlsListener;
use corten_bmc::{BmcError, Image, Inside, Order, Progress, Report, StockAgent, Task};
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const TOKEN: &str = "the token of the boot";
const MARK: &str = "8f0c/erase";
/// Those that are over when they are answered.
const AT_ONCE: [&str; 5] = [
    "get_hardware_info",
    "collect_system_logs",
    "get_deploy_steps",
    "sync",
    "finalize_rescue",
];

#[derive(Default)]
struct Agent {
    /// The bodies of the commands.
    asked: Mutex<Vec<Value>>,
    told: Mutex<Vec<Value>>,
    log: Mutex<String>,
}

impl Agent {
    fn names(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let name = |body: &Value| {
            let step = body["params"]["step"]["step"].as_str();
            step.or(body["name"].as_str()).unwrap().to_owned()
        };
        asked.iter().map(name).collect()
    }

    fn last(&self) -> Value {
        self.asked.lock().unwrap().last().unwrap()["params"].clone()
    }

    /// What runs comes to this end.
    fn end(&self, status: &str, key: &str, value: Value) {
        let mut told = self.told.lock().unwrap();
        let last = told.last_mut().unwrap();
        assert_eq!(last["command_status"], "RUNNING");
        last["command_status"] = status.into();
        last[key] = value;
    }

    fn succeed(&self, result: Value) {
        self.end("SUCCEEDED", "command_result", result);
    }

    fn succeed_step(&self, result: Value) {
        let step = self.last()["step"].clone();
        let mark = step["mark"].as_str().unwrap();
        *self.log.lock().unwrap() +=
            &format!("INFO Clean step completed: {{'mark': '{mark}'}}, result: …\n");
        self.succeed(json!({"clean_result": result, "clean_step": step}));
    }

    fn at_once(&self, name: &str) -> Value {
        match name {
            "get_hardware_info" => {
                json!({"disks": [{"name": "/dev/vda", "serial": "root-1", "size": 5_u64 << 30}]})
            }
            "collect_system_logs" => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                let log = self.log.lock().unwrap();
                packed.write_all(log.as_bytes()).unwrap();
                json!({"system_logs": STANDARD.encode(packed.finish().unwrap())})
            }
            _ => Value::Null,
        }
    }
}

type Asked = (StatusCode, Json<Value>);

fn let_in(query: &HashMap<String, String>) -> Result<(), Asked> {
    let token = query.get("agent_token").map(String::as_str);
    let fault = json!({"faultcode": "Client", "faultstring": "401 Unauthorized: Token invalid."});
    (token == Some(TOKEN))
        .then_some(())
        .ok_or((StatusCode::UNAUTHORIZED, Json(fault)))
}

async fn list(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Asked> {
    let_in(&query)?;
    Ok(Json(json!({"commands": *agent.told.lock().unwrap()})))
}

async fn run(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Asked> {
    let_in(&query)?;
    let mut told = agent.told.lock().unwrap();
    if told
        .last()
        .is_some_and(|last| last["command_status"] == "RUNNING")
    {
        return Err((
            StatusCode::CONFLICT,
            Json(json!({"message": "Agent is busy"})),
        ));
    }
    let (_, name) = body["name"].as_str().unwrap().split_once('.').unwrap();
    let id = format!("00000000-0000-4000-8000-{:012}", told.len());
    let mut result = json!({"id": id, "command_name": name, "command_status": "RUNNING", "command_error": null,
        "command_result": null});
    if AT_ONCE.contains(&name) {
        result["command_status"] = "SUCCEEDED".into();
        result["command_result"] = agent.at_once(name);
    }
    told.push(result.clone());
    agent.asked.lock().unwrap().push(body);
    Ok(Json(result))
}

/// An agent, and the way to it with this token.
async fn agent_for(token: &str) -> (Arc<Agent>, StockAgent) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let agent = Arc::new(Agent::default());
    let router = Router::new()
        .route("/v1/commands/", get(list).post(run))
        .with_state(agent.clone());
    let listener = TlsListener::new(listener, cert.der(), &signing_key);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let node = json!({"uuid": "a-node", "properties": {}, "instance_info": {}});
    let way = StockAgent::new(&url, &cert.pem(), token.into(), node, Some("13.0.0")).unwrap();
    (agent, way)
}

fn order(task: Task) -> Order {
    Order {
        mark: MARK.to_owned(),
        epoch: 3,
        task,
    }
}

async fn runs(way: &StockAgent, order: &Order) {
    let told = way.work(order).await.unwrap();
    assert_eq!(told, Progress::Running { done: None });
}

async fn done(way: &StockAgent, order: &Order) -> Report {
    match way.work(order).await.unwrap() {
        Progress::Done(report) => report,
        Progress::Running { .. } => panic!("it runs"),
    }
}

/// Up to the end of the agent's own work.
async fn erased(agent: &Agent, way: &StockAgent, order: &Order) {
    runs(way, order).await;
    assert_eq!(agent.names(), ["delete_configuration"]);
    agent.succeed_step(Value::Null);
    runs(way, order).await;
    // An answer that was lost: it is asked for again, and is not begun again.
    runs(way, order).await;
    assert_eq!(agent.names(), ["delete_configuration", "erase_devices"]);
    assert_eq!(agent.last()["node"]["uuid"], "a-node");
    agent.succeed_step(json!({"/dev/vda": null}));
}

#[tokio::test]
async fn a_wipe_is_proved_by_the_inventory_and_the_log() {
    let (agent, way) = agent_for(TOKEN).await;
    let order = order(Task::Erase);
    erased(&agent, &way, &order).await;
    for _ in 0..2 {
        let report = done(&way, &order).await;
        let disk = &report.wiped[0];
        assert_eq!(
            (disk.serial.as_str(), disk.size_bytes),
            ("root-1", 5_u64 << 30)
        );
        assert_eq!(
            disk.method,
            "erase_devices of ironic-python-agent 13.0.0, not read back"
        );
    }
    let all = [
        "delete_configuration",
        "erase_devices",
        "poll.get_hardware_info",
        "log.collect_system_logs",
    ];
    assert_eq!(agent.names(), all, "each once");
}

#[tokio::test]
async fn a_disk_that_was_left_out_is_no_wipe() {
    let (agent, way) = agent_for(TOKEN).await;
    *agent.log.lock().unwrap() = "INFO Skipping erase of RAID member device /dev/vda\n".to_owned();
    let order = order(Task::Erase);
    erased(&agent, &way, &order).await;
    let error = way.work(&order).await.unwrap_err();
    assert!(matches!(error, BmcError::TaskFailed { .. }), "{error}");
    assert!(error.to_string().contains("RAID member"), "{error}");
}

#[tokio::test]
async fn an_image_is_written_once_and_its_loader_named_to_the_firmware() {
    let (agent, way) = agent_for(TOKEN).await;
    let image = Image {
        id: "an-image".to_owned(),
        url: Some("https://10.0.0.1/image".to_owned()),
        checksum: Some(("sha512".to_owned(), "ab".repeat(64))),
        disk_format: Some("raw".to_owned()),
        config_drive: Some("H4sI".to_owned()),
        root_device: Some(json!({"serial": "root-1"})),
    };
    let order = order(Task::Write(Box::new(image)));
    runs(&way, &order).await;
    runs(&way, &order).await;
    assert_eq!(
        agent.names(),
        ["deploy.get_deploy_steps", "standby.prepare_image"]
    );
    let hints = &agent.asked.lock().unwrap()[0]["params"]["node"]["properties"].clone();
    assert_eq!(hints["root_device"]["serial"], "root-1");
    let params = agent.last();
    let info = &params["image_info"];
    // The agent takes no other parameters.
    assert_eq!(params.as_object().unwrap().len(), 2);
    assert_eq!(params["configdrive"], "H4sI");
    assert_eq!(info["image_type"], "whole-disk");
    assert_eq!(info["stream_raw_images"], true);
    let id = info["id"].as_str().unwrap();
    assert!(!id.contains('/'), "a file is named so: {id}");
    let said = format!("prepare_image: image ({id}) written to device /dev/vda root_uuid=None");
    agent.succeed(json!({"result": said}));
    runs(&way, &order).await;
    assert_eq!(agent.names().last().unwrap(), "image.install_bootloader");
    agent.succeed(Value::Null);
    done(&way, &order).await;
    done(&way, &order).await;
    assert_eq!(agent.names().len(), 3);
}

#[tokio::test]
async fn what_failed_is_not_begun_again_and_says_why() {
    let (agent, way) = agent_for(TOKEN).await;
    let order = order(Task::Write(Box::default()));
    runs(&way, &order).await;
    let error = json!({"type": "ImageChecksumError", "code": 500, "message": "Error verifying image checksum",
        "details": "Image failed to verify against checksum"});
    agent.end("FAILED", "command_error", error);
    for _ in 0..2 {
        let error = way.work(&order).await.unwrap_err();
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(
            text.contains("image checksum: Image failed to verify"),
            "{text}"
        );
    }
    assert_eq!(agent.names().len(), 1);
}

#[tokio::test]
async fn two_steps_that_are_equal_are_told_apart_by_their_marks() {
    let (agent, way) = agent_for(TOKEN).await;
    let task = || Task::Step {
        interface: "deploy".to_owned(),
        step: "erase_devices_metadata".to_owned(),
        args: serde_json::Map::new(),
    };
    for mark in ["8f0c/first", "8f0c/second"] {
        let order = Order {
            mark: mark.to_owned(),
            epoch: 1,
            task: task(),
        };
        runs(&way, &order).await;
        agent.succeed_step(Value::Null);
        done(&way, &order).await;
    }
    assert_eq!(agent.names().len(), 2);
}

#[tokio::test]
async fn what_it_cannot_be_told_is_refused_with_the_reason() {
    let (agent, way) = agent_for(TOKEN).await;
    let args = json!({"seconds": 60}).as_object().unwrap().clone();
    let task = Task::Step {
        interface: "deploy".to_owned(),
        step: "burnin_cpu".to_owned(),
        args,
    };
    let refused = way.work(&order(task)).await.unwrap_err();
    assert!(!refused.is_transient());
    let text = refused.to_string();
    for part in ["no arguments", "burnin_cpu: seconds", "driver_info/agent_"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(agent.names().is_empty());
}

#[tokio::test]
async fn another_token_is_not_let_in_and_stays_a_secret() {
    let (_, way) = agent_for("another").await;
    let refused = way.work(&order(Task::Settle)).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("Token invalid") && !text.contains("another"),
        "{text}"
    );
}

#[tokio::test]
async fn questions_are_answered_at_once() {
    let (agent, way) = agent_for(TOKEN).await;
    let inventory = done(&way, &order(Task::Inventory)).await;
    assert_eq!(inventory.details["disks"][0]["serial"], "root-1");
    done(&way, &order(Task::Settle)).await;
    let password = "s3cret".to_owned().into();
    let rescue = Task::Rescue {
        password,
        authorized_keys: String::new(),
    };
    done(&way, &order(rescue)).await;
    let params = agent.last();
    assert_eq!(params["hashed"], true);
    assert!(
        params["rescue_password"]
            .as_str()
            .unwrap()
            .starts_with("$6$")
    );
}
