//! A file system's contents in memory: paths with owner and mode, independent of who builds it and where.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What one path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    CharDevice { major: u32, minor: u32 },
}

/// One path's node with permission bits and owner (user and group alike).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub node: Node,
    pub mode: u32,
    pub owner: u32,
}

/// Entries by path, relative to the root, parents before children.
#[derive(Debug, Default)]
pub struct FileTree {
    entries: BTreeMap<String, Entry>,
}

impl FileTree {
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    fn insert(&mut self, path: &str, node: Node, mode: u32) {
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry {
                node: Node::Directory,
                mode: 0o755,
                owner: 0,
            });
        }
        self.entries.insert(
            path.to_owned(),
            Entry {
                node,
                mode,
                owner: 0,
            },
        );
    }

    pub fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, Node::Directory, mode);
    }

    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.insert(path, Node::File(content.into()), mode);
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.insert(path, Node::Symlink(target.to_owned()), 0o777);
    }

    pub fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.insert(path, Node::CharDevice { major, minor }, mode);
    }

    /// Gives a path that is already there to another user.
    pub fn owned_by(&mut self, path: &str, owner: u32) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.owner = owner;
        }
    }

    /// Writes files, directories and links below `root`, as the calling user; owners and devices are left to the caller.
    pub fn write_below(&self, root: &Path) -> io::Result<()> {
        for (path, entry) in self.entries() {
            let target = root.join(path);
            match &entry.node {
                Node::Directory => std::fs::create_dir_all(&target)?,
                Node::File(content) => std::fs::write(&target, content)?,
                Node::Symlink(to) => symlink(to, &target)?,
                Node::CharDevice { .. } => continue,
            }
            if !matches!(entry.node, Node::Symlink(_)) {
                // The builder itself must be able to enter and read what it wrote.
                let readable = if entry.node == Node::Directory {
                    0o700
                } else {
                    0o400
                };
                std::fs::set_permissions(
                    &target,
                    PermissionsExt::from_mode(entry.mode | readable),
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_come_first() {
        let mut tree = FileTree::default();
        tree.file("etc/init/rc", 0o755, "x");
        tree.owned_by("etc/init/rc", 1000);
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["etc", "etc/init", "etc/init/rc"]);
        assert_eq!(tree.entries().last().unwrap().1.owner, 1000);
    }
}
