//! The boot loaders, from Debian's packages, read once.

use crate::content::Content;
use crate::media::esp::{self, EspError};
use std::io;
use std::path::{Path, PathBuf};

/// Where each loader lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderPaths {
    /// iPXE on a BIOS card's own driver.
    pub ipxe_bios: PathBuf,
    /// iPXE on the UEFI firmware's driver, for x86-64.
    pub ipxe_uefi: PathBuf,
    pub isolinux: PathBuf,
    /// What ISOLINUX is made of besides itself, of the same version.
    pub ldlinux: PathBuf,
    /// The first sector that starts ISOLINUX when an image is shown as a disk.
    pub isohybrid_mbr: PathBuf,
    /// Signed by whom firmware trusts; it starts GRUB and checks it.
    pub shim: PathBuf,
    /// GRUB for optical discs, signed by Debian.
    pub grub: PathBuf,
    /// Shim's own tool to enrol keys, which it looks for beside itself.
    pub mok_manager: PathBuf,
}

impl LoaderPaths {
    /// The packages `ipxe`, `isolinux`, `syslinux-common`, `shim-signed` and `grub-efi-amd64-signed`.
    pub fn debian() -> Self {
        Self {
            ipxe_bios: "/usr/lib/ipxe/undionly.kpxe".into(),
            ipxe_uefi: "/usr/lib/ipxe/snponly.efi".into(),
            isolinux: "/usr/lib/ISOLINUX/isolinux.bin".into(),
            ldlinux: "/usr/lib/syslinux/modules/bios/ldlinux.c32".into(),
            isohybrid_mbr: "/usr/lib/ISOLINUX/isohdpfx.bin".into(),
            shim: "/usr/lib/shim/shimx64.efi.signed".into(),
            grub: "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed".into(),
            mok_manager: "/usr/lib/shim/mmx64.efi.signed".into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    #[error(
        "the boot loader {} cannot be read; `make deps` installs the packages of all of them",
        path.display()
    )]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the boot loaders for UEFI do not fit together on a partition")]
    Esp(#[from] EspError),
}

/// The loaders in memory, and the EFI system partition that all images share. A clone shares them.
#[derive(Debug, Clone)]
pub struct Loaders {
    pub(crate) ipxe_bios: Content,
    pub(crate) ipxe_uefi: Content,
    pub(crate) isolinux: Vec<u8>,
    pub(crate) ldlinux: Content,
    pub(crate) isohybrid_mbr: Vec<u8>,
    pub(crate) esp: Content,
}

impl Loaders {
    pub fn load(paths: &LoaderPaths) -> Result<Self, LoaderError> {
        let (shim, grub) = (read(&paths.shim)?, read(&paths.grub)?);
        let mok_manager = read(&paths.mok_manager)?;
        let esp = esp::write(&[
            ("BOOTX64.EFI", &shim),
            ("grubx64.efi", &grub),
            ("mmx64.efi", &mok_manager),
        ])?;
        Ok(Self {
            ipxe_bios: Content::memory(read(&paths.ipxe_bios)?),
            ipxe_uefi: Content::memory(read(&paths.ipxe_uefi)?),
            isolinux: read(&paths.isolinux)?,
            ldlinux: Content::memory(read(&paths.ldlinux)?),
            isohybrid_mbr: read(&paths.isohybrid_mbr)?,
            esp: Content::memory(esp),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoaderError> {
    std::fs::read(path).map_err(|source| LoaderError::Read {
        path: path.to_owned(),
        source,
    })
}
