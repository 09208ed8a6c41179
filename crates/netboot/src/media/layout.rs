//! Which sector each directory and file of an image gets, and the directories' own bytes (ISO 9660 section 9, Rock Ridge).

use super::iso::IsoError;
use crate::content::Content;
use std::collections::BTreeMap;

pub(super) const SECTOR_BYTES: u64 = 2048;

/// ISO 9660 writes numbers in both byte orders.
pub(super) fn both_u16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

pub(super) fn both_u32(value: u32) -> [u8; 8] {
    (u64::from(value.swap_bytes()) << 32 | u64::from(value)).to_le_bytes()
}

/// 1980-01-01 00:00 UTC, whenever the image is laid out, so that equal plans give equal images.
const RECORD_TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

const FLAG_DIRECTORY: u8 = 2;
const MODE_DIRECTORY: u32 = 0o040_555;
const MODE_FILE: u32 = 0o100_444;

/// Where something lies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub sector: u32,
    pub bytes: u32,
}

impl Extent {
    fn end(self) -> u32 {
        self.sector + u64::from(self.bytes).div_ceil(SECTOR_BYTES) as u32
    }
}

#[derive(Debug)]
pub(super) struct File {
    pub path: String,
    pub content: Content,
    pub extent: Extent,
}

/// A directory, by its path without a slash at either end; the root's is empty.
#[derive(Debug)]
pub(super) struct Directory {
    pub path: String,
    pub extent: Extent,
    /// Its parent's place in the list of directories.
    pub parent: usize,
}

/// Everything with its place. Directories are in the order of path tables: by depth, then by parent, then by identifier.
#[derive(Debug)]
pub(super) struct Layout {
    pub directories: Vec<Directory>,
    pub files: Vec<File>,
    /// The first sector after all of it.
    pub end: u32,
}

impl Layout {
    /// Places directories, then files, from a sector on.
    pub fn of(files: Vec<(String, Content)>, path_tables: u32) -> Result<Self, IsoError> {
        let mut layout = Self {
            directories: directories(&files)?,
            files: Vec::new(),
            end: 0,
        };
        for (path, content) in files {
            let bytes = u32::try_from(content.length()).map_err(|_| IsoError::TooLarge {
                path: path.clone(),
                bytes: content.length(),
            })?;
            let extent = Extent { sector: 0, bytes };
            layout.files.push(File {
                path,
                content,
                extent,
            });
        }
        // Directories' lengths do not depend on where things lie, so they are rendered once to be measured.
        let table_sectors = (layout.path_table(false).len() as u64).div_ceil(SECTOR_BYTES) as u32;
        let mut next = path_tables + 2 * table_sectors;
        for index in 0..layout.directories.len() {
            let bytes = layout.render(index)?.len() as u32;
            let extent = Extent {
                sector: next,
                bytes,
            };
            next = extent.end();
            layout.directories[index].extent = extent;
        }
        for file in &mut layout.files {
            file.extent.sector = next;
            next = file.extent.end();
        }
        layout.end = next;
        Ok(layout)
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The path table (ISO 9660 section 9.4), in the byte order of the least significant first or last.
    pub fn path_table(&self, big_endian: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for directory in &self.directories {
            let name = match base(&directory.path) {
                "" => vec![0],
                name => identifier(name, true).into_bytes(),
            };
            let sector = directory.extent.sector;
            let parent = directory.parent as u16 + 1;
            bytes.extend([name.len() as u8, 0]);
            bytes.extend(if big_endian {
                sector.to_be_bytes()
            } else {
                sector.to_le_bytes()
            });
            bytes.extend(if big_endian {
                parent.to_be_bytes()
            } else {
                parent.to_le_bytes()
            });
            bytes.extend(&name);
            bytes.resize(bytes.len().next_multiple_of(2), 0);
        }
        bytes
    }

    /// A directory's records, filled up to whole sectors.
    pub fn render(&self, index: usize) -> Result<Vec<u8>, IsoError> {
        let this = &self.directories[index];
        let parent = &self.directories[this.parent];
        let mut first = system_use(None, true);
        if index == 0 {
            first = [indicator(), first, extension_reference()].concat();
        }
        let mut records = vec![
            record(&[0], this.extent, true, &first),
            record(&[1], parent.extent, true, &system_use(None, true)),
        ];
        let mut children: BTreeMap<String, (&str, Extent, bool)> = BTreeMap::new();
        let subdirectories = self
            .directories
            .iter()
            .skip(1)
            .filter(|directory| directory.parent == index)
            .map(|directory| (directory.path.as_str(), directory.extent, true));
        let files = self
            .files
            .iter()
            .filter(|file| parent_of(&file.path) == this.path)
            .map(|file| (file.path.as_str(), file.extent, false));
        for child @ (path, _, is_directory) in subdirectories.chain(files) {
            let name = identifier(base(path), is_directory);
            if let Some((other, ..)) = children.insert(name, child) {
                return Err(IsoError::SameName {
                    one: other.to_owned(),
                    other: path.to_owned(),
                });
            }
        }
        for (name, (path, extent, is_directory)) in children {
            let extra = system_use(Some(base(path)), is_directory);
            records.push(record(name.as_bytes(), extent, is_directory, &extra));
        }
        Ok(in_sectors(&records))
    }
}

/// A record does not cross from one sector to the next.
fn in_sectors(records: &[Vec<u8>]) -> Vec<u8> {
    let sector = SECTOR_BYTES as usize;
    let mut bytes: Vec<u8> = Vec::new();
    for record in records {
        if bytes.len() % sector + record.len() > sector {
            bytes.resize(bytes.len().next_multiple_of(sector), 0);
        }
        bytes.extend(record);
    }
    bytes.resize(bytes.len().next_multiple_of(sector), 0);
    bytes
}

/// A directory record (ISO 9660 section 9.1).
pub(super) fn record(
    name: &[u8],
    extent: Extent,
    is_directory: bool,
    system_use: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both_u32(extent.sector));
    bytes.extend(both_u32(extent.bytes));
    bytes.extend(RECORD_TIME);
    bytes.extend([if is_directory { FLAG_DIRECTORY } else { 0 }, 0, 0]);
    bytes.extend(both_u16(1)); // volume
    bytes.push(name.len() as u8);
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(system_use);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// Rock Ridge's mode and name (IEEE P1282, `PX` and `NM`).
fn system_use(name: Option<&str>, is_directory: bool) -> Vec<u8> {
    let (mode, links) = if is_directory {
        (MODE_DIRECTORY, 2)
    } else {
        (MODE_FILE, 1)
    };
    let mut bytes = b"PX\x24\x01".to_vec();
    bytes.extend([mode, links, 0, 0].map(both_u32).concat());
    if let Some(name) = name {
        bytes.extend(b"NM");
        bytes.extend([name.len() as u8 + 5, 1, 0]);
        bytes.extend(name.as_bytes());
    }
    bytes
}

/// Says that the system-use protocol is followed (SUSP section 5.3).
fn indicator() -> Vec<u8> {
    b"SP\x07\x01\xbe\xef\x00".to_vec()
}

/// Says that the extension is Rock Ridge (SUSP section 5.5).
fn extension_reference() -> Vec<u8> {
    const NAME: &[u8] = b"RRIP_1991A";
    let mut bytes = b"ER".to_vec();
    bytes.extend([NAME.len() as u8 + 8, 1, NAME.len() as u8, 0, 0, 1]);
    bytes.extend(NAME);
    bytes
}

/// All directories that these paths need, the root first.
fn directories(files: &[(String, Content)]) -> Result<Vec<Directory>, IsoError> {
    let mut paths: Vec<&str> = vec![""];
    for (path, _) in files {
        let mut rest = path.as_str();
        while let Some((directory, _)) = rest.rsplit_once('/') {
            paths.push(directory);
            rest = directory;
        }
    }
    let depth = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
    let identifiers = |path: &str| -> Vec<String> {
        path.split('/').map(|part| identifier(part, true)).collect()
    };
    paths.sort_by_key(|path| (depth(path), identifiers(path)));
    paths.dedup();
    let place = |path: &str| paths.iter().position(|other| *other == path);
    let placed = paths.iter().map(|path| Directory {
        path: (*path).to_owned(),
        extent: Extent::default(),
        parent: place(parent_of(path)).unwrap_or_default(),
    });
    Ok(placed.collect())
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

/// The longest stem of a name: with its extension and the dot it has 30 characters (ISO 9660 level 2).
const STEM_MAX: usize = 26;

/// The name as ISO 9660 writes it, for who reads no Rock Ridge: `NAME.EXT;1`.
fn identifier(name: &str, is_directory: bool) -> String {
    let plain = |text: &str, length: usize| -> String {
        text.chars()
            .map(|c| c.to_ascii_uppercase())
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(length)
            .collect()
    };
    match name.rsplit_once('.') {
        _ if is_directory => plain(name, STEM_MAX),
        Some((stem, extension)) => format!("{}.{};1", plain(stem, STEM_MAX), plain(extension, 3)),
        None => format!("{}.;1", plain(name, STEM_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_twice_in_each_record() {
        assert_eq!(identifier("vmlinuz", false), "VMLINUZ.;1");
        assert_eq!(identifier("isolinux.bin", false), "ISOLINUX.BIN;1");
        assert_eq!(identifier(".disk", true), "_DISK");
        assert_eq!(both_u32(0x0102_0304), [4, 3, 2, 1, 1, 2, 3, 4]);
        assert_eq!(both_u16(0x0102), [2, 1, 1, 2]);
    }

    #[test]
    fn two_files_of_one_short_name_are_refused() {
        let file = |path: &str| (path.to_owned(), Content::memory("x"));
        let long = "a/the-ramdisk-of-a-certain-server";
        let names = [format!("{long}-one"), format!("{long}-two")];
        let layout = Layout::of(names.iter().map(|name| file(name)).collect(), 20);
        assert!(matches!(layout, Err(IsoError::SameName { .. })));
        let drive = ["vendor_data.json", "vendor_data2.json"];
        Layout::of(drive.map(file).into(), 20).unwrap();
    }

    #[test]
    fn a_directory_of_several_sectors_splits_no_record() {
        let file = |number: u32| (format!("d/file{number:03}"), Content::memory("x"));
        let layout = Layout::of((0..60).map(file).collect(), 20).unwrap();
        let bytes = layout.render(1).unwrap();
        assert!(bytes.len() > 2048 && bytes.len().is_multiple_of(2048));
        let mut names = 0;
        for sector in bytes.chunks(2048) {
            let mut rest = sector;
            while let Some(length) = rest.first().filter(|&&length| length > 0) {
                rest = &rest[usize::from(*length)..];
                names += 1;
            }
        }
        assert_eq!(names, 62);
    }
}
