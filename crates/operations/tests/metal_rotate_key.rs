//! A new key for the passwords of BMCs, killed at each moment and ended by the next one: no password is lost, nothing is
//! sealed under the old key, and a server that runs meanwhile goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_iam::actor::{Actor, Scope};
use corten_model::ids::NodeId;
use corten_operations::Context;
use corten_operations::context::Hosts;
use corten_operations::metal::node::{self, Edit, Reach};
use corten_operations::metal::rotate_key::{Rotation, rotate};
use corten_operations::metal::vault::{Vault, key_of};
use corten_operations::metal::{Ident, Metal, Simulator, driver, machine};
use corten_store::metal::node::Node;
use corten_store::record;
use harness::{Cloud, member};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const PASSWORD: &str = "driver_info/fake_password";
const NODES: usize = 5;

fn operator() -> Actor {
    let mut actor = member();
    actor.scope = Scope::System;
    actor.roles.insert("admin".to_owned());
    actor
}

/// A server that runs, with its keys in a directory.
fn server(cloud: &Cloud, keys: &Path) -> Context {
    let machines = cloud.machines.clone();
    let simulator: Simulator = Arc::new(move |id| machines.machine(&id.to_string()));
    let mut metal = Metal::forgetful(Some(simulator)).unwrap();
    metal.vault = Vault::open(keys).unwrap();
    Context {
        store: cloud.cx.store.clone(),
        policy: cloud.cx.policy.clone(),
        settings: cloud.cx.settings.clone(),
        clock: cloud.clock.clone(),
        hosts: Hosts::default(),
        fabric: cloud.fabric.clone(),
        image_dir: cloud.cx.image_dir.clone(),
        metal,
    }
}

fn sealed(password: &str) -> BTreeMap<String, Option<String>> {
    let json = Value::from(password).to_string();
    BTreeMap::from([(PASSWORD.to_owned(), Some(json))])
}

async fn enroll(cx: &Context, password: &str) -> NodeId {
    let driver = driver::of_node(&cx.metal, driver::FAKE).unwrap();
    let edit = Edit {
        node: node::blank(NodeId::random(), driver, cx.now()),
        secrets: sealed(password),
    };
    let made = node::create(cx, &operator(), edit, false).await;
    made.unwrap().id
}

async fn set_password(cx: &Context, id: NodeId, password: &str) {
    let edit = |before: &Node| {
        Ok(Edit {
            node: before.clone(),
            secrets: sealed(password),
        })
    };
    node::update(cx, &operator(), &Ident::id(id), Reach::Write, edit)
        .await
        .unwrap();
}

async fn node_of(cx: &Context, id: NodeId) -> Node {
    let mut tx = cx.store.read().await.unwrap();
    record::get(&mut tx, id).await.unwrap().unwrap()
}

/// The password of a node as a server opens it.
async fn password(cx: &Context, id: NodeId) -> String {
    let node = node_of(cx, id).await;
    machine::secret(cx, &node, PASSWORD).unwrap().unwrap()
}

fn key_files(keys: &Path) -> usize {
    std::fs::read_dir(keys).unwrap().count()
}

#[tokio::test]
async fn a_rotation_that_was_killed_is_ended_by_the_next_and_loses_nothing() {
    // After the key was made, and after each node.
    for killed_after in 0..=NODES {
        let cloud = Cloud::open().await;
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path();
        let running = server(&cloud, keys);
        let mut nodes = Vec::new();
        for number in 0..NODES {
            nodes.push(enroll(&running, &format!("calvin-{number}")).await);
        }
        let first = running.metal.vault.ids().unwrap().remove(0);
        let store = &cloud.cx.store;

        let command = Vault::open(keys).unwrap();
        let mut rotation = Rotation::begin(store, &command).await.unwrap();
        for _ in 0..killed_after {
            assert!(rotation.seal_next().await.unwrap());
        }
        drop(rotation);
        drop(command);
        assert_eq!(key_files(keys), 2, "both keys are kept");

        // The server that runs reads and writes meanwhile, and so does one that starts now.
        let started = server(&cloud, keys);
        for (number, id) in nodes.iter().enumerate() {
            let wanted = format!("calvin-{number}");
            assert_eq!(password(&running, *id).await, wanted);
            assert_eq!(password(&started, *id).await, wanted);
        }
        set_password(&running, nodes[0], "hobbes").await;
        let made = enroll(&running, "susie").await;
        for id in [nodes[0], made] {
            let sealed = node_of(&running, id).await.secrets[PASSWORD].clone();
            assert_ne!(key_of(&sealed), Some(first.as_str()), "the new key seals");
        }

        let rotated = rotate(store, &Vault::open(keys).unwrap()).await.unwrap();
        assert!(keys.join(format!("key-{}", rotated.key)).exists());
        assert_eq!(key_files(keys), 1, "the old key is gone");
        let later = server(&cloud, keys);
        for cx in [&running, &later] {
            assert_eq!(password(cx, nodes[0]).await, "hobbes");
            assert_eq!(password(cx, made).await, "susie");
            assert_eq!(password(cx, nodes[1]).await, "calvin-1");
        }
        set_password(&later, nodes[1], "moe").await;
        assert_eq!(password(&running, nodes[1]).await, "moe");
    }
}

/// The key was made and the row was not written: the file that nobody uses goes with the next rotation.
#[tokio::test]
async fn a_key_that_never_came_into_use_is_cleared_away() {
    let cloud = Cloud::open().await;
    let directory = tempfile::tempdir().unwrap();
    let running = server(&cloud, directory.path());
    let id = enroll(&running, "calvin").await;
    Vault::open(directory.path()).unwrap().make_key().unwrap();
    let command = Vault::open(directory.path()).unwrap();
    let rotated = rotate(&cloud.cx.store, &command).await.unwrap();
    assert_eq!(rotated.sealed, 1);
    assert_eq!(key_files(directory.path()), 1);
    assert_eq!(password(&running, id).await, "calvin");
    let again = rotate(&cloud.cx.store, &command).await.unwrap();
    assert_ne!(again.key, rotated.key);
    assert_eq!(password(&running, id).await, "calvin");
}
