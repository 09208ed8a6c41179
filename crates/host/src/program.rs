//! Child programs: run to their end, with their errors told in full.

use crate::error::HostError;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A program to run to its end.
pub struct Program {
    name: PathBuf,
    arguments: Vec<OsString>,
    directory: Option<PathBuf>,
    confined: bool,
    time_limit: Duration,
}

impl Program {
    pub fn new(name: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            arguments: Vec::new(),
            directory: None,
            confined: false,
            time_limit: Duration::from_secs(3600),
        }
    }

    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// For a program that reads what a stranger made: at most 1 GiB of memory, 30 s of processor and 60 s in all.
    pub fn confined(mut self) -> Self {
        self.confined = true;
        self.time_limit = Duration::from_secs(60);
        self
    }

    /// Runs the program and returns what it printed. It dies with the caller's interest in it.
    pub async fn run(self) -> Result<Vec<u8>, HostError> {
        let shown = self.name.display().to_string();
        let mut command = if self.confined {
            let mut command = Command::new("prlimit");
            command
                .args(["--as=1073741824", "--cpu=30", "--core=0", "--"])
                .arg(&self.name);
            command
        } else {
            Command::new(&self.name)
        };
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .env("LC_ALL", "C");
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let output = tokio::time::timeout(self.time_limit, command.output())
            .await
            .map_err(|_| HostError::ProgramFailed {
                program: shown.clone(),
                status: "killed".to_owned(),
                output: format!("it did not end within {} s", self.time_limit.as_secs()),
            })?
            .map_err(|error| start_error(&self.name, error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = last_lines(&output.stderr, 5);
        if said.contains("No space left on device") {
            let path = self.directory.unwrap_or_default();
            let available = crate::files::available_bytes(&path).unwrap_or(0);
            return Err(HostError::DiskFull {
                path,
                needed: None,
                available,
            });
        }
        if self.confined && said.contains("failed to execute") {
            return Err(start_error(&self.name, io::ErrorKind::NotFound.into()));
        }
        Err(HostError::ProgramFailed {
            program: shown,
            status: output.status.to_string(),
            output: said,
        })
    }
}

fn start_error(program: &Path, error: io::Error) -> HostError {
    if error.kind() == io::ErrorKind::NotFound {
        missing(program)
    } else {
        HostError::io("run", program)(error)
    }
}

/// The error for a program that is not there, naming the Debian package that has it.
pub fn missing(program: &Path) -> HostError {
    let name = program
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let package = match name.as_str() {
        "qemu-img" => "qemu-utils",
        name if name.starts_with("qemu-system") => "qemu-system-x86",
        "mkfs.ext4" => "e2fsprogs",
        "genisoimage" => "genisoimage",
        _ => "util-linux",
    };
    HostError::ProgramMissing {
        program: program.display().to_string(),
        package: package.to_owned(),
    }
}

/// Finds a program as a shell would, so that one that is missing is told before anything is started.
pub fn require(program: &Path) -> Result<PathBuf, HostError> {
    if program.components().count() > 1 {
        return if program.exists() {
            Ok(program.to_owned())
        } else {
            Err(missing(program))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing(program))
}

/// The last lines of a program's output that say something.
pub fn last_lines(output: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let error = Program::new("qemu-img-of-nowhere/qemu-img")
            .run()
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("install the Debian package qemu-utils"),
            "{error}"
        );
        let error = Program::new("qemu-img-of-nowhere/qemu-img")
            .confined()
            .run()
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("install the Debian package qemu-utils"),
            "{error}"
        );
        assert!(matches!(
            require(Path::new("no-such-program")),
            Err(HostError::ProgramMissing { .. })
        ));
        assert!(require(Path::new("sh")).is_ok());
    }

    #[tokio::test]
    async fn a_failed_program_tells_its_last_words() {
        let error = Program::new("sh")
            .args(["-c", "echo one >&2; echo two >&2; exit 3"])
            .run()
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): one\ntwo");
    }
}
