//! What a newcomer finds: an external network, and for the project `demo` a VPC with a subnet, a router and rules that
//! let pings and SSH in. What is there stays as it is; what is missing is made.

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
    let outside = json!({
        "router:external": true,
        "is_default": true,
        "provider:network_type": "flat",
        "provider:physical_network": PUBLIC,
    });
    let public = ensure_one(admin, "network", PUBLIC, outside).await?;
    let range = json!({
        "network_id": public, "ip_version": 4, "enable_dhcp": false, "cidr": settings.public_range,
    });
    ensure_one(admin, "subnet", PUBLIC, range).await?;
    let network = ensure_one(demo, "network", DEMO, json!({})).await?;
    let range = json!({"network_id": network, "ip_version": 4, "cidr": DEMO_RANGE});
    let subnet = ensure_one(demo, "subnet", DEMO, range).await?;
    let way_out = json!({"external_gateway_info": {"network_id": public}});
    let router = ensure_one(demo, "router", DEMO, way_out).await?;
    let joined =
        format!("/network/v2.0/ports?device_id={router}&device_owner=network:router_interface");
    if demo.get(&joined).await?["ports"].get(0).is_none() {
        let path = format!("/network/v2.0/routers/{router}/add_router_interface");
        demo.put(&path, json!({"subnet_id": subnet})).await?;
    }
    let_in(demo).await?;
    Ok(network)
}

/// Lets pings and SSH in to demo's default group.
async fn let_in(demo: &Client) -> anyhow::Result<()> {
    let group = find(demo, "security-groups", "default")
        .await?
        .context("the project demo has no default security group")?;
    let path = format!("/network/v2.0/security-group-rules?security_group_id={group}");
    let present = demo.get(&path).await?;
    let ssh = |family: &str| json!({"ethertype": family, "protocol": "tcp", "port_range_min": 22, "port_range_max": 22});
    for (what, mut rule) in [
        ("pings", json!({"protocol": "icmp"})),
        ("SSH", ssh("IPv4")),
        (
            "IPv6 pings",
            json!({"ethertype": "IPv6", "protocol": "ipv6-icmp"}),
        ),
        ("IPv6 SSH", ssh("IPv6")),
    ] {
        let rules = present["security_group_rules"].as_array();
        if rules.is_some_and(|rules| rules.iter().any(|rule| rule["description"] == what)) {
            continue;
        }
        rule["description"] = json!(what);
        rule["security_group_id"] = json!(group);
        rule["direction"] = json!("ingress");
        make(demo, "security_group_rule", rule).await?;
    }
    Ok(())
}

/// The id of the thing with this name, which is made if it is missing.
async fn ensure_one(
    client: &Client,
    kind: &str,
    name: &str,
    mut body: Value,
) -> anyhow::Result<String> {
    if let Some(id) = find(client, &format!("{kind}s"), name).await? {
        return Ok(id);
    }
    body["name"] = json!(name);
    make(client, kind, body).await
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
