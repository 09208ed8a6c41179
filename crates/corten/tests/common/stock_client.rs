//! OpenStack's own client, `openstack`, in one session that takes command after command: its start is most of what a
//! single command costs.

use crate::common::Cloud;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Names another program than `.venv/bin/openstack` of the workspace.
const PROGRAM: &str = "CORTEN_OPENSTACK";
/// A command that asks no service; its answer tells that the command before it has ended.
const MARKER: &str = "module list -f json";
const LIMIT: Duration = Duration::from_secs(60);

pub struct StockClient {
    _process: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read and not yet looked at.
    read: Vec<u8>,
    errors: PathBuf,
    errors_seen: usize,
}

fn program() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/openstack");
    let program = std::env::var_os(PROGRAM).map_or_else(default, PathBuf::from);
    assert!(
        program.exists(),
        "there is no {}: run scripts/venv, or name the client in {PROGRAM}",
        program.display()
    );
    program
}

impl StockClient {
    /// As one of the clouds of `clouds.yaml`: `corten` is the administrator, `demo` a member of its project.
    pub fn start(cloud: &Cloud, name: &str) -> Self {
        Self::start_with(cloud, name, None)
    }

    /// The same, with this microversion of the compute API.
    #[allow(dead_code, reason = "each test uses its part")]
    pub fn start_at(cloud: &Cloud, name: &str, compute: &str) -> Self {
        Self::start_with(cloud, name, Some(compute))
    }

    fn start_with(cloud: &Cloud, name: &str, compute: Option<&str>) -> Self {
        let errors = format!("client-{name}{}.log", compute.unwrap_or_default());
        let errors = cloud.data().join(errors);
        let mut process = Command::new(program())
            .envs(compute.map(|version| ("OS_COMPUTE_API_VERSION", version)))
            .env("OS_CLIENT_CONFIG_FILE", cloud.data().join("clouds.yaml"))
            .env("OS_CLOUD", name)
            .env("PYTHONUNBUFFERED", "1")
            .current_dir(cloud.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        Self {
            _process: process,
            input,
            output,
            read: Vec::new(),
            errors,
            errors_seen: 0,
        }
    }

    /// Runs a command that must succeed; answers what it printed, read as JSON.
    pub async fn run(&mut self, command: &str) -> Value {
        let (answer, errors) = self.attempt(command).await;
        assert!(errors.trim().is_empty(), "openstack {command}: {errors}");
        answer
    }

    /// The same for a command that prints a table.
    pub async fn json(&mut self, command: &str) -> Value {
        let answer = self.run(&format!("{command} -f json")).await;
        assert!(!answer.is_null(), "openstack {command} printed nothing");
        answer
    }

    /// Runs a command that must fail; answers what it complained of.
    #[allow(dead_code, reason = "each test uses its part")]
    pub async fn refused(&mut self, command: &str) -> String {
        let (answer, errors) = self.attempt(command).await;
        assert!(
            !errors.trim().is_empty(),
            "openstack {command} did not fail: {answer}"
        );
        errors
    }

    async fn attempt(&mut self, command: &str) -> (Value, String) {
        self.input
            .write_all(format!("{command}\n{MARKER}\n").as_bytes())
            .await
            .unwrap();
        self.input.flush().await.unwrap();
        let answer = tokio::time::timeout(LIMIT, self.until_marker()).await;
        let errors = String::from_utf8_lossy(&std::fs::read(&self.errors).unwrap()).into_owned();
        let news = errors[self.errors_seen..].to_owned();
        self.errors_seen = errors.len();
        match answer {
            Ok(answer) => (answer, news),
            Err(_) => panic!("openstack {command}: no end within {LIMIT:?}: {news}"),
        }
    }

    /// The last thing that was printed before the marker's answer.
    async fn until_marker(&mut self) -> Value {
        let mut last = Value::Null;
        loop {
            while let Some(found) = self.next_value() {
                if found.get("openstackclient").is_some() {
                    return last;
                }
                last = found;
            }
            let mut more = [0; 8192];
            let count = self.output.read(&mut more).await.unwrap();
            if count == 0 {
                panic!(
                    "the client ended: {}",
                    std::fs::read_to_string(&self.errors).unwrap()
                );
            }
            self.read.extend_from_slice(&more[..count]);
        }
    }

    /// The next JSON object or list of what was read; other text (progress, blank lines) is passed over, line by line.
    fn next_value(&mut self) -> Option<Value> {
        loop {
            let start = self
                .read
                .iter()
                .position(|byte| !byte.is_ascii_whitespace())?;
            if matches!(self.read[start], b'{' | b'[') {
                let mut values =
                    serde_json::Deserializer::from_slice(&self.read[start..]).into_iter::<Value>();
                match values.next() {
                    Some(Ok(value)) => {
                        let end = start + values.byte_offset();
                        self.read.drain(..end);
                        return Some(value);
                    }
                    Some(Err(error)) if error.is_eof() => return None,
                    _ => {}
                }
            }
            let end = start + self.read[start..].iter().position(|byte| *byte == b'\n')?;
            self.read.drain(..=end);
        }
    }
}
