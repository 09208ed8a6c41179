//! Who wants to log in to a server, and how.

use super::PATIENCE;
use super::operator::Operator;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// A key pair of somebody who wants to log in.
pub struct Key {
    directory: tempfile::TempDir,
}

impl Key {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(directory.path().join("key"))
            .status();
        assert!(made.await.unwrap().success());
        Self { directory }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    pub fn public(&self) -> String {
        let path = self.path().with_extension("pub");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// What a command says, if the server lets the key in.
    pub async fn try_run(
        &self,
        user: &str,
        address: &str,
        command: &str,
    ) -> Result<String, String> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.path()).args(["-F", "none"]);
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        let output = ssh
            .arg(format!("{user}@{address}"))
            .arg(command)
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The same, as soon as the server has booted.
    pub async fn run(
        &self,
        operator: &Operator<'_>,
        user: &str,
        address: &str,
        command: &str,
    ) -> String {
        let begun = tokio::time::Instant::now();
        loop {
            match self.try_run(user, address, command).await {
                Ok(said) => return said,
                Err(why) if begun.elapsed() > PATIENCE => {
                    panic!("{why}; the console:\n{}", operator.server.console())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    pub fn config_drive(&self, name: &str) -> Value {
        json!({
            "meta_data": {"uuid": name, "hostname": name, "name": name, "public_keys": {"key": self.public()}},
            "user_data": "#!/bin/sh\necho it-ran >/root/user-data\n",
        })
    }
}
