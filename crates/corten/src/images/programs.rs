//! Dynamically linked programs of Debian in a tree: themselves, their loader and their libraries.

use anyhow::ensure;

use super::packages::Unpacked;
use corten_netboot::file_tree::FileTree;

/// A program's name, and where its package puts it.
pub type Places = (&'static str, [&'static str; 2]);

/// Puts programs into `bin`, plugins (by their path in the tree) where their programs look for them, and what all need into
/// `lib`.
pub async fn install(
    packages: &Unpacked,
    programs: &[Places],
    plugins: &[Places],
    tree: &mut FileTree,
) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    for (name, places) in programs {
        let path = packages.path(places)?;
        tree.file(&format!("bin/{name}"), 0o755, std::fs::read(&path)?);
        paths.push(path);
    }
    for (place, places) in plugins {
        let path = packages.path(places)?;
        tree.file(place, 0o644, std::fs::read(&path)?);
        paths.push(path);
    }
    tree.file(
        "lib/ld-linux-x86-64.so.2",
        0o755,
        std::fs::read(packages.loader()?)?,
    );
    for library in packages.libraries(&paths).await? {
        let name = library
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        ensure!(
            name.contains(".so"),
            "{} is not a shared library",
            library.display()
        );
        tree.file(
            &format!("lib/x86_64-linux-gnu/{name}"),
            0o755,
            std::fs::read(&library)?,
        );
    }
    Ok(())
}
