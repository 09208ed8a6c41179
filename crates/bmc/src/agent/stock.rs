//! OpenStack's own agent, `ironic-python-agent`, in whatever ramdisk an operator gives.
//!
//! It knows no marks: what is to be found again after a lost answer must be told from the list of its commands. So the mark
//! goes where a result shows it again: a step is answered with the step, an image with its id. It knows no epochs either, and
//! obeys whoever has its token; it refuses a second command while one runs.
//!
//! ```text
//!  erase:  raid.delete_configuration ─▶ erase_devices ─▶ inventory, log ─▶ the proof
//!  write:  the root device's hints ─▶ prepare_image ─▶ install_bootloader
//! ```

use super::evidence;
use super::password::hashed;
use super::wire::{Told, Wire};
use crate::error::BmcError;
use crate::inside::{Image, Inside, Order, Progress, Report, Task, Wiped};
use async_trait::async_trait;
use corten_ramdisk::protocol::CommandStatus;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

/// The stock agent's API.
pub struct StockAgent {
    wire: Wire,
    /// The node, in Ironic's words: the agent reads from it what it is to heed.
    node: Value,
    version: String,
}

const VERSION_CHARS_MAX: usize = 40;
/// It does not tell how much of a command is done.
const RUNNING: Progress = Progress::Running { done: None };

/// A command that came to a good end: its place in the list, and its result.
type Ended = (usize, Value);

impl StockAgent {
    /// The agent at this URL, which shows this certificate (PEM) and takes this token; `node` is handed to its steps.
    pub fn new(
        url: &str,
        certificate: &str,
        token: SecretString,
        node: Value,
        version: Option<&str>,
    ) -> Result<Self, BmcError> {
        Ok(Self {
            wire: Wire::new(url, certificate, token)?,
            node,
            // It stands in records.
            version: match version {
                Some(text) => text.escape_debug().take(VERSION_CHARS_MAX).collect(),
                None => "of an unknown version".to_owned(),
            },
        })
    }

    async fn send(&self, name: &str, params: Value) -> Result<Told, BmcError> {
        self.wire.run(name, params, None).await
    }

    /// The command whose result is ours, begun if there is none. `None`: it runs.
    async fn have(
        &self,
        past: &[Told],
        name: &str,
        ours: impl Fn(usize, &Value) -> bool,
        params: impl FnOnce() -> Value,
    ) -> Result<Option<Ended>, BmcError> {
        let mut last = None;
        for (at, told) in past.iter().enumerate() {
            if told.command_name != short(name) {
                continue;
            }
            let result = told.command_result.clone().unwrap_or_default();
            if told.command_status == CommandStatus::Succeeded && ours(at, &result) {
                return Ok(Some((at, result)));
            }
            last = Some(told);
        }
        // Work of another mark that failed has ended its operation: what failed last is ours.
        if let Some(told) = last
            && let CommandStatus::Failed | CommandStatus::VersionMismatch = told.command_status
        {
            return Err(self.wire.failed(name, told.command_error.as_ref()));
        }
        let told = self.send(name, params()).await?;
        self.ended(past.len(), name, told)
    }

    fn ended(&self, at: usize, name: &str, told: Told) -> Result<Option<Ended>, BmcError> {
        match told.command_status {
            CommandStatus::Running => Ok(None),
            CommandStatus::Succeeded => Ok(Some((at, told.command_result.unwrap_or_default()))),
            CommandStatus::Failed | CommandStatus::VersionMismatch => {
                Err(self.wire.failed(name, told.command_error.as_ref()))
            }
        }
    }

    /// What a question is answered with; one that was asked since another command's end is not asked again.
    async fn ask(&self, past: &[Told], name: &str, since: usize) -> Result<Value, BmcError> {
        let told = past.iter().skip(since).find(|told| {
            told.command_name == short(name) && told.command_status == CommandStatus::Succeeded
        });
        match told {
            Some(told) => Ok(told.command_result.clone().unwrap_or_default()),
            None => self.must(name, json!({})).await,
        }
    }

    /// The result of a command that is over when it is answered.
    async fn must(&self, name: &str, params: Value) -> Result<Value, BmcError> {
        let told = self.send(name, params).await?;
        match self.ended(0, name, told)? {
            Some((_, result)) => Ok(result),
            None => Err(BmcError::Busy {
                bmc: self.wire.name.clone(),
                request: name.to_owned(),
                after: None,
            }),
        }
    }

    /// One step of this mark, and what came of it.
    async fn step(
        &self,
        past: &[Told],
        mark: &str,
        interface: &str,
        step: &str,
        node: &Value,
    ) -> Result<Option<Ended>, BmcError> {
        let ours = |_, result: &Value| result["clean_step"]["mark"] == mark;
        let params = || {
            let step = json!({"interface": interface, "step": step, "mark": mark});
            json!({"step": step, "node": node, "ports": []})
        };
        let ended = self.have(past, "clean.execute_clean_step", ours, params);
        Ok(ended
            .await?
            .map(|(at, mut result)| (at, result["clean_result"].take())))
    }

    async fn erase(&self, past: &[Told], order: &Order) -> Result<Option<Report>, BmcError> {
        // Members of arrays it would leave out, so there must be none.
        let mark = format!("{}/arrays", order.mark);
        let arrays = self.step(past, &mark, "raid", "delete_configuration", &self.node);
        if arrays.await?.is_none() {
            return Ok(None);
        }
        let erased = self.step(past, &order.mark, "deploy", "erase_devices", &self.node);
        let Some((at, result)) = erased.await? else {
            return Ok(None);
        };
        let inventory = self.ask(past, "poll.get_hardware_info", at).await?;
        let logs = self.ask(past, "log.collect_system_logs", at).await?;
        let method = format!(
            "erase_devices of ironic-python-agent {}, not read back",
            self.version
        );
        let wiped: Vec<Wiped> = evidence::wiped(&result, &inventory, &logs, &order.mark, &method)
            .map_err(|why| self.wire.task_failed("erase_devices", why))?;
        Ok(Some(Report {
            wiped,
            details: result,
        }))
    }

    async fn write(
        &self,
        past: &[Told],
        order: &Order,
        image: &Image,
    ) -> Result<Option<Report>, BmcError> {
        // The agent's name of the image is a file's name there.
        let id = order.mark.replace('/', "-");
        let shown = format!("image ({id})");
        let written = |_, result: &Value| {
            let text = result["result"].as_str();
            text.is_some_and(|text| text.contains(&shown))
        };
        let named = short("deploy.get_deploy_steps");
        if image.root_device.is_some() && !past.iter().any(|told| told.command_name == named) {
            // By this the agent learns the hints, as Ironic has it.
            let mut node = self.node.clone();
            node["properties"]["root_device"] = image.root_device.clone().into();
            self.must(
                "deploy.get_deploy_steps",
                json!({"node": node, "ports": []}),
            )
            .await?;
        }
        let params = || image_params(&id, image);
        let written = self.have(past, "standby.prepare_image", written, params);
        let Some((at, result)) = written.await? else {
            return Ok(None);
        };
        // With UEFI it names the loader to the firmware; with BIOS it does nothing.
        let since = |other, _: &Value| other > at;
        let params = || json!({"root_uuid": null});
        let loader = self.have(past, "image.install_bootloader", since, params);
        Ok(loader.await?.map(|_| Report::of(result)))
    }

    async fn any_step(
        &self,
        past: &[Told],
        order: &Order,
        interface: &str,
        step: &str,
        args: &Map<String, Value>,
    ) -> Result<Option<Report>, BmcError> {
        let mut node = self.node.clone();
        for (name, value) in args {
            // Ironic hands arguments to this agent's steps by the node.
            match name.as_str() {
                "target_raid_config" => node["target_raid_config"] = value.clone(),
                _ => {
                    return Err(BmcError::Invalid {
                        rule: "steps of the stock agent have no arguments",
                        value: format!("{step}: {name}"),
                        fix: "leave it out, set driver_info/agent_* as ironic-python-agent documents it, or boot the node \
                              into Corten's own ramdisk"
                            .to_owned(),
                    });
                }
            }
        }
        let ended = self.step(past, &order.mark, interface, step, &node);
        Ok(ended.await?.map(|(_, result)| Report::of(result)))
    }
}

/// A command's name as results have it.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn image_params(id: &str, image: &Image) -> Value {
    let Image {
        id: _,
        url,
        checksum,
        disk_format,
        config_drive,
        root_device: _,
    } = image;
    let (algorithm, digits) = checksum.clone().unzip();
    json!({
        "image_info": {
            "id": id,
            "urls": url.iter().collect::<Vec<_>>(),
            "os_hash_algo": algorithm,
            "os_hash_value": digits,
            "disk_format": disk_format,
            "image_type": "whole-disk",
            // What needs no conversion goes to the disk as it comes, and not through memory.
            "stream_raw_images": disk_format.as_deref() == Some("raw"),
        },
        "configdrive": config_drive,
    })
}

#[async_trait]
impl Inside for StockAgent {
    async fn work(&self, order: &Order) -> Result<Progress, BmcError> {
        let past = self.wire.list().await?;
        if past
            .iter()
            .any(|told| told.command_status == CommandStatus::Running)
        {
            return Ok(RUNNING);
        }
        let done = match &order.task {
            Task::Erase => self.erase(&past, order).await?,
            Task::Write(image) => self.write(&past, order, image).await?,
            Task::Step {
                interface,
                step,
                args,
            } => self.any_step(&past, order, interface, step, args).await?,
            // It takes no keys.
            Task::Rescue { password, .. } => {
                let password = hashed(&self.wire.name, password)?;
                let params = json!({"rescue_password": password, "hashed": true});
                Some(Report::of(
                    self.must("rescue.finalize_rescue", params).await?,
                ))
            }
            Task::Settle => Some(Report::of(self.must("standby.sync", json!({})).await?)),
            Task::Inventory => {
                let told = self.must("poll.get_hardware_info", json!({}));
                Some(Report::of(told.await?))
            }
        };
        Ok(done.map_or(RUNNING, Progress::Done))
    }
}
