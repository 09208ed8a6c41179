//! Rescue: the operator logs in to the ramdisk by SSH, with a key or with the password that the control plane sets.

use crate::steps::program::{self, ProgramError};
use serde::Deserialize;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SSH_PORT: u16 = 22;
/// A slow machine makes its host key at the first connection.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error(
        "a rescue needs authorized_keys or a rescue_password: without either nobody could log in"
    )]
    NoWayIn,
    #[error("'{0}' is no public key: give lines such as 'ssh-ed25519 AAAA…'")]
    Key(String),
    #[error(
        "the rescue_password is not hashed: send it hashed, as crypt(3) has it ('$6$…'), with hashed set"
    )]
    PlainPassword,
    #[error("the ramdisk cannot be opened for the rescue")]
    Write(#[from] io::Error),
    #[error("the SSH server does not serve ({0})")]
    Server(String),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// `params` of `rescue.finalize_rescue`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Rescue {
    #[serde(default)]
    rescue_password: String,
    #[serde(default)]
    hashed: bool,
    /// As in the file of that name. Ours.
    #[serde(default)]
    authorized_keys: String,
}

impl Rescue {
    /// The accounts' shadow entry and the keys.
    fn check(&self) -> Result<(String, String), RescueError> {
        let mut keys = String::new();
        for line in self
            .authorized_keys
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let known = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp", "sk-"];
            if !known.iter().any(|kind| line.starts_with(kind)) {
                return Err(RescueError::Key(line.to_owned()));
            }
            keys.push_str(line);
            keys.push('\n');
        }
        let password = match (self.rescue_password.as_str(), self.hashed) {
            ("", _) if keys.is_empty() => return Err(RescueError::NoWayIn),
            ("", _) => "*",
            (hash, true) if hash.starts_with('$') && !hash.contains([':', '\n']) => hash,
            _ => return Err(RescueError::PlainPassword),
        };
        let entry = |user: &str| format!("{user}:{password}:19000:0:99999:7:::\n");
        // The stock agent's user is called so.
        Ok((entry("root") + &entry("rescue"), keys))
    }
}

/// Opens the ramdisk for whoever has the key or the password.
pub fn open(rescue: &Rescue) -> Result<(), RescueError> {
    let (shadow, keys) = rescue.check()?;
    write(Path::new("/etc/shadow"), &shadow)?;
    fs::create_dir_all("/root/.ssh")?;
    fs::set_permissions("/root", fs::Permissions::from_mode(0o700))?;
    fs::set_permissions("/root/.ssh", fs::Permissions::from_mode(0o700))?;
    write(Path::new("/root/.ssh/authorized_keys"), &keys)?;
    program::run("/bin/busybox", &["--install", "-s", "/bin"])?;
    let mut server = Command::new("/bin/dropbear");
    // Its host keys are made at the first connection (-R), in memory.
    fs::create_dir_all("/etc/dropbear")?;
    server.args(["-F", "-R", "-p", &SSH_PORT.to_string()]);
    if rescue.rescue_password.is_empty() {
        server.arg("-s");
    }
    wait_until_open(server.stdin(Stdio::null()).spawn()?)
}

/// Whoever is told that the rescue is ready can log in at once.
fn wait_until_open(mut server: Child) -> Result<(), RescueError> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = server.try_wait()? {
            return Err(RescueError::Server(status.to_string()));
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, SSH_PORT)).is_ok() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Err(RescueError::Server(
        "no connection within half a minute".to_owned(),
    ))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_must_be_able_to_log_in_and_nobody_else() {
        let rescue = |password: &str, hashed, keys: &str| Rescue {
            rescue_password: password.to_owned(),
            hashed,
            authorized_keys: keys.to_owned(),
        };
        let key = "ssh-ed25519 AAAAC3Nz me";
        let (shadow, keys) = rescue("", false, key).check().unwrap();
        assert!(shadow.starts_with("root:*:"), "{shadow}");
        assert_eq!(keys, format!("{key}\n"));
        let (shadow, _) = rescue("$6$salt$hash", true, "").check().unwrap();
        assert!(shadow.contains("\nrescue:$6$salt$hash:"));

        assert!(matches!(
            rescue("", false, " \n").check(),
            Err(RescueError::NoWayIn)
        ));
        assert!(matches!(
            rescue("plain", false, "").check(),
            Err(RescueError::PlainPassword)
        ));
        assert!(matches!(
            rescue("$6$a\nroot::", true, "").check(),
            Err(RescueError::PlainPassword)
        ));
        assert!(matches!(
            rescue("", false, "command=\"x\" ssh-rsa A").check(),
            Err(RescueError::Key(_))
        ));
    }
}
