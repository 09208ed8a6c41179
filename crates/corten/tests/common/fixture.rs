//! The cloud of the role matrix: a project `work` with a reader, a member and a manager, a stranger in another project,
//! and one of everything that a call can name.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

use crate::common::http::Answer;
use crate::common::{Actor, Cloud, SOON, Shape};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE2iyK0v5SbXc8Ti1k0r6v7g5m1cM0Xv1Gm0m7Y1Qw0a tester@example";
/// A well-formed id that nothing has.
pub const NOTHING: &str = "b7e1c0de-0000-4000-8000-00000000dead";

pub struct Fixture {
    pub cloud: Cloud,
    pub admin: Actor,
    pub reader: Actor,
    pub member: Actor,
    pub manager: Actor,
    /// A member of another project.
    pub stranger: Actor,
    /// What the words of the table stand for.
    pub things: BTreeMap<&'static str, String>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with("[host]\nenabled = false\n[sim]\nhosts = 1\nmetal = true\n").await
    }

    /// In a cloud with these settings.
    pub async fn with(settings: &str) -> Self {
        let cloud = Cloud::start(settings).await;
        cloud.wait_for_hosts(1).await;
        let admin = cloud.admin().await;
        let reader = cloud.user_in(&admin, "reader", "reader", "work").await;
        let member = cloud.user_in(&admin, "member", "member", "work").await;
        let manager = cloud.user_in(&admin, "manager", "manager", "work").await;
        let stranger = cloud
            .user_in(&admin, "stranger", "member", "elsewhere")
            .await;
        let mut fixture = Self {
            cloud,
            admin,
            reader,
            member,
            manager,
            stranger,
            things: BTreeMap::new(),
        };
        fixture.keep("project", fixture.member.project_id.clone());
        fixture.keep("sharer", fixture.admin.project_id.clone());
        fixture.keep("user", fixture.member.user_id.clone());
        fixture.keep("public_key", PUBLIC_KEY);
        fixture.keep("nothing", NOTHING);
        fixture.things_of_the_project().await;
        fixture.things_of_the_user().await;
        fixture.things_of_compute().await;
        fixture.things_of_identity().await;
        fixture.catalog().await;
        fixture.definitions().await;
        fixture.things_lent_on_networks().await;
        fixture.things_of_networks().await;
        fixture.things_of_public_ips().await;
        fixture.things_of_metal().await;
        fixture
    }

    /// From now on the user and the project that calls name are others than our own.
    pub async fn spare_ourselves(&mut self) {
        let victim = self
            .cloud
            .user_in(&self.admin, "victim", "member", "victims")
            .await;
        self.keep("user", victim.user_id);
        self.keep("project", victim.project_id);
    }

    fn keep(&mut self, word: &'static str, thing: impl Into<String>) {
        self.things.insert(word, thing.into());
    }

    fn thing(&self, word: &str) -> &str {
        &self.things[word]
    }

    /// Every word replaced by its thing.
    pub fn filled(&self, text: &str) -> String {
        // Longer words first: `$user_group` is no `$user`.
        let mut words: Vec<_> = self.things.iter().collect();
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        let filled = words
            .into_iter()
            .fold(text.to_owned(), |text, (word, thing)| {
                text.replace(&format!("${word}"), thing)
            });
        assert!(!filled.contains('$'), "an unknown word in {filled}");
        filled
    }

    async fn things_of_the_project(&mut self) {
        let image = json!({
            "name": "own", "disk_format": "raw", "container_format": "bare", "visibility": "shared", "colour": "rust",
            "tags": ["steel"],
        });
        let image = self.member.post("/image/v2/images", image).await.id("");
        let upload = self
            .member
            .request(Method::PUT, &format!("/image/v2/images/{image}/file"));
        let upload = upload
            .header("content-type", "application/octet-stream")
            .body(vec![0; 1 << 20]);
        assert!(upload.send().await.unwrap().status().is_success());
        let sharer = json!({"member": self.thing("sharer")});
        self.member
            .post(&format!("/image/v2/images/{image}/members"), sharer)
            .await;

        let shape = Shape::new(&self.member, image.clone()).await;
        let mut body = shape.body("own");
        body["server"]["metadata"] = json!({"colour": "rust"});
        body["server"]["tags"] = json!(["steel"]);
        let server = self
            .member
            .post("/compute/v2.1/servers", body)
            .await
            .id("server");
        self.member.wait_for(&server, "ACTIVE", SOON).await;
        let path = format!("/compute/v2.1/servers/{server}/os-instance-actions");
        let actions = self.member.get(&path).await;
        let request = actions["instanceActions"][0]["request_id"]
            .as_str()
            .expect("the request that created")
            .to_owned();
        let group = json!({"server_group": {"name": "own", "policy": "affinity"}});
        let group = self
            .member
            .post("/compute/v2.1/os-server-groups", group)
            .await
            .id("server_group");

        self.keep("flavor", shape.flavor.clone());
        self.keep("image", image);
        self.keep("server", server);
        self.keep("request", request);
        self.keep("group", group);
    }

    async fn things_of_the_user(&mut self) {
        let user = format!("/identity/v3/users/{}", self.thing("user"));
        let pair = json!({"keypair": {"name": "own", "public_key": PUBLIC_KEY}});
        self.member.post("/compute/v2.1/os-keypairs", pair).await;
        let rule = json!({"path": "/v2.1/servers", "method": "GET", "service": "compute"});
        let credential = json!({"application_credential": {"name": "own", "access_rules": [rule]}});
        let made = self
            .member
            .post(&format!("{user}/application_credentials"), credential)
            .await;
        let rules = self.member.get(&format!("{user}/access_rules")).await;
        let ec2 = json!({"tenant_id": self.thing("project")});
        let ec2 = self
            .member
            .post(&format!("{user}/credentials/OS-EC2"), ec2)
            .await;
        let credential =
            json!({"credential": {"type": "cert", "blob": "x", "user_id": self.thing("user")}});
        let credential = self
            .member
            .post("/identity/v3/credentials", credential)
            .await
            .id("credential");
        let trust = json!({"trust": {
            "trustor_user_id": self.member.user_id, "trustee_user_id": self.stranger.user_id, "impersonation": false,
            "project_id": self.thing("project"), "roles": [{"name": "reader"}],
        }});
        let trust = self
            .member
            .post("/identity/v3/OS-TRUST/trusts", trust)
            .await
            .id("trust");

        self.keep("keypair", "own");
        self.keep("application_credential", made.id("application_credential"));
        self.keep("access_rule", text(&rules["access_rules"][0]["id"]));
        self.keep("ec2", text(&ec2["credential"]["access"]));
        self.keep("credential", credential);
        self.keep("trust", trust);
    }

    async fn things_of_compute(&mut self) {
        let admin = &self.admin;
        let specs = json!({"extra_specs": {"hw_rng:allowed": "true"}});
        admin
            .post(
                &format!(
                    "/compute/v2.1/flavors/{}/os-extra_specs",
                    self.thing("flavor")
                ),
                specs,
            )
            .await;
        let flavor = json!({"flavor": {
            "name": "private", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": false,
        }});
        let flavor = admin
            .post("/compute/v2.1/flavors", flavor)
            .await
            .id("flavor");
        let aggregate = json!({"aggregate": {"name": "own"}});
        let aggregate =
            admin.post("/compute/v2.1/os-aggregates", aggregate).await["aggregate"]["id"]
                .to_string();
        let services = admin.get("/compute/v2.1/os-services").await;
        let hypervisors = admin.get("/compute/v2.1/os-hypervisors").await;
        let operations = admin.get("/v1/operations?all=true").await;
        self.keep("private_flavor", flavor);
        self.keep("aggregate", aggregate);
        self.keep("service", text(&services["services"][0]["id"]));
        self.keep("hypervisor", text(&hypervisors["hypervisors"][0]["id"]));
        self.keep("operation", text(&operations["operations"][0]["id"]));
    }

    async fn things_of_identity(&mut self) {
        let admin = &self.admin;
        let domain = admin
            .post("/identity/v3/domains", json!({"domain": {"name": "own"}}))
            .await
            .id("domain");
        let config = json!({"config": {"identity": {"driver": "sql"}}});
        admin
            .ask(
                Method::PUT,
                &format!("/identity/v3/domains/{domain}/config"),
                Some(&config),
            )
            .await
            .ok();
        let tags = format!("/identity/v3/projects/{}/tags", self.thing("project"));
        admin.put(&format!("{tags}/steel")).await;
        let group = admin
            .post("/identity/v3/groups", json!({"group": {"name": "own"}}))
            .await
            .id("group");
        let role = admin
            .post("/identity/v3/roles", json!({"role": {"name": "own"}}))
            .await
            .id("role");
        let reader = admin
            .find("/identity/v3/roles", "roles", "reader")
            .await
            .expect("the role reader");
        self.keep("domain", domain);
        self.keep("user_group", group);
        self.keep("role", role);
        self.keep("reader_role", reader);
    }

    async fn catalog(&mut self) {
        let admin = &self.admin;
        let region = admin
            .post("/identity/v3/regions", json!({"region": {"id": "own"}}))
            .await
            .id("region");
        let service = admin
            .post("/identity/v3/services", json!({"service": {"type": "own"}}))
            .await
            .id("service");
        let endpoint = json!({"endpoint": {"service_id": service, "interface": "public", "url": "http://example.org"}});
        let endpoint = admin
            .post("/identity/v3/endpoints", endpoint)
            .await
            .id("endpoint");
        let group = json!({"endpoint_group": {"name": "own", "filters": {"interface": "public"}}});
        let group = admin
            .post("/identity/v3/OS-EP-FILTER/endpoint_groups", group)
            .await
            .id("endpoint_group");
        let policy = json!({"policy": {"type": "application/json", "blob": "{}"}});
        let policy = admin
            .post("/identity/v3/policies", policy)
            .await
            .id("policy");
        let consumer = json!({"consumer": {"description": "own"}});
        let consumer = admin
            .post("/identity/v3/OS-OAUTH1/consumers", consumer)
            .await
            .id("consumer");
        let registered =
            json!({"service_id": service, "resource_name": "things", "default_limit": 5});
        let registered = json!({"registered_limits": [registered]});
        let registered = admin
            .post("/identity/v3/registered_limits", registered)
            .await;
        let limit = json!({
            "service_id": service, "resource_name": "things", "resource_limit": 3, "project_id": self.thing("project"),
        });
        let limit = admin
            .post("/identity/v3/limits", json!({"limits": [limit]}))
            .await;
        self.keep("region", region);
        self.keep("catalog_service", service);
        self.keep("endpoint", endpoint);
        self.keep("endpoint_group", group);
        self.keep("policy", policy);
        self.keep("consumer", consumer);
        self.keep(
            "registered_limit",
            text(&registered["registered_limits"][0]["id"]),
        );
        self.keep("limit", text(&limit["limits"][0]["id"]));
    }

    async fn things_lent_on_networks(&mut self) {
        let (member, admin) = (&self.member, &self.admin);
        let path = |collection: &str| format!("/network/v2.0/{collection}");
        let tags = ["steel"];
        let network = json!({"network": {"name": "trunks", "tags": tags}});
        let network = member.post(&path("networks"), network).await.id("network");
        let subnet = json!({"subnet": {
            "network_id": network, "ip_version": 4, "cidr": "10.5.0.0/24", "tags": tags,
        }});
        let subnet = member.post(&path("subnets"), subnet).await.id("subnet");
        let port = json!({"port": {"network_id": network, "tags": tags}});
        let port = member.post(&path("ports"), port).await.id("port");
        let trunk = json!({"trunk": {"port_id": port, "tags": tags}});
        let trunk = member.post(&path("trunks"), trunk).await.id("trunk");
        let guarding = json!({"security_group": {"name": "guarding", "tags": tags}});
        let guarding = member.post(&path("security-groups"), guarding).await;
        let pool =
            json!({"subnetpool": {"name": "own", "prefixes": ["10.6.0.0/16"], "tags": tags}});
        let pool = member
            .post(&path("subnetpools"), pool)
            .await
            .id("subnetpool");
        let scope = json!({"address_scope": {"name": "own", "ip_version": 4}});
        let scope = member.post(&path("address-scopes"), scope).await;
        let addresses = json!({"address_group": {"name": "own"}});
        let addresses = member.post(&path("address-groups"), addresses).await;
        let grant = json!({"rbac_policy": {
            "object_type": "subnetpool", "object_id": pool, "target_tenant": self.thing("sharer"),
            "action": "access_as_shared",
        }});
        let grant = member.post(&path("rbac-policies"), grant).await;
        let policy = json!({"policy": {"name": "own", "shared": true, "tags": tags}});
        let policy = admin.post(&path("qos/policies"), policy).await.id("policy");
        let rules = path(&format!("qos/policies/{policy}/bandwidth_limit_rules"));
        let rule = json!({"bandwidth_limit_rule": {"max_kbps": 1000}});
        let rule = admin.post(&rules, rule).await.id("bandwidth_limit_rule");
        self.keep("guarding_group", guarding.id("security_group"));
        self.keep("address_scope", scope.id("address_scope"));
        self.keep("address_group", addresses.id("address_group"));
        self.keep("rbac_policy", grant.id("rbac_policy"));
        self.keep("trunk_network", network);
        self.keep("trunk_subnet", subnet);
        self.keep("trunk_port", port);
        self.keep("trunk", trunk);
        self.keep("subnetpool", pool);
        self.keep("qos_policy", policy);
        self.keep("qos_rule", rule);
    }

    async fn network_thing(&self, actor: &Actor, kind: &str, body: Value) -> String {
        let path = format!("/network/v2.0/{}s", kind.replace('_', "-"));
        actor.post(&path, json!({ kind: body })).await.id(kind)
    }

    async fn things_of_networks(&mut self) {
        let member = &self.member;
        let network = json!({"name": "own"});
        let network = self.network_thing(member, "network", network).await;
        let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"});
        let subnet = self.network_thing(member, "subnet", subnet).await;
        let group = json!({"name": "own"});
        let group = self.network_thing(member, "security_group", group).await;
        let rule = json!({"security_group_id": group, "direction": "ingress", "protocol": "icmp"});
        let rule = self
            .network_thing(member, "security_group_rule", rule)
            .await;
        let port = json!({"network_id": network, "name": "own"});
        let port = self.network_thing(member, "port", port).await;
        self.keep("network", network);
        self.keep("subnet", subnet);
        self.keep("security_group", group);
        self.keep("security_group_rule", rule);
        self.keep("port", port);
    }

    async fn things_of_public_ips(&mut self) {
        let outside = json!({"name": "outside", "router:external": true});
        let outside = self.network_thing(&self.admin, "network", outside).await;
        let subnet = json!({"network_id": outside, "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false});
        self.network_thing(&self.admin, "subnet", subnet).await;
        let router = json!({"name": "own", "external_gateway_info": {"network_id": outside}});
        let router = self.network_thing(&self.member, "router", router).await;
        let join = json!({"subnet_id": self.thing("subnet")});
        let path = format!("/network/v2.0/routers/{router}/add_router_interface");
        self.member.ask(Method::PUT, &path, Some(&join)).await.ok();
        let floating = json!({"floating_network_id": outside, "project_id": self.thing("project")});
        let floating = self
            .network_thing(&self.admin, "floatingip", floating)
            .await;
        let forwarding = json!({"port_forwarding": {
            "internal_port_id": self.thing("port"), "internal_port": 22, "external_port": 2222, "protocol": "tcp",
        }});
        let path = format!("/network/v2.0/floatingips/{floating}/port_forwardings");
        let forwarding = self
            .admin
            .post(&path, forwarding)
            .await
            .id("port_forwarding");
        self.keep("outside_network", outside);
        self.keep("router", router);
        self.keep("floating_ip", floating);
        self.keep("forwarding", forwarding);
    }

    async fn metal(&self, actor: &Actor, collection: &str, body: Value) -> Answer {
        let path = format!("/baremetal/v1/{collection}");
        let request = actor
            .request(Method::POST, &path)
            .header("x-openstack-ironic-api-version", "1.115")
            .json(&body);
        Answer::of(request).await.ok()
    }

    async fn things_of_metal(&mut self) {
        let admin = &self.admin;
        let made = |made: Answer| text(&made["uuid"]);
        let chassis = made(self.metal(admin, "chassis", json!({})).await);
        let node = json!({"driver": "fake-hardware", "owner": self.thing("project")});
        let node = made(self.metal(admin, "nodes", node).await);
        let port = json!({"node_uuid": node, "address": "52:54:00:00:00:01"});
        let port = made(self.metal(admin, "ports", port).await);
        let group = json!({"node_uuid": node});
        let group = made(self.metal(admin, "portgroups", group).await);
        let step = json!({"interface": "bios", "step": "factory_reset", "args": {}});
        let with = |field: &str, value: u32| {
            let mut step = step.clone();
            step[field] = value.into();
            json!([step])
        };
        let template = json!({"name": "CUSTOM_OWN", "steps": with("priority", 1)});
        let template = made(self.metal(admin, "deploy_templates", template).await);
        let log = json!([{"op": "log", "args": {"msg": "own"}}]);
        let rule = made(
            self.metal(admin, "inspection_rules", json!({"actions": log}))
                .await,
        );
        let runbook = json!({"name": "CUSTOM_OWN", "steps": with("order", 1)});
        let runbook = made(self.metal(&self.member, "runbooks", runbook).await);
        let allocation = json!({"resource_class": "own"});
        let allocation = made(self.metal(&self.member, "allocations", allocation).await);
        let connector = json!({"node_uuid": node, "type": "iqn", "connector_id": "iqn.own"});
        let connector = made(self.metal(admin, "volume/connectors", connector).await);
        let target = json!({
            "node_uuid": node, "volume_type": "iscsi", "volume_id": "own", "boot_index": 0,
        });
        let target = made(self.metal(admin, "volume/targets", target).await);
        self.keep("chassis", chassis);
        self.keep("node", node);
        self.keep("node_port", port);
        self.keep("port_group", group);
        self.keep("deploy_template", template);
        self.keep("inspection_rule", rule);
        self.keep("runbook", runbook);
        self.keep("node_allocation", allocation);
        self.keep("volume_connector", connector);
        self.keep("volume_target", target);
    }

    async fn definitions(&self) {
        let property = json!({"name": "thing", "title": "Thing", "type": "string"});
        let namespace = json!({
            "namespace": "Roles::Test", "visibility": "public", "tags": [{"name": "thing"}], "properties": {"thing": property},
            "objects": [{"name": "thing"}], "resource_type_associations": [{"name": "OS::Thing"}],
        });
        self.admin
            .post("/image/v2/metadefs/namespaces", namespace)
            .await;
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
