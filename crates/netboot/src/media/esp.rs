//! The EFI system partition of an image: a FAT file system with the loaders where firmware looks for them.

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use std::io::{self, Cursor, Write};

/// Room for the file system's own tables and directories.
const SLACK_BYTES: usize = 512 * 1024;
/// Files end at whole clusters.
const CLUSTER_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
#[error("the FAT file system cannot be written")]
pub struct EspError(#[from] io::Error);

/// A file system with these files in `EFI/BOOT`. Equal files give equal bytes: without a clock, all is of FAT's first day.
pub(crate) fn write(files: &[(&str, &[u8])]) -> Result<Vec<u8>, EspError> {
    let room = |(_, content): &(&str, &[u8])| content.len().next_multiple_of(CLUSTER_BYTES);
    let length = files.iter().map(room).sum::<usize>() + SLACK_BYTES;
    let mut bytes = vec![0; length.next_multiple_of(CLUSTER_BYTES)];
    let label = *b"CORTEN-EFI ";
    let format = FormatVolumeOptions::new()
        .bytes_per_cluster(CLUSTER_BYTES as u32)
        .volume_id(0x0c0_47e4)
        .volume_label(label);
    fatfs::format_volume(Cursor::new(bytes.as_mut_slice()), format)?;
    let volume = FileSystem::new(Cursor::new(bytes.as_mut_slice()), FsOptions::new())?;
    let directory = volume.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
    for (name, content) in files {
        let mut file = directory.create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    drop(directory);
    volume.unmount()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn firmware_finds_its_files_and_equal_files_give_equal_bytes() {
        let large = vec![7; 3_000_000];
        let files: [(&str, &[u8]); 2] = [("BOOTX64.EFI", &large), ("grubx64.efi", b"grub")];
        let bytes = write(&files).unwrap();
        assert_eq!(bytes, write(&files).unwrap());
        let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        for (name, content) in files {
            let mut read = Vec::new();
            let path = format!("efi/boot/{name}");
            let mut file = volume.root_dir().open_file(&path).unwrap();
            file.read_to_end(&mut read).unwrap();
            assert!(read == content, "{name}");
        }
    }
}
