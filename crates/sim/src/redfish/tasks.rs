//! `TaskService`: what takes time. A task goes on each time that it, or its monitor, is read, and by nothing else.

use super::find::Asked;
use super::refusal::{BASE, Refusal};
use super::resource::{Done, Resource, collection, document, healthy, link};
use super::{RedfishNode, Service, locked, schema};
use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PATH: &str = "/redfish/v1/TaskService";
/// Ended tasks that are kept.
const KEPT: usize = 200;

/// What a task does at its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// Installs this version of a part's firmware.
    Firmware { part: String, version: String },
    /// Applies the BIOS settings that wait, at the next boot.
    BiosSettings,
    /// Fails.
    Nothing(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// It goes on at the next boot.
    Pending,
    Completed,
    Exception,
}

impl State {
    fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Exception)
    }
}

struct Task {
    node: String,
    work: Work,
    state: State,
    percent: u32,
    began: Timestamp,
    ended: Option<Timestamp>,
    messages: Vec<Value>,
    /// The request that made it.
    payload: Option<Value>,
}

#[derive(Default)]
pub(super) struct Tasks {
    made: u64,
    by_id: BTreeMap<u64, Task>,
}

fn message(key: &str, text: &str) -> Value {
    json!({
        "@odata.type": schema::of("Message"),
        "MessageId": format!("{BASE}.{key}"),
        "Message": text,
        "MessageArgs": [],
        "MessageSeverity": if key == "GeneralError" { "Critical" } else { "OK" },
    })
}

impl Task {
    fn end(&mut self, state: State, now: Timestamp, said: Value) {
        self.state = state;
        self.percent = 100;
        self.ended = Some(now);
        self.messages.push(said);
    }

    fn shown(&self, id: u64) -> Value {
        let path = format!("{PATH}/Tasks/{id}");
        let mut rest = json!({
            "TaskState": format!("{:?}", self.state),
            "TaskStatus": if self.state == State::Exception { "Critical" } else { "OK" },
            "PercentComplete": self.percent,
            "StartTime": self.began.to_string(),
            "Messages": self.messages,
        });
        if let Some(ended) = self.ended {
            rest["EndTime"] = json!(ended.to_string());
        } else {
            rest["TaskMonitor"] = json!(format!("{PATH}/TaskMonitors/{id}"));
        }
        if let Some(payload) = &self.payload {
            rest["Payload"] = payload.clone();
        }
        let name = match self.work {
            Work::Firmware { .. } => "Firmware update",
            Work::BiosSettings => "BIOS settings",
            Work::Nothing(_) => "Failing work",
        };
        document(&path, "Task", &id.to_string(), name, rest)
    }
}

impl Service {
    /// A new task; `waits`: for the next boot, else it runs.
    pub(super) fn begin(
        &self,
        node: &RedfishNode,
        work: Work,
        waits: bool,
        payload: Option<Value>,
    ) -> Done {
        let now = self.now();
        let mut tasks = locked(&self.tasks);
        tasks.made += 1;
        let id = tasks.made;
        let mut messages = Vec::new();
        if waits {
            messages.push(message(
                "ResetRequired",
                "It goes on when the server is booted.",
            ));
        }
        let task = Task {
            node: node.id.clone(),
            work,
            state: if waits {
                State::Pending
            } else {
                State::Running
            },
            percent: 0,
            began: now,
            ended: None,
            messages,
            payload,
        };
        let shown = task.shown(id);
        tasks.by_id.insert(id, task);
        while tasks.by_id.len() > KEPT
            && let Some(oldest) = tasks.by_id.iter().find(|(_, task)| task.state.is_over())
        {
            let oldest = *oldest.0;
            tasks.by_id.remove(&oldest);
        }
        Done::Accepted {
            monitor: format!("{PATH}/TaskMonitors/{id}"),
            task: shown,
        }
    }

    /// Whether a task of this kind waits for this node's next boot.
    pub(super) fn waits(&self, node: &RedfishNode, work: &Work) -> bool {
        let tasks = locked(&self.tasks);
        let mut tasks = tasks.by_id.values();
        tasks.any(|task| task.node == node.id && task.work == *work && task.state == State::Pending)
    }

    /// What waited for this node's boot is done by it.
    pub(super) fn booted(&self, node: &RedfishNode) {
        let now = self.now();
        for task in locked(&self.tasks).by_id.values_mut() {
            if task.node == node.id && task.state == State::Pending {
                task.end(State::Completed, now, message("Success", "It is done."));
            }
        }
    }

    /// Takes back the settings that wait, and the tasks of them.
    pub(super) fn forget_settings(&self, node: &RedfishNode) {
        node.look(|server| server.bios_pending.clear());
        let mut tasks = locked(&self.tasks);
        tasks.by_id.retain(|_, task| {
            !(task.node == node.id
                && task.work == Work::BiosSettings
                && task.state == State::Pending)
        });
    }

    /// Each look at a task that runs brings it on.
    fn go_on(&self, id: u64) {
        let now = self.now();
        let mut tasks = locked(&self.tasks);
        let Some(task) = tasks.by_id.get_mut(&id) else {
            return;
        };
        if task.state != State::Running {
            return;
        }
        let polls = self.task_polls.load(Ordering::Relaxed);
        task.percent = (task.percent + 100_u32.div_ceil(polls)).min(100);
        if task.percent < 100 {
            return;
        }
        match (&task.work, self.node(&task.node)) {
            (Work::Nothing(why), _) => {
                let said = message("GeneralError", why);
                task.end(State::Exception, now, said);
            }
            (_, None) => {
                let said = message("GeneralError", "The server is gone.");
                task.end(State::Exception, now, said);
            }
            (Work::BiosSettings, _) => task.state = State::Pending,
            (Work::Firmware { part, version }, Some(node)) => {
                let (part, version) = (part.clone(), version.clone());
                // The firmware that a server started with runs until it is started anew.
                let waits = node.look(|server| {
                    let waits = part == "bios" && server.is_on();
                    let place = if waits {
                        &mut server.firmware_pending
                    } else {
                        &mut server.firmware
                    };
                    place.insert(part, version);
                    waits
                });
                if waits {
                    task.state = State::Pending;
                    let text = "It is installed, and holds when the server is booted.";
                    task.messages.push(message("ResetRequired", text));
                } else {
                    task.end(State::Completed, now, message("Success", "It is done."));
                }
            }
        }
    }

    /// The task is deleted; what it would have done is not done.
    fn cancel(&self, id: u64) {
        let task = locked(&self.tasks).by_id.remove(&id);
        let Some(task) = task.filter(|task| !task.state.is_over()) else {
            return;
        };
        let Some(node) = self.node(&task.node) else {
            return;
        };
        node.look(|server| match &task.work {
            Work::BiosSettings => server.bios_pending.clear(),
            Work::Firmware { part, .. } => drop(server.firmware_pending.remove(part)),
            Work::Nothing(_) => {}
        });
    }
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let service = Arc::clone(asked.service);
    match rest {
        [] => {
            let rest = json!({
                "ServiceEnabled": true,
                "Status": healthy(),
                "CompletedTaskOverWritePolicy": "Oldest",
                "LifeCycleEventOnTaskStateChange": false,
                "Tasks": link("/redfish/v1/TaskService/Tasks"),
            });
            Some(Resource::of(document(
                PATH,
                "TaskService",
                "TaskService",
                "Tasks",
                rest,
            )))
        }
        ["Tasks"] => {
            let ids: Vec<u64> = locked(&service.tasks).by_id.keys().copied().collect();
            let path = format!("{PATH}/Tasks");
            let paths = ids.iter().map(|id| format!("{path}/{id}"));
            Some(Resource::of(collection(&path, "Task", paths)))
        }
        [kind @ ("Tasks" | "TaskMonitors"), id] => {
            let id: u64 = id.parse().ok()?;
            if *asked.method == Method::GET && asked.who.is_some() {
                service.go_on(id);
            }
            let tasks = locked(&service.tasks);
            let task = tasks.by_id.get(&id)?;
            let (shown, is_over) = (task.shown(id), task.state.is_over());
            drop(tasks);
            let resource = Resource::of(shown).deleted(move |_| {
                service.cancel(id);
                Ok::<_, Refusal>(Done::Nothing)
            });
            Some(Resource {
                is_accepted: *kind == "TaskMonitors" && !is_over,
                ..resource
            })
        }
        _ => None,
    }
}
