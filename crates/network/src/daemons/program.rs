//! Child programs: run to their end, with their errors told in full.

use super::error::MachineError;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// These programs talk to the kernel or to a daemon beside them; one that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Which Debian package has which program.
const PACKAGES: [(&str, &str); 12] = [
    ("ovsdb-server", "openvswitch-switch"),
    ("ovsdb-tool", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovs-dpctl", "openvswitch-switch"),
    ("ovs-appctl", "openvswitch-switch"),
    ("ovn-northd", "ovn-central"),
    ("ovn-controller", "ovn-host"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
];

/// A program to run to its end.
pub(crate) struct Program {
    name: String,
    /// What errors call it.
    shown: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    input: Option<String>,
}

impl Program {
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            shown: name.clone(),
            name,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
        }
    }

    /// Errors are about this program, which a wrapper starts.
    pub fn about(mut self, shown: &str) -> Self {
        self.shown = shown.to_owned();
        self
    }

    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn arg(self, argument: impl Into<OsString>) -> Self {
        self.args([argument])
    }

    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// What the program reads from its standard input.
    pub fn input(mut self, text: String) -> Self {
        self.input = Some(text);
        self
    }

    /// Runs the program and returns what it printed. It dies with the caller's interest in it.
    pub async fn run(self) -> Result<String, MachineError> {
        let program = require(&self.name)?;
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .envs(self.environment)
            .env("LC_ALL", "C")
            .stdin(match self.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let shown = self.shown;
        let run = async {
            let mut child = command.spawn()?;
            if let (Some(text), Some(mut stdin)) = (self.input, child.stdin.take()) {
                // A program that does not read to the end says why by itself.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(TIME_LIMIT, run)
            .await
            .map_err(|_| MachineError::TimedOut {
                what: shown.clone(),
                doing: "end",
                secs: TIME_LIMIT.as_secs(),
            })?
            .map_err(MachineError::io("run", Path::new(&shown)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = last_lines(&output.stderr);
        if said.contains("failed to execute") || said.contains("exec of") {
            return Err(missing(&shown));
        }
        Err(MachineError::ProgramFailed {
            program: shown,
            status: output.status.to_string(),
            output: said,
        })
    }
}

/// Finds a program as a shell would, so that one that is missing is told with its package.
pub(super) fn require(name: &str) -> Result<OsString, MachineError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .map(Into::into)
        .ok_or_else(|| missing(name))
}

fn missing(name: &str) -> MachineError {
    let package = PACKAGES.iter().find(|(program, _)| *program == name);
    MachineError::ProgramMissing {
        program: name.to_owned(),
        package: package.map_or(name, |(_, package)| package).to_owned(),
    }
}

/// The last lines that say something.
fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), MachineError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(MachineError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_gets_its_input_and_tells_its_last_words() {
        let echoed = Program::new("cat").input("text".to_owned()).run().await;
        assert_eq!(echoed.unwrap(), "text");
        let failed = Program::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .await;
        assert_eq!(
            failed.unwrap_err().to_string(),
            "sh failed (exit status: 3): why"
        );
    }

    #[test]
    fn a_missing_program_names_its_package() {
        assert_eq!(
            missing("ovn-controller").to_string(),
            "ovn-controller is not installed: install the Debian package ovn-host"
        );
        assert!(require("no-such-program").is_err());
    }
}
