//! Runs a helper program to its end, with an error that says what ran, how it failed and how to install it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::progress::Progress;

/// How many of the last lines of standard error an error quotes.
const STDERR_LINES: usize = 12;

/// A program that could not be started, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("the program {program} is not installed{}", hint(.program))]
    Missing { program: String },
    #[error("the program {program} could not be run")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("`{line}` failed ({status}){}", quote(.stderr))]
    Failed {
        line: String,
        status: std::process::ExitStatus,
        stderr: String,
    },
}

/// The Debian package that has a program.
fn debian_package(program: &str) -> Option<&'static str> {
    Some(match program {
        "apt-cache" | "apt-get" => "apt",
        "chroot" | "truncate" => "coreutils",
        "debugfs" | "mke2fs" => "e2fsprogs",
        "dpkg-deb" => "dpkg",
        "gzip" => "gzip",
        "mcopy" | "mformat" | "mmd" => "mtools",
        "mmdebstrap" => "mmdebstrap",
        "qemu-img" => "qemu-utils",
        "sfdisk" => "fdisk",
        _ => return None,
    })
}

fn hint(program: &str) -> String {
    debian_package(program)
        .map(|package| format!("; on Debian, `apt-get install {package}` provides it"))
        .unwrap_or_default()
}

fn quote(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let tail = &lines[lines.len().saturating_sub(STDERR_LINES)..];
    if tail.is_empty() {
        String::new()
    } else {
        format!(":\n  {}", tail.join("\n  "))
    }
}

/// A program with its arguments, ready to run.
pub struct Program {
    command: Command,
    input: Vec<u8>,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        // Administration programs are not on an ordinary user's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("LC_ALL", "C")
            .kill_on_drop(true);
        Self {
            command,
            input: Vec::new(),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What the program reads from its standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    fn name(&self) -> String {
        let program = Path::new(self.command.as_std().get_program());
        program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    fn line(&self) -> String {
        let mut words = vec![self.name()];
        words.extend(
            self.command
                .as_std()
                .get_args()
                .map(|arg| arg.to_string_lossy().into_owned()),
        );
        words.join(" ")
    }

    fn start_error(&self, source: std::io::Error) -> CommandError {
        let program = self.name();
        match source.kind() {
            ErrorKind::NotFound => CommandError::Missing { program },
            _ => CommandError::Start { program, source },
        }
    }

    /// Runs the program and returns what it wrote to standard output.
    pub async fn run(mut self) -> Result<Vec<u8>, CommandError> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .map_err(|source| self.start_error(source))?;
        let input = std::mem::take(&mut self.input);
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading everything reports its own reason.
                stdin.write_all(&input).await.ok();
            }
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(|source| self.start_error(source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(CommandError::Failed {
            line: self.line(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs the program, showing as a step each line of standard error that starts with `prefix`.
    pub async fn run_showing(
        mut self,
        prefix: &str,
        progress: &dyn Progress,
    ) -> Result<(), CommandError> {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .map_err(|source| self.start_error(source))?;
        let mut stderr = String::new();
        if let Some(pipe) = child.stderr.take() {
            let mut lines = BufReader::new(pipe).split(b'\n');
            while let Some(line) = lines
                .next_segment()
                .await
                .map_err(|source| self.start_error(source))?
            {
                let line = String::from_utf8_lossy(&line);
                if let Some(step) = line.strip_prefix(prefix) {
                    progress.step(step.trim());
                }
                stderr.push_str(&line);
                stderr.push('\n');
            }
        }
        let status = child
            .wait()
            .await
            .map_err(|source| self.start_error(source))?;
        if status.success() {
            return Ok(());
        }
        Err(CommandError::Failed {
            line: self.line(),
            status,
            stderr,
        })
    }

    /// Runs the program and returns what it wrote to standard output, as text.
    pub async fn text(self) -> Result<String, CommandError> {
        Ok(String::from_utf8_lossy(&self.run().await?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let error = CommandError::Missing {
            program: "mmdebstrap".into(),
        };
        assert!(
            error.to_string().contains("apt-get install mmdebstrap"),
            "{error}"
        );
        let error = Program::new("no-such-program-here")
            .run()
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_failure_quotes_the_command_the_status_and_the_last_words() {
        let error = Program::new("sh")
            .args(["-c", "echo wrong disk >&2; exit 3"])
            .run()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("wrong disk"), "{error}");
    }

    #[tokio::test]
    async fn input_larger_than_a_pipe_comes_back_whole() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(
            Program::new("cat")
                .input(input.clone())
                .run()
                .await
                .unwrap(),
            input
        );
    }
}
