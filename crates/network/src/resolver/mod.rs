//! Answers what a network's guests ask about names: [`Resolver`] serves the sockets of one network on this host.
//!
//! ```text
//!   guest ──▶ OVN, which knows the network's names ──▶ Resolver ──▶ inside: the rows
//!                                                          └──────▶ outside: the machine's resolvers
//! ```
//!
//! Most questions about names inside are answered by OVN on their way and never arrive here; those that it leaves (by TCP,
//! of a kind that it does not know) are answered from what the network holds. The rest is passed on as it is, and so is
//! what comes back. Only the network's own guests reach the sockets, and each network has room of its own.

mod machine;
mod relay;
mod reply;

pub use machine::{DNS_PORT, nameservers, of_machine};

use crate::chassis::NameSockets;
use async_trait::async_trait;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use relay::Way;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// How many questions of one network are in work at a time; more are answered with SERVFAIL.
const QUERIES_MAX: usize = 64;
/// How many connections the guests of one network have at a time; more are closed.
const CONNECTIONS_MAX: usize = 16;
/// A connection that is silent so long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// After a failure that may last, for example because there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// What a network knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is none of the network's: who resolves names outside is asked.
    Elsewhere,
    /// It is in the network's domain, and nothing has it.
    Nothing,
    Addresses(Vec<IpAddr>),
    /// It cannot be told now. Nobody outside is asked about what may be a name inside.
    Trouble,
}

/// The names inside a network.
#[async_trait]
pub trait Inside: Send + Sync + 'static {
    /// What is known of a name, which is in lower case and has no final dot.
    async fn find(&self, name: &str) -> Known;
}

/// Answers the questions of one network's guests.
#[derive(Clone)]
pub struct Resolver {
    inside: Arc<dyn Inside>,
    domain: Arc<str>,
    outside: Arc<[SocketAddr]>,
    queries: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Resolver {
    /// `inside` is asked about names that end with `domain`, which is in lower case; where it is empty, about none.
    /// `outside` are asked in order; with none, names outside are refused.
    pub fn new(inside: Arc<dyn Inside>, domain: &str, outside: Arc<[SocketAddr]>) -> Self {
        Self {
            inside,
            domain: domain.into(),
            outside,
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Serves these sockets until the tasks are dropped.
    pub fn serve(&self, sockets: Vec<NameSockets>, tasks: &mut JoinSet<()>) {
        for NameSockets { udp, tcp } in sockets {
            tasks.spawn(self.clone().serve_udp(Arc::new(udp)));
            tasks.spawn(self.clone().serve_tcp(tcp));
        }
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 4096];
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, client)) => {
                        let (resolver, socket) = (self.clone(), socket.clone());
                        let asked = buffer[..length].to_vec();
                        let room = self.queries.clone().try_acquire_owned().ok();
                        answering.spawn(async move {
                            if let Some(reply) = resolver.answer(&asked, Way::Udp, room).await {
                                let _ = socket.send_to(&reply, client).await;
                            }
                        });
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "a resolver's socket failed");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = answering.join_next() => {}
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        let mut talking = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Ok(room) = self.connections.clone().try_acquire_owned() {
                            let resolver = self.clone();
                            talking.spawn(async move {
                                // Whoever breaks a connection off is owed nothing.
                                let _ = resolver.talk(stream).await;
                                drop(room);
                            });
                        }
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "a resolver's listener failed");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = talking.join_next() => {}
            }
        }
    }

    /// One connection: question after question, each behind its length (RFC 7766).
    async fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let asked = tokio::time::timeout(IDLE, read_framed(&mut stream)).await??;
            let room = self.queries.clone().try_acquire_owned().ok();
            let Some(reply) = self.answer(&asked, Way::Tcp, room).await else {
                return Ok(());
            };
            tokio::time::timeout(IDLE, write_framed(&mut stream, &reply)).await??;
        }
    }

    async fn known(&self, name: &str) -> Known {
        if self.domain.is_empty() || !name.ends_with(&*self.domain) {
            return Known::Elsewhere;
        }
        self.inside.find(name).await
    }

    /// The reply to a message; none to what is no question.
    async fn answer(
        &self,
        asked: &[u8],
        way: Way,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<Vec<u8>> {
        let Ok(query) = Message::from_vec(asked) else {
            return reply::to_unreadable(asked);
        };
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        if room.is_none() {
            return reply::error(&query, ResponseCode::ServFail);
        }
        if query.metadata.op_code != OpCode::Query {
            return reply::error(&query, ResponseCode::NotImp);
        }
        let [question] = query.queries.as_slice() else {
            return reply::error(&query, ResponseCode::FormErr);
        };
        // Whole zones are nobody's to take.
        if [RecordType::AXFR, RecordType::IXFR].contains(&question.query_type) {
            return reply::error(&query, ResponseCode::Refused);
        }
        let name = question.name.to_lowercase().to_ascii();
        match self.known(name.trim_end_matches('.')).await {
            Known::Elsewhere => {}
            Known::Trouble => return reply::error(&query, ResponseCode::ServFail),
            Known::Nothing => return reply::error(&query, ResponseCode::NXDomain),
            Known::Addresses(addresses) => {
                return reply::addresses(&query, question, &addresses, way);
            }
        }
        if self.outside.is_empty() {
            return reply::error(&query, ResponseCode::Refused);
        }
        match relay::ask(&self.outside, asked, &query, way).await {
            Some(reply) => Some(reply),
            None => reply::error(&query, ResponseCode::ServFail),
        }
    }
}

/// Errors of one client, not of the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    )
}

async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests;
