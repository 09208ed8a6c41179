//! Steps on BIOS settings, which a server's BMC carries out over a boot, in cleaning and deployment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::time::Timestamp;
use corten_operations::metal::Ident;
use corten_operations::metal::provision::{self, Wish};
use corten_store::metal::boot_sign;
use corten_store::metal::node::Node;
use harness::Cloud;
use harness::metal::{after, assert_sound, node_of, operator, with_step};
use serde_json::{Value, json};

use NodeVerb::{Active, Clean, Manage, Provide};

fn virtualization(value: &str) -> Value {
    json!({"settings": [{"name": "ProcVirtualization", "value": value}]})
}

/// What the node's row says of the setting.
fn shown(node: &Node) -> &str {
    let mut settings = node.bios.iter();
    let setting = settings.find(|setting| setting.name == "ProcVirtualization");
    setting.unwrap().value.as_deref().unwrap()
}

async fn cleaned(cloud: &Cloud, id: NodeId, wish: Wish) -> Node {
    provision::set(&cloud.cx, &operator(), &Ident::id(id), wish)
        .await
        .unwrap();
    cloud.drain().await;
    node_of(cloud, id).await
}

async fn count(cloud: &Cloud, id: NodeId, event: &str) -> usize {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let signs = boot_sign::of_node(&mut tx, id, Timestamp::from_micros(0)).await;
    let signs = signs.unwrap();
    signs.iter().filter(|sign| sign.event == event).count()
}

#[tokio::test]
async fn bios_settings_hold_after_the_boot_that_they_are_given() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    let apply = || {
        with_step(
            Clean,
            "bios",
            "apply_configuration",
            virtualization("Disabled"),
        )
    };
    let node = cleaned(&cloud, id, apply()).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Manageable,
        "{:?}",
        node.last_error
    );
    assert_eq!(shown(&node), "Disabled");
    assert_eq!(
        count(&cloud, id, "boot planned").await,
        2,
        "the ramdisk, and again"
    );
    assert_sound(&cloud, id, "applied").await;

    // What holds already takes no boot.
    cleaned(&cloud, id, apply()).await;
    assert_eq!(count(&cloud, id, "boot planned").await, 3);

    let reset = with_step(Clean, "bios", "factory_reset", json!({}));
    let node = cleaned(&cloud, id, reset).await;
    assert_eq!(shown(&node), "Enabled");
}

#[tokio::test]
async fn settings_that_do_not_hold_end_the_cleaning_with_what_is_shown() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    cloud.machines.get(&id.to_string()).lose_settings();
    let apply = with_step(
        Clean,
        "bios",
        "apply_configuration",
        virtualization("Disabled"),
    );
    let node = cleaned(&cloud, id, apply).await;
    assert_eq!(node.provision.state, ProvisionState::CleanFailed);
    let why = node.last_error.unwrap();
    for part in [
        "ProcVirtualization = Disabled",
        "not applied",
        "it is Enabled",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(
        count(&cloud, id, "boot planned").await,
        2,
        "no more than once"
    );
    assert_sound(&cloud, id, "lost").await;
}

/// Arguments are kept and shown: a password must not be one.
#[tokio::test]
async fn a_setting_that_the_bmc_hides_is_refused_and_its_value_not_told() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    let secret = json!({"settings": [{"name": "AdminPassword", "value": "s3cret"}]});
    let node = cleaned(
        &cloud,
        id,
        with_step(Clean, "bios", "apply_configuration", secret),
    )
    .await;
    assert_eq!(node.provision.state, ProvisionState::CleanFailed);
    let why = node.last_error.unwrap();
    assert!(
        why.contains("AdminPassword") && !why.contains("s3cret"),
        "{why}"
    );
}

/// The boot that a setting needs brings no second writing of the image.
#[tokio::test]
async fn a_deployment_sets_the_bios_and_writes_once() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    let deploy = with_step(
        Active,
        "bios",
        "apply_configuration",
        virtualization("Disabled"),
    );
    let node = cleaned(&cloud, id, deploy).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Active,
        "{:?}",
        node.last_error
    );
    assert_eq!(count(&cloud, id, "written").await, 1);
    assert_eq!(shown(&node), "Disabled");
    assert_sound(&cloud, id, "deployed").await;
}

#[tokio::test]
async fn arguments_are_checked_before_anything_begins() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    let wish = with_step(Clean, "bios", "apply_configuration", json!({}));
    let refused = provision::set(&cloud.cx, &operator(), &Ident::id(id), wish).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("bios.apply_configuration needs the argument settings"),
        "{refused}"
    );
    assert_eq!(
        node_of(&cloud, id).await.provision.state,
        ProvisionState::Manageable
    );
}
