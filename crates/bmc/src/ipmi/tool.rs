//! `ipmitool` as a confined child: no shell, no environment but the password, limits on memory and time, and, where we are root,
//! a user of its own without any privilege. What a BMC sends is not to be trusted more than what a guest sends.
//!
//! The password is in the child's environment, which only its own user can read; arguments can be read by everybody.

use crate::address::{Credentials, IpmiAddress, Limits};
use crate::error::BmcError;
use crate::gate::Gate;
use crate::oddity::{Oddities, shortened};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::{Output, Stdio};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

const PROGRAM: &str = "ipmitool";
/// Of no user that a system has or hands out: it is in a range that Debian and systemd leave free.
const USER: u32 = 60_623;
/// HMAC-SHA256, what IPMI 2.0 has had since 2015, and HMAC-SHA1, which every BMC must have.
const CIPHER_SUITES: [u8; 2] = [17, 3];
/// Begins an escape in a serial console. No terminal sends it: it is in no UTF-8 text.
const ESCAPE: u8 = 0xff;

/// What ipmitool says when it fails, and what it means. The first that is found counts.
const FAILURES: &[(&str, Meaning)] = &[
    ("HMAC is invalid", Meaning::LoginRefused),
    ("unauthorized name", Meaning::LoginRefused),
    ("Invalid user name", Meaning::LoginRefused),
    (
        "RAKP 4 message has invalid integrity check value",
        Meaning::LoginRefused,
    ),
    ("unauthorized role or privilege level", Meaning::NotAllowed),
    ("Insufficient privilege level", Meaning::NotAllowed),
    ("invalid authentication algorithm", Meaning::NoSuchSuite),
    ("invalid integrity algorithm", Meaning::NoSuchSuite),
    ("invalid confidentiality algorithm", Meaning::NoSuchSuite),
    ("no matching cipher suite", Meaning::NoSuchSuite),
    ("insufficient resources", Meaning::Busy),
    ("Node busy", Meaning::Busy),
    ("Timeout", Meaning::Unreachable),
    ("Unable to establish", Meaning::Unreachable),
    ("Address lookup", Meaning::Unreachable),
    ("No response", Meaning::Unreachable),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    LoginRefused,
    NotAllowed,
    NoSuchSuite,
    Busy,
    Unreachable,
}

pub(super) struct Tool {
    name: String,
    address: IpmiAddress,
    credentials: Credentials,
    limits: Limits,
    oddities: Oddities,
    gate: Gate,
    /// Found by the first command.
    cipher_suite: OnceCell<u8>,
}

impl Tool {
    pub(super) fn new(
        address: IpmiAddress,
        credentials: Credentials,
        limits: Limits,
        oddities: Oddities,
    ) -> Self {
        let name = format!("ipmi://{}:{}", address.host, address.port);
        Self {
            // Over UDP, BMCs lose what they are asked while they think.
            gate: Gate::of(&name, 1),
            name,
            address,
            credentials,
            limits,
            oddities,
            cipher_suite: OnceCell::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn oddities(&self) -> &Oddities {
        &self.oddities
    }

    /// Runs a command and returns what it printed. Verbose, because only so ipmitool tells a wrong password from silence.
    pub(super) async fn run(&self, command: &[&str]) -> Result<String, BmcError> {
        let suite = self.suite().await?;
        self.run_with(suite, &["-v"], command)
            .await
            .map_err(|failure| failure.error)
    }

    /// For commands that print another form when verbose: as values between commas.
    pub(super) async fn run_terse(&self, command: &[&str]) -> Result<String, BmcError> {
        let suite = self.suite().await?;
        self.run_with(suite, &["-c"], command)
            .await
            .map_err(|failure| failure.error)
    }

    /// The best suite that this BMC has. It is asked once; a wrong password ends the search, lest the account be locked.
    async fn suite(&self) -> Result<u8, BmcError> {
        if let Some(only) = self.address.cipher_suite {
            return Ok(only);
        }
        let found = self
            .cipher_suite
            .get_or_try_init(|| self.find_suite())
            .await?;
        Ok(*found)
    }

    async fn find_suite(&self) -> Result<u8, BmcError> {
        let [best, other] = CIPHER_SUITES;
        let command = ["chassis", "power", "status"];
        match self.run_with(best, &["-v"], &command).await {
            Ok(_) => Ok(best),
            Err(failure) if failure.meaning == Some(Meaning::NoSuchSuite) => {
                self.oddities
                    .note(&self.name, format!("cipher suite {best}"), "none such");
                Ok(other)
            }
            Err(failure) => Err(failure.error),
        }
    }

    async fn run_with(
        &self,
        suite: u8,
        options: &[&str],
        command: &[&str],
    ) -> Result<String, Failure> {
        let _turn = self.gate.turn().await;
        let mut child = self.command(&[PROGRAM], suite);
        child.args(options).args(command).stdin(Stdio::null());
        let shown = command.join(" ");
        let output = tokio::time::timeout(self.limits.request, child.output())
            .await
            .map_err(|_| BmcError::TimedOut {
                bmc: self.name.clone(),
                request: shown.clone(),
                limit: self.limits.request,
            })?
            .map_err(|error| missing(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.judge(&shown, &output))
    }

    /// A command whose output and input are a stream. It ends when the child is dropped.
    pub(super) async fn start(&self, command: &[&str]) -> Result<Child, BmcError> {
        let suite = self.suite().await?;
        // Without a terminal, ipmitool would keep its first lines until there are many.
        self.command(&["stdbuf", "-oL", PROGRAM], suite)
            .arg("-e")
            .arg(OsString::from_vec(vec![ESCAPE]))
            .args(command)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| missing(&error))
    }

    fn command(&self, program: &[&str], suite: u8) -> Command {
        let retries = self.limits.connect.as_secs().clamp(1, 10);
        let mut command = Command::new("setpriv");
        command
            .args(["--no-new-privs", "--", "prlimit"])
            .args([
                "--as=268435456",
                "--core=0",
                "--fsize=0",
                "--nofile=64",
                "--",
            ])
            .args(program)
            .args(["-I", "lanplus", "-L", "ADMINISTRATOR", "-N", "1", "-E"])
            .args(["-H", &self.address.host])
            .args(["-p", &self.address.port.to_string()])
            .args(["-U", &self.credentials.username])
            .args(["-C", &suite.to_string()])
            .args(["-R", &retries.to_string()])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("IPMI_PASSWORD", self.credentials.password())
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if rustix::process::geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    fn judge(&self, request: &str, output: &Output) -> Failure {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = self.said(&format!(
            "{stderr}\n{}",
            String::from_utf8_lossy(&output.stdout)
        ));
        let (bmc, request) = (self.name.clone(), request.to_owned());
        let username = self.credentials.username.clone();
        if stderr.contains("failed to execute") {
            return missing(&std::io::ErrorKind::NotFound.into()).into();
        }
        let meaning = FAILURES
            .iter()
            .find(|(words, _)| stderr.contains(words))
            .map(|(_, meaning)| *meaning);
        let error = match meaning {
            Some(Meaning::LoginRefused) => BmcError::LoginRefused { bmc, username },
            Some(Meaning::NotAllowed) => BmcError::NotAllowed {
                bmc,
                username,
                request,
            },
            Some(Meaning::Busy) => BmcError::Busy {
                bmc,
                request,
                after: None,
            },
            Some(Meaning::Unreachable) => BmcError::Unreachable { bmc, reason: said },
            Some(Meaning::NoSuchSuite) | None => BmcError::Refused {
                bmc,
                request,
                status: None,
                message: said,
            },
        };
        Failure { error, meaning }
    }

    /// The last line that is about the failure; what `-v` says of the session is not.
    fn said(&self, text: &str) -> String {
        const NOISE: &[&str] = &[
            "Loading IANA",
            "Running Get",
            "Invalid completion code",
            "Discovered IPMB",
        ];
        let line = text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)));
        let line = line.unwrap_or("it says nothing more").to_owned();
        let password = self.credentials.password();
        shortened(if password.is_empty() {
            line
        } else {
            line.replace(password, "…")
        })
    }
}

struct Failure {
    error: BmcError,
    meaning: Option<Meaning>,
}

impl From<BmcError> for Failure {
    fn from(error: BmcError) -> Self {
        Self {
            error,
            meaning: None,
        }
    }
}

fn missing(error: &std::io::Error) -> BmcError {
    BmcError::ProgramMissing {
        program: PROGRAM,
        reason: error.to_string(),
        package: PROGRAM,
    }
}
