//! The operator of a cloud with one node.

use super::PATIENCE;
use super::common::{Actor, Cloud};
use super::server::Server;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

pub struct Operator<'a> {
    pub cloud: &'a Cloud,
    pub server: &'a Server,
    pub admin: Actor,
    pub node: String,
}

impl<'a> Operator<'a> {
    /// Of a node that is to be found or made.
    async fn of(cloud: &'a Cloud, server: &'a Server) -> Self {
        Self {
            cloud,
            server,
            admin: cloud.admin().await,
            node: String::new(),
        }
    }

    /// Of a cloud that this server is offered to: waits until it is.
    pub async fn is_offered(cloud: &'a Cloud, server: &'a Server) -> Self {
        let mut operator = Self::of(cloud, server).await;
        let offered = tokio::time::timeout(PATIENCE, async {
            loop {
                let listed = operator.ask(Method::GET, "/nodes", None).await;
                if let Some(id) = listed["nodes"][0]["uuid"].as_str() {
                    return id.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
        .await;
        operator.node = match offered {
            Ok(id) => id,
            Err(_) => panic!(
                "the server is not offered\n== console\n{}\n== log\n{}",
                server.console(),
                cloud.log_tail(60)
            ),
        };
        operator
    }

    /// Enrols a server, and has its BMC verified.
    pub async fn enrol(cloud: &'a Cloud, server: &'a Server, name: &str, boot: &str) -> Self {
        let mut operator = Self::of(cloud, server).await;
        let node = json!({
            "driver": server.driver(), "name": name, "driver_info": server.driver_info(),
            "boot_interface": boot, "resource_class": "bm.small", "properties": {"cpu_arch": "x86_64"},
        });
        let made = operator.ask(Method::POST, "/nodes", Some(node)).await;
        operator.node = made["uuid"].as_str().unwrap().to_owned();
        let port = json!({"node_uuid": operator.node, "address": server.mac});
        operator.ask(Method::POST, "/ports", Some(port)).await;
        operator.provision(json!({"target": "manage"})).await;
        operator.reaches("manageable").await;
        operator
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .admin
            .request(method.clone(), &format!("/baremetal/v1{path}"))
            .header("x-openstack-ironic-api-version", "1.95");
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn provision(&self, body: Value) {
        let path = format!("/nodes/{}/states/provision", self.node);
        self.ask(Method::PUT, &path, Some(body)).await;
    }

    pub async fn shown(&self) -> Value {
        self.ask(Method::GET, &format!("/nodes/{}", self.node), None)
            .await
    }

    /// Waits for a provision state; a failure on the way ends the test with all that is known.
    pub async fn reaches(&self, wanted: &str) {
        self.reaches_within(wanted, PATIENCE).await;
    }

    pub async fn reaches_within(&self, wanted: &str, limit: Duration) {
        let ended = tokio::time::timeout(limit, async {
            loop {
                let node = self.shown().await;
                let state = node["provision_state"].as_str().unwrap().to_owned();
                if state == wanted {
                    return Ok(());
                }
                if state.contains("failed") || state == "error" || state == "enroll" {
                    return Err(format!("{state}: {}", node["last_error"]));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let why = match ended.await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        panic!(
            "{wanted}: {why}\n== timeline\n{:#}\n== console\n{}\n== log\n{}",
            self.timeline().await,
            self.server.console(),
            self.cloud.log_tail(60),
        );
    }

    pub async fn timeline(&self) -> Value {
        let path = format!("/nodes/{}/boot_timeline", self.node);
        self.ask(Method::GET, &path, None).await["boot_timeline"].take()
    }

    pub async fn signs(&self) -> Vec<String> {
        let timeline = self.timeline().await;
        let signs = timeline.as_array().unwrap().iter();
        signs
            .map(|sign| sign["event"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn wipes(&self) -> Value {
        let path = format!("/nodes/{}/wipes", self.node);
        self.ask(Method::GET, &path, None).await["wipes"].take()
    }
}
