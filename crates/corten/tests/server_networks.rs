//! Servers on networks, as clients of the compute API see them: addresses, groups, cards that come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::http::Actor;
use common::{Cloud, SOON, Shape, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A well-formed id that nothing has.
const NOTHING: &str = "b7e1c0de-0000-4000-8000-00000000dead";

struct Lab {
    cloud: Cloud,
    member: Actor,
    shape: Shape,
    network: String,
}

impl Lab {
    async fn new() -> Self {
        let cloud = Cloud::simulated(1).await;
        let admin = cloud.admin().await;
        let image = cloud.image(&admin, "tiny", vec![0; 1024]).await;
        let member = cloud.user_in(&admin, "member", "member", "work").await;
        let shape = Shape::new(&member, image).await;
        let mut lab = Self {
            cloud,
            member,
            shape,
            network: String::new(),
        };
        lab.network = lab.network("private", "10.8.0.0/24").await;
        lab
    }

    async fn network(&self, name: &str, cidr: &str) -> String {
        let network = json!({"network": {"name": name}});
        let network = self.member.post("/network/v2.0/networks", network).await;
        let network = network.id("network");
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr}});
        self.member.post("/network/v2.0/subnets", subnet).await;
        network
    }

    /// Asks for a server with these fields beside the usual ones.
    async fn ask(&self, version: &str, fields: Value) -> (StatusCode, Value) {
        let mut body = self.shape.body("web");
        body["server"].as_object_mut().unwrap().remove("networks");
        let server = body["server"].as_object_mut().unwrap();
        server.extend(fields.as_object().unwrap().clone());
        self.at(version, Method::POST, "/compute/v2.1/servers", Some(&body))
            .await
    }

    async fn at(
        &self,
        version: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let request = self
            .member
            .request(method, path)
            .header("openstack-api-version", format!("compute {version}"));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn server(&self, version: &str, fields: Value) -> Value {
        let (status, body) = self.ask(version, fields).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        let id = body["server"]["id"].as_str().unwrap().to_owned();
        self.member.wait_for(&id, "ACTIVE", SOON).await;
        self.member.server(&id).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_its_addresses() {
    let lab = Lab::new().await;
    // Below 2.37 the one network that there is.
    let server = lab.server("2.1", json!({})).await;
    let address = &server["addresses"]["private"][0];
    assert_eq!(
        (&address["version"], &address["OS-EXT-IPS:type"]),
        (&json!(4), &json!("fixed"))
    );
    let ip = text(&address["addr"]);
    let id = text(&server["id"]);
    assert_eq!(server["security_groups"], json!([{"name": "default"}]));

    let ips = lab
        .member
        .get(&format!("/compute/v2.1/servers/{id}/ips"))
        .await;
    assert_eq!(
        ips["addresses"]["private"],
        json!([{"version": 4, "addr": ip}])
    );
    let one = lab
        .member
        .get(&format!("/compute/v2.1/servers/{id}/ips/private"))
        .await;
    assert_eq!(one["private"][0]["addr"], json!(ip));
    for (pattern, count) in [(ip, 1), ("10\\.8", 1), ("8.0", 0), ("10.9", 0)] {
        let found = lab
            .member
            .get(&format!("/compute/v2.1/servers?ip={pattern}"))
            .await;
        assert_eq!(
            found["servers"].as_array().unwrap().len(),
            count,
            "{pattern}"
        );
    }
    let groups = format!("/compute/v2.1/servers/{id}/os-security-groups");
    let groups = lab.member.get(&groups).await;
    assert_eq!(groups["security_groups"][0]["name"], "default");

    // Several networks: the request must say which.
    let second = lab.network("second", "10.9.0.0/24").await;
    let (status, body) = lab.ask("2.1", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    let message = body["conflictingRequest"]["message"].as_str().unwrap();
    let known = "Multiple possible networks found, use a Network ID to be more specific";
    assert!(message.starts_with(known), "{message}");
    assert!(message.contains(&second), "{message}");
    let both =
        json!({"networks": [{"uuid": second, "fixed_ip": "10.9.0.77"}, {"uuid": lab.network}]});
    let server = lab.server("2.42", both).await;
    assert_eq!(server["addresses"]["second"][0]["addr"], "10.9.0.77");
    assert!(server["addresses"]["private"][0]["addr"].is_string());

    lab.member
        .delete(&format!("/compute/v2.1/servers/{}", text(&server["id"])))
        .await;
    let path = "/network/v2.0/ports?fixed_ips=ip_address=10.9.0.77";
    until("the port is gone", SOON, async || {
        let found = lab.member.get(path).await;
        found["ports"].as_array()?.is_empty().then_some(())
    })
    .await;
}

/// "Get me a network": the first server of a project makes its network, the second finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_without_a_network_is_made_one_if_the_cloud_can() {
    let mut lab = Lab::new().await;
    let admin = lab.cloud.admin().await;
    lab.member = lab
        .cloud
        .user_in(&admin, "lonely", "member", "lonely")
        .await;
    let auto = json!({"networks": "auto"});
    let (status, body) = lab.ask("2.37", auto.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let message = text(&body["badRequest"]["message"]);
    assert!(
        message.starts_with("Unable to automatically allocate a network"),
        "{message}"
    );
    assert!(message.contains("is_default"), "{message}");

    let outside = json!({"network": {"name": "out", "router:external": true, "is_default": true}});
    let outside = admin
        .post("/network/v2.0/networks", outside)
        .await
        .id("network");
    let range =
        json!({"subnet": {"network_id": outside, "ip_version": 4, "cidr": "198.51.100.0/24"}});
    admin.post("/network/v2.0/subnets", range).await;
    let pool = json!({"subnetpool": {
        "name": "all", "prefixes": ["10.44.0.0/16"], "default_prefixlen": "24", "is_default": true, "shared": true,
    }});
    admin.post("/network/v2.0/subnetpools", pool).await;
    for _ in 0..2 {
        let server = lab.server("2.37", auto.clone()).await;
        let addresses = &server["addresses"]["auto_allocated_network"];
        assert!(
            text(&addresses[0]["addr"]).starts_with("10.44.0."),
            "{server}"
        );
    }
    let path = "/network/v2.0/networks?name=auto_allocated_network";
    let made = lab.member.get(path).await;
    assert_eq!(
        made["networks"].as_array().unwrap().len(),
        1,
        "{}",
        made.text
    );
}

/// Neutron's dns-integration: a port says by what names its addresses are known, and follows the server's host name.
#[tokio::test(flavor = "multi_thread")]
async fn ports_say_their_names() {
    let lab = Lab::new().await;
    let path = format!("/network/v2.0/networks/{}", lab.network);
    let domain = json!({"network": {"dns_domain": "vpc.example.org."}});
    lab.member.ask(Method::PUT, &path, Some(&domain)).await.ok();
    let server = lab
        .server("2.90", json!({"networks": "auto", "hostname": "web-1"}))
        .await;
    let id = text(&server["id"]);
    let port = async || {
        let found = lab
            .member
            .get(&format!("/network/v2.0/ports?device_id={id}"))
            .await;
        found["ports"][0].clone()
    };
    let seen = port().await;
    let address = &seen["fixed_ips"][0]["ip_address"];
    let wanted = |name: &str| json!([{"ip_address": address, "hostname": name, "fqdn": format!("{name}.vpc.example.org.")}]);
    assert_eq!(seen["dns_name"], "web-1");
    assert_eq!(seen["dns_assignment"], wanted("web-1"));
    assert!(
        seen.get("dns_domain").is_none(),
        "no service publishes names outside: {seen}"
    );

    let renamed = json!({"server": {"hostname": "db-1"}});
    let path = format!("/compute/v2.1/servers/{id}");
    let (status, body) = lab.at("2.90", Method::PUT, &path, Some(&renamed)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(port().await["dns_assignment"], wanted("db-1"));

    let path = format!("/network/v2.0/ports/{}", text(&seen["id"]));
    let nameless = json!({"port": {"dns_name": ""}});
    lab.member
        .ask(Method::PUT, &path, Some(&nameless))
        .await
        .ok();
    let made = format!("host-{}", text(address).replace('.', "-"));
    assert_eq!(port().await["dns_assignment"], wanted(&made));

    // What would need a DNS service outside is refused.
    let published = json!({"port": {"dns_domain": "example.org."}});
    let refused = lab.member.ask(Method::PUT, &path, Some(&published)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let subnet = &seen["fixed_ips"][0]["subnet_id"];
    let path = format!("/network/v2.0/subnets/{}", text(subnet));
    let published = json!({"subnet": {"dns_publish_fixed_ip": true}});
    let refused = lab.member.ask(Method::PUT, &path, Some(&published)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_come_and_go_on_a_server_that_runs() {
    let lab = Lab::new().await;
    let server = lab.server("2.37", json!({"networks": "none"})).await;
    assert_eq!(server["addresses"], json!({}));
    let path = format!("/compute/v2.1/servers/{}/os-interface", text(&server["id"]));
    let body = json!({"interfaceAttachment": {
        "net_id": lab.network, "fixed_ips": [{"ip_address": "10.8.0.66"}], "tag": "front",
    }});
    let (status, made) = lab.at("2.70", Method::POST, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let made = &made["interfaceAttachment"];
    assert_eq!(made["fixed_ips"][0]["ip_address"], "10.8.0.66");
    assert_eq!(made["tag"], "front");
    let port = text(&made["port_id"]);
    until("the port is up", SOON, async || {
        let shown = lab.member.get(&format!("{path}/{port}")).await;
        (shown["interfaceAttachment"]["port_state"] == "ACTIVE").then_some(())
    })
    .await;

    // What cannot be attached.
    let refused = [
        (json!({"net_id": NOTHING}), StatusCode::NOT_FOUND),
        (json!({"port_id": NOTHING}), StatusCode::NOT_FOUND),
        (json!({"port_id": port}), StatusCode::CONFLICT),
        (
            json!({"port_id": port, "net_id": lab.network}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"fixed_ips": [{"ip_address": "10.8.0.67"}]}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"net_id": lab.network, "fixed_ips": [{"ip_address": "10.8.0.66"}]}),
            StatusCode::CONFLICT,
        ),
    ];
    for (fields, wanted) in refused {
        let body = json!({ "interfaceAttachment": fields });
        let (status, answer) = lab.at("2.70", Method::POST, &path, Some(&body)).await;
        assert_eq!(status, wanted, "{body}: {answer}");
    }

    let (status, _) = lab
        .at("2.1", Method::DELETE, &format!("{path}/{port}"), None)
        .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    until("the card is gone", SOON, async || {
        let left = lab.member.get(&path).await;
        left["interfaceAttachments"]
            .as_array()?
            .is_empty()
            .then_some(())
    })
    .await;
    let (status, _) = lab
        .at("2.1", Method::DELETE, &format!("{path}/{port}"), None)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_chosen_by_name_and_changed_later() {
    let lab = Lab::new().await;
    let group = json!({"security_group": {"name": "web"}});
    lab.member
        .post("/network/v2.0/security-groups", group)
        .await;
    let (status, body) = lab
        .ask("2.1", json!({"security_groups": [{"name": "nobody"}]}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let server = lab
        .server("2.1", json!({"security_groups": [{"name": "web"}]}))
        .await;
    let id = text(&server["id"]);
    assert_eq!(server["security_groups"], json!([{"name": "web"}]));
    lab.member
        .act(id, json!({"addSecurityGroup": {"name": "default"}}))
        .await;
    lab.member
        .act(id, json!({"removeSecurityGroup": {"name": "web"}}))
        .await;
    assert_eq!(
        lab.member.server(id).await["security_groups"],
        json!([{"name": "default"}])
    );

    // The group as Nova had it.
    let (status, body) = lab
        .at(
            "2.35",
            Method::GET,
            "/compute/v2.1/os-security-groups",
            None,
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let names: Vec<_> = body["security_groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| text(&group["name"]))
        .collect();
    assert!(
        names.contains(&"web") && names.contains(&"default"),
        "{names:?}"
    );
    let (status, _) = lab
        .at(
            "2.36",
            Method::GET,
            "/compute/v2.1/os-security-groups",
            None,
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
