//! What only the kernel can ask of a disk (discard, zero, NVMe's commands, ATA's identity) and of the management controller.
//! The crate's one unsafe file.
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

// linux/ipmi.h
const IPMI_SEND_COMMAND: ioctl::Opcode = 0x8028_690d;
const IPMI_RECEIVE_TRUNCATED: ioctl::Opcode = 0xc030_690b;
const IPMI_SYSTEM_INTERFACE: i32 = 0x0c;
const IPMI_BMC_CHANNEL: i16 = 0xf;

/// `struct ipmi_system_interface_addr`.
#[repr(C)]
struct IpmiAddress {
    kind: i32,
    channel: i16,
    lun: u8,
}

/// `struct ipmi_msg`.
#[repr(C)]
struct IpmiMessage {
    function: u8,
    command: u8,
    length: u16,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct IpmiRequest {
    address: *const IpmiAddress,
    address_length: u32,
    id: i64,
    message: IpmiMessage,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct IpmiReceived {
    kind: i32,
    address: *mut u32,
    address_length: u32,
    id: i64,
    message: IpmiMessage,
}

const _: () = assert!(size_of::<IpmiRequest>() == 40 && size_of::<IpmiReceived>() == 48);

/// Sends a command to the server's own management controller.
pub fn ipmi_send(device: &File, function: u8, command: u8, data: &[u8]) -> Result<(), Errno> {
    let address = IpmiAddress {
        kind: IPMI_SYSTEM_INTERFACE,
        channel: IPMI_BMC_CHANNEL,
        lun: 0,
    };
    let request = IpmiRequest {
        address: &raw const address,
        address_length: size_of::<IpmiAddress>() as u32,
        id: 1,
        message: IpmiMessage {
            function,
            command,
            length: data.len() as u16,
            data: data.as_ptr().cast_mut(),
        },
    };
    // SAFETY: the request number says 40 bytes, which is this structure's size; the kernel copies the address and the data,
    // which outlive the call, and writes to neither.
    unsafe {
        ioctl::ioctl(
            device,
            Setter::<IPMI_SEND_COMMAND, IpmiRequest>::new(request),
        )
    }
}

/// An answer that has come, as far as `answer` has room: its length. It begins with the completion code.
pub fn ipmi_receive(device: &File, answer: &mut [u8]) -> Result<usize, Errno> {
    // `IPMI_MAX_ADDR_SIZE` is 32.
    let mut address = [0_u32; 8];
    let mut received = IpmiReceived {
        kind: 0,
        address: address.as_mut_ptr(),
        address_length: size_of_val(&address) as u32,
        id: 0,
        message: IpmiMessage {
            function: 0,
            command: 0,
            length: answer.len() as u16,
            data: answer.as_mut_ptr(),
        },
    };
    // SAFETY: the request number says 48 bytes, which is this structure's size; the kernel writes at most as many bytes behind
    // its pointers as it is told there are, and both outlive the call.
    let outcome = unsafe {
        ioctl::ioctl(
            device,
            Updater::<IPMI_RECEIVE_TRUNCATED, IpmiReceived>::new(&mut received),
        )
    };
    match outcome {
        // The rest was cut off.
        Err(Errno::MSGSIZE) => Ok(answer.len()),
        outcome => outcome.map(|()| usize::from(received.message.length)),
    }
}
