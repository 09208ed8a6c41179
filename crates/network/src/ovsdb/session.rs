//! One connection: JSON-RPC 1.0 messages in both directions (RFC 7047, section 4).

use super::remote::Stream;
use super::splitter::Splitter;
use serde_json::{Value as Json, json};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// A server that says nothing for this long is asked whether it is there; silent for as long again, it is given up.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// Messages from the server.
#[derive(Debug)]
pub enum Message {
    Answer {
        id: u64,
        /// The error of the request as a whole.
        result: Result<Json, Json>,
    },
    Notification {
        method: String,
        params: Vec<Json>,
    },
}

/// Writing is a task of its own: the server does not read while it has something for us that we do not take.
pub struct Session {
    reader: ReadHalf<Box<dyn Stream>>,
    splitter: Splitter,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    writer: JoinHandle<()>,
    last_id: u64,
    heard: Instant,
    probing: bool,
}

impl Session {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (outgoing, messages) = mpsc::unbounded_channel();
        Self {
            reader,
            splitter: Splitter::default(),
            outgoing,
            writer: tokio::spawn(write(writer, messages)),
            last_id: 0,
            heard: Instant::now(),
            probing: false,
        }
    }

    /// Sends a request, whose answer will come with the returned id.
    pub fn send(&mut self, method: &str, params: &Json) -> u64 {
        self.last_id += 1;
        self.write(&json!({"method": method, "params": params, "id": self.last_id}));
        self.last_id
    }

    /// A request while nothing else is under way.
    pub async fn call(&mut self, method: &str, params: &Json, limit: Duration) -> io::Result<Json> {
        let sent = self.send(method, params);
        let answer = async {
            loop {
                match self.receive().await? {
                    Message::Answer { id, result } if id == sent => return Ok(result),
                    Message::Answer { .. } | Message::Notification { .. } => {}
                }
            }
        };
        let answer: io::Result<_> = timeout(limit, answer).await?;
        answer?.map_err(|error| io::Error::other(format!("{method} was refused: {error}")))
    }

    /// The next message; requests of the server are answered on the way. Cancellation loses nothing.
    pub async fn receive(&mut self) -> io::Result<Message> {
        loop {
            while let Some(text) = self.splitter.next_message() {
                let message = serde_json::from_slice(text).map_err(io::Error::other)?;
                if let Some(message) = self.take(message)? {
                    return Ok(message);
                }
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let read = self.reader.read_buf(self.splitter.buffer());
        match timeout_at(self.heard + PROBE_AFTER, read).await {
            Ok(Ok(0)) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            Ok(read) => {
                read?;
                self.heard = Instant::now();
                self.probing = false;
                Ok(())
            }
            Err(_) if self.probing => {
                let silent = format!("silent for {} s", 2 * PROBE_AFTER.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, silent))
            }
            Err(_) => {
                self.probing = true;
                self.heard = Instant::now();
                self.write(&json!({"method": "echo", "params": [], "id": "probe"}));
                Ok(())
            }
        }
    }

    /// None for what needs nobody's attention.
    fn take(&mut self, message: Json) -> io::Result<Option<Message>> {
        let Json::Object(mut fields) = message else {
            return Err(io::Error::other("a message that is no object"));
        };
        let id = fields.remove("id").unwrap_or(Json::Null);
        let Some(method) = fields
            .get("method")
            .and_then(Json::as_str)
            .map(str::to_owned)
        else {
            let Some(id) = id.as_u64() else {
                return Ok(None);
            };
            let result = match fields.remove("error") {
                None | Some(Json::Null) => Ok(fields.remove("result").unwrap_or(Json::Null)),
                Some(error) => Err(error),
            };
            return Ok(Some(Message::Answer { id, result }));
        };
        let params = fields.remove("params").unwrap_or(Json::Null);
        if method == "echo" {
            self.write(&json!({"result": params, "error": null, "id": id}));
            return Ok(None);
        }
        let Json::Array(params) = params else {
            return Err(io::Error::other(format!("{method} without parameters")));
        };
        Ok(Some(Message::Notification { method, params }))
    }

    fn write(&self, message: &Json) {
        // A writer that is gone has met an error, which the reader meets too.
        let _ = self.outgoing.send(message.to_string().into_bytes());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

async fn write(
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut messages: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    while let Some(message) = messages.recv().await {
        let written = async {
            stream.write_all(&message).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "writing to an OVSDB server");
            return;
        }
    }
}
