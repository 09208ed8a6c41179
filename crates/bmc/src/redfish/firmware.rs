//! Firmware of a Redfish service: `UpdateService`, and tasks.

use super::document::Document;
use super::{PAGES_MAX, Redfish};
use crate::bmc::Bmc;
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::firmware::{
    FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskSeen, TaskState, TaskWork,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

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

    /// Where the update is asked for, and what with.
    pub(super) async fn update_request(
        &self,
        update: &FirmwareUpdate,
    ) -> Result<(String, Value), BmcError> {
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
        Ok((action.target, body))
    }

    pub(super) async fn start_update(
        &self,
        update: &FirmwareUpdate,
    ) -> Result<Option<TaskRef>, BmcError> {
        let (target, body) = self.update_request(update).await?;
        let answer = self.transport.post(&target, &body).await?;
        let text = |key: &str| answer.value.get(key)?.as_str().map(str::to_owned);
        let shown = text("@odata.id");
        // A task's monitor may be gone once it has told the end; the task itself stays.
        let is_task = text("@odata.type").is_some_and(|kind| kind.starts_with("#Task."));
        let task = if is_task {
            shown.or_else(|| answer.location())
        } else {
            answer.location().or(shown)
        };
        if task.is_none() {
            let expected = "a task in Location";
            self.transport
                .oddities
                .note(&target, expected, answer.status.to_string());
        }
        Ok(task.map(TaskRef))
    }

    /// A part of the list that cannot be read is an error: whoever asks may conclude from what is not in it.
    pub(super) async fn list_tasks(&self) -> Result<Option<Vec<TaskSeen>>, BmcError> {
        let service = match self.layout().await?.root.link("Tasks") {
            Some(path) => self.transport.get_if_there(&path).await?,
            None => None,
        };
        let mut next = service.and_then(|service| service.link("Tasks"));
        if next.is_none() {
            return Ok(None);
        }
        let mut members: Vec<Document> = Vec::new();
        let (mut pages, mut told) = (0, 0);
        while let Some(path) = next.take() {
            if pages == PAGES_MAX {
                return Ok(None);
            }
            let page = self.transport.get(&path).await?;
            let Some(Value::Array(listed)) = page.value("Members") else {
                return Err(page.without(self.name(), "Members", "a list"));
            };
            let read = page.list("Members");
            if read.len() < listed.len() {
                return Err(page.without(self.name(), "Members", "a list of links"));
            }
            members.extend(read);
            pages += 1;
            told = page.count("Members@odata.count").unwrap_or(told);
            next = page.text("Members@odata.nextLink");
        }
        if (members.len() as u64) < told {
            return Ok(None);
        }
        let read = members.into_iter().map(|member| async move {
            if member.has("TaskState") {
                return Ok(seen(&member));
            }
            // One that went meanwhile was there.
            let task = self.transport.get_if_there(&member.path).await?;
            Ok::<_, BmcError>(seen(task.as_ref().unwrap_or(&member)))
        });
        let tasks: Vec<TaskSeen> = stream::iter(read)
            .buffered(self.transport.limits.connections.max(1))
            .try_collect()
            .await?;
        Ok(Some(tasks))
    }

    pub(super) async fn read_task(&self, task: &TaskRef) -> Result<TaskProgress, BmcError> {
        let document = self.transport.get(&task.0).await?;
        let state = match state_of(&document) {
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

/// `None`: it says nothing of it, or nothing that is known.
fn state_of(task: &Document) -> Option<TaskState> {
    let is_critical = || task.text("TaskStatus").as_deref() == Some("Critical");
    Some(match task.word("TaskState", STATES)? {
        TaskState::Completed if is_critical() => TaskState::Failed,
        TaskState::Running if waits_for_boot(task) => TaskState::NeedsBoot,
        state => state,
    })
}

fn seen(task: &Document) -> TaskSeen {
    TaskSeen {
        task: TaskRef(task.path.clone()),
        name: task.text("Name"),
        state: state_of(task).unwrap_or(TaskState::Running),
        work: work_of(task),
    }
}

/// By the request that made the task, where the BMC keeps it (`Task.Payload`).
fn work_of(task: &Document) -> TaskWork {
    match task.text("Payload/TargetUri") {
        None => return TaskWork::Untold,
        Some(target) if !target.contains("UpdateService") => return TaskWork::Other,
        Some(_) => {}
    }
    let body = match task.value("Payload/JsonBody") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        Some(body) => body.clone(),
        None => Value::Null,
    };
    let Some(image) = body.get("ImageURI").and_then(Value::as_str) else {
        return TaskWork::Untold;
    };
    let targets = body.get("Targets").and_then(Value::as_array);
    let targets = targets.into_iter().flatten().filter_map(Value::as_str);
    TaskWork::Update {
        image: image.to_owned(),
        targets: targets.map(str::to_owned).collect(),
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
