//! What a newcomer finds: an external network, and for the project `demo` a VPC with a subnet, a router and rules that
//! let pings and SSH in. Made once; what is there stays as it is.

use crate::client::Client;
use anyhow::Context as _;
use corten_operations::settings::Network;
use serde_json::{Value, json};

/// The external network's name, and that of its physical network.
pub const PUBLIC: &str = "public";
/// What belongs to the project `demo` is called so.
pub const DEMO: &str = "demo";
/// The range of demo's subnet. Other projects may use the same.
const DEMO_RANGE: &str = "10.0.0.0/24";

/// Makes what is missing, and answers the id of demo's network.
pub async fn ensure(admin: &Client, demo: &Client, settings: &Network) -> anyhow::Result<String> {
    let public = match find(admin, "networks", PUBLIC).await? {
        Some(id) => id,
        None => make_public(admin, settings).await?,
    };
    if let Some(network) = find(demo, "networks", DEMO).await? {
        return Ok(network);
    }
    let network = make(demo, "network", json!({"name": DEMO})).await?;
    let subnet = json!({
        "name": DEMO, "network_id": network, "ip_version": 4, "cidr": DEMO_RANGE,
    });
    let subnet = make(demo, "subnet", subnet).await?;
    let router = json!({
        "name": DEMO, "external_gateway_info": {"network_id": public},
    });
    let router = make(demo, "router", router).await?;
    let path = format!("/network/v2.0/routers/{router}/add_router_interface");
    demo.put(&path, json!({"subnet_id": subnet})).await?;
    let group = find(demo, "security-groups", "default")
        .await?
        .context("the project demo has no default security group")?;
    for rule in [
        json!({"protocol": "icmp", "description": "pings"}),
        json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "description": "SSH"}),
    ] {
        let mut rule = rule;
        rule["security_group_id"] = json!(group);
        rule["direction"] = json!("ingress");
        make(demo, "security_group_rule", rule).await?;
    }
    Ok(network)
}

async fn make_public(admin: &Client, settings: &Network) -> anyhow::Result<String> {
    let network = json!({
        "name": PUBLIC,
        "router:external": true,
        "is_default": true,
        "provider:network_type": "flat",
        "provider:physical_network": PUBLIC,
    });
    let network = make(admin, "network", network).await?;
    let subnet = json!({
        "name": PUBLIC, "network_id": network, "ip_version": 4, "enable_dhcp": false,
        "cidr": settings.public_range,
    });
    make(admin, "subnet", subnet).await?;
    Ok(network)
}

/// Gives a server's port a public IP that stays until it is deleted. Only an administrator may (K70).
pub async fn publish(admin: &Client, server: &str) -> anyhow::Result<String> {
    let path = format!("/network/v2.0/ports?device_id={server}");
    let ports = admin.get(&path).await?;
    let port = ports["ports"].get(0).context("the server has no port")?;
    let path = format!(
        "/network/v2.0/floatingips?port_id={}",
        port["id"].as_str().unwrap_or_default()
    );
    if let Some(present) = admin.get(&path).await?["floatingips"].get(0) {
        return text(&present["floating_ip_address"]);
    }
    let public = find(admin, "networks", PUBLIC)
        .await?
        .context("there is no external network 'public'")?;
    let asked = json!({"floatingip": {
        "floating_network_id": public,
        "port_id": port["id"],
        "project_id": port["project_id"],
    }});
    let made = admin.post("/network/v2.0/floatingips", asked).await?;
    text(&made["floatingip"]["floating_ip_address"])
}

async fn make(client: &Client, kind: &str, body: Value) -> anyhow::Result<String> {
    let collection = format!("{}s", kind.replace('_', "-"));
    let answer = client
        .post(
            &format!("/network/v2.0/{collection}"),
            json!({ kind: body }),
        )
        .await?;
    text(&answer[kind]["id"])
}

async fn find(client: &Client, collection: &str, name: &str) -> anyhow::Result<Option<String>> {
    let answer = client
        .get(&format!("/network/v2.0/{collection}?name={name}&fields=id"))
        .await?;
    let found = answer[collection.replace('-', "_")].get(0).cloned();
    found.map(|found| text(&found["id"])).transpose()
}

fn text(value: &Value) -> anyhow::Result<String> {
    let text = value.as_str().context("the answer is not complete")?;
    Ok(text.to_owned())
}
