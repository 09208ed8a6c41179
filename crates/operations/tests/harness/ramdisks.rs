//! The ramdisks of simulated servers: whatever the BMC booted calls home, as a real one does.

use corten_bmc::BootDevice;
use corten_operations::Context;
use corten_operations::metal::agent::{self, Beat};
use corten_operations::metal::ramdisk::boot;
use corten_operations::metal::{Ident, machine};
use corten_sim::SimMachines;
use corten_store::Query;
use corten_store::metal::node::Node;
use std::sync::{Arc, Mutex};

pub struct Ramdisks {
    pub cx: Arc<Context>,
    pub machines: Arc<SimMachines>,
    /// What a server is booted from brings no ramdisk.
    pub dead: Mutex<Vec<BootDevice>>,
}

impl Ramdisks {
    /// Has each ramdisk call that runs and did not call yet. Whether one did.
    pub async fn call(&self) -> bool {
        let nodes: Vec<Node> = {
            let mut tx = self.cx.store.read().await.unwrap();
            Query::new().all(&mut tx).await.unwrap()
        };
        let mut called = false;
        for node in nodes {
            let Some(plan) = &node.boot else { continue };
            let device = boot::device(plan.method);
            let booted = self.machines.get(&node.id.to_string()).booted_from();
            let dead = self.dead.lock().unwrap().contains(&device);
            if plan.token_sha256.is_none() || booted != Some(device) || dead {
                continue;
            }
            let token = machine::secret(&self.cx, &node, "boot/token").unwrap();
            let id = node.id.to_string();
            let found = agent::lookup(&self.cx, &[], Some(&id), token.as_deref()).await;
            let beat = Beat {
                url: "https://192.0.2.7:9999".to_owned(),
                certificate: Some("a certificate".to_owned()),
                version: None,
                token: found.unwrap().token,
            };
            agent::heartbeat(&self.cx, &Ident::id(&id), beat)
                .await
                .unwrap();
            called = true;
        }
        called
    }
}
