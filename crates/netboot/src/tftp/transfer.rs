//! One transfer: windows of blocks out, acknowledgements in, until all is there or the client is gone.

use super::packet::{self, Packet};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// What RFC 1350 has without options.
const PLAIN_BLOCK_BYTES: u64 = 512;
/// What fits into an Ethernet frame unfragmented; firmware that reassembles badly asks for more all the same.
const BLOCK_BYTES_MAX: u64 = 1468;
const WINDOW_MAX: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(1);
/// A client may ask for 255 seconds, and would hold a place for as long.
const TIMEOUT_SECS_MAX: u64 = 10;
const TRIES_MAX: u32 = 6;

/// How a transfer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    block_bytes: u64,
    window: u64,
    patience: Duration,
    /// What is told of it; empty if nothing was asked for.
    agreed: Vec<(&'static str, u64)>,
}

impl Terms {
    /// What the client asks for, as far as it is had. Options that are not known are passed over, as RFC 2347 wants it.
    pub fn agreed(options: &[(String, String)], size: u64) -> Self {
        let mut terms = Self {
            block_bytes: PLAIN_BLOCK_BYTES,
            window: 1,
            patience: PATIENCE,
            agreed: Vec::new(),
        };
        for (name, value) in options {
            let Ok(value) = value.parse::<u64>() else {
                continue;
            };
            let agreed = match (name.as_str(), value) {
                ("blksize", 8..=65464) => {
                    terms.block_bytes = value.min(BLOCK_BYTES_MAX);
                    ("blksize", terms.block_bytes)
                }
                ("windowsize", 1..=65535) => {
                    terms.window = value.min(WINDOW_MAX);
                    ("windowsize", terms.window)
                }
                ("timeout", 1..=TIMEOUT_SECS_MAX) => {
                    terms.patience = Duration::from_secs(value);
                    ("timeout", value)
                }
                ("tsize", _) => ("tsize", size),
                _ => continue,
            };
            if terms.agreed.iter().all(|(name, _)| *name != agreed.0) {
                terms.agreed.push(agreed);
            }
        }
        terms
    }
}

/// How a transfer ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Whole {
        bytes: u64,
    },
    /// The client read the options, which tell the size, and wanted no more.
    SizeOnly,
    Broken {
        bytes: u64,
        why: String,
    },
}

pub(super) async fn send(socket: &UdpSocket, bytes: &[u8], terms: &Terms) -> Outcome {
    let mut sending = Sending {
        socket,
        bytes,
        terms,
        acknowledged: 0,
    };
    if !terms.agreed.is_empty() {
        match sending.until_acknowledged(true).await {
            Ok(()) => {}
            Err(Stop::Client(_)) => return Outcome::SizeOnly,
            Err(stop) => return sending.broken(stop),
        }
    }
    while sending.acknowledged < sending.blocks() {
        if let Err(stop) = sending.until_acknowledged(false).await {
            return sending.broken(stop);
        }
    }
    Outcome::Whole {
        bytes: bytes.len() as u64,
    }
}

enum Stop {
    /// The client said why.
    Client(String),
    /// The client said nothing any more.
    Silence,
    Socket(std::io::Error),
}

struct Sending<'a> {
    socket: &'a UdpSocket,
    bytes: &'a [u8],
    terms: &'a Terms,
    /// Blocks that have arrived; the first has number 1.
    acknowledged: u64,
}

impl Sending<'_> {
    /// The last block is short, if need be empty.
    fn blocks(&self) -> u64 {
        self.bytes.len() as u64 / self.terms.block_bytes + 1
    }

    fn broken(&self, stop: Stop) -> Outcome {
        let bytes = self.acknowledged * self.terms.block_bytes;
        Outcome::Broken {
            bytes: bytes.min(self.bytes.len() as u64),
            why: match stop {
                Stop::Client(text) => format!("the client says: {text}"),
                Stop::Silence => "the client went silent".to_owned(),
                Stop::Socket(error) => error.to_string(),
            },
        }
    }

    /// Sends the options or the next window until some of it has arrived.
    async fn until_acknowledged(&mut self, options: bool) -> Result<(), Stop> {
        for _ in 0..TRIES_MAX {
            self.send(options).await.map_err(Stop::Socket)?;
            let deadline = Instant::now() + self.terms.patience;
            if self.acknowledgement(options, deadline).await? {
                return Ok(());
            }
        }
        Err(Stop::Silence)
    }

    async fn send(&self, options: bool) -> std::io::Result<()> {
        if options {
            let packet = packet::options(&self.terms.agreed);
            return self.socket.send(&packet).await.map(drop);
        }
        let last = (self.acknowledged + self.terms.window).min(self.blocks());
        for block in self.acknowledged + 1..=last {
            let length = self.bytes.len() as u64;
            let start = (block - 1) * self.terms.block_bytes;
            let end = (start + self.terms.block_bytes).min(length);
            let part = &self.bytes[start as usize..end as usize];
            // Numbers wrap: the client counts along.
            self.socket.send(&packet::data(block as u16, part)).await?;
        }
        Ok(())
    }

    /// Whether something new has arrived before the deadline. What was acknowledged before is passed over, so that a packet
    /// that came twice does not double all that follow.
    async fn acknowledgement(&mut self, options: bool, deadline: Instant) -> Result<bool, Stop> {
        let mut buffer = [0; packet::REQUEST_BYTES_MAX];
        loop {
            let Ok(received) = timeout_at(deadline, self.socket.recv(&mut buffer)).await else {
                return Ok(false);
            };
            let length = received.map_err(Stop::Socket)?;
            match Packet::decode(&buffer[..length]) {
                Some(Packet::Error(text)) => return Err(Stop::Client(text)),
                Some(Packet::Ack(0)) if options => return Ok(true),
                Some(Packet::Ack(block)) if !options => {
                    let new = block.wrapping_sub(self.acknowledged as u16);
                    if (1..=self.terms.window).contains(&u64::from(new)) {
                        self.acknowledged += u64::from(new);
                        return Ok(true);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn what_is_too_much_is_cut_and_what_is_unknown_is_passed_over() {
        let asked = options(&[
            ("blksize", "65464"),
            ("tsize", "0"),
            ("windowsize", "1000"),
            ("multicast", ""),
            ("timeout", "255"),
        ]);
        let terms = Terms::agreed(&asked, 77);
        let agreed = [("blksize", 1468), ("tsize", 77), ("windowsize", 64)];
        assert_eq!(terms.agreed, agreed);
        assert_eq!(Terms::agreed(&[], 77).block_bytes, 512);
    }

    async fn pair() -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        server.connect(client.local_addr().unwrap()).await.unwrap();
        client.connect(server.local_addr().unwrap()).await.unwrap();
        (server, client)
    }

    fn ack(block: u16) -> Vec<u8> {
        [4_u16.to_be_bytes(), block.to_be_bytes()].concat()
    }

    /// Takes what comes, loses one packet in `lose_every`, and acknowledges windows as RFC 7440 wants.
    async fn receive(
        client: &UdpSocket,
        block_bytes: usize,
        window: u16,
        lose_every: usize,
    ) -> Vec<u8> {
        let (mut got, mut expected, mut in_window, mut count) = (Vec::new(), 1_u16, 0, 0);
        let mut buffer = [0; 2048];
        loop {
            let length = client.recv(&mut buffer).await.unwrap();
            count += 1;
            if count % lose_every == 0 || buffer[1] != 3 {
                continue;
            }
            let block = u16::from_be_bytes([buffer[2], buffer[3]]);
            if block != expected {
                client.send(&ack(expected.wrapping_sub(1))).await.unwrap();
                in_window = 0;
                continue;
            }
            got.extend_from_slice(&buffer[4..length]);
            expected = expected.wrapping_add(1);
            in_window += 1;
            let done = length - 4 < block_bytes;
            if done || in_window == window {
                client.send(&ack(block)).await.unwrap();
                in_window = 0;
            }
            if done {
                return got;
            }
        }
    }

    #[tokio::test]
    async fn a_file_of_more_blocks_than_numbers_arrives_whole() {
        let (server, client) = pair().await;
        let bytes: Vec<u8> = (0..70_000 * 8_u32).map(|at| at as u8).collect();
        let mut terms = Terms::agreed(&options(&[("blksize", "8"), ("windowsize", "32")]), 0);
        terms.agreed.clear();
        let sending = send(&server, &bytes, &terms);
        let (outcome, got) = tokio::join!(sending, receive(&client, 8, 32, usize::MAX));
        assert!(got == bytes);
        let whole = bytes.len() as u64;
        assert_eq!(outcome, Outcome::Whole { bytes: whole });
    }

    #[tokio::test]
    async fn lost_packets_are_sent_again() {
        let (server, client) = pair().await;
        let bytes = vec![7; 512 * 40];
        let mut terms = Terms::agreed(&options(&[("windowsize", "4")]), 0);
        terms.agreed.clear();
        terms.patience = Duration::from_millis(20);
        let sending = send(&server, &bytes, &terms);
        let (outcome, got) = tokio::join!(sending, receive(&client, 512, 4, 7));
        assert!(got == bytes);
        assert!(matches!(outcome, Outcome::Whole { .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_client_that_only_wants_the_size_breaks_nothing() {
        let (server, client) = pair().await;
        let terms = Terms::agreed(&options(&[("tsize", "0")]), 9);
        let (outcome, ()) = tokio::join!(send(&server, b"123456789", &terms), async {
            let mut buffer = [0; 512];
            let length = client.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"\0\x06tsize\x009\0");
            client.send(b"\0\x05\0\x08enough\0").await.unwrap();
        });
        assert_eq!(outcome, Outcome::SizeOnly);
    }
}
