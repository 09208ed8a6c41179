//! What a simulated server runs when it is started from our ramdisk's image: the ramdisk's own code, on disks that are data.
//!
//! ```text
//!   BMC: power on ──> fetch the image in the drive ──> the kernel's command line ──> corten_ramdisk::stay
//!                                                                                      │ reboot, power off, or
//!                                                                                      └ started anew: it is gone
//! ```
//!
//! Lookup, heartbeats, tokens, TLS, marks and epochs, the check of an image's sum and format are the ramdisk's. What it would
//! do to a disk is done to the [`SimMachine`]; what a test breaks there ([`Touch`]) fails here. A step of no effect on a
//! simulated server, such as a burn-in, is on its list of steps that ran.
//!
//! The ramdisk listens at the address that its boot gives it, which must be one of this machine: a provisioning network
//! within 127.0.0.0/8 on `lo` has room for any number. Servers are started from virtual media alone; one that is told to boot
//! from the network finds nobody there.

use crate::machine::{SimMachine, Start, State, Touch};
use corten_bmc::{BmcError, BootDevice, PowerAction};
use corten_ramdisk::boot::BootOptions;
use corten_ramdisk::boot::cmdline::CmdlineError;
use corten_ramdisk::commands::{
    Agent, AskedImage, Commands, Done, Ending, Failure, execute_step, list_steps,
};
use corten_ramdisk::device::{Disk, Transport};
use corten_ramdisk::home::{self, HomeError};
use corten_ramdisk::inspect;
use corten_ramdisk::protocol::inventory::{Boot, Cpu, Interface, Inventory, Memory, SystemVendor};
use corten_ramdisk::protocol::{
    EraseAttempt, EraseMethod, EraseRecord, Inspection, Step, Verification,
};
use corten_ramdisk::stay::{Server, stay};
use corten_ramdisk::steps::write_image::Target;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::{Arc, MutexGuard};

/// An image holds its command line within its first bytes, before the kernel.
const HEAD_BYTES_MAX: usize = 64 << 20;
const BLOCK_BYTES: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the image in the drive cannot be fetched")]
    Fetch(#[from] reqwest::Error),
    #[error("the image in the drive has no command line for the ramdisk's kernel")]
    NoCommandLine,
    #[error(transparent)]
    CommandLine(#[from] CmdlineError),
    #[error(
        "the command line has no address: a simulated server has no DHCP, so start it from virtual media"
    )]
    NoAddress,
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// Runs what this server is started from, for as long as this is polled.
pub async fn live(machine: Arc<SimMachine>) {
    let mut starts = machine.starts();
    loop {
        let start = starts.borrow_and_update().clone();
        tokio::select! {
            changed = starts.changed() => if changed.is_err() { return },
            () = boot(&machine, start) => if starts.changed().await.is_err() { return },
        }
    }
}

/// One boot, to its end.
async fn boot(machine: &Arc<SimMachine>, start: Option<Start>) {
    let Some(Start {
        number,
        from: Some(BootDevice::Cdrom),
        image: Some(image),
    }) = start
    else {
        return;
    };
    let action = match run(machine, number, &image).await {
        Ok(Ending::Reboot) => PowerAction::Reboot,
        Ok(Ending::PowerOff) => PowerAction::Off,
        Ok(Ending::Rescue) => return,
        // A real one says so on its console, and nobody hears more of it.
        Err(error) => return tracing::warn!(mac = machine.mac(), "the ramdisk ended: {error}"),
    };
    machine.with(|hardware| {
        if hardware.is_on() && hardware.boots == number {
            hardware.apply(action, Timestamp::now());
        }
    });
}

async fn run(machine: &Arc<SimMachine>, number: u64, image: &str) -> Result<Ending, StartError> {
    let options = BootOptions::parse(&command_line(image).await?)?;
    let address = options.static_address.ok_or(StartError::NoAddress)?.address;
    let server = Server {
        address,
        inspection: Inspection {
            inventory: inventory(machine),
            pci_devices: Vec::new(),
            error: None,
        },
        commands: Simulated {
            machine: Arc::clone(machine),
            start: number,
        },
    };
    Ok(stay(&options, server, None).await?)
}

/// The kernel's command line, as the boot loader in the image would read it.
async fn command_line(image: &str) -> Result<String, StartError> {
    let client = home::client(None, None)?;
    let mut response = client.get(image).send().await?.error_for_status()?;
    let mut head = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let seen = head.len();
        head.extend_from_slice(&piece);
        if let Some(line) = line_with(&head, seen, b"ipa-api-url=") {
            return Ok(line);
        }
        if head.len() > HEAD_BYTES_MAX {
            break;
        }
    }
    Err(StartError::NoCommandLine)
}

/// From this word to the end of its line, if all of that is there; before `seen` the word was looked for already.
fn line_with(bytes: &[u8], seen: usize, word: &[u8]) -> Option<String> {
    // A line that was cut is at most so long as one that a kernel takes.
    let from = seen.saturating_sub(4096);
    let at = from
        + bytes[from..]
            .windows(word.len())
            .position(|part| part == word)?;
    let length = bytes[at..].iter().position(|byte| *byte == b'\n')?;
    Some(String::from_utf8_lossy(&bytes[at..at + length]).into_owned())
}

fn disks(machine: &SimMachine) -> Vec<Disk> {
    let drives = machine.made_of().drives.into_iter().enumerate();
    drives
        .map(|(number, drive)| Disk {
            name: format!("nvme{number}n1"),
            transport: Transport::Nvme,
            size_bytes: drive.capacity_bytes.unwrap_or_default(),
            model: Some("Simulated disk".to_owned()),
            serial: drive.serial_number,
            wwn: None,
            vendor: None,
            hctl: None,
            rotational: false,
            read_only: false,
            logical_block_bytes: BLOCK_BYTES,
            physical_block_bytes: BLOCK_BYTES,
            discard_max_bytes: 0,
        })
        .collect()
}

fn inventory(machine: &SimMachine) -> Inventory {
    let made = machine.made_of();
    let memory_mb = made.memory_mib.unwrap_or_default();
    let threads: u64 = made.processors.iter().filter_map(|cpu| cpu.threads).sum();
    let mac = machine.mac();
    Inventory {
        cpu: Cpu {
            model_name: Some("Simulated processor".to_owned()),
            frequency: None,
            count: usize::try_from(threads).unwrap_or(usize::MAX),
            socket_count: made.processors.len(),
            architecture: "x86_64".to_owned(),
            flags: Vec::new(),
        },
        memory: Memory {
            total: memory_mb << 20,
            physical_mb: Some(memory_mb),
        },
        disks: disks(machine).iter().map(inspect::disk).collect(),
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            mac_address: mac.clone(),
            ipv4_address: None,
            ipv6_address: None,
            has_carrier: true,
            lldp: None,
            vendor: None,
            product: None,
            speed_mbps: Some(25_000),
            pci_address: None,
            driver: None,
        }],
        system_vendor: SystemVendor {
            product_name: made.identity.model,
            serial_number: made.identity.serial_number,
            manufacturer: made.identity.manufacturer,
            ..SystemVendor::default()
        },
        boot: Boot {
            current_boot_mode: "uefi".to_owned(),
            pxe_interface: Some(mac),
        },
        hostname: None,
        bmc_address: None,
        bmc_v6address: None,
        bmc_mac: None,
        bmc: None,
        bmc_redfish: false,
        tpm: None,
    }
}

/// The commands of the ramdisk, carried out on data.
struct Simulated {
    machine: Arc<SimMachine>,
    /// What outlives the start that it came with touches nothing.
    start: u64,
}

fn broken(error: BmcError) -> Failure {
    Failure::new("CommandExecutionError", 500, error.to_string())
}

impl Commands for Simulated {
    fn carry_out(
        &self,
        agent: &Agent,
        name: &str,
        params: Map<String, Value>,
    ) -> Result<Done, Failure> {
        let step = |step: &Step, _: Option<&Value>| self.step(step);
        match name {
            "clean.get_clean_steps" => list_steps("clean_steps"),
            "deploy.get_deploy_steps" => list_steps("deploy_steps"),
            "service.get_service_steps" => list_steps("service_steps"),
            "clean.execute_clean_step" => execute_step(params, "clean", step),
            "deploy.execute_deploy_step" => execute_step(params, "deploy", step),
            "service.execute_service_step" => execute_step(params, "service", step),
            "standby.prepare_image" => self.prepare_image(agent, params),
            "image.install_bootloader" => self.find_loader(),
            "standby.run_image" => Ok(end(Ending::Reboot)),
            "standby.power_off" => Ok(end(Ending::PowerOff)),
            "rescue.finalize_rescue" => {
                self.touch(Touch::Rescue)?.rescue(true);
                Ok(end(Ending::Rescue))
            }
            "poll.get_hardware_info" => {
                drop(self.touch(Touch::Inventory)?);
                Ok(Done::with(serde_json::to_value(inventory(&self.machine))?))
            }
            "standby.sync" | "poll.set_node_info" => Ok(Done::with(Value::Null)),
            other => Err(Failure::params(format!("there is no command {other}"))),
        }
    }
}

fn end(ending: Ending) -> Done {
    Done {
        value: Value::Null,
        ending: Some(ending),
    }
}

impl Simulated {
    fn touch(&self, touch: Touch) -> Result<MutexGuard<'_, State>, Failure> {
        let state = self.machine.touch(touch).map_err(broken)?;
        if state.hardware.is_on() && state.hardware.boots == self.start {
            return Ok(state);
        }
        let message = "the server was switched off or started anew".to_owned();
        Err(Failure::new("CommandExecutionError", 500, message))
    }

    fn step(&self, step: &Step) -> Result<Value, Failure> {
        if step.step != "erase_devices" {
            self.touch(Touch::Step)?.run(&step.interface, &step.step);
            return Ok(Value::Null);
        }
        let begun = seconds_now();
        self.touch(Touch::Wipe)?.erase();
        let record = |disk: Disk| EraseRecord {
            device: disk.name,
            model: disk.model,
            serial: disk.serial,
            wwn: disk.wwn,
            size_bytes: disk.size_bytes,
            removable: false,
            attempts: vec![EraseAttempt {
                method: EraseMethod::NvmeFormat,
                error: None,
            }],
            started_at_secs: begun,
            finished_at_secs: seconds_now(),
            verification: Some(Verification {
                samples: 1,
                bytes: BLOCK_BYTES,
            }),
        };
        let records: Vec<EraseRecord> = disks(&self.machine).into_iter().map(record).collect();
        Ok(serde_json::to_value(records)?)
    }

    /// Fetches, checks and unpacks the image as a real server does, into a file that is nobody's.
    fn prepare_image(&self, agent: &Agent, params: Map<String, Value>) -> Result<Done, Failure> {
        let asked = AskedImage::read(params)?;
        let disks = disks(&self.machine);
        let disk = agent.root_disk(&disks)?;
        drop(self.touch(Touch::Install)?);
        let open = || {
            let file = tempfile::tempfile()?;
            file.set_len(disk.size_bytes)?;
            Ok(Target {
                file,
                size_bytes: disk.size_bytes,
                block_bytes: BLOCK_BYTES,
            })
        };
        let done = asked.write(agent, &disk, open)?;
        agent.runtime.block_on(self.machine.end_of_write());
        let number = disks.iter().position(|other| *other == disk);
        let mut state = self.touch(Touch::Install)?;
        state.install(number.unwrap_or_default(), asked.id());
        Ok(done)
    }

    fn find_loader(&self) -> Result<Done, Failure> {
        if self.machine.disks().iter().all(Option::is_none) {
            let message = "there is nothing on any disk".to_owned();
            return Err(Failure::new("CommandExecutionError", 500, message));
        }
        Ok(Done::with(
            json!({"result": "install_bootloader: simulated"}),
        ))
    }
}

fn seconds_now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_found_though_it_comes_in_pieces() {
        let all = b"\0\0set timeout=0\nlinux /boot/vmlinuz quiet ipa-api-url=https://h corten.inspect=yes\ninitrd x\n";
        let found = (1..=all.len())
            .find_map(|length| line_with(&all[..length], length - 1, b"ipa-api-url="));
        assert_eq!(
            found.as_deref(),
            Some("ipa-api-url=https://h corten.inspect=yes")
        );
        assert_eq!(line_with(b"linux quiet\n", 0, b"ipa-api-url="), None);
    }
}
