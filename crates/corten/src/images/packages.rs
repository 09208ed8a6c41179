//! Files out of Debian packages, without installing them: downloaded by apt, unpacked into a cache.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::command::Program;

/// Where the dynamic loader is in an unpacked tree, first match wins.
const LOADERS: [&str; 2] = [
    "lib64/ld-linux-x86-64.so.2",
    "usr/lib64/ld-linux-x86-64.so.2",
];
const LIBRARY_DIRECTORIES: [&str; 3] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    // What sudo shares with its plugins.
    "usr/libexec/sudo",
];

/// A directory into which a set of packages was unpacked.
#[derive(Debug, Clone)]
pub struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// The path of a file; it may be named by any of its usual places (`bin/x` or `usr/bin/x`).
    pub fn path(&self, names: &[&str]) -> anyhow::Result<PathBuf> {
        names
            .iter()
            .map(|name| self.root.join(name))
            .find(|path| path.exists())
            .with_context(|| {
                format!(
                    "the unpacked packages in {} have no {}",
                    self.root.display(),
                    names.join(" or ")
                )
            })
    }

    pub fn read(&self, names: &[&str]) -> anyhow::Result<Vec<u8>> {
        let path = self.path(names)?;
        std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// The dynamic loader of the unpacked C library.
    pub fn loader(&self) -> anyhow::Result<PathBuf> {
        self.path(&LOADERS)
    }

    /// The shared libraries that these programs need, found by the unpacked loader itself.
    pub async fn libraries(&self, programs: &[PathBuf]) -> anyhow::Result<BTreeSet<PathBuf>> {
        let search = LIBRARY_DIRECTORIES
            .map(|directory| self.root.join(directory).display().to_string())
            .join(":");
        let mut libraries = BTreeSet::new();
        for program in programs {
            let listing = Program::new(self.loader()?)
                .args(["--library-path", &search, "--list"])
                .arg(program)
                .text()
                .await
                .with_context(|| {
                    format!(
                        "the shared libraries of {} are not known",
                        program.display()
                    )
                })?;
            for path in listing.lines().filter_map(listed_library) {
                ensure!(
                    path.starts_with(&self.root),
                    "{} needs {}, which is in none of the unpacked packages",
                    program.display(),
                    path.display()
                );
                libraries.insert(path);
            }
        }
        Ok(libraries)
    }
}

/// The path in a line such as `libz.so.1 => /lib/libz.so.1 (0x00007f…)`.
fn listed_library(line: &str) -> Option<PathBuf> {
    let (_, found) = line.split_once(" => ")?;
    let (path, _) = found.rsplit_once(" (")?;
    Some(PathBuf::from(path))
}

/// A cache of downloaded and unpacked packages.
pub struct PackageCache {
    directory: PathBuf,
}

impl PackageCache {
    pub fn new(directory: &Path) -> anyhow::Result<Self> {
        let debs = directory.join("debs");
        std::fs::create_dir_all(&debs)
            .with_context(|| format!("the cache {} cannot be made", debs.display()))?;
        let directory = directory
            .canonicalize()
            .context("the cache directory has no absolute path")?;
        Ok(Self { directory })
    }

    /// Waits until no other build is at this cache: a package that is being downloaded is half a file.
    async fn alone(&self) -> anyhow::Result<File> {
        let lock = File::create(self.directory.join("lock"))?;
        tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await?
            .context("the cache of packages cannot be locked")
    }

    /// Downloads what is missing of these packages and unpacks them together.
    pub async fn unpack(&self, packages: &[String]) -> anyhow::Result<Unpacked> {
        let names = file_names(packages).await?;
        let debs = self.directory.join("debs");
        let _alone = self.alone().await?;
        // apt leaves alone what is complete already, and verifies what it downloads.
        Program::new("apt-get")
            .args(["-q", "download"])
            .args(packages)
            .directory(&debs)
            .run()
            .await
            .context("the guest's packages could not be downloaded")?;

        let key = hex::encode(&Sha256::digest(names.join("\n"))[..8]);
        let root = self.directory.join(format!("unpacked-{key}"));
        if !root.exists() {
            let unfinished = tempfile::Builder::new()
                .prefix("unpacking-")
                .tempdir_in(&self.directory)?;
            for name in &names {
                Program::new("dpkg-deb")
                    .arg("-x")
                    .arg(debs.join(name))
                    .arg(unfinished.path())
                    .run()
                    .await?;
            }
            let finished = unfinished.keep();
            std::fs::rename(&finished, &root)
                .with_context(|| format!("{} cannot be renamed", finished.display()))?;
        }
        Ok(Unpacked { root })
    }
}

/// The names of the files that `apt-get download` makes for these packages.
async fn file_names(packages: &[String]) -> anyhow::Result<Vec<String>> {
    let elsewhere = tempfile::tempdir()?;
    let listing = Program::new("apt-get")
        .args(["-q", "download", "--print-uris"])
        .args(packages)
        .directory(elsewhere.path())
        .text()
        .await
        .context("apt does not know the guest's packages; `apt-get update` may help")?;
    let mut names: Vec<String> = listing.lines().filter_map(uri_file_name).collect();
    names.sort();
    ensure!(
        names.len() == packages.len(),
        "apt lists {} files for {} packages: {}",
        names.len(),
        packages.len(),
        packages.join(" ")
    );
    Ok(names)
}

/// The file name in a line such as `'http://…/x.deb' x_1_amd64.deb 1234 SHA256:…`.
fn uri_file_name(line: &str) -> Option<String> {
    line.strip_prefix('\'')?
        .split_whitespace()
        .nth(1)
        .map(str::to_owned)
}

/// The package that an always-newest package (such as `linux-image-cloud-amd64`) stands for.
pub async fn real_package(meta_package: &str, prefix: &str) -> anyhow::Result<String> {
    let dependencies = Program::new("apt-cache")
        .args(["depends", "--important", meta_package])
        .text()
        .await?;
    dependencies
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| {
            format!("{meta_package} depends on no {prefix}… package; `apt-get update` may help")
        })
}

/// These packages and everything they depend on.
pub async fn with_dependencies(packages: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let listing = Program::new("apt-cache")
        .args(["depends", "--recurse", "--important"])
        .args(packages)
        .text()
        .await?;
    // Names stand at the start of a line, their relations are indented; <…> is a virtual package.
    Ok(listing
        .lines()
        .filter(|line| !line.starts_with([' ', '<', '|']))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_and_loader_listings_are_read() {
        assert_eq!(
            uri_file_name(
                "'http://deb/busybox_1%3a1_amd64.deb' busybox_1%3a1_amd64.deb 9 SHA256:00"
            )
            .as_deref(),
            Some("busybox_1%3a1_amd64.deb")
        );
        assert_eq!(uri_file_name("Reading package lists..."), None);
        assert_eq!(
            listed_library("\tlibz.so.1 => /x/libz.so.1 (0x00007f0235bcd000)"),
            Some(PathBuf::from("/x/libz.so.1"))
        );
        assert_eq!(
            listed_library("\tlinux-vdso.so.1 (0x00007f0235d28000)"),
            None
        );
    }
}
