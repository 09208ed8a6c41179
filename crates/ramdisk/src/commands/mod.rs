//! Commands: one at a time, each in a thread of its own, their results kept until the next boot.

mod image;
mod server;
mod table;

pub use image::AskedImage;
pub use server::serve;
pub use table::{Done, Failure, STEPS, ThisServer, execute_step, list_steps};

use crate::device::{Disk, hints};
use crate::protocol::{
    CommandFailure, CommandRequest, CommandResult, CommandStatus, NodeProperties, RootDeviceHints,
};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// How the ramdisk's work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Into what is on the disk.
    Reboot,
    PowerOff,
    /// The control plane has no more to say; the operator logs in.
    Rescue,
}

/// Why a command was not even begun.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Rejected {
    #[error("the ramdisk is still busy with {0}: wait for its end")]
    Busy(String),
    #[error("there is no command {0}")]
    Unknown(String),
    #[error("epoch {asked} is over, the ramdisk works for epoch {seen}")]
    Over { asked: i64, seen: i64 },
}

/// Who carries commands out: the server that the agent runs on, or one that is simulated.
pub trait Commands: Send + Sync + 'static {
    /// Does the work of a command of the table, in a thread of its own.
    fn carry_out(
        &self,
        agent: &Agent,
        name: &str,
        params: Map<String, Value>,
    ) -> Result<Done, Failure>;
}

/// What commands work with.
pub struct Agent {
    pub token: String,
    pub started_at_secs: u64,
    commands: Box<dyn Commands>,
    /// For downloads.
    pub client: reqwest::Client,
    pub runtime: Handle,
    /// As lookup told; a command that carries the node has the newer ones.
    pub properties: Mutex<NodeProperties>,
    /// Told when a command ends, so that the control plane hears of it.
    pub beat: Arc<Notify>,
    ending: watch::Sender<Option<Ending>>,
    /// The highest that a command came with.
    epoch: Mutex<i64>,
    results: Mutex<Vec<CommandResult>>,
    /// Bytes that the command that runs has done.
    pub progress: AtomicU64,
    changed: watch::Sender<()>,
}

impl Agent {
    pub fn new(
        token: String,
        client: reqwest::Client,
        properties: NodeProperties,
        beat: Arc<Notify>,
        commands: impl Commands,
    ) -> Self {
        Self {
            token,
            started_at_secs: crate::steps::erase::seconds_now(),
            commands: Box::new(commands),
            client,
            runtime: Handle::current(),
            properties: Mutex::new(properties),
            beat,
            ending: watch::Sender::new(None),
            epoch: Mutex::new(i64::MIN),
            results: Mutex::default(),
            progress: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }

    fn root_hints(&self) -> Option<RootDeviceHints> {
        let properties = self
            .properties
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let hints = properties.root_device.clone();
        hints.filter(|hints| *hints != RootDeviceHints::default())
    }

    /// Whether the node's properties say anything of the root disk.
    pub fn is_root_hinted(&self) -> bool {
        self.root_hints().is_some()
    }

    /// Which of these disks the node's properties mean.
    pub fn root_disk(&self, disks: &[Disk]) -> Result<Disk, Failure> {
        Ok(hints::choose(disks, self.root_hints().as_ref())?.clone())
    }

    fn results(&self) -> MutexGuard<'_, Vec<CommandResult>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn all_results(&self) -> Vec<CommandResult> {
        self.results()
            .iter()
            .map(|result| self.told(result))
            .collect()
    }

    pub fn result(&self, id: Uuid) -> Option<CommandResult> {
        self.results()
            .iter()
            .find(|result| result.id == id)
            .map(|result| self.told(result))
    }

    /// With how far it is, if it runs and has begun.
    fn told(&self, result: &CommandResult) -> CommandResult {
        let done = self.progress.load(Ordering::Relaxed);
        let runs = result.command_status == CommandStatus::Running;
        CommandResult {
            command_progress: (runs && done > 0).then_some(done),
            ..result.clone()
        }
    }

    /// Waits for a command's end.
    pub async fn wait_for(&self, id: Uuid) -> Option<CommandResult> {
        let mut changed = self.changed.subscribe();
        loop {
            let result = self.result(id)?;
            if result.command_status != CommandStatus::Running {
                return Some(result);
            }
            changed.changed().await.ok()?;
        }
    }

    /// Is told once a command has decided how the work ends, after its result is known.
    pub fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ending.subscribe()
    }

    /// Refuses who was overtaken by another worker.
    fn check_epoch(&self, asked: Option<i64>) -> Result<(), Rejected> {
        let Some(asked) = asked else { return Ok(()) };
        let mut seen = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if asked < *seen {
            return Err(Rejected::Over { asked, seen: *seen });
        }
        *seen = asked;
        Ok(())
    }

    /// Begins a command, unless one with its mark was begun before; its result tells how far it is.
    pub fn begin(self: &Arc<Self>, request: CommandRequest) -> Result<Uuid, Rejected> {
        self.check_epoch(request.epoch)?;
        if table::find(&request.name).is_none() {
            return Err(Rejected::Unknown(request.name));
        }
        let id = Uuid::new_v4();
        let short = request
            .name
            .split_once('.')
            .map_or(&*request.name, |(_, name)| name)
            .to_owned();
        {
            let mut results = self.results();
            let known = |result: &&CommandResult| result.mark == request.mark;
            if request.mark.is_some()
                && let Some(result) = results.iter().find(known)
            {
                return Ok(result.id);
            }
            if let Some(last) = results
                .last()
                .filter(|last| last.command_status == CommandStatus::Running)
            {
                return Err(Rejected::Busy(last.command_name.clone()));
            }
            self.progress.store(0, Ordering::Relaxed);
            results.push(CommandResult {
                id,
                command_name: short,
                command_status: CommandStatus::Running,
                command_error: None,
                command_result: None,
                command_progress: None,
                mark: request.mark.clone(),
            });
        }
        // Parameters may hold a tenant's secrets.
        tracing::info!("begins {}", request.name);
        let agent = Arc::clone(self);
        std::thread::spawn(move || agent.run(id, &request.name, request.params));
        Ok(id)
    }

    fn run(&self, id: Uuid, name: &str, params: Map<String, Value>) {
        if let Some(properties) = params.get("node").and_then(|node| node.get("properties")) {
            match serde_json::from_value(properties.clone()) {
                Ok(properties) => {
                    *self
                        .properties
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = properties
                }
                Err(error) => {
                    return self.end(
                        id,
                        name,
                        Err(Failure::new(
                            "InvalidCommandParamsError",
                            400,
                            error.to_string(),
                        )),
                        None,
                    );
                }
            }
        }
        // A step that panics must not leave its command running for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.commands.carry_out(self, name, params)
        }));
        let (outcome, ending) = match outcome {
            Ok(Ok(done)) => (Ok(done.value), done.ending),
            Ok(Err(failure)) => (Err(failure), None),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let text = format!("the step broke off: {}", text.unwrap_or("of itself"));
                (Err(Failure::new("CommandExecutionError", 500, text)), None)
            }
        };
        self.end(id, name, outcome, ending);
    }

    fn end(&self, id: Uuid, name: &str, outcome: Result<Value, Failure>, ending: Option<Ending>) {
        match &outcome {
            Ok(_) => tracing::info!("{name} succeeded"),
            Err(failure) => tracing::error!("{name} failed: {}", failure.0.message),
        }
        let mut results = self.results();
        if let Some(result) = results.iter_mut().find(|result| result.id == id) {
            match outcome {
                Ok(value) => {
                    result.command_status = CommandStatus::Succeeded;
                    result.command_result = Some(value);
                }
                Err(Failure(failure)) => {
                    result.command_status = match failure.kind.as_str() {
                        "VersionMismatch" => CommandStatus::VersionMismatch,
                        _ => CommandStatus::Failed,
                    };
                    result.command_error = Some(failure);
                }
            }
        }
        drop(results);
        self.changed.send_replace(());
        self.beat.notify_one();
        if ending.is_some() {
            self.ending.send_replace(ending);
        }
    }
}

/// The stock agent's form of an error.
pub(crate) fn failure(kind: &str, code: u16, message: String) -> CommandFailure {
    CommandFailure {
        kind: kind.to_owned(),
        code,
        details: message.clone(),
        message,
    }
}

#[cfg(test)]
mod tests;
