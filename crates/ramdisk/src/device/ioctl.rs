//! What only the kernel can ask of a disk: discard, zero, NVMe's commands, ATA's identity. The crate's one unsafe file.
//!
//! Each call hands the kernel a structure of the size that its request number encodes, and memory that outlives the call.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::ioctl::{self, NoArg, Setter, Updater};
use std::fs::File;
use std::ops::Range;

// linux/fs.h
const BLKRRPART: ioctl::Opcode = 0x125f;
const BLKDISCARD: ioctl::Opcode = 0x1277;
const BLKZEROOUT: ioctl::Opcode = 0x127f;
// linux/hdreg.h
const HDIO_GET_IDENTITY: ioctl::Opcode = 0x030d;
// linux/nvme_ioctl.h
const NVME_ADMIN: ioctl::Opcode = 0xc048_4e41;

/// Gives blocks back to the device. What they hold afterwards is for the device to say.
pub fn discard(disk: &File, bytes: Range<u64>) -> Result<(), Errno> {
    let range = [bytes.start, bytes.end - bytes.start];
    // SAFETY: BLKDISCARD reads two 64-bit numbers.
    unsafe { ioctl::ioctl(disk, Setter::<BLKDISCARD, [u64; 2]>::new(range)) }
}

/// Makes blocks read as zeroes, by the device's own means where it has any.
pub fn zero_out(disk: &File, bytes: Range<u64>) -> Result<(), Errno> {
    let range = [bytes.start, bytes.end - bytes.start];
    // SAFETY: BLKZEROOUT reads two 64-bit numbers.
    unsafe { ioctl::ioctl(disk, Setter::<BLKZEROOUT, [u64; 2]>::new(range)) }
}

/// Lets the kernel read the partition table anew.
pub fn reread_partitions(disk: &File) -> Result<(), Errno> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { ioctl::ioctl(disk, NoArg::<BLKRRPART>::new()) }
}

/// The 256 words of ATA's IDENTIFY DEVICE.
pub fn ata_identity(disk: &File) -> Result<[u16; 256], Errno> {
    let mut words = [0_u16; 256];
    // SAFETY: HDIO_GET_IDENTITY writes 512 bytes.
    unsafe {
        ioctl::ioctl(
            disk,
            Updater::<HDIO_GET_IDENTITY, [u16; 256]>::new(&mut words),
        )?
    };
    Ok(words)
}

/// `struct nvme_admin_cmd`.
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// An NVMe command to the controller, without its data.
#[derive(Debug, Clone, Copy)]
pub struct NvmeCommand {
    pub opcode: u8,
    pub namespace: u32,
    pub cdw10: u32,
    pub timeout_ms: u32,
}

/// A refusal by the kernel or, as a status code, by the device.
#[derive(Debug, thiserror::Error)]
pub enum NvmeError {
    #[error("the kernel refused the command")]
    Kernel(#[source] Errno),
    #[error("the device answered with status {0:#x}")]
    Status(u32),
}

/// Sends a command and reads what the device answers into `answer`, which may be empty.
pub fn nvme(disk: &File, command: NvmeCommand, answer: &mut [u8]) -> Result<(), NvmeError> {
    let mut raw = AdminCommand {
        opcode: command.opcode,
        namespace: command.namespace,
        cdw10: command.cdw10,
        timeout_ms: command.timeout_ms,
        address: if answer.is_empty() {
            0
        } else {
            answer.as_mut_ptr() as u64
        },
        data_length: answer.len() as u32,
        ..AdminCommand::default()
    };
    // SAFETY: the request number says 72 bytes, which is this structure's size; `answer` outlives the call and the
    // kernel writes no more than `data_length` bytes to it.
    let status =
        unsafe { ioctl::ioctl(disk, Positive::new(&mut raw)) }.map_err(NvmeError::Kernel)?;
    match status {
        0 => Ok(()),
        status => Err(NvmeError::Status(status)),
    }
}

/// As rustix's `Updater`, but the call's result is kept: NVMe's status comes in it.
struct Positive<'a>(&'a mut AdminCommand);

impl<'a> Positive<'a> {
    fn new(command: &'a mut AdminCommand) -> Self {
        Self(command)
    }
}

// SAFETY: the request number is that of the structure behind the pointer, and nothing is read after the call but its result.
unsafe impl ioctl::Ioctl for Positive<'_> {
    type Output = u32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> ioctl::Opcode {
        NVME_ADMIN
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        Ok(out.unsigned_abs())
    }
}

const _: () = assert!(size_of::<AdminCommand>() == 72);
