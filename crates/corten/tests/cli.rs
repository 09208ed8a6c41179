//! OpenStack's own client drives the cloud: what an administrator and a tenant do with it, on a simulated host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/stock_client.rs"]
mod stock_client;

use common::{Actor, Cloud, SOON};
use serde_json::Value;
use stock_client::StockClient;

/// The values of one column of a table.
fn column<'a>(table: &'a Value, name: &str) -> Vec<&'a str> {
    let rows = table
        .as_array()
        .unwrap_or_else(|| panic!("no table: {table}"));
    rows.iter()
        .map(|row| {
            row[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name} in {row}"))
        })
        .collect()
}

#[track_caller]
fn assert_lists(table: &Value, name: &str, wanted: &[&str]) {
    let found = column(table, name);
    for one in wanted {
        assert!(found.contains(one), "no {one} in {found:?}");
    }
}

/// A file of 1 MiB that can be an image.
fn image_file(cloud: &Cloud) {
    std::fs::write(cloud.data().join("disk.raw"), vec![7; 1 << 20]).unwrap();
}

const CREATE_IMAGE: &str = "image create --disk-format raw --container-format bare --file disk.raw";

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_manages_users_projects_and_roles() {
    let cloud = Cloud::simulated(1).await;
    let mut cli = StockClient::start(&cloud, "corten");
    let token = cli.json("token issue").await;
    assert!(
        token["id"].as_str().unwrap().starts_with("gAAAA"),
        "{token}"
    );
    assert_lists(
        &cli.json("catalog list").await,
        "Type",
        &["identity", "compute", "image", "placement"],
    );
    assert_eq!(cli.json("project create p1").await["name"], "p1");
    assert_lists(
        &cli.json("project list").await,
        "Name",
        &["admin", "demo", "p1"],
    );
    let user = cli.json("user create --password x1-Secret u1").await;
    assert_eq!(user["name"], "u1");
    assert_lists(
        &cli.json("user list").await,
        "Name",
        &["admin", "demo", "u1"],
    );
    assert_lists(
        &cli.json("role list").await,
        "Name",
        &["admin", "manager", "member", "reader"],
    );
    cli.run("role add --user u1 --project p1 member").await;
    let assignments = cli.json("role assignment list --names --user u1").await;
    assert_eq!(assignments[0]["Role"], "member");
    assert_eq!(assignments[0]["Project"], "p1@Default");
    // The new user is one.
    let new = cloud.log_in("u1", "x1-Secret", "p1").await;
    assert_eq!(new.user_id, user["id"].as_str().unwrap());

    let credential = cli.json("application credential create ac1").await;
    let secret = credential["secret"]
        .as_str()
        .or(credential["Secret"].as_str());
    assert!(
        secret.is_some_and(|secret| secret.len() > 40),
        "{credential}"
    );
    assert_lists(
        &cli.json("application credential list").await,
        "Name",
        &["ac1"],
    );
    cli.run("application credential delete ac1").await;
    assert_eq!(
        cli.json("application credential list").await,
        serde_json::json!([])
    );
    cli.run("role remove --user u1 --project p1 member").await;
    cli.run("user delete u1").await;
    cli.run("project delete p1").await;
    assert!(!column(&cli.json("user list").await, "Name").contains(&"u1"));
    assert!(!column(&cli.json("project list").await, "Name").contains(&"p1"));
    let refusal = cli.refused("project show p1").await;
    assert!(refusal.contains("p1"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_hosts_quotas_and_usage() {
    let cloud = Cloud::simulated(2).await;
    let mut cli = StockClient::start(&cloud, "corten");
    assert_lists(
        &cli.json("hypervisor list").await,
        "Hypervisor Hostname",
        &["sim-1", "sim-2"],
    );
    assert_eq!(cli.json("hypervisor show sim-1").await["state"], "up");
    let services = cli.json("compute service list").await;
    assert_lists(
        &services,
        "Binary",
        &["nova-compute", "nova-conductor", "nova-scheduler"],
    );
    assert!(
        column(&services, "State")
            .iter()
            .all(|state| *state == "up"),
        "{services}"
    );
    assert_lists(
        &cli.json("availability zone list").await,
        "Zone Name",
        &["nova"],
    );
    assert_eq!(
        cli.json("aggregate create --zone east a1").await["name"],
        "a1"
    );
    assert_lists(&cli.json("aggregate list").await, "Name", &["a1"]);
    cli.json("aggregate add host a1 sim-2").await;
    assert_lists(
        &cli.json("availability zone list").await,
        "Zone Name",
        &["nova", "east"],
    );
    cli.json("aggregate remove host a1 sim-2").await;
    cli.run("aggregate delete a1").await;

    cli.run("quota set --instances 50 admin").await;
    let quota = cli.json("quota show admin").await;
    let instances = quota
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["Resource"] == "instances")
        .expect("instances");
    assert_eq!(instances["Limit"], 50);
    let limits = cli.json("limits show --absolute").await;
    let instances = limits
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["Name"] == "instances")
        .expect("instances");
    assert_eq!(instances["Value"], 50);

    assert_eq!(
        cli.json("flavor create --ram 64 --disk 1 --vcpus 1 f1")
            .await["ram"],
        64
    );
    assert_lists(&cli.json("flavor list").await, "Name", &["f1", "m1.tiny"]);
    image_file(&cloud);
    cli.json(&format!("{CREATE_IMAGE} img1")).await;
    cli.json("server create --image img1 --flavor f1 --nic none --wait srv1")
        .await;
    let servers = cli.json("server list --all-projects --long").await;
    assert!(column(&servers, "Host")[0].starts_with("sim-"), "{servers}");
    let usage = cli.json("usage show").await;
    assert!(
        usage["CPU Hours"]
            .as_f64()
            .or(usage["cpu_hours"].as_f64())
            .is_some(),
        "{usage}"
    );
    assert_eq!(cli.json("usage list").await.as_array().unwrap().len(), 1);
    let providers = cli.json("resource provider list").await;
    assert_lists(&providers, "name", &["sim-1", "sim-2"]);
    let provider = providers[0]["uuid"].as_str().unwrap().to_owned();
    assert_lists(
        &cli.json(&format!("resource provider inventory list {provider}"))
            .await,
        "resource_class",
        &["VCPU"],
    );
    assert_lists(
        &cli.json(&format!("resource provider usage show {provider}"))
            .await,
        "resource_class",
        &["MEMORY_MB"],
    );
    assert_lists(
        &cli.json("resource class list").await,
        "name",
        &["VCPU", "DISK_GB"],
    );
    cli.run("server delete --wait srv1").await;
    cli.run("flavor delete f1").await;
    assert!(!column(&cli.json("flavor list").await, "Name").contains(&"f1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_keeps_keys_and_images() {
    let cloud = Cloud::simulated(1).await;
    let mut cli = StockClient::start(&cloud, "demo");
    // The client makes the pair itself and sends the public half.
    cli.run("keypair create --private-key k1.pem k1").await;
    let private = std::fs::read_to_string(cloud.data().join("k1.pem")).unwrap();
    assert!(private.contains("PRIVATE KEY"));
    assert_lists(&cli.json("keypair list").await, "Name", &["k1"]);
    cli.run("keypair delete k1").await;
    assert_eq!(cli.json("keypair list").await, serde_json::json!([]));
    let flavor = cli.json("flavor show m1.tiny").await;
    assert_eq!(flavor["name"], "m1.tiny");
    let refusal = cli
        .refused("flavor create --ram 64 --disk 1 --vcpus 1 f1")
        .await;
    assert!(refusal.contains("403"), "{refusal}");

    image_file(&cloud);
    let image = cli.json(&format!("{CREATE_IMAGE} img1")).await;
    assert_eq!(image["size"], 1 << 20);
    assert_lists(&cli.json("image list").await, "Name", &["img1"]);
    cli.run("image set --property a=b img1").await;
    let image = cli.json("image show img1").await;
    assert_eq!(image["status"], "active");
    assert_eq!(image["properties"]["a"], "b");
    cli.run("image save --file saved.raw img1").await;
    let saved = std::fs::read(cloud.data().join("saved.raw")).unwrap();
    assert_eq!(saved, std::fs::read(cloud.data().join("disk.raw")).unwrap());
    cli.run("image delete img1").await;
    assert_eq!(cli.json("image list").await, serde_json::json!([]));
}

/// A server's command that the client does not wait for.
async fn act(cli: &mut StockClient, demo: &Actor, id: &str, command: &str, status: &str) {
    cli.run(command).await;
    demo.wait_for(id, status, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_runs_a_server_through_its_life() {
    let cloud = Cloud::simulated(1).await;
    let demo = cloud.demo().await;
    let mut cli = StockClient::start(&cloud, "demo");
    image_file(&cloud);
    cli.json(&format!("{CREATE_IMAGE} img1")).await;
    cli.run("keypair create --private-key k1.pem k1").await;
    let create = "server create --image img1 --flavor m1.tiny --nic none --key-name k1 --property a=b --wait srv1";
    let server = cli.json(create).await;
    assert_eq!(server["status"], "ACTIVE");
    let id = server["id"].as_str().unwrap().to_owned();
    assert_eq!(cli.json("server list").await[0]["Flavor"], "m1.tiny");
    cli.run("server set --name srv1b srv1").await;
    let server = cli.json("server show srv1b").await;
    assert_eq!(server["key_name"], "k1");
    assert_eq!(server["properties"]["a"], "b");
    for (command, status) in [
        ("server stop srv1b", "SHUTOFF"),
        ("server start srv1b", "ACTIVE"),
        ("server pause srv1b", "PAUSED"),
        ("server unpause srv1b", "ACTIVE"),
        ("server suspend srv1b", "SUSPENDED"),
        ("server resume srv1b", "ACTIVE"),
        ("server rescue srv1b", "RESCUE"),
        ("server unrescue srv1b", "ACTIVE"),
        ("server lock srv1b", "ACTIVE"),
        ("server unlock srv1b", "ACTIVE"),
        ("server reboot --soft --wait srv1b", "ACTIVE"),
        ("server reboot --hard --wait srv1b", "ACTIVE"),
    ] {
        act(&mut cli, &demo, &id, command, status).await;
    }
    let rebuilt = cli.json("server rebuild --image img1 --wait srv1b").await;
    assert_eq!(rebuilt["id"], id.as_str());
    demo.wait_for(&id, "ACTIVE", SOON).await;
    let events = cli.json("server event list srv1b").await;
    assert_lists(
        &events,
        "Action",
        &[
            "create", "stop", "start", "pause", "suspend", "rescue", "reboot", "rebuild",
        ],
    );
    cli.run("console log show srv1b").await;
    assert_eq!(
        cli.json("console url show --novnc srv1b").await["protocol"],
        "vnc"
    );
    let refusal = cli.refused("server start srv1b").await;
    assert!(
        refusal.contains("409") && refusal.contains("Legal now"),
        "{refusal}"
    );
    assert_eq!(
        cli.json("server group create --policy anti-affinity grp1")
            .await["policy"],
        "anti-affinity"
    );
    assert_lists(&cli.json("server group list").await, "Name", &["grp1"]);
    cli.run("server delete --wait srv1b").await;
    assert_eq!(cli.json("server list").await, serde_json::json!([]));
}

/// The calls of the acceptance suite's table "Network", by the client that makes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_networks_of_its_own_and_a_server_on_them() {
    let cloud = Cloud::simulated(1).await;
    let mut admin = StockClient::start(&cloud, "corten");
    let external = "network create --external --provider-network-type flat --provider-physical-network public ext";
    assert_eq!(admin.json(external).await["router:external"], true);
    admin
        .run("subnet create --network ext --no-dhcp --subnet-range 198.18.7.0/24 ext-range")
        .await;
    let mut cli = StockClient::start(&cloud, "demo");
    cli.run("network create net1").await;
    cli.run("network set --name net1b net1").await;
    let subnet = "subnet create --network net1b --subnet-range 10.77.0.0/24 --dns-nameserver 10.77.0.53 sub1";
    assert_eq!(cli.json(subnet).await["gateway_ip"], "10.77.0.1");
    let refusal = cli
        .refused("subnet create --network net1b --subnet-range 10.77.0.128/25 sub2")
        .await;
    assert!(
        refusal.contains("overlaps with another subnet"),
        "{refusal}"
    );
    cli.run("router create r1").await;
    cli.run("router set --external-gateway ext r1").await;
    cli.run("router add subnet r1 sub1").await;
    let router = cli.json("router show r1").await;
    assert!(
        router["interfaces_info"][0]["ip_address"] == "10.77.0.1",
        "{router}"
    );
    cli.run("security group create sg1").await;
    let rule = "security group rule create --protocol tcp --dst-port 22 --remote-ip 0.0.0.0/0 sg1";
    assert_eq!(cli.json(rule).await["port_range_min"], 22);
    assert_eq!(
        cli.json("security group rule list sg1")
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
    cli.run(
        "port create --network net1b --fixed-ip ip-address=10.77.0.9 --security-group sg1 port1",
    )
    .await;
    assert_lists(&cli.json("port list").await, "Name", &["port1"]);

    image_file(&cloud);
    cli.json(&format!("{CREATE_IMAGE} img1")).await;
    let server = "server create --image img1 --flavor m1.tiny --port port1 --wait srv1";
    let server = cli.json(server).await;
    assert_eq!(server["addresses"]["net1b"][0], "10.77.0.9", "{server}");
    cli.run("server add network srv1 net1b").await;
    // K70: a member sets no public IP, an administrator does.
    let refusal = cli.refused("floating ip create ext").await;
    assert!(refusal.contains("403"), "{refusal}");
    let floating = admin.json("floating ip create --project demo ext").await["floating_ip_address"]
        .as_str()
        .unwrap()
        .to_owned();
    admin
        .run(&format!("floating ip set --port port1 {floating}"))
        .await;
    let shown = cli.json("server show srv1").await;
    assert!(
        shown["addresses"]["net1b"].to_string().contains(&floating),
        "{shown}"
    );
    admin.run(&format!("floating ip delete {floating}")).await;
    cli.run("server delete --wait srv1").await;
    cli.run("port delete port1").await;
    cli.run("router remove subnet r1 sub1").await;
    cli.run("router unset --external-gateway r1").await;
    cli.run("router delete r1").await;
    cli.run("subnet delete sub1").await;
    cli.run("network delete net1b").await;
    cli.run("security group delete sg1").await;
    assert_eq!(cli.json("port list").await, serde_json::json!([]));
    admin.run("network delete ext").await;
}
