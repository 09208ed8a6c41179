//! Writes an initial ramdisk: a "newc" cpio archive (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use crate::file_tree::{Entry, FileTree, Node};

const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;
const TYPE_CHAR_DEVICE: u32 = 0o020_000;

/// The archive of a tree. Equal trees give equal bytes: times are zero and inode numbers count from 1.
pub fn archive(tree: &FileTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (inode, (path, entry)) in (1_u32..).zip(tree.entries()) {
        append(&mut bytes, inode, path, entry);
    }
    let trailer = Entry {
        node: Node::File(Vec::new()),
        mode: 0,
        owner: 0,
    };
    append(&mut bytes, 0, "TRAILER!!!", &trailer);
    bytes
}

fn append(bytes: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let (kind, content, device): (u32, &[u8], (u32, u32)) = match &entry.node {
        Node::Directory => (TYPE_DIRECTORY, &[], (0, 0)),
        Node::File(content) => (TYPE_FILE, content, (0, 0)),
        Node::Symlink(target) => (TYPE_SYMLINK, target.as_bytes(), (0, 0)),
        Node::CharDevice { major, minor } => (TYPE_CHAR_DEVICE, &[], (*major, *minor)),
    };
    let fields = [
        inode,
        kind | entry.mode,
        entry.owner,
        entry.owner,
        1, // links
        0, // modification time
        content.len() as u32,
        0, // device of the file system
        0,
        device.0,
        device.1,
        path.len() as u32 + 1,
        0, // checksum, unused in this variant
    ];
    bytes.extend_from_slice(b"070701");
    for field in fields {
        bytes.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(content);
    pad(bytes);
}

/// Headers and contents start at multiples of four.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_a_file_are_laid_out_as_the_kernel_reads_them() {
        let mut tree = FileTree::default();
        tree.char_device("dev/console", 0o600, 5, 1);
        tree.file("init", 0o755, "#!");
        let bytes = archive(&tree);
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let console = text.find("dev/console").unwrap();
        let header = &text[console - 110..console];
        assert_eq!(&header[..6], "070701");
        assert_eq!(&header[14..22], format!("{:08X}", 0o020_600));
        assert_eq!(&header[78..94], "0000000500000001");
        let (_, after) = text.split_once("init\0\0#!\0\0").unwrap();
        assert!(after.starts_with("070701"), "{text}");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
