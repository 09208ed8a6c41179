//! Debian's kernel with the modules that a guest or a ramdisk needs, and the static busybox beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::command::Program;
use super::packages::Unpacked;
use corten_netboot::file_tree::FileTree;

/// The static busybox and the names it answers to.
pub struct Busybox {
    path: PathBuf,
    pub content: Vec<u8>,
    pub applets: Vec<String>,
}

impl Busybox {
    pub async fn find(packages: &Unpacked) -> anyhow::Result<Self> {
        let path = packages.path(&["bin/busybox", "usr/bin/busybox"])?;
        let listing = Program::new(&path).arg("--list").text().await?;
        Ok(Self {
            content: std::fs::read(&path)?,
            applets: listing.lines().map(str::to_owned).collect(),
            path,
        })
    }
}

/// A kernel with its modules.
pub struct Kernel {
    version: String,
    pub image: Vec<u8>,
    /// Names, with underscores, of what other kernels have as modules and this one has within it.
    built_in: BTreeSet<String>,
    /// Module files by name, with underscores.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    pub fn find(packages: &Unpacked) -> anyhow::Result<Self> {
        let all_modules = packages.path(&["lib/modules", "usr/lib/modules"])?;
        let version = std::fs::read_dir(&all_modules)?
            .next()
            .context("the kernel package has no modules")??
            .file_name()
            .to_string_lossy()
            .into_owned();
        let directory = all_modules.join(&version);
        let mut modules = BTreeMap::new();
        collect_modules(&directory.join("kernel"), &mut modules)?;
        let built_in = std::fs::read_to_string(directory.join("modules.builtin"))?;
        Ok(Self {
            image: packages.read(&[&format!("boot/vmlinuz-{version}")])?,
            version,
            modules,
            built_in: built_in.lines().filter_map(module_name).collect(),
        })
    }

    /// Adds the wanted modules, those they depend on and their index to a tree.
    pub async fn install(
        &self,
        wanted: &[&str],
        busybox: &Busybox,
        tree: &mut FileTree,
    ) -> anyhow::Result<()> {
        let directory = format!("lib/modules/{}", self.version);
        let staging = tempfile::tempdir()?;
        let staged = staging.path().join(&directory);
        std::fs::create_dir_all(&staged)?;
        for (name, content) in self.with_dependencies(wanted)? {
            std::fs::write(staged.join(&name), &content)?;
            tree.file(&format!("{directory}/{name}"), 0o644, content);
        }
        Program::new(&busybox.path)
            .args(["depmod", "-b"])
            .arg(staging.path())
            .arg(&self.version)
            .run()
            .await?;
        for index in ["modules.dep", "modules.alias"] {
            // The order in which depmod found the files is of no meaning.
            let text = std::fs::read_to_string(staged.join(index))?;
            let lines: BTreeSet<&str> = text.lines().collect();
            let sorted: String = lines.into_iter().flat_map(|line| [line, "\n"]).collect();
            tree.file(&format!("{directory}/{index}"), 0o644, sorted);
        }
        Ok(())
    }

    /// The wanted modules and, transitively, those they depend on: file name and content.
    fn with_dependencies(&self, wanted: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut open: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) || self.built_in.contains(&name) {
                continue;
            }
            let path = self
                .modules
                .get(&name)
                .with_context(|| format!("kernel {} has no module {name}", self.version))?;
            let content = std::fs::read(path)?;
            open.extend(module_dependencies(&content));
            files.insert(format!("{name}.ko"), content);
        }
        Ok(files)
    }
}

/// The name of the module in a file such as `kernel/drivers/block/virtio-blk.ko`.
fn module_name(path: &str) -> Option<String> {
    let (_, file) = path.rsplit_once('/')?;
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

fn collect_modules(
    directory: &Path,
    modules: &mut BTreeMap<String, PathBuf>,
) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_modules(&path, modules)?;
        } else if path.extension().is_some_and(|extension| extension == "ko")
            && let Some(name) = path.to_str().and_then(module_name)
        {
            modules.insert(name, path);
        }
    }
    Ok(())
}

/// The modules named by the `depends=` field of a module's information section.
fn module_dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(start) = module
        .windows(FIELD.len())
        .position(|window| window == FIELD)
    else {
        return Vec::new();
    };
    let value = module[start + FIELD.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_dependencies_are_read_from_its_information() {
        let module =
            b"\x7fELF..license=GPL\0depends=virtio-ring,virtio,net_failover\0retpoline=Y\0";
        assert_eq!(
            module_dependencies(module),
            ["virtio_ring", "virtio", "net_failover"]
        );
        assert!(module_dependencies(b"license=GPL\0depends=\0").is_empty());
        assert!(module_dependencies(b"nothing").is_empty());
    }
}
