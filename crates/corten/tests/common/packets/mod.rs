//! Packets between real guests: what tests of networks start, drive and watch.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

pub mod capture;
pub mod shell;
pub mod vpc;

use crate::common::{Actor, Cloud, Shape};
use corten::images::{Silent, TinyOptions, build_tiny};
use serde_json::{Value, json};
use shell::Shell;
use std::path::Path;
use std::time::Duration;

/// For a guest to boot and to take its address, on a busy machine.
pub const BOOT: Duration = Duration::from_secs(180);
/// For a change of ports or rules to be felt.
pub const FELT: Duration = Duration::from_secs(60);

/// A public image of the tiny guest.
pub async fn tiny_image(cloud: &Cloud, admin: &Actor) -> String {
    let options = TinyOptions {
        output: cloud.data().join("tiny.raw"),
        cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages"),
    };
    let built = build_tiny(&options, &Silent).await.unwrap();
    let bytes = std::fs::read(built.path).unwrap();
    // With the channel that a shell speaks through.
    let properties = json!({"hw_qemu_guest_agent": "yes"});
    cloud.image_with(admin, "tiny", properties, bytes).await
}

/// A server on one port, and the way into it.
pub struct Guest {
    pub id: String,
    pub port: String,
    pub mac: String,
    pub shell: Shell,
}

impl Guest {
    /// Asks for a server on this port; it is not awaited.
    pub async fn ask(owner: &Actor, shape: &Shape, name: &str, port: &Value) -> String {
        let mut body = shape.body(name);
        body["server"]["networks"] = json!([{"port": port["id"]}]);
        body["server"]["user_data"] = json!(shell::user_data());
        owner.post("/compute/v2.1/servers", body).await.id("server")
    }

    /// Waits until the server answers commands.
    pub async fn ready(cloud: &Cloud, owner: &Actor, id: String, port: &Value) -> Self {
        owner.wait_for(&id, "ACTIVE", BOOT).await;
        let shell = Shell::open(cloud.data(), owner, &id).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id,
            port: text(&port["id"]),
            mac: text(&port["mac_address"]),
            shell,
        }
    }
}
