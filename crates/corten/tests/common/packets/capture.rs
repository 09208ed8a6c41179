//! What passes a guest's tap, frame by frame, seen in the switch's network namespace.

use crate::common::{guests, until};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(30);
/// Lengths of the header of a capture's file and of the one before each frame (pcap-savefile(5)).
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Which way frames go, seen from the guest.
#[derive(Clone, Copy)]
pub enum Way {
    ToGuest,
    FromGuest,
}

/// A capture that goes on until it is dropped.
pub struct Capture {
    file: PathBuf,
    _tcpdump: Child,
}

/// A frame as it was on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl Capture {
    /// Begins to capture at the tap of a running guest's port.
    pub async fn begin(data: &Path, server: &str, port: &str, way: Way) -> Self {
        let qemu = guests::of_guest(data, server)[0];
        let file = data.join(format!("{port}-{}.pcap", way.word()));
        let mut tcpdump = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", qemu.as_raw_nonzero()))
            .args([
                "tcpdump",
                "-Z",
                "root",
                "-n",
                "-U",
                "--immediate-mode",
                "-s",
                "0",
            ])
            .args([
                "-Q",
                way.word(),
                "-i",
                &tap(qemu.as_raw_nonzero().get(), port),
                "-w",
            ])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut told = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        let listens = async {
            let mut all = String::new();
            while let Some(line) = told.next_line().await.unwrap() {
                if line.contains("listening on") {
                    return;
                }
                all.push_str(&line);
            }
            panic!("tcpdump ended: {all}");
        };
        tokio::time::timeout(SOON, listens)
            .await
            .expect("tcpdump listens");
        Self {
            file,
            _tcpdump: tcpdump,
        }
    }

    /// All that has passed.
    pub fn frames(&self) -> Vec<Frame> {
        let bytes = fs::read(&self.file).unwrap();
        let mut rest = bytes.get(FILE_HEADER..).unwrap_or_default();
        let mut frames = Vec::new();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_ne_bytes(length.try_into().unwrap()) as usize;
            // The last frame may be half written.
            let Some(frame) = rest.get(FRAME_HEADER..FRAME_HEADER + length) else {
                break;
            };
            frames.push(Frame(frame.to_vec()));
            rest = &rest[FRAME_HEADER + length..];
        }
        frames
    }

    /// Waits until such a frame has passed.
    pub async fn sees(&self, what: &str, such: impl Fn(&Frame) -> bool) {
        until(format!("{what} in a capture"), SOON, async || {
            self.frames().iter().any(&such).then_some(())
        })
        .await;
    }

    /// No such frame has passed so far.
    #[track_caller]
    pub fn never_saw(&self, what: &str, such: impl Fn(&Frame) -> bool) {
        let found: Vec<_> = self.frames().into_iter().filter(such).collect();
        assert!(found.is_empty(), "{what} passed: {found:?}");
    }
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::ToGuest => "out",
            Self::FromGuest => "in",
        }
    }
}

impl Frame {
    pub fn source(&self) -> String {
        mac(&self.0[6..12])
    }

    pub fn destination(&self) -> String {
        mac(&self.0[..6])
    }

    pub fn contains(&self, part: &[u8]) -> bool {
        self.0.windows(part.len()).any(|window| window == part)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

fn mac(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// The tap that QEMU was told to open for a port.
fn tap(qemu: i32, port: &str) -> String {
    let line = fs::read(format!("/proc/{qemu}/cmdline")).unwrap();
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut netdevs = line
        .split('\0')
        .filter_map(|word| serde_json::from_str::<serde_json::Value>(word).ok());
    let netdev = netdevs
        .find(|value| value["type"] == "tap" && value["id"].as_str().unwrap().ends_with(port));
    netdev.expect("a network card")["ifname"]
        .as_str()
        .expect("a tap")
        .to_owned()
}
