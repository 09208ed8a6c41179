//! OpenStack's own agent calls: it shows no token at lookup, and the boot's one in its heartbeats (K149, K152).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::BootDevice;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_operations::metal::agent::{self, Beat};
use corten_operations::metal::{Ident, machine};
use corten_store::Failure;
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, node_of};

use NodeVerb::{Manage, Provide};

/// A node whose ramdisk is awaited, and the token that it was booted with.
async fn awaited(cloud: &Cloud) -> (NodeId, String) {
    let id = after(cloud, true, &[Manage]).await;
    let token = awaited_after(cloud, id, Provide, ProvisionState::CleanWait).await;
    (id, token)
}

async fn awaited_after(cloud: &Cloud, id: NodeId, verb: NodeVerb, state: ProvisionState) -> String {
    let dead = [BootDevice::Cdrom, BootDevice::Network];
    cloud.ramdisks.dead.lock().unwrap().extend(dead);
    ask(cloud, id, verb).await;
    cloud
        .step_until(async || node_of(cloud, id).await.provision.state == state)
        .await;
    let node = node_of(cloud, id).await;
    let token = machine::secret(&cloud.cx, &node, "boot/token").unwrap();
    token.unwrap()
}

async fn beat(
    cloud: &Cloud,
    id: NodeId,
    token: &str,
    certificate: Option<&str>,
) -> Result<(), Failure> {
    let beat = Beat {
        url: "https://192.0.2.7:9999".to_owned(),
        certificate: certificate.map(str::to_owned),
        version: Some("13.0.0".to_owned()),
        token: Some(token.to_owned()),
    };
    agent::heartbeat(&cloud.cx, &Ident::id(id), beat).await
}

async fn look_up(cloud: &Cloud, id: NodeId) -> Result<NodeId, String> {
    let found = agent::awaited(&cloud.cx, &[], Some(&id.to_string())).await;
    found.map_err(|failure| failure.to_string())
}

#[tokio::test]
async fn who_shows_no_token_learns_the_id_and_only_while_a_ramdisk_is_awaited() {
    let cloud = Cloud::open().await;
    let other = after(&cloud, true, &[Manage]).await;
    let (id, token) = awaited(&cloud).await;
    assert_eq!(look_up(&cloud, id).await.unwrap(), id);
    let refused = look_up(&cloud, other).await.unwrap_err();
    assert!(refused.contains("expects a ramdisk"), "{refused}");

    // Our own ramdisk came: nobody else is awaited any more.
    let text = id.to_string();
    agent::lookup(&cloud.cx, &[], Some(&text), Some(&token))
        .await
        .unwrap();
    let refused = look_up(&cloud, id).await.unwrap_err();
    assert!(refused.contains("No ramdisk is awaited"), "{refused}");
}

#[tokio::test]
async fn the_boots_token_is_taken_from_a_heartbeat_once_and_is_the_agents_from_then_on() {
    let cloud = Cloud::open().await;
    let (id, token) = awaited(&cloud).await;
    let refused = beat(&cloud, id, "guessed", Some("a certificate")).await;
    assert!(refused.unwrap_err().to_string().contains("agent token"));
    let refused = beat(&cloud, id, &token, None).await;
    assert!(refused.unwrap_err().to_string().contains("agent_verify_ca"));
    let node = node_of(&cloud, id).await;
    assert!(node.agent.is_none() && node.boot.unwrap().token_sha256.is_some());

    beat(&cloud, id, &token, Some("a certificate"))
        .await
        .unwrap();
    let node = node_of(&cloud, id).await;
    let agent = node.agent.clone().unwrap();
    assert!(agent.stock);
    assert_eq!(agent.version.as_deref(), Some("13.0.0"));
    assert!(node.boot.as_ref().unwrap().token_sha256.is_none());
    let sealed = machine::secret(&cloud.cx, &node, agent::TOKEN).unwrap();
    assert_eq!(sealed.as_ref(), Some(&token), "commands carry it");
    // It looks up again before it writes an image, and goes on with its heartbeats.
    assert_eq!(look_up(&cloud, id).await.unwrap(), id);
    beat(&cloud, id, &token, Some("a certificate"))
        .await
        .unwrap();
    let text = id.to_string();
    let refused = agent::lookup(&cloud.cx, &[], Some(&text), Some(&token)).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("used before"), "{refused}");

    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Available);
    assert_sound(&cloud, id, "by a stock agent").await;
    let late = beat(&cloud, id, &token, Some("a certificate")).await;
    assert!(late.unwrap_err().to_string().contains("agent token"));
}

#[tokio::test]
async fn a_boots_token_that_our_own_ramdisk_has_shown_is_no_heartbeats() {
    let cloud = Cloud::open().await;
    let (id, token) = awaited(&cloud).await;
    let text = id.to_string();
    let found = agent::lookup(&cloud.cx, &[], Some(&text), Some(&token)).await;
    let refused = beat(&cloud, id, &token, Some("a certificate")).await;
    assert!(refused.unwrap_err().to_string().contains("agent token"));
    let own = found.unwrap().token.unwrap();
    beat(&cloud, id, &own, Some("a certificate")).await.unwrap();
    assert!(!node_of(&cloud, id).await.agent.unwrap().stock);
}

/// Who is rescued reads the kernel's command line.
#[tokio::test]
async fn a_rescue_leaves_no_token_that_is_good_for_anything() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide, NodeVerb::Active]).await;
    let token = awaited_after(&cloud, id, NodeVerb::Rescue, ProvisionState::RescueWait).await;
    beat(&cloud, id, &token, Some("a certificate"))
        .await
        .unwrap();
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Rescue);
    assert!(node.agent.is_none());
    let late = beat(&cloud, id, &token, Some("a certificate")).await;
    assert!(late.unwrap_err().to_string().contains("agent token"));
    assert!(look_up(&cloud, id).await.is_err());
    ask(&cloud, id, NodeVerb::Unrescue).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Active);
}

#[tokio::test]
async fn an_aborted_boot_has_no_token_for_anybody() {
    let cloud = Cloud::open().await;
    let (id, token) = awaited(&cloud).await;
    ask(&cloud, id, NodeVerb::Abort).await;
    cloud.drain().await;
    assert!(look_up(&cloud, id).await.is_err());
    let late = beat(&cloud, id, &token, Some("a certificate")).await;
    assert!(late.unwrap_err().to_string().contains("agent token"));
}
