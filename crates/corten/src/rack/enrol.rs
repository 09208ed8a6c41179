//! Enrolling the servers of a manifest, many at a time, each as far as is wanted.
//!
//! Whatever ended a run, the next one goes on: it adds the network cards that are missing, takes up what failed, and waits for
//! what is under way. A server that discovery offers already, known by its network cards, is taken up with its inventory.

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

/// Where a run before may have ended; the target 'manage' leads on from there.
const FAILED: &[&str] = &["inspect failed", "clean failed"];

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

const OVER_REDFISH: &[&str] = &["redfish_address", "redfish_system_id"];
const OVER_IPMI: &[&str] = &["ipmi_address", "ipmi_port"];

/// What of `driver_info` says where a BMC is. Over Redfish, what is said of its IPMI is for its console.
fn place_keys(driver_info: &Map<String, Value>) -> &'static [&'static str] {
    if driver_info.contains_key(OVER_REDFISH[0]) {
        OVER_REDFISH
    } else {
        OVER_IPMI
    }
}

fn place(driver_info: &Map<String, Value>) -> String {
    let values = place_keys(driver_info)
        .iter()
        .filter_map(|key| driver_info.get(*key));
    values.map(Value::to_string).collect::<Vec<_>>().join(" ")
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
    let path = node_path(&server.name);
    let node = match admin.find(&path).await? {
        Some(_) => settled(admin, &path).await?,
        None => enrol(admin, &server, password).await?,
    };
    check_same(&server, &node)?;
    let mut state = state_of(&node);
    // Further than any manifest brings one.
    if matches!(state.as_str(), "available" | "active") {
        return Ok(state);
    }
    add_ports(admin, &server, &node).await?;
    if goal == Goal::Enrolled {
        return Ok(state);
    }
    if FAILED.contains(&state.as_str()) {
        state = take_up_failed(admin, &path, &node).await?;
    }
    let mut inspected = !node["inspection_finished_at"].is_null();
    loop {
        let verb = match state.as_str() {
            "enroll" => "manage",
            "manageable" if goal == Goal::Manageable => return Ok(state),
            "manageable" if !inspected && goal >= Goal::Inspected => {
                inspected = true;
                "inspect"
            }
            "manageable" if goal == Goal::Inspected => return Ok(state),
            "manageable" => "provide",
            "available" => return Ok(state),
            other => bail!("it is in the state '{other}', from which nothing is done by itself"),
        };
        state = change(admin, &path, verb).await?;
    }
}

fn node_path(node: &str) -> String {
    format!("/baremetal/v1/nodes/{node}")
}

fn state_of(node: &Value) -> String {
    word(&node["provision_state"])
}

/// A text without its quotes, and nothing of null.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Has a node do what a verb says, to its end.
async fn change(admin: &Client, path: &str, verb: &str) -> anyhow::Result<String> {
    let body = json!({"target": verb});
    admin
        .order(&format!("{path}/states/provision"), body)
        .await?;
    rests(admin, path)
        .await
        .with_context(|| format!("'{verb}' failed"))
}

/// What failed in a run before is tried anew: whoever runs it again says that the reason is gone. The maintenance that a failed
/// cleaning brought ends with it; that of a person stays.
async fn take_up_failed(admin: &Client, path: &str, node: &Value) -> anyhow::Result<String> {
    if node["fault"] == "clean failure" {
        admin.delete(&format!("{path}/maintenance")).await?;
    }
    change(admin, path, "manage").await
}

/// Refuses a node that has the name and another BMC: its cards would be another server's.
fn check_same(server: &Server, node: &Value) -> anyhow::Result<()> {
    for key in place_keys(&server.driver_info) {
        let (known, listed) = (&node["driver_info"][*key], server.driver_info.get(*key));
        let (known, listed) = (word(known), listed.map(word).unwrap_or_default());
        if !known.is_empty() && !listed.is_empty() && known != listed {
            bail!(
                "the node of this name has {key} {known}, and the manifest says {listed}: give the server another name, or \
                 change the one that is wrong"
            );
        }
    }
    Ok(())
}

/// Makes the record of a server, of one that discovery offers where one of its cards is known from there.
async fn enrol(admin: &Client, server: &Server, password: Option<&str>) -> anyhow::Result<Value> {
    let record = record(server, password);
    for mac in &server.ports {
        let Some(owner) = owner_of(admin, mac).await? else {
            continue;
        };
        if !is_offer(admin, &owner).await? {
            bail!(foreign(mac, &owner));
        }
        let path = format!("{}?reset_interfaces=true", node_path(&word(&owner["uuid"])));
        return admin.patch(&path, changes(&record)).await;
    }
    admin
        .post("/baremetal/v1/nodes", Value::Object(record))
        .await
}

/// What a node of this server says.
fn record(server: &Server, password: Option<&str>) -> Map<String, Value> {
    let Server {
        name,
        driver,
        resource_class,
        conductor_group,
        boot_interface,
        inspect_interface,
        ports: _,
        driver_info,
        properties,
        extra,
    } = server;
    let mut driver_info = driver_info.clone();
    let key = format!("{driver}_password");
    if let (false, Some(password)) = (driver_info.contains_key(&key), password) {
        driver_info.insert(key, password.into());
    }
    let mut record = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("driver".to_owned(), json!(driver)),
        ("driver_info".to_owned(), Value::Object(driver_info)),
        ("properties".to_owned(), json!(properties)),
        ("extra".to_owned(), json!(extra)),
    ]);
    for (key, value) in [
        ("resource_class", resource_class),
        ("conductor_group", conductor_group),
        ("boot_interface", boot_interface),
        ("inspect_interface", inspect_interface),
    ] {
        if let Some(value) = value {
            record.insert(key.to_owned(), value.as_str().into());
        }
    }
    record
}

/// The same as changes of a node that is there: what else is known of it stays.
fn changes(record: &Map<String, Value>) -> Value {
    let add = |path: String, value: &Value| json!({"op": "add", "path": path, "value": value});
    let mut changes = Vec::new();
    for (field, value) in record {
        match value {
            Value::Object(inner) => changes.extend(inner.iter().map(|(key, value)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                add(format!("/{field}/{key}"), value)
            })),
            value => changes.push(add(format!("/{field}"), value)),
        }
    }
    Value::Array(changes)
}

/// The node that has a port with this address.
async fn owner_of(admin: &Client, mac: &str) -> anyhow::Result<Option<Value>> {
    let found = admin
        .get(&format!("/baremetal/v1/ports/detail?address={mac}"))
        .await?;
    match found["ports"][0]["node_uuid"].as_str() {
        Some(node) => admin.find(&node_path(node)).await,
        None => Ok(None),
    }
}

/// Whether discovery made a node, and nobody took it up.
async fn is_offer(admin: &Client, node: &Value) -> anyhow::Result<bool> {
    if state_of(node) != "enroll" || !node["name"].is_null() {
        return Ok(false);
    }
    let path = format!("{}/inventory", node_path(&word(&node["uuid"])));
    let told = admin.find(&path).await?.unwrap_or_default();
    Ok(told["plugin_data"]["auto_discovered"] == true)
}

fn foreign(mac: &str, owner: &Value) -> String {
    format!(
        "the card {mac} belongs to node {} ({}, {}) already: delete that node or its port, or take the card out of the manifest",
        word(&owner["uuid"]),
        owner["name"].as_str().unwrap_or("without a name"),
        state_of(owner),
    )
}

/// Adds the cards that the node has no port for. One that discovery offers as another node's is the same server, which was
/// booted from it: that node goes.
async fn add_ports(admin: &Client, server: &Server, node: &Value) -> anyhow::Result<()> {
    let path = node_path(&word(&node["uuid"]));
    let known = admin.get(&format!("{path}/ports")).await?;
    let known = known["ports"].as_array().into_iter().flatten();
    let known: BTreeSet<&str> = known.filter_map(|port| port["address"].as_str()).collect();
    for mac in server
        .ports
        .iter()
        .filter(|mac| !known.contains(mac.as_str()))
    {
        if let Some(owner) = owner_of(admin, mac).await? {
            if !is_offer(admin, &owner).await? {
                bail!(foreign(mac, &owner));
            }
            admin.delete(&node_path(&word(&owner["uuid"]))).await?;
        }
        let port = json!({"node_uuid": node["uuid"], "address": mac});
        admin.post("/baremetal/v1/ports", port).await?;
    }
    Ok(())
}

/// Waits until nothing works on a node any more.
async fn settled(admin: &Client, path: &str) -> anyhow::Result<Value> {
    loop {
        let node = admin.get(path).await?;
        if node["target_provision_state"].is_null() {
            return Ok(node);
        }
        let state = state_of(&node);
        if state.ends_with("hold") {
            bail!("it is in {state}: a step waits for a person, who lets it go on or aborts it");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The same, and says where it stands; an error if its work failed.
async fn rests(admin: &Client, path: &str) -> anyhow::Result<String> {
    let node = settled(admin, path).await?;
    let state = state_of(&node);
    let error = word(&node["last_error"]);
    let failed = state.ends_with("failed") || state == "error" || state == "enroll";
    if failed && !error.is_empty() {
        bail!("{error}");
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_offered_is_changed_and_keeps_what_is_known_of_it() {
        let server: Server = toml::from_str(
            "name = \"r1\"\nresource_class = \"bm\"\n[driver_info]\nredfish_address = \"https://h\"\n[properties]\n\"a/b\" = 1\n",
        )
        .unwrap();
        let changes = changes(&record(&server, Some("secret")));
        let paths: BTreeSet<_> = changes
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["path"].as_str().unwrap())
            .collect();
        assert_eq!(
            paths,
            BTreeSet::from([
                "/name",
                "/driver",
                "/driver_info/redfish_address",
                "/driver_info/redfish_password",
                "/properties/a~1b",
                "/resource_class",
            ])
        );
    }

    #[test]
    fn a_node_with_the_name_and_another_bmc_is_refused() {
        let server: Server =
            toml::from_str("name = \"r1\"\n[driver_info]\nredfish_address = \"https://h\"\n")
                .unwrap();
        let node = |address: &str| json!({"driver_info": {"redfish_address": address}});
        assert!(check_same(&server, &node("https://h")).is_ok());
        assert!(check_same(&server, &json!({"driver_info": {}})).is_ok());
        let refused = check_same(&server, &node("https://other")).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("https://other") && said.contains("https://h:"),
            "{said}"
        );
    }
}
