//! What may be asked of the ramdisk: the stock agent's names, and what each does here.

use super::{Agent, Ending, failure};
use crate::device::{self, Disk, hints};
use crate::journal::chain;
use crate::protocol::step::HARDWARE_MANAGER;
use crate::protocol::{CommandFailure, EraseRecord, ImageInfo, Step, WriteRecord};
use crate::steps::{boot, burn_in, erase, raid, rescue, write_image};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::PoisonError;

/// A command's work.
pub type Run = fn(&Agent, Map<String, Value>) -> Result<Done, Failure>;

/// How a command went well.
pub struct Done {
    pub value: Value,
    pub ending: Option<Ending>,
}

impl Done {
    fn with(value: Value) -> Self {
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

    fn params(message: String) -> Self {
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
    ("clean.get_clean_steps", true, |_, _| {
        list_steps("clean_steps")
    }),
    ("clean.execute_clean_step", false, |agent, params| {
        execute_step(agent, params, "clean")
    }),
    ("deploy.get_deploy_steps", true, |_, _| {
        list_steps("deploy_steps")
    }),
    ("deploy.execute_deploy_step", false, |agent, params| {
        execute_step(agent, params, "deploy")
    }),
    ("service.get_service_steps", true, |_, _| {
        list_steps("service_steps")
    }),
    ("service.execute_service_step", false, |agent, params| {
        execute_step(agent, params, "service")
    }),
    ("standby.prepare_image", false, prepare_image),
    ("standby.run_image", false, |_, _| end(Ending::Reboot)),
    ("standby.power_off", false, |_, _| end(Ending::PowerOff)),
    ("standby.sync", true, |_, _| {
        rustix::fs::sync();
        Ok(Done::with(Value::Null))
    }),
    ("rescue.finalize_rescue", true, finalize_rescue),
    ("image.install_bootloader", false, install_bootloader),
    ("poll.get_hardware_info", true, |agent, _| {
        hardware_info(agent)
    }),
    ("poll.set_node_info", true, |_, _| {
        Ok(Done::with(Value::Null))
    }),
    ("log.collect_system_logs", true, |_, _| collect_logs()),
];

pub fn find(name: &str) -> Option<Run> {
    COMMANDS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, _, run)| *run)
}

pub fn answers_at_once(name: &str) -> bool {
    COMMANDS
        .iter()
        .any(|(known, at_once, _)| *known == name && *at_once)
}

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

fn list_steps(kind: &str) -> Result<Done, Failure> {
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

fn parse<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::params(format!("{what}: {error}")))
}

/// Steps listed by one version of the ramdisk are not executed by another, which may do something else by the same name.
fn execute_step(
    agent: &Agent,
    mut params: Map<String, Value>,
    kind: &str,
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
    let result = run_step(agent, &step, params.get("node"))?;
    Ok(Done::with(
        json!({format!("{kind}_result"): result, format!("{kind}_step"): value}),
    ))
}

fn run_step(agent: &Agent, step: &Step, node: Option<&Value>) -> Result<Value, Failure> {
    let args = step.args.clone().unwrap_or_default();
    match step.step.as_str() {
        "erase_devices" => erase_devices(agent),
        "erase_devices_metadata" => erase_metadata(agent),
        "create_configuration" => {
            let target = args
                .get("target_raid_config")
                .or_else(|| node.and_then(|node| node.get("target_raid_config")))
                .cloned()
                .unwrap_or_default();
            let wanted = parse(target, "target_raid_config")?;
            Ok(serde_json::to_value(raid::create(
                &wanted,
                &disks(agent)?,
            )?)?)
        }
        "delete_configuration" => {
            raid::delete(&agent.sysfs, &disks(agent)?)?;
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
        "burnin_disk" => Ok(serde_json::to_value(burn_in::disks(
            &parse(args.into(), "args")?,
            &disks(agent)?,
        )?)?),
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

fn disks(agent: &Agent) -> Result<Vec<Disk>, Failure> {
    Ok(device::list(&agent.sysfs)?)
}

/// All disks at the same time. If one is not erased the step fails, and its error still holds all the records.
fn erase_devices(agent: &Agent) -> Result<Value, Failure> {
    let disks = disks(agent)?;
    let outcomes: Vec<Result<EraseRecord, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = disks
            .iter()
            .map(|disk| scope.spawn(|| erase::erase(disk)))
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
            Ok(record) => {
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

fn erase_metadata(agent: &Agent) -> Result<Value, Failure> {
    for disk in disks(agent)? {
        erase::erase_metadata(&disk)?;
    }
    Ok(Value::Null)
}

#[derive(Deserialize)]
struct PrepareImage {
    image_info: ImageInfo,
    #[serde(default)]
    configdrive: Option<String>,
}

fn root_disk(agent: &Agent) -> Result<Disk, Failure> {
    let properties = agent
        .properties
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let disks = disks(agent)?;
    Ok(hints::choose(&disks, properties.root_device.as_ref())?.clone())
}

fn prepare_image(agent: &Agent, params: Map<String, Value>) -> Result<Done, Failure> {
    let PrepareImage {
        image_info,
        configdrive,
    } = parse(params.into(), "image_info")?;
    let expected = write_image::check(&image_info)?;
    let finish = write_image::Finish::wanted(&image_info, configdrive.as_deref())?;
    let disk = root_disk(agent)?;
    let (source, length) = download(agent, &image_info)?;
    tracing::info!("writes the image {} to {}", image_info.id, disk.name);
    let target = write_image::Target::open(&disk)?;
    let written = write_image::write_stream(
        source,
        length,
        image_info.disk_format.as_deref(),
        &expected,
        target,
    )?;
    let record: WriteRecord = write_image::record(&image_info, &disk, written);
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(disk.path())?;
    write_image::finish(&mut file, &finish)?;
    device::ioctl::reread_partitions(&file)?;
    Ok(Done::with(json!({
        "result": format!("prepare_image: image ({}) written to device {}", image_info.id, disk.path().display()),
        "record": record,
    })))
}

/// The first URL that answers, as a reader, and how much it will give.
fn download(
    agent: &Agent,
    image: &ImageInfo,
) -> Result<(impl std::io::Read + Send + use<>, Option<u64>), Failure> {
    use futures_util::TryStreamExt;
    let mut tried = Vec::new();
    for url in &image.urls {
        // Within the runtime from the start: the client sets its timers when the request is made.
        let answer = agent
            .runtime
            .block_on(async { agent.client.get(url).send().await });
        match answer.and_then(reqwest::Response::error_for_status) {
            Ok(response) => {
                let length = response.content_length();
                let stream = response.bytes_stream().map_err(std::io::Error::other);
                let reader = tokio_util::io::StreamReader::new(stream);
                let bridge =
                    tokio_util::io::SyncIoBridge::new_with_handle(reader, agent.runtime.clone());
                return Ok((bridge, length));
            }
            Err(error) => tried.push(chain(&error)),
        }
    }
    Err(Failure::new(
        "ImageDownloadError",
        500,
        format!(
            "the image {} cannot be downloaded: {}",
            image.id,
            tried.join("; ")
        ),
    ))
}

fn end(ending: Ending) -> Result<Done, Failure> {
    rustix::fs::sync();
    Ok(Done {
        value: Value::Null,
        ending: Some(ending),
    })
}

fn finalize_rescue(_: &Agent, params: Map<String, Value>) -> Result<Done, Failure> {
    rescue::open(&parse(params.into(), "params")?)?;
    Ok(Done {
        value: Value::Null,
        ending: Some(Ending::Rescue),
    })
}

fn install_bootloader(agent: &Agent, _: Map<String, Value>) -> Result<Done, Failure> {
    let disk = root_disk(agent)?;
    let how = boot::check_bootable(&disk, boot::is_uefi(&agent.sysfs))?;
    Ok(Done::with(
        json!({"result": format!("install_bootloader: {how}")}),
    ))
}

fn hardware_info(agent: &Agent) -> Result<Done, Failure> {
    let inspection = crate::inspect::inspect(&agent.sysfs, None);
    Ok(Done::with(serde_json::to_value(inspection.inventory)?))
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
