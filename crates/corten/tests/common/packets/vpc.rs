//! Networks, routers, ports and rules, made through the network API.

use crate::common::Actor;
use reqwest::Method;
use serde_json::{Value, json};

/// Makes one thing of the network API. Its id.
pub async fn make(actor: &Actor, kind: &str, body: Value) -> String {
    let made = make_whole(actor, kind, body).await;
    made["id"].as_str().unwrap().to_owned()
}

/// The same, with all that was answered.
pub async fn make_whole(actor: &Actor, kind: &str, body: Value) -> Value {
    let path = format!("/network/v2.0/{}s", kind.replace('_', "-"));
    actor.post(&path, json!({ kind: body })).await[kind].clone()
}

/// Changes what a path names.
pub async fn put(actor: &Actor, path: &str, body: Value) -> Value {
    let answer = actor.ask(Method::PUT, path, Some(&body)).await.ok();
    serde_json::from_str(&answer.text).unwrap()
}

/// Changes a port.
pub async fn change_port(actor: &Actor, port: &str, change: Value) {
    let path = format!("/network/v2.0/ports/{port}");
    put(actor, &path, json!({ "port": change })).await;
}

/// An external network of this range, which the administrator makes.
pub async fn external_network(admin: &Actor, cidr: &str) -> String {
    let network = json!({
        "name": "outside", "router:external": true, "provider:network_type": "flat",
        "provider:physical_network": "public",
    });
    let network = make(admin, "network", network).await;
    let range = json!({"network_id": network, "ip_version": 4, "cidr": cidr, "enable_dhcp": false});
    make(admin, "subnet", range).await;
    network
}

/// A network and its IPv4 subnet.
pub async fn network(owner: &Actor, name: &str, cidr: &str) -> (String, String) {
    let network = make(owner, "network", json!({ "name": name })).await;
    let range = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
    let subnet = make(owner, "subnet", range).await;
    (network, subnet)
}

/// An IPv6 subnet whose router announces it, and whose guests make their addresses themselves.
pub async fn announced_subnet(owner: &Actor, network: &str, cidr: &str) -> String {
    let range = json!({
        "network_id": network, "ip_version": 6, "cidr": cidr, "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac",
    });
    make(owner, "subnet", range).await
}

/// A router between these subnets, with a way out if an external network is named.
pub async fn router(owner: &Actor, external: Option<&str>, subnets: &[&str]) -> String {
    let gateway = external.map(|network| json!({ "network_id": network }));
    let router = json!({"name": "router", "external_gateway_info": gateway});
    let router = make(owner, "router", router).await;
    for subnet in subnets {
        let path = format!("/network/v2.0/routers/{router}/add_router_interface");
        put(owner, &path, json!({ "subnet_id": subnet })).await;
    }
    router
}

/// The project's default group.
pub async fn default_group(owner: &Actor) -> String {
    let groups = "/network/v2.0/security-groups";
    let found = owner.find(groups, "security_groups", "default").await;
    found.expect("a default group")
}

/// Lets in what `which` says of protocol, ports, remote and family. The id of the rule.
pub async fn let_in(owner: &Actor, group: &str, which: Value) -> String {
    let mut rule = json!({"security_group_id": group, "direction": "ingress"});
    let fields = rule.as_object_mut().unwrap();
    fields.extend(which.as_object().unwrap().clone());
    make(owner, "security_group_rule", rule).await
}

/// Takes a rule away.
pub async fn forbid_again(owner: &Actor, rule: &str) {
    let path = format!("/network/v2.0/security-group-rules/{rule}");
    owner.delete(&path).await;
}

/// The MAC addresses of all ports of a network.
pub async fn macs(admin: &Actor, network: &str) -> Vec<String> {
    let ports = admin
        .get(&format!("/network/v2.0/ports?network_id={network}"))
        .await;
    let ports = ports["ports"].as_array().unwrap().iter();
    ports
        .map(|port| port["mac_address"].as_str().unwrap().to_owned())
        .collect()
}

/// The address that a port has of this family.
pub fn address(port: &Value, family: u8) -> String {
    let mut addresses = port["fixed_ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fixed| fixed["ip_address"].as_str().unwrap());
    let of_family = addresses.find(|address| address.contains(':') == (family == 6));
    of_family.expect("an address of the family").to_owned()
}
