//! One guest as this process knows it: what is on disk, kept in memory, and the process that runs it.

use crate::error::HostError;
use crate::guest_dir::{GuestDir, GuestState};
use crate::hands::{ExitCause, GuestChange, GuestEvent};
use crate::qemu::process::{self, Process, Witness};
use crate::qemu::qmp::{Qmp, QmpEvent};
use crate::spec::GuestSpec;
use crate::task::Fence;
use corten_model::ids::InstanceId;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// After a process is gone, what it said last is still on its way to us for a moment.
const LAST_EVENTS_LIMIT: Duration = Duration::from_secs(1);

pub struct Guest {
    pub id: InstanceId,
    pub dir: GuestDir,
    /// Tasks on one guest run one by one.
    pub turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

struct Known {
    /// `None`: the guest is not on this host. Its fences are remembered all the same.
    spec: Option<Arc<GuestSpec>>,
    state: GuestState,
    process: Option<Arc<Process>>,
}

impl Guest {
    pub fn absent(id: InstanceId, dir: GuestDir) -> Self {
        let known = Known {
            spec: None,
            state: GuestState::default(),
            process: None,
        };
        Self {
            id,
            dir,
            turn: tokio::sync::Mutex::default(),
            known: Mutex::new(known),
        }
    }

    /// The guest as its directory has it.
    pub fn read(id: InstanceId, dir: GuestDir) -> Self {
        let known = Known {
            spec: dir.read_spec().map(Arc::new),
            state: dir.read_state(),
            process: None,
        };
        Self {
            id,
            dir,
            turn: tokio::sync::Mutex::default(),
            known: Mutex::new(known),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_present(&self) -> bool {
        self.known().spec.is_some()
    }

    pub fn spec(&self) -> Result<Arc<GuestSpec>, HostError> {
        self.known()
            .spec
            .clone()
            .ok_or(HostError::NoSuchGuest { id: self.id })
    }

    pub fn set_spec(&self, spec: GuestSpec) {
        self.known().spec = Some(Arc::new(spec));
    }

    pub fn state(&self) -> GuestState {
        self.known().state.clone()
    }

    /// Changes what is remembered, in memory and on disk.
    pub fn update_state(&self, change: impl FnOnce(&mut GuestState)) -> Result<(), HostError> {
        let mut known = self.known();
        change(&mut known.state);
        if known.spec.is_some() {
            self.dir.write_state(&known.state)
        } else {
            Ok(())
        }
    }

    /// Lets a task in, or refuses it as stale.
    pub fn admit(&self, fence: Fence) -> Result<(), HostError> {
        let mut admitted = Ok(false);
        let mut fences = self.state().fences;
        let news = fences.admit(self.id, fence)?;
        if news {
            self.update_state(|state| admitted = state.fences.admit(self.id, fence))?;
        }
        admitted.map(drop)
    }

    pub fn process(&self) -> Option<Arc<Process>> {
        self.known().process.clone()
    }

    /// Lets go of the process without ending it.
    pub fn release(&self) {
        self.known().process = None;
    }

    /// The guest is no more; a straggler of the operation that removed it is still recognised.
    pub fn forget(&self) {
        let mut known = self.known();
        known.spec = None;
        known.process = None;
        known.state = GuestState {
            fences: std::mem::take(&mut known.state.fences),
            ..GuestState::default()
        };
    }

    /// Takes a live process under control and watches it from now on.
    pub fn watch(
        self: &Arc<Self>,
        pid: u32,
        pidfd: OwnedFd,
        qmp: Qmp,
        child: Option<Child>,
        events: broadcast::Sender<GuestEvent>,
    ) -> Result<Arc<Process>, HostError> {
        let watched = pidfd
            .try_clone()
            .map_err(HostError::io("watch", self.dir.path()))?;
        let heard = qmp.events();
        let (ended_sender, ended) = watch::channel(None);
        let (give_process, process) = tokio::sync::oneshot::channel();
        let watcher = Watcher {
            guest: Arc::clone(self),
            events,
            heard,
            child,
            pidfd: watched,
            ended: ended_sender,
        };
        let task = tokio::spawn(async move {
            if let Ok(process) = process.await {
                watcher.run(process).await;
            }
        });
        let process = Arc::new(Process {
            id: self.id,
            pid,
            qmp,
            pidfd,
            end_requested: false.into(),
            ended,
            watcher: task.abort_handle(),
        });
        self.known().process = Some(Arc::clone(&process));
        // The watcher holds the process weakly, so that letting go of it ends the watch.
        let _ = give_process.send(Arc::downgrade(&process));
        Ok(process)
    }
}

struct Watcher {
    guest: Arc<Guest>,
    events: broadcast::Sender<GuestEvent>,
    heard: broadcast::Receiver<QmpEvent>,
    child: Option<Child>,
    pidfd: OwnedFd,
    ended: watch::Sender<Option<ExitCause>>,
}

impl Watcher {
    /// Tells what happens until the process ends, then records and tells the end.
    async fn run(mut self, process: std::sync::Weak<Process>) {
        let mut witness = Witness::default();
        let status = loop {
            tokio::select! {
                status = process::wait_for_exit(self.child.as_mut(), &self.pidfd) => break status,
                event = next_event(&mut self.heard) => self.hear(&event, &mut witness),
            }
        };
        self.hear_the_rest(&mut witness).await;
        let requested = process
            .upgrade()
            .is_none_or(|process| process.end_requested.load(Ordering::SeqCst));
        let cause = witness.cause(requested, status, &self.guest.dir);
        self.record(&cause);
        if cause.is_crash() {
            tracing::warn!(guest = %self.guest.id, %cause, "a guest crashed");
        } else {
            tracing::info!(guest = %self.guest.id, %cause, "a guest ended");
        }
        // Whoever hears of the end finds the guest without a process. The handle goes last of all, because dropping it
        // aborts this very task.
        let handle = self.guest.known().process.take();
        self.tell(GuestChange::Ended {
            cause: cause.clone(),
        });
        self.ended.send_replace(Some(cause));
        drop(handle);
    }

    fn hear(&self, event: &QmpEvent, witness: &mut Witness) {
        witness.note(event);
        let change = match event.name.as_str() {
            "STOP" => GuestChange::Paused,
            "RESUME" => GuestChange::Resumed,
            "RESET" => GuestChange::Reset,
            _ => return,
        };
        self.tell(change);
    }

    async fn hear_the_rest(&mut self, witness: &mut Witness) {
        let rest = async {
            while !witness.heard_all {
                witness.note(&next_event(&mut self.heard).await);
            }
        };
        if tokio::time::timeout(LAST_EVENTS_LIMIT, rest).await.is_err() {
            tracing::debug!("QEMU's connection outlived it");
        }
    }

    fn record(&self, cause: &ExitCause) {
        let recorded = self.guest.update_state(|state| {
            state.run = None;
            state.last_exit = Some(cause.clone());
        });
        if let Err(error) = recorded.and_then(|()| self.guest.dir.remove_sockets()) {
            tracing::error!(guest = %self.guest.id, %error, "the end of a guest could not be recorded");
        }
    }

    fn tell(&self, change: GuestChange) {
        // Nobody listening is fine.
        let _ = self.events.send(GuestEvent {
            id: self.guest.id,
            change,
        });
    }
}

/// The next event; never ends, because the end is seen through the process.
async fn next_event(heard: &mut broadcast::Receiver<QmpEvent>) -> QmpEvent {
    loop {
        match heard.recv().await {
            Ok(event) => return event,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of a guest were missed")
            }
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
