//! Burn-in: keeps a part at work for a while and counts what comes out wrong.

use crate::device::Disk;
use crate::device::direct::{self, AlignedBuffer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 4 << 20;
/// A partner that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a partner that is not there is looked for.
const KNOCK: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum BurnInError {
    #[error("the processor computed {0} sums wrong: replace it, or its memory")]
    Cpu(u64),
    #[error("{blocks} blocks of memory did not hold what was written to them: replace the module")]
    Memory { blocks: u64 },
    #[error(
        "the disk {disk} (serial {serial}) does not hold at byte {offset} what was written there: replace it"
    )]
    Disk {
        disk: String,
        serial: String,
        offset: u64,
    },
    #[error("the disk {disk} cannot be read or written")]
    DiskFailed {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("the network's burn-in needs a role: listen, or connect with a partner's address")]
    NoPartner,
    #[error(
        "the partner {partner} did not come within {seconds} seconds: run burnin_network on it at the same time, or give more seconds"
    )]
    NoShow { partner: String, seconds: u64 },
    #[error("the connection to the partner broke")]
    Network(#[source] io::Error),
    #[error(
        "{0} blocks came over the network other than they were sent: look at cable, card and switch"
    )]
    Garbled(u64),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurnIn {
    pub part: String,
    pub seconds: u64,
    /// Rounds, blocks or bytes, by the part.
    pub work: u64,
}

/// `args` of the steps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How long; a day is usual for a new server. The partner of a network's burn-in is waited for as long, before it begins.
    #[serde(default = "a_minute")]
    pub seconds: u64,
    /// Of the free memory.
    #[serde(default = "most")]
    pub percent: u64,
    /// The network: where the partner, which runs the same step with `listen`, waits. With `listen`: from where alone it may come.
    #[serde(default)]
    pub partner: Option<SocketAddr>,
    /// The network: where this server waits for a partner.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
}

fn a_minute() -> u64 {
    60
}

fn most() -> u64 {
    80
}

impl Options {
    fn until(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.seconds)
    }

    fn done(&self, part: &str, work: u64) -> BurnIn {
        BurnIn {
            part: part.to_owned(),
            seconds: self.seconds,
            work,
        }
    }
}

/// Bytes that are told apart by their seed alone.
fn pattern(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for chunk in bytes.chunks_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// All threads compute the same sum again and again; the first one's is the measure.
pub fn cpu(options: &Options) -> Result<BurnIn, BurnInError> {
    let until = options.until();
    let mut block = vec![0; 64 << 10];
    pattern(7, &mut block);
    let right = Sha256::digest(&block);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let work = || {
            let (mut rounds, mut wrong) = (0, 0);
            while rounds == 0 || Instant::now() < until {
                rounds += 1;
                wrong += u64::from(Sha256::digest(&block) != right);
            }
            (rounds, wrong)
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or((0, 1)))
            .collect()
    });
    match counts.iter().map(|(_, wrong)| wrong).sum() {
        0 => Ok(options.done("cpu", counts.iter().map(|(rounds, _)| rounds).sum())),
        wrong => Err(BurnInError::Cpu(wrong)),
    }
}

/// Fills most of the free memory with a pattern, reads it back, and does so again with another.
pub fn memory(options: &Options) -> Result<BurnIn, BurnInError> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free_bytes = available_bytes(&text).unwrap_or(BLOCK_BYTES as u64);
    let count = (free_bytes * options.percent.min(90) / 100 / BLOCK_BYTES as u64).max(1);
    let until = options.until();
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut expected = vec![0; BLOCK_BYTES];
    let (mut round, mut written) = (0, 0);
    while round == 0 || Instant::now() < until {
        for index in 0..count {
            if round == 0 {
                blocks.push(vec![0; BLOCK_BYTES]);
            }
            pattern(round * count + index, &mut blocks[index as usize]);
        }
        let wrong = (0..count)
            .filter(|index| {
                pattern(round * count + index, &mut expected);
                blocks[*index as usize] != expected
            })
            .count() as u64;
        if wrong > 0 {
            return Err(BurnInError::Memory { blocks: wrong });
        }
        round += 1;
        written += count;
    }
    Ok(options.done("memory", written))
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Writes each disk and reads it back, all at the same time; what is on them is lost.
pub fn disks(options: &Options, disks: &[Disk]) -> Result<BurnIn, BurnInError> {
    let until = options.until();
    let results: Vec<Result<u64, BurnInError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = disks
            .iter()
            .map(|disk| (disk, scope.spawn(move || one_disk(disk, until))))
            .collect();
        handles
            .into_iter()
            .map(|(disk, handle)| {
                let broke_off = |_| Err(disk_failed(disk, io::Error::other("its test broke off")));
                handle.join().unwrap_or_else(broke_off)
            })
            .collect()
    });
    let mut work = 0;
    for result in results {
        work += result?;
    }
    Ok(options.done("disk", work))
}

fn disk_failed(disk: &Disk, source: io::Error) -> BurnInError {
    BurnInError::DiskFailed {
        disk: disk.name.clone(),
        source,
    }
}

/// Goes over the disk block by block until the time is over.
fn one_disk(disk: &Disk, until: Instant) -> Result<u64, BurnInError> {
    let failed = |source| disk_failed(disk, source);
    let file = direct::open_exclusive(&disk.path()).map_err(failed)?;
    let (mut wanted, mut got) = (
        AlignedBuffer::new(BLOCK_BYTES),
        AlignedBuffer::new(BLOCK_BYTES),
    );
    let blocks = (disk.size_bytes / BLOCK_BYTES as u64).max(1);
    let length = (disk.size_bytes as usize).min(BLOCK_BYTES);
    let mut number = 0;
    while number == 0 || Instant::now() < until {
        let offset = number % blocks * BLOCK_BYTES as u64;
        pattern(number, &mut wanted.bytes_mut()[..length]);
        file.write_all_at(&wanted.bytes()[..length], offset)
            .map_err(failed)?;
        direct::read_at(&file, &mut got.bytes_mut()[..length], offset).map_err(failed)?;
        if wanted.bytes()[..length] != got.bytes()[..length] {
            return Err(BurnInError::Disk {
                disk: disk.name.clone(),
                serial: disk.serial.clone().unwrap_or_else(|| "unknown".to_owned()),
                offset,
            });
        }
        number += 1;
    }
    Ok(number)
}

/// Sends patterns to a partner, which sends them back.
pub fn network(options: &Options) -> Result<BurnIn, BurnInError> {
    match (options.listen, options.partner) {
        (Some(address), partner) => {
            let listener = TcpListener::bind(address).map_err(BurnInError::Network)?;
            let stream = await_partner(&listener, partner, options)?;
            let bytes = echo(stream).map_err(BurnInError::Network)?;
            Ok(options.done("network", bytes))
        }
        (None, Some(partner)) => talk(reach_partner(partner, options)?, options),
        (None, None) => Err(BurnInError::NoPartner),
    }
}

/// Takes the first connection, if it is the partner's. A listener alone would wait for ever.
fn await_partner(
    listener: &TcpListener,
    partner: Option<SocketAddr>,
    options: &Options,
) -> Result<TcpStream, BurnInError> {
    let until = options.until();
    listener
        .set_nonblocking(true)
        .map_err(BurnInError::Network)?;
    loop {
        match listener.accept() {
            Ok((stream, from)) if partner.is_none_or(|partner| partner.ip() == from.ip()) => {
                stream
                    .set_nonblocking(false)
                    .map_err(BurnInError::Network)?;
                return with_patience(stream);
            }
            // Somebody else's.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    let named = partner.map(|partner| partner.ip().to_string());
                    let at = listener.local_addr().map_err(BurnInError::Network)?;
                    return Err(BurnInError::NoShow {
                        partner: named.unwrap_or_else(|| format!("that should connect to {at}")),
                        seconds: options.seconds,
                    });
                }
                std::thread::park_timeout(KNOCK);
            }
            Err(error) => return Err(BurnInError::Network(error)),
        }
    }
}

/// Connects; a partner that boots more slowly is tried again.
fn reach_partner(partner: SocketAddr, options: &Options) -> Result<TcpStream, BurnInError> {
    let until = options.until();
    loop {
        match TcpStream::connect_timeout(&partner, SILENCE) {
            Ok(stream) => return with_patience(stream),
            Err(error) if Instant::now() >= until => {
                tracing::warn!("{partner}: {error}");
                return Err(BurnInError::NoShow {
                    partner: partner.to_string(),
                    seconds: options.seconds,
                });
            }
            Err(_) => std::thread::park_timeout(KNOCK),
        }
    }
}

fn with_patience(stream: TcpStream) -> Result<TcpStream, BurnInError> {
    stream
        .set_read_timeout(Some(SILENCE))
        .and_then(|()| stream.set_write_timeout(Some(SILENCE)))
        .map_err(BurnInError::Network)?;
    Ok(stream)
}

fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(bytes);
        }
        stream.write_all(&buffer[..count])?;
        bytes += count as u64;
    }
}

fn talk(mut stream: TcpStream, options: &Options) -> Result<BurnIn, BurnInError> {
    let until = options.until();
    // Small enough to be on its way as a whole, so that neither side waits for the other to read.
    let (mut sent, mut back) = (vec![0; 32 << 10], vec![0; 32 << 10]);
    let (mut bytes, mut wrong, mut number) = (0, 0, 0);
    while number == 0 || Instant::now() < until {
        pattern(number, &mut sent);
        stream.write_all(&sent).map_err(BurnInError::Network)?;
        stream.read_exact(&mut back).map_err(BurnInError::Network)?;
        wrong += u64::from(sent != back);
        bytes += sent.len() as u64;
        number += 1;
    }
    match wrong {
        0 => Ok(options.done("network", bytes)),
        wrong => Err(BurnInError::Garbled(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(value: serde_json::Value) -> Options {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn sound_parts_pass_and_say_how_much_they_did() {
        let options = short(serde_json::json!({"seconds": 0, "percent": 0}));
        assert!(cpu(&options).unwrap().work >= 1);
        assert_eq!(memory(&options).unwrap().work, 1);
        assert_eq!(
            available_bytes("MemFree: 1 kB\nMemAvailable:    2048 kB\n"),
            Some(2 << 20)
        );
    }

    #[test]
    fn what_comes_back_other_than_it_was_sent_is_counted() {
        for garble in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let partner = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut block = vec![0; 32 << 10];
                while stream.read_exact(&mut block).is_ok() {
                    block[77] ^= u8::from(garble);
                    stream.write_all(&block).unwrap();
                }
            });
            let options = short(serde_json::json!({"seconds": 0, "partner": partner}));
            match network(&options) {
                Ok(done) => assert_eq!((done.work, garble), (32 << 10, false)),
                Err(error) => assert!(
                    garble && matches!(error, BurnInError::Garbled(1)),
                    "{error}"
                ),
            }
            server.join().unwrap();
        }
        let nobody = short(serde_json::json!({}));
        assert!(matches!(network(&nobody), Err(BurnInError::NoPartner)));
    }

    #[test]
    fn a_partner_that_does_not_come_is_named() {
        let alone = |options: serde_json::Value| network(&short(options)).unwrap_err().to_string();
        let text = alone(serde_json::json!({"seconds": 0, "listen": "127.0.0.1:0"}));
        assert!(text.contains("should connect to 127.0.0.1:"), "{text}");
        let text = alone(
            serde_json::json!({"seconds": 0, "listen": "127.0.0.1:0", "partner": "192.0.2.7:5201"}),
        );
        assert!(text.contains("192.0.2.7 did not come"), "{text}");
        // A port that was free a moment ago.
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let text = alone(serde_json::json!({"seconds": 0, "partner": gone}));
        assert!(text.contains(&gone.to_string()), "{text}");
    }

    #[test]
    fn only_the_partner_is_taken_for_the_partner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stranger = TcpStream::connect(address).unwrap();
        let options = short(serde_json::json!({"seconds": 0}));
        let elsewhere = "192.0.2.7:5201".parse().ok();
        assert!(await_partner(&listener, elsewhere, &options).is_err());
        drop(stranger);
        let _partner = TcpStream::connect(address).unwrap();
        assert!(await_partner(&listener, Some(address), &options).is_ok());
    }
}
