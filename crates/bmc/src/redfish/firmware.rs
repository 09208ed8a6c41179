//! Firmware of a Redfish service: `UpdateService`, and tasks.

use super::Redfish;
use super::document::Document;
use crate::bmc::Bmc;
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::firmware::{FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskState};
use serde_json::json;

const UPDATE: &str = "UpdateService.SimpleUpdate";

const STATES: &[(&str, TaskState)] = &[
    ("New", TaskState::Running),
    ("Starting", TaskState::Running),
    ("Running", TaskState::Running),
    ("Pending", TaskState::Running),
    ("Service", TaskState::Running),
    ("Stopping", TaskState::Running),
    ("Suspended", TaskState::Running),
    ("Cancelling", TaskState::Running),
    ("Completed", TaskState::Completed),
    ("Killed", TaskState::Failed),
    ("Exception", TaskState::Failed),
    ("Interrupted", TaskState::Failed),
    ("Cancelled", TaskState::Cancelled),
];

impl Redfish {
    async fn update_service(&self) -> Result<Option<Document>, BmcError> {
        match self.layout().await?.root.link("UpdateService") {
            Some(path) => self.transport.get_part(&path).await,
            None => Ok(None),
        }
    }

    pub(super) async fn firmware_capabilities(
        &self,
        found: &mut Capabilities,
    ) -> Result<(), BmcError> {
        if let Some(service) = self.update_service().await? {
            let updates = service.action(UPDATE).is_some();
            found.add_if(updates, Capability::FirmwareUpdate);
            let inventory = match service.link("FirmwareInventory") {
                Some(path) => self.transport.get_part(&path).await?,
                None => None,
            };
            found.add_if(inventory.is_some(), Capability::FirmwareInventory);
        }
        Ok(())
    }

    pub(super) async fn read_firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        let service = self.update_service().await?;
        let path = service.and_then(|service| service.link("FirmwareInventory"));
        let path = path.ok_or_else(|| self.lacks(Capability::FirmwareInventory))?;
        if self.transport.get_if_there(&path).await?.is_none() {
            return Err(self.lacks(Capability::FirmwareInventory));
        }
        let items = self.collection_at(&path, usize::MAX).await?;
        Ok(items
            .iter()
            .map(|item| FirmwareItem {
                id: item.path.clone(),
                name: item.text("Name"),
                version: item.text("Version"),
                updateable: item.flag("Updateable"),
            })
            .collect())
    }

    pub(super) async fn start_update(
        &self,
        update: &FirmwareUpdate,
    ) -> Result<Option<TaskRef>, BmcError> {
        let service = self.update_service().await?;
        let action = service.and_then(|service| service.action(UPDATE));
        let action = action.ok_or_else(|| self.lacks(Capability::FirmwareUpdate))?;
        let mut body = json!({"ImageURI": update.image.as_str()});
        let protocol = update.image.scheme().to_ascii_uppercase();
        let protocols = action.allowed("TransferProtocol");
        if protocols.contains(&protocol) {
            body["TransferProtocol"] = json!(protocol);
        } else if !protocols.is_empty() {
            return Err(BmcError::Invalid {
                rule: "a firmware image is fetched by a protocol that the BMC knows",
                value: update.image.scheme().to_owned(),
                fix: format!("serve it by one of {}", protocols.join(", ")),
            });
        }
        if !update.targets.is_empty() {
            body["Targets"] = json!(update.targets);
        }
        let answer = self.transport.post(&action.target, &body).await?;
        let task = answer.location().or_else(|| {
            let path = answer.value.get("@odata.id")?.as_str()?;
            Some(path.to_owned())
        });
        if task.is_none() {
            let expected = "a task in Location";
            self.transport
                .oddities
                .note(&action.target, expected, answer.status.to_string());
        }
        Ok(task.map(TaskRef))
    }

    pub(super) async fn read_task(&self, task: &TaskRef) -> Result<TaskProgress, BmcError> {
        let document = self.transport.get(&task.0).await?;
        let state = document.word("TaskState", STATES);
        let state = match state {
            Some(TaskState::Completed)
                if document.text("TaskStatus").as_deref() == Some("Critical") =>
            {
                TaskState::Failed
            }
            Some(TaskState::Running) if waits_for_boot(&document) => TaskState::NeedsBoot,
            Some(state) => state,
            // A task's monitor answers with the task while it runs, and with what it made at the end.
            None if document.has("TaskState") || document.has("TaskMonitor") => {
                return Err(document.without(self.name(), "TaskState", "a known state"));
            }
            None => TaskState::Completed,
        };
        Ok(TaskProgress {
            state,
            percent: document
                .count("PercentComplete")
                .map(|percent| percent.min(100) as u8),
            messages: document
                .list("Messages")
                .iter()
                .filter_map(|message| {
                    message
                        .text("Message")
                        .or_else(|| message.text("MessageId"))
                })
                .collect(),
        })
    }
}

/// Whether it will not go on before the server boots: as the standard's message says it, or Dell's job.
fn waits_for_boot(task: &Document) -> bool {
    let by_message = task.list("Messages").iter().any(|message| {
        let id = message.text("MessageId").unwrap_or_default();
        id.ends_with("ResetRequired") || id.ends_with("ResetRecommended")
    });
    by_message || task.text("Oem/Dell/JobState").as_deref() == Some("Scheduled")
}
