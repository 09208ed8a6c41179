//! OpenStack's own client works on bare metal: enrol, verify, wipe, deploy, undeploy, power (K150, K151, K158, K162).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/stock_client.rs"]
mod stock_client;

use common::Cloud;
use stock_client::StockClient;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_from_enrolment_to_a_tenant_and_back() {
    let cloud = Cloud::start("[host]\nenabled = false\n[sim]\nhosts = 1\nmetal = true\n").await;
    cloud.wait_for_hosts(1).await;
    let mut client = StockClient::start(&cloud, "corten");
    let node = client
        .json("baremetal node create --driver fake-hardware --name bm1 --driver-info fake_password=calvin")
        .await;
    assert_eq!(node["provision_state"], "enroll");
    assert_eq!(node["driver_info"]["fake_password"], "******");
    let state = async |client: &mut StockClient| {
        let shown = client.json("baremetal node show bm1").await;
        shown["provision_state"].as_str().unwrap().to_owned()
    };
    for (verb, wanted) in [
        ("manage", "manageable"),
        ("inspect", "manageable"),
        ("provide", "available"),
        ("deploy", "active"),
        ("undeploy", "available"),
    ] {
        client
            .run(&format!("baremetal node {verb} --wait 60 bm1"))
            .await;
        assert_eq!(state(&mut client).await, wanted, "after {verb}");
    }
    client.run("baremetal node power on bm1").await;
    let shown = client.json("baremetal node show bm1").await;
    assert_eq!(shown["power_state"], "power on");
    let listed = client.json("baremetal node list").await;
    assert_eq!(listed[0]["name"], "bm1");
    let ports = client.json("baremetal port list").await;
    assert_eq!(
        ports.as_array().unwrap().len(),
        1,
        "the inspection found a card"
    );
}
