//! The files of a cloud that people and clients read: passwords, `clouds.yaml`, the pid.

use crate::config::Config;
use anyhow::Context as _;
use corten_iam::bootstrap::generated_password;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner can list. Others may pass through, as guests' processes must.
pub fn private_dir(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
        .with_context(|| format!("cannot protect {}", path.display()))
}

/// Has a file that only its owner can read, and leaves its content alone.
pub fn private_file(path: &Path) -> anyhow::Result<fs::File> {
    let open = || -> std::io::Result<fs::File> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        Ok(file)
    };
    open().with_context(|| format!("cannot protect {}", path.display()))
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The generated passwords of the users that every cloud starts with.
pub struct Passwords {
    pub admin: String,
    pub demo: String,
}

impl Passwords {
    fn path(data: &Path) -> PathBuf {
        data.join("passwords")
    }

    /// The passwords this cloud was made with, or new ones.
    pub fn load_or_make(data: &Path) -> anyhow::Result<Self> {
        let path = Self::path(data);
        if let Ok(text) = fs::read_to_string(&path) {
            let find = |user: &str| {
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix(user)?.strip_prefix('='));
                line.map(str::to_owned)
                    .with_context(|| format!("{} has no line '{user}=…'", path.display()))
            };
            return Ok(Self {
                admin: find("admin")?,
                demo: find("demo")?,
            });
        }
        let made = Self {
            admin: generated_password(),
            demo: generated_password(),
        };
        write_private(
            &path,
            &format!("admin={}\ndemo={}\n", made.admin, made.demo),
        )?;
        Ok(made)
    }
}

/// `clouds.yaml` with the clouds `corten` (the administrator) and `demo` (a member of the project `demo`).
pub fn write_clouds_yaml(config: &Config, passwords: &Passwords) -> anyhow::Result<()> {
    let cloud = |name: &str, user: &str, password: &str, project: &str| {
        format!(
            "  {name}:\n    region_name: {}\n    identity_api_version: 3\n    auth:\n      auth_url: {}/identity/v3\n      \
             username: {user}\n      password: {password}\n      project_name: {project}\n      user_domain_name: Default\n      \
             project_domain_name: Default\n",
            config.server.region,
            config.public_url(),
        )
    };
    let text = format!(
        "# Written by corten at each start.\nclouds:\n{}{}",
        cloud("corten", "admin", &passwords.admin, "admin"),
        cloud("demo", "demo", &passwords.demo, "demo"),
    );
    write_private(&config.data.join("clouds.yaml"), &text)
}

/// Where the private half of demo's first key pair is kept.
pub fn key_path(config: &Config) -> PathBuf {
    config.data.join("demo-key")
}

/// Where the pid of the control plane is kept.
pub fn pid_path(data: &Path) -> PathBuf {
    data.join("corten.pid")
}
