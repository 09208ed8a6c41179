//! Our own ramdisk. It runs one command at a time and keeps the results until it is booted again. Each command carries the
//! mark of the work it is for, so asking again after a lost answer finds the work that was begun.

use super::password::hashed;
use super::wire::{Wire, Work};
use crate::error::BmcError;
use crate::inside::{Image, Inside, Order, Progress, Report, Task, Wiped};
use async_trait::async_trait;
use corten_ramdisk::protocol::{CommandStatus, EraseMethod, EraseRecord};
use secrecy::SecretString;
use serde_json::{Value, json};

/// What a command came to.
enum Came<T> {
    Done(T),
    /// How much of it is done, where the ramdisk tells.
    Running(Option<u64>),
}

impl<T> Came<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Came<U> {
        match self {
            Self::Done(result) => Came::Done(change(result)),
            Self::Running(done) => Came::Running(done),
        }
    }
}

/// The ramdisk's own API.
pub struct RemoteAgent(Wire);

impl RemoteAgent {
    /// The ramdisk at this URL, which shows this certificate (PEM) and takes this token.
    pub fn new(url: &str, certificate: &str, token: SecretString) -> Result<Self, BmcError> {
        Wire::new(url, certificate, token).map(Self)
    }

    /// Begins a command, or finds the one with this mark.
    async fn command(
        &self,
        order: &Order,
        mark: String,
        name: &str,
        params: Value,
    ) -> Result<Came<Value>, BmcError> {
        let epoch = order.epoch;
        let told = self.0.run(name, params, Some(Work { mark, epoch }));
        let told = told.await?;
        match told.command_status {
            CommandStatus::Running => Ok(Came::Running(told.command_progress)),
            CommandStatus::Succeeded => Ok(Came::Done(told.command_result.unwrap_or_default())),
            CommandStatus::Failed | CommandStatus::VersionMismatch => {
                Err(self.0.failed(name, told.command_error.as_ref()))
            }
        }
    }

    async fn step(&self, order: &Order, step: Value) -> Result<Came<Value>, BmcError> {
        let params = json!({"step": step, "node": {}, "ports": []});
        let mark = order.mark.clone();
        let done = self.command(order, mark, "clean.execute_clean_step", params);
        Ok(done.await?.map(|mut result| result["clean_result"].take()))
    }

    async fn erase(&self, order: &Order) -> Result<Came<Report>, BmcError> {
        let step = json!({"step": "erase_devices", "interface": "deploy"});
        let details = match self.step(order, step).await? {
            Came::Done(details) => details,
            Came::Running(done) => return Ok(Came::Running(done)),
        };
        let records: Vec<EraseRecord> =
            serde_json::from_value(details.clone()).map_err(|error| BmcError::Odd {
                bmc: self.0.name.clone(),
                request: "erase_devices".to_owned(),
                expected: "a record for each disk".to_owned(),
                found: error.to_string(),
            })?;
        let wiped = records
            .iter()
            .map(|record| self.wiped(record))
            .collect::<Result<_, _>>()?;
        Ok(Came::Done(Report { wiped, details }))
    }

    /// What the record of one disk proves; the last method is the one that did it.
    fn wiped(&self, record: &EraseRecord) -> Result<Wiped, BmcError> {
        let method = record.attempts.last().map(|attempt| attempt.method);
        let (true, Some(method)) = (record.erased(), method) else {
            let message = format!("the disk {} is not erased", record.device);
            return Err(self.0.task_failed("erase_devices", message));
        };
        let named = record.serial.as_ref().or(record.wwn.as_ref());
        Ok(Wiped {
            serial: named.unwrap_or(&record.device).clone(),
            size_bytes: record.size_bytes,
            method: method_words(method).to_owned(),
            removable: record.removable,
        })
    }

    async fn write(&self, order: &Order, image: &Image) -> Result<Came<Report>, BmcError> {
        let Image {
            id,
            url,
            checksum,
            disk_format,
            config_drive,
            root_device,
        } = image;
        let (algorithm, digits) = checksum.clone().unzip();
        let node = json!({"properties": {"root_device": root_device}});
        let params = json!({
            "image_info": {
                "id": id,
                "urls": url.iter().collect::<Vec<_>>(),
                "os_hash_algo": algorithm,
                "os_hash_value": digits,
                "disk_format": disk_format,
                "image_type": "whole-disk",
                "grow": true,
            },
            "configdrive": config_drive,
            "node": node,
        });
        let mark = order.mark.clone();
        let written = self.command(order, mark, "standby.prepare_image", params);
        let mut details = match written.await? {
            Came::Done(details) => details,
            Came::Running(done) => return Ok(Came::Running(done)),
        };
        // Whether the firmware will find a loader on what was written.
        let mark = format!("{}/loader", order.mark);
        let params = json!({"node": node});
        let checked = self.command(order, mark, "image.install_bootloader", params);
        Ok(checked.await?.map(|_| Report::of(details["record"].take())))
    }
}

#[async_trait]
impl Inside for RemoteAgent {
    async fn work(&self, order: &Order) -> Result<Progress, BmcError> {
        let mark = order.mark.clone();
        let done = match &order.task {
            Task::Erase => self.erase(order).await?,
            Task::Write(image) => self.write(order, image).await?,
            Task::Step {
                interface,
                step,
                args,
            } => {
                let step = json!({"step": step, "interface": interface, "args": args});
                self.step(order, step).await?.map(Report::of)
            }
            Task::Rescue {
                password,
                authorized_keys,
            } => {
                let params = json!({
                    "rescue_password": hashed(&self.0.name, password)?,
                    "hashed": true,
                    "authorized_keys": authorized_keys,
                });
                let opened = self.command(order, mark, "rescue.finalize_rescue", params);
                opened.await?.map(Report::of)
            }
            Task::Settle => {
                let settled = self.command(order, mark, "standby.sync", json!({}));
                settled.await?.map(Report::of)
            }
            Task::Inventory => {
                let told = self.command(order, mark, "poll.get_hardware_info", json!({}));
                told.await?.map(Report::of)
            }
        };
        Ok(match done {
            Came::Done(report) => Progress::Done(report),
            Came::Running(done) => Progress::Running { done },
        })
    }
}

fn method_words(method: EraseMethod) -> &'static str {
    match method {
        EraseMethod::NvmeSanitizeCrypto => "nvme sanitize, key forgotten",
        EraseMethod::NvmeSanitizeBlock => "nvme sanitize, cells erased",
        EraseMethod::NvmeFormatCrypto => "nvme format, key forgotten",
        EraseMethod::NvmeFormat => "nvme format",
        EraseMethod::AtaSecureEraseEnhanced => "ata secure erase, enhanced",
        EraseMethod::AtaSecureErase => "ata secure erase",
        EraseMethod::Discard => "discard",
        EraseMethod::Overwrite => "overwrite",
    }
}
