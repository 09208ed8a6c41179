//! Loads the drivers of the hardware that is there, as `udev` and `modprobe` would.
//!
//! Each device has a `modalias`; `modules.alias` maps patterns of them to modules, `modules.dep` a module to those it needs.
//! A driver makes new devices appear, which the kernel announces on a netlink socket.

use super::netlink::Uevents;
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Modules that no device asks for: sums that others look up as they are loaded, software RAID, and the way for programs to the
/// management controller. What the rarer RAID levels need is loaded with the first array of theirs.
const ALWAYS: [&str; 5] = ["crc32c_generic", "md_mod", "raid1", "raid0", "ipmi_devintf"];
/// When no device has appeared for so long, all are there. Disks behind a controller announce themselves one by one.
const QUIET: Duration = Duration::from_millis(1500);
/// linux/module.h: the file is compressed; the kernel unpacks it.
const COMPRESSED_FILE: i32 = 4;

/// The modules in the initial ramdisk.
pub struct Modules {
    directory: PathBuf,
    /// Pattern and module.
    aliases: Vec<(String, String)>,
    /// Module → its file and those of the modules it needs, which come after it.
    files: HashMap<String, Vec<String>>,
    tried: BTreeSet<String>,
}

impl Modules {
    /// Reads the index below `/lib/modules/VERSION`.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        let aliases = fs::read_to_string(directory.join("modules.alias"))?;
        let files = fs::read_to_string(directory.join("modules.dep"))?;
        Ok(Self {
            aliases: aliases.lines().filter_map(alias).collect(),
            files: files.lines().filter_map(dependencies).collect(),
            directory,
            tried: BTreeSet::new(),
        })
    }

    /// Those of the kernel that runs.
    pub fn of_kernel() -> io::Result<Self> {
        let kernel = rustix::system::uname();
        let release = kernel.release().to_string_lossy();
        Self::open(format!("/lib/modules/{release}"))
    }

    fn wanted_by(&self, modalias: &str) -> Vec<String> {
        self.aliases
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, module)| module.clone())
            .collect()
    }

    fn load_for(&mut self, modalias: &str) {
        for module in self.wanted_by(modalias) {
            self.load(&module);
        }
    }

    /// Loads a module after those it needs, once.
    pub fn load(&mut self, module: &str) {
        if !self.tried.insert(module.to_owned()) {
            return;
        }
        for file in self.files.get(module).into_iter().flatten().rev() {
            match insert(&self.directory.join(file)) {
                Ok(()) | Err(Errno::EXIST) => {}
                // A driver whose hardware is not there after all.
                Err(Errno::NODEV) => return,
                Err(error) => {
                    tracing::warn!("the module {file} cannot be loaded: {error}");
                    return;
                }
            }
        }
    }

    /// Loads what all present devices ask for, and goes on until no more appear.
    pub fn load_all(&mut self, events: &Uevents) -> io::Result<()> {
        for module in ALWAYS {
            self.load(module);
        }
        let mut aliases = BTreeSet::new();
        collect_aliases(Path::new("/sys/devices"), &mut aliases);
        for modalias in aliases {
            self.load_for(&modalias);
        }
        while let Some(event) = events.next(QUIET)? {
            if let Some(modalias) = event.get("MODALIAS") {
                self.load_for(modalias);
            }
        }
        Ok(())
    }
}

fn insert(path: &Path) -> Result<(), Errno> {
    let file =
        File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    rustix::system::finit_module(file, c"", if compressed { COMPRESSED_FILE } else { 0 })
}

fn collect_aliases(directory: &Path, aliases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Links lead to other devices, and round in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_aliases(&entry.path(), aliases);
        } else if entry.file_name() == "modalias" {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if !text.trim().is_empty() {
                aliases.insert(text.trim().to_owned());
            }
        }
    }
}

/// `alias virtio:d00000002v* virtio_blk`
fn alias(line: &str) -> Option<(String, String)> {
    let mut words = line.strip_prefix("alias ")?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.replace('-', "_")))
}

/// `virtio_blk.ko: virtio_ring.ko virtio.ko`
fn dependencies(line: &str) -> Option<(String, Vec<String>)> {
    let (file, needs) = line.split_once(':')?;
    let name = Path::new(file)
        .file_name()?
        .to_str()?
        .split('.')
        .next()?
        .replace('-', "_");
    let files = std::iter::once(file)
        .chain(needs.split_ascii_whitespace())
        .map(str::to_owned)
        .collect();
    Some((name, files))
}

/// A shell's pattern: `*`, `?` and `[…]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (set, after) = (&rest[..end], &rest[end + 1..]);
            match text {
                [first, text @ ..] => in_set(set, *first) && matches(after, text),
                [] => false,
            }
        }
        [byte, rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [from, b'-', to, rest @ ..] => (*from..=*to).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("modules.alias"),
            "# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000002v* virtio-blk\n\
             alias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias dmi*:svn[A-C]?x* quirk\n",
        )
        .unwrap();
        fs::write(
            directory.path().join("modules.dep"),
            "virtio-blk.ko: virtio_ring.ko virtio.ko\nkernel/nvme.ko.xz:\n",
        )
        .unwrap();
        Modules::open(directory.path()).unwrap()
    }

    #[test]
    fn a_device_finds_its_driver_by_pattern() {
        let modules = modules();
        assert_eq!(
            modules.wanted_by("pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"),
            ["virtio_pci"]
        );
        assert_eq!(
            modules.wanted_by("virtio:d00000002v00001AF4"),
            ["virtio_blk"]
        );
        assert_eq!(
            modules.wanted_by("pci:v0000144Dd0000A80Asv0sd0bc01sc08i02"),
            ["nvme"]
        );
        assert_eq!(modules.wanted_by("dmi:svnBaxy"), ["quirk"]);
        assert!(modules.wanted_by("dmi:svnDaxy").is_empty());
        assert!(modules.wanted_by("usb:v1").is_empty());
    }

    #[test]
    fn a_modules_files_begin_with_itself() {
        let modules = modules();
        assert_eq!(
            modules.files["virtio_blk"],
            ["virtio-blk.ko", "virtio_ring.ko", "virtio.ko"]
        );
        assert_eq!(modules.files["nvme"], ["kernel/nvme.ko.xz"]);
    }
}
