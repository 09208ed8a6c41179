//! A client for QEMU's machine protocol (QEMU, docs/interop/qmp-spec.txt): JSON lines over a Unix socket.
//!
//! Our own, because a suspended guest's memory goes to a file whose descriptor travels beside a command (`getfd`), and
//! because the generated bindings follow newer versions of QEMU than the one we drive.

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Interest, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

/// How long QEMU may take to answer. It answers at once unless its disk hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Events that a slow listener may be behind.
const EVENT_BACKLOG: usize = 1024;

/// Our own event: the last one of a connection that QEMU has ended.
pub const CLOSED: &str = "CONNECTION_CLOSED";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QmpError {
    /// QEMU's own refusal.
    #[error("{0}")]
    Refused(String),
    #[error("the connection to QEMU is closed")]
    Closed,
    #[error("QEMU did not answer within {} s", ANSWER_LIMIT.as_secs())]
    TimedOut,
}

#[derive(Debug, Clone)]
pub struct QmpEvent {
    pub name: String,
    pub data: Value,
}

type Answer = Result<Value, QmpError>;
/// The commands that wait for an answer; `None` once the connection is closed.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// One connection. QEMU takes a single client at a time; dropping this lets the next one in.
pub struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Waiting,
    next_id: AtomicU64,
    events: broadcast::Sender<QmpEvent>,
    reader: JoinHandle<()>,
}

impl Qmp {
    /// Connects and leaves the capabilities negotiation.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        let (read, write) = UnixStream::connect(socket).await?.into_split();
        let mut lines = BufReader::new(read).lines();
        let greeting = lines
            .next_line()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if !greeting.contains("\"QMP\"") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no QMP greeting",
            ));
        }
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let events = broadcast::Sender::new(EVENT_BACKLOG);
        let reader = tokio::spawn(read_on(lines, Arc::clone(&waiting), events.clone()));
        let qmp = Self {
            writer: tokio::sync::Mutex::new(write),
            waiting,
            next_id: AtomicU64::new(1),
            events,
            reader,
        };
        qmp.execute("qmp_capabilities", json!({}))
            .await
            .map_err(io::Error::other)?;
        Ok(qmp)
    }

    /// Runs a command and waits for what it returns.
    pub async fn execute(&self, command: &str, arguments: Value) -> Answer {
        self.send(command, arguments, None).await
    }

    /// Runs a command with a file descriptor beside it.
    pub async fn execute_with_fd(
        &self,
        command: &str,
        arguments: Value,
        fd: BorrowedFd<'_>,
    ) -> Answer {
        self.send(command, arguments, Some(fd)).await
    }

    /// Has QEMU ended the connection?
    pub fn is_closed(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<QmpEvent> {
        self.events.subscribe()
    }

    async fn send(&self, command: &str, arguments: Value, fd: Option<BorrowedFd<'_>>) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(QmpError::Closed),
        };
        let mut line = json!({"execute": command, "arguments": arguments, "id": id}).to_string();
        line.push('\n');
        self.write(line.as_bytes(), fd)
            .await
            .map_err(|_| QmpError::Closed)?;
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(QmpError::Closed),
            Err(_) => Err(QmpError::TimedOut),
        }
    }

    async fn write(&self, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let writer = self.writer.lock().await;
        let stream: &UnixStream = writer.as_ref();
        while !bytes.is_empty() {
            let sent = stream
                .async_io(Interest::WRITABLE, || send_bytes(stream, bytes, fd))
                .await?;
            bytes = &bytes[sent..];
            fd = None;
        }
        Ok(())
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn send_bytes(stream: &UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    Ok(sendmsg(
        stream.as_fd(),
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

/// Hands out answers and events until the connection ends, then tells everybody who waits.
async fn read_on(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    waiting: Waiting,
    events: broadcast::Sender<QmpEvent>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
            tracing::warn!(line, "QEMU sent something that is not JSON");
            continue;
        };
        if let Some(name) = message["event"].as_str() {
            let event = QmpEvent {
                name: name.to_owned(),
                data: message["data"].clone(),
            };
            // Nobody listening is fine.
            let _ = events.send(event);
        } else if let Some(id) = message["id"].as_u64() {
            let answer = match message.get("error") {
                Some(error) => Err(QmpError::Refused(
                    error["desc"]
                        .as_str()
                        .unwrap_or("no reason given")
                        .to_owned(),
                )),
                None => Ok(message["return"].take()),
            };
            let sender = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .and_then(|map| map.remove(&id));
            if let Some(sender) = sender {
                // The caller may have given up waiting.
                let _ = sender.send(answer);
            }
        }
    }
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let _ = events.send(QmpEvent {
        name: CLOSED.to_owned(),
        data: Value::Null,
    });
}
