//! Enrolling the servers of a manifest, many at a time, each as far as is wanted.

use super::manifest::{Manifest, Server};
use crate::client::Client;
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// So many servers are worked on at the same time.
const AT_ONCE: usize = 32;
/// How often a node is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How far a server is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Goal {
    /// Its record is there.
    Enrolled,
    /// Its BMC lets us in.
    Manageable,
    /// What it is made of is known.
    Inspected,
    /// Its disks are erased; a tenant can get it.
    Available,
}

/// What is enrolled already: the names, and the places of BMCs.
pub struct Enrolled {
    names: BTreeSet<String>,
    bmcs: BTreeSet<String>,
}

fn place(driver_info: &Map<String, Value>) -> String {
    let keys = [
        "redfish_address",
        "redfish_system_id",
        "ipmi_address",
        "ipmi_port",
    ];
    let values = keys.map(|key| driver_info.get(key).map(Value::to_string));
    values.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

impl Enrolled {
    pub async fn read(admin: &Client) -> anyhow::Result<Self> {
        let mut enrolled = Self {
            names: BTreeSet::new(),
            bmcs: BTreeSet::new(),
        };
        let mut marker = String::new();
        loop {
            let page = admin
                .get(&format!("/baremetal/v1/nodes/detail?limit=1000{marker}"))
                .await?;
            let nodes = page["nodes"].as_array().cloned().unwrap_or_default();
            let Some(last) = nodes.last() else {
                return Ok(enrolled);
            };
            marker = format!("&marker={}", last["uuid"].as_str().unwrap_or_default());
            for node in &nodes {
                enrolled
                    .names
                    .extend(node["name"].as_str().map(str::to_owned));
                enrolled
                    .bmcs
                    .extend(node["driver_info"].as_object().map(place));
            }
        }
    }

    pub fn has(&self, server: &Server) -> bool {
        self.names.contains(&server.name) || self.bmcs.contains(&place(&server.driver_info))
    }
}

/// Enrols all servers, and tells of each how it went. An error if one did not get there.
pub async fn all(
    admin: &Client,
    manifest: Manifest,
    password: Option<String>,
    goal: Goal,
) -> anyhow::Result<()> {
    let count = manifest.server.len();
    let password = password.as_deref();
    let mut ends = stream::iter(manifest.server)
        .map(|server| async move {
            let name = server.name.clone();
            (name, bring(admin, server, password, goal).await)
        })
        .buffer_unordered(AT_ONCE);
    let mut failed = 0;
    while let Some((name, end)) = ends.next().await {
        match end {
            Ok(state) => say!("{name}: {state}"),
            Err(why) => {
                failed += 1;
                say!("{name}: {why:#}");
            }
        }
    }
    if failed > 0 {
        bail!(
            "{failed} of {count} servers did not get there; what is said of each is the reason. Run it again when it is gone"
        );
    }
    Ok(())
}

async fn bring(
    admin: &Client,
    server: Server,
    password: Option<&str>,
    goal: Goal,
) -> anyhow::Result<String> {
    let path = format!("/baremetal/v1/nodes/{}", server.name);
    let node = match admin.find(&path).await? {
        Some(node) => node,
        None => enrol(admin, &server, password).await?,
    };
    let mut inspected = !node["inspection_finished_at"].is_null();
    let mut state = state_of(&node);
    loop {
        let verb = match state.as_str() {
            _ if goal == Goal::Enrolled => return Ok(state),
            "enroll" => "manage",
            "manageable" if goal == Goal::Manageable => return Ok(state),
            "manageable" if !inspected && goal >= Goal::Inspected => {
                inspected = true;
                "inspect"
            }
            "manageable" if goal == Goal::Inspected => return Ok(state),
            "manageable" => "provide",
            // Further than was asked for.
            "available" | "active" => return Ok(state),
            other => bail!("it is in the state '{other}', from which nothing is done by itself"),
        };
        let body = json!({"target": verb});
        admin
            .order(&format!("{path}/states/provision"), body)
            .await?;
        state = rests(admin, &path)
            .await
            .with_context(|| format!("'{verb}' failed"))?;
    }
}

fn state_of(node: &Value) -> String {
    node["provision_state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Makes the record of a server and of its cards.
async fn enrol(admin: &Client, server: &Server, password: Option<&str>) -> anyhow::Result<Value> {
    let Server {
        name,
        driver,
        resource_class,
        conductor_group,
        boot_interface,
        inspect_interface,
        ports,
        driver_info,
        properties,
        extra,
    } = server;
    let mut driver_info = driver_info.clone();
    let key = format!("{driver}_password");
    if let (false, Some(password)) = (driver_info.contains_key(&key), password) {
        driver_info.insert(key, password.into());
    }
    let mut node = json!({
        "name": name, "driver": driver, "driver_info": driver_info, "properties": properties, "extra": extra,
    });
    for (key, value) in [
        ("resource_class", resource_class),
        ("conductor_group", conductor_group),
        ("boot_interface", boot_interface),
        ("inspect_interface", inspect_interface),
    ] {
        if let Some(value) = value {
            node[key] = value.as_str().into();
        }
    }
    let node = admin.post("/baremetal/v1/nodes", node).await?;
    for port in ports {
        let port = json!({"node_uuid": node["uuid"], "address": port});
        admin.post("/baremetal/v1/ports", port).await?;
    }
    Ok(node)
}

/// Waits until nothing works on a node any more, and says where it stands; an error if its work failed.
async fn rests(admin: &Client, path: &str) -> anyhow::Result<String> {
    loop {
        let node = admin.get(path).await?;
        let state = state_of(&node);
        let error = node["last_error"].as_str().unwrap_or_default();
        let failed = state.ends_with("failed") || state == "error" || state == "enroll";
        if node["target_provision_state"].is_null() {
            if failed && !error.is_empty() {
                bail!("{error}");
            }
            return Ok(state);
        }
        tokio::time::sleep(LOOK).await;
    }
}
