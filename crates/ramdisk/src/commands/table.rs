//! What may be asked of the ramdisk: the stock agent's names, and what each does here.

use super::image::AskedImage;
use super::{Agent, Commands, Ending, failure};
use crate::device::{self, Disk, Sysfs, arrays};
use crate::inspect::Inspector;
use crate::journal::chain;
use crate::protocol::step::HARDWARE_MANAGER;
use crate::protocol::{CommandFailure, EraseRecord, Growth, Inspection, Step};
use crate::steps::raid::RaidConfig;
use crate::steps::{boot, burn_in, erase, raid, rescue, write_image};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Whoever asks what the server is made of gives up after half a minute.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// The server that this program runs on.
pub struct ThisServer {
    pub sysfs: Sysfs,
    pub inspector: Inspector,
}

type Run = fn(&ThisServer, &Agent, Map<String, Value>) -> Result<Done, Failure>;

impl Commands for ThisServer {
    fn carry_out(
        &self,
        agent: &Agent,
        name: &str,
        params: Map<String, Value>,
    ) -> Result<Done, Failure> {
        let (.., run) =
            find(name).ok_or_else(|| Failure::params(format!("there is no command {name}")))?;
        run(self, agent, params)
    }
}

pub fn answers_at_once(name: &str) -> bool {
    find(name).is_some_and(|(_, at_once, _)| *at_once)
}

pub fn find(name: &str) -> Option<&'static (&'static str, bool, Run)> {
    COMMANDS.iter().find(|(known, ..)| *known == name)
}

/// How a command went well.
pub struct Done {
    pub value: Value,
    pub ending: Option<Ending>,
}

impl Done {
    pub fn with(value: Value) -> Self {
        Self {
            value,
            ending: None,
        }
    }
}

/// How a command failed.
pub struct Failure(pub CommandFailure);

impl Failure {
    pub fn new(kind: &str, code: u16, message: String) -> Self {
        Self(failure(kind, code, message))
    }

    pub fn params(message: String) -> Self {
        Self::new("InvalidCommandParamsError", 400, message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new("CommandExecutionError", 500, chain(&error))
    }
}

/// Each command, and whether it is so quick that the request itself is answered with its result.
const COMMANDS: [(&str, bool, Run); 15] = [
    ("clean.get_clean_steps", true, |_, _, _| {
        list_steps("clean_steps")
    }),
    (
        "clean.execute_clean_step",
        false,
        |server, agent, params| {
            execute_step(params, "clean", |step, node| {
                server.run_step(agent, step, node)
            })
        },
    ),
    ("deploy.get_deploy_steps", true, |_, _, _| {
        list_steps("deploy_steps")
    }),
    (
        "deploy.execute_deploy_step",
        false,
        |server, agent, params| {
            execute_step(params, "deploy", |step, node| {
                server.run_step(agent, step, node)
            })
        },
    ),
    ("service.get_service_steps", true, |_, _, _| {
        list_steps("service_steps")
    }),
    (
        "service.execute_service_step",
        false,
        |server, agent, params| {
            execute_step(params, "service", |step, node| {
                server.run_step(agent, step, node)
            })
        },
    ),
    ("standby.prepare_image", false, prepare_image),
    ("standby.run_image", false, |_, _, _| end(Ending::Reboot)),
    ("standby.power_off", false, |_, _, _| end(Ending::PowerOff)),
    ("standby.sync", true, |_, _, _| {
        rustix::fs::sync();
        Ok(Done::with(Value::Null))
    }),
    ("rescue.finalize_rescue", true, finalize_rescue),
    ("image.install_bootloader", false, install_bootloader),
    ("poll.get_hardware_info", true, |server, _, _| {
        hardware_info(server)
    }),
    ("poll.set_node_info", true, |_, _, _| {
        Ok(Done::with(Value::Null))
    }),
    ("log.collect_system_logs", true, |_, _, _| collect_logs()),
];

/// The steps: name, interface, priority, whether they may be aborted.
pub const STEPS: [(&str, &str, u32, bool); 8] = [
    ("erase_devices_metadata", "deploy", 99, true),
    ("erase_devices", "deploy", 10, true),
    ("delete_configuration", "raid", 0, false),
    ("create_configuration", "raid", 0, false),
    ("burnin_cpu", "deploy", 0, true),
    ("burnin_memory", "deploy", 0, true),
    ("burnin_disk", "deploy", 0, true),
    ("burnin_network", "deploy", 0, true),
];

pub fn list_steps(kind: &str) -> Result<Done, Failure> {
    let steps: Vec<Step> = STEPS
        .iter()
        .map(|(step, interface, priority, abortable)| Step {
            step: (*step).to_owned(),
            priority: *priority,
            interface: (*interface).to_owned(),
            reboot_requested: false,
            abortable: Some(*abortable),
            args: None,
        })
        .collect();
    Ok(Done::with(json!({
        kind: {HARDWARE_MANAGER: steps},
        "hardware_manager_version": versions(),
    })))
}

fn versions() -> Value {
    json!({HARDWARE_MANAGER: env!("CARGO_PKG_VERSION")})
}

pub(super) fn parse<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::params(format!("{what}: {error}")))
}

/// Steps listed by one version of the ramdisk are not executed by another, which may do something else by the same name.
pub fn execute_step(
    mut params: Map<String, Value>,
    kind: &str,
    run: impl FnOnce(&Step, Option<&Value>) -> Result<Value, Failure>,
) -> Result<Done, Failure> {
    if let Some(listed) = params
        .get(&format!("{kind}_version"))
        .filter(|listed| !listed.is_null())
        && *listed != versions()
    {
        return Err(Failure::new(
            "VersionMismatch",
            500,
            format!(
                "the steps were listed by {listed}, but this is {}: list them again",
                versions()
            ),
        ));
    }
    let value = params
        .remove("step")
        .ok_or_else(|| Failure::params("there is no step".to_owned()))?;
    let step: Step = parse(value.clone(), "step")?;
    tracing::info!("executes the step {}", step.step);
    let result = run(&step, params.get("node"))?;
    Ok(Done::with(
        json!({format!("{kind}_result"): result, format!("{kind}_step"): value}),
    ))
}

impl ThisServer {
    fn run_step(&self, agent: &Agent, step: &Step, node: Option<&Value>) -> Result<Value, Failure> {
        let args = step.args.clone().unwrap_or_default();
        match step.step.as_str() {
            "erase_devices" => erase_devices(self, agent),
            "erase_devices_metadata" => erase_metadata(self),
            "create_configuration" => create_configuration(self, args, node),
            "delete_configuration" => {
                raid::delete(&self.sysfs)?;
                Ok(Value::Null)
            }
            "burnin_cpu" => Ok(serde_json::to_value(burn_in::cpu(&parse(
                args.into(),
                "args",
            )?)?)?),
            "burnin_memory" => Ok(serde_json::to_value(burn_in::memory(&parse(
                args.into(),
                "args",
            )?)?)?),
            "burnin_disk" => {
                let mut disks = arrays::top(&self.sysfs)?;
                // Cards and sticks wear out by it.
                disks.retain(|disk| !arrays::is_removable(&self.sysfs, &disk.name));
                let options = parse(args.into(), "args")?;
                Ok(serde_json::to_value(burn_in::disks(&options, &disks)?)?)
            }
            "burnin_network" => Ok(serde_json::to_value(burn_in::network(&parse(
                args.into(),
                "args",
            )?)?)?),
            other => {
                let known: Vec<&str> = STEPS.iter().map(|(step, ..)| *step).collect();
                Err(Failure::params(format!(
                    "there is no step {other}; there are: {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// Arguments of the step `create_configuration`, in Ironic's words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateArgs {
    target_raid_config: Option<RaidConfig>,
    #[serde(default = "yes")]
    create_root_volume: bool,
    #[serde(default = "yes")]
    create_nonroot_volumes: bool,
    #[serde(default)]
    delete_existing: bool,
}

fn yes() -> bool {
    true
}

/// Answers with what the node's `raid_config` is now.
fn create_configuration(
    server: &ThisServer,
    args: Map<String, Value>,
    node: Option<&Value>,
) -> Result<Value, Failure> {
    let CreateArgs {
        target_raid_config,
        create_root_volume,
        create_nonroot_volumes,
        delete_existing,
    } = parse(args.into(), "args")?;
    let of_node = || {
        node.and_then(|node| node.get("target_raid_config"))
            .filter(|target| !target.is_null())
            .map(|target| parse(target.clone(), "target_raid_config"))
            .transpose()
    };
    let mut wanted: RaidConfig = match target_raid_config {
        Some(target) => target,
        None => of_node()?.unwrap_or_default(),
    };
    wanted
        .logical_disks
        .retain(|logical| match logical.is_root_volume {
            Some(true) => create_root_volume,
            _ => create_nonroot_volumes,
        });
    if delete_existing {
        raid::delete(&server.sysfs)?;
    }
    Ok(serde_json::to_value(raid::create(&wanted, &server.sysfs)?)?)
}

/// Stops the arrays, so that their members are erased as the disks that they are.
fn disks_to_erase(server: &ThisServer) -> Result<Vec<Disk>, Failure> {
    for medium in device::left_alone(&server.sysfs) {
        tracing::warn!("{} is not erased: it is {}", medium.name, medium.reason);
    }
    raid::stop_all(&server.sysfs)?;
    Ok(arrays::physical(&server.sysfs)?)
}

fn root_disk(server: &ThisServer, agent: &Agent) -> Result<Disk, Failure> {
    let sysfs = &server.sysfs;
    let disks = arrays::roots(sysfs, agent.is_root_hinted())?;
    let fixed: Vec<_> = disks
        .iter()
        .filter(|disk| !arrays::is_removable(sysfs, &disk.name))
        .cloned()
        .collect();
    // A stick is chosen only by what fits nothing that stays in the server.
    agent.root_disk(&fixed).or_else(|_| agent.root_disk(&disks))
}

/// All disks at the same time. If one is not erased the step fails, and its error still holds all the records.
fn erase_devices(server: &ThisServer, agent: &Agent) -> Result<Value, Failure> {
    let disks = disks_to_erase(server)?;
    let outcomes: Vec<Result<EraseRecord, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = disks
            .iter()
            .map(|disk| scope.spawn(|| erase::erase(disk, &agent.progress)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(outcome) => Ok(outcome?),
                Err(_) => Err(Failure::new(
                    "BlockDeviceEraseError",
                    500,
                    "erasing ended unexpectedly".to_owned(),
                )),
            })
            .collect()
    });
    let mut records = Vec::new();
    let mut failures = Vec::new();
    for (disk, outcome) in disks.iter().zip(outcomes) {
        match outcome {
            Ok(mut record) => {
                record.removable = arrays::is_removable(&server.sysfs, &disk.name);
                if !record.erased() {
                    failures.push(disk.name.clone());
                }
                records.push(record);
            }
            Err(Failure(error)) => failures.push(format!("{} ({})", disk.name, error.message)),
        }
    }
    let records = serde_json::to_value(records)?;
    if failures.is_empty() {
        return Ok(records);
    }
    let mut failure = failure(
        "BlockDeviceEraseError",
        500,
        format!("not erased: {}", failures.join(", ")),
    );
    failure.details = records.to_string();
    Err(Failure(failure))
}

fn erase_metadata(server: &ThisServer) -> Result<Value, Failure> {
    for disk in disks_to_erase(server)? {
        erase::erase_metadata(&disk)?;
    }
    Ok(Value::Null)
}

fn prepare_image(
    server: &ThisServer,
    agent: &Agent,
    params: Map<String, Value>,
) -> Result<Done, Failure> {
    let asked = AskedImage::read(params)?;
    let disk = root_disk(server, agent)?;
    boot::check_array(&server.sysfs, &disk)?;
    raid::release(&server.sysfs, &disk)?;
    let open = || Ok(write_image::Target::open(&disk)?);
    let mut done = asked.write(agent, &disk, open)?;
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(disk.path())?;
    let growth = write_image::finish(&mut file, &asked.finish, disk.logical_block_bytes)?;
    if let Some(growth) = growth {
        if let Growth::Left { reason } = &growth {
            tracing::warn!("the last partition does not reach to the end of the disk: {reason}");
        }
        done.value["record"]["growth"] = serde_json::to_value(growth)?;
    }
    device::ioctl::reread_partitions(&file)?;
    Ok(done)
}

fn end(ending: Ending) -> Result<Done, Failure> {
    rustix::fs::sync();
    Ok(Done {
        value: Value::Null,
        ending: Some(ending),
    })
}

fn finalize_rescue(_: &ThisServer, _: &Agent, params: Map<String, Value>) -> Result<Done, Failure> {
    rescue::open(&parse(params.into(), "params")?)?;
    Ok(Done {
        value: Value::Null,
        ending: Some(Ending::Rescue),
    })
}

fn install_bootloader(
    server: &ThisServer,
    agent: &Agent,
    _: Map<String, Value>,
) -> Result<Done, Failure> {
    let disk = root_disk(server, agent)?;
    boot::check_array(&server.sysfs, &disk)?;
    let how = boot::check_bootable(&disk, boot::is_uefi(&server.sysfs));
    let how = how.map_err(|error| Failure::new(error.kind(), 500, chain(&error)))?;
    Ok(Done::with(
        json!({"result": format!("install_bootloader: {how}")}),
    ))
}

/// The inventory, and what else the inspection found beside it.
fn hardware_info(server: &ThisServer) -> Result<Done, Failure> {
    let Inspection {
        inventory,
        pci_devices,
        error,
    } = server.inspector.inspect(ANSWER_PATIENCE);
    let mut value = serde_json::to_value(inventory)?;
    value["pci_devices"] = serde_json::to_value(pci_devices)?;
    value["error"] = error.into();
    Ok(Done::with(value))
}

/// The kernel's log, gzipped, in base64, under the stock agent's key.
fn collect_logs() -> Result<Done, Failure> {
    use base64::Engine;
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&crate::journal::kernel_log()?)?;
    let packed = base64::engine::general_purpose::STANDARD.encode(encoder.finish()?);
    Ok(Done::with(json!({"system_logs": packed})))
}
