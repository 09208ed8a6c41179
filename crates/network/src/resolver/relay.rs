//! Passing a question on to who resolves names outside, and its answer back, byte for byte but for the id.

use super::{read_framed, write_framed};
use hickory_proto::op::{Message, MessageType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// As many are asked as resolvers of C libraries would.
const RESOLVERS_MAX: usize = 3;

/// How a question came, and goes on: what does not fit into a datagram is asked for again by TCP, by the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
}

/// The first answer that one of the resolvers gives, with the id that was asked with.
pub async fn ask(
    resolvers: &[SocketAddr],
    asked: &[u8],
    query: &Message,
    way: Way,
) -> Option<Vec<u8>> {
    // An id that the guest did not choose: who wants to forge an answer has to guess it, and the port.
    let id: u16 = rand::random();
    let mut question = asked.to_vec();
    set_id(&mut question, id);
    for resolver in resolvers.iter().take(RESOLVERS_MAX) {
        let answer = async {
            match way {
                Way::Udp => by_udp(*resolver, &question, query, id).await,
                Way::Tcp => by_tcp(*resolver, &question, query, id).await,
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(mut answer)) => {
                set_id(&mut answer, query.metadata.id);
                return Some(answer);
            }
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver cannot be asked"),
            Err(_) => tracing::debug!(%resolver, "a resolver does not answer"),
        }
    }
    None
}

fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut::<2>() {
        *place = id.to_be_bytes();
    }
}

/// Whether it answers this question. Anything else on the way is somebody's guess.
fn fits(answer: &[u8], query: &Message, id: u16) -> bool {
    Message::from_vec(answer).is_ok_and(|answer| {
        let metadata = answer.metadata;
        metadata.id == id
            && metadata.message_type == MessageType::Response
            && (answer.queries.is_empty() || answer.queries == query.queries)
    })
}

async fn by_udp(
    resolver: SocketAddr,
    question: &[u8],
    query: &Message,
    id: u16,
) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    // As much as the guest said that it takes.
    let mut answer = vec![0; usize::from(query.max_payload())];
    loop {
        let length = socket.recv(&mut answer).await?;
        if fits(&answer[..length], query, id) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_tcp(
    resolver: SocketAddr,
    question: &[u8],
    query: &Message,
    id: u16,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_framed(&mut stream, question).await?;
    let answer = read_framed(&mut stream).await?;
    if fits(&answer, query, id) {
        Ok(answer)
    } else {
        Err(io::Error::other("the answer is to another question"))
    }
}
