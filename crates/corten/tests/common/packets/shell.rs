//! Commands in a guest, through a channel that is no network: the virtio port that is there for guest agents.

use super::BOOT;
use crate::common::{Actor, guests, until};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// For a command that does not wait for anything long.
const ANSWER: Duration = Duration::from_secs(60);
/// Begins the line that ends an answer.
const END: char = '\u{1e}';

/// Runs each line that comes in, and answers with what it said and its status. What goes on behind it must have its
/// output elsewhere.
const AGENT: &str = r#"#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" != org.qemu.guest_agent.0 ] || break
done
exec 3<>"/dev/${port##*/}"
# While nobody is at the other end, there is an end of file.
while :; do
    while IFS= read -r command <&3; do
        said=$(eval "$command" 2>&1 </dev/null 3>&-)
        printf '%s\n\036%s\n' "$said" "$?" >&3
    done
    usleep 50000
done
"#;

/// What a guest must be given to have a shell.
pub fn user_data() -> String {
    BASE64_STANDARD.encode(AGENT)
}

/// The way into one guest.
pub struct Shell {
    channel: BufReader<UnixStream>,
    name: String,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub said: String,
}

impl Shell {
    /// Waits until the guest answers.
    pub async fn open(data: &Path, owner: &Actor, id: &str) -> Self {
        let socket = guests::directory(data, id).join("sockets/agent.sock");
        let channel = until(format!("the channel of {id}"), BOOT, async || {
            UnixStream::connect(&socket).await.ok()
        })
        .await;
        let mut shell = Self {
            channel: BufReader::new(channel),
            name: id.to_owned(),
        };
        let Ok(hello) = tokio::time::timeout(BOOT, shell.ask("hostname")).await else {
            panic!("{id} does not answer: {}", owner.console(id).await);
        };
        shell.name = hello.said;
        shell
    }

    async fn ask(&mut self, command: &str) -> Answer {
        let line = format!("{command}\n");
        self.channel.write_all(line.as_bytes()).await.unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self.channel.read_line(&mut line).await.unwrap();
            assert!(length > 0, "the guest ended in the middle of: {command}");
            if let Some(status) = line.strip_prefix(END) {
                return Answer {
                    status: status.trim().parse().unwrap(),
                    said: said.trim_end().to_owned(),
                };
            }
            said.push_str(&line);
        }
    }

    /// Runs a line of shell, whatever comes of it.
    pub async fn run(&mut self, command: &str) -> Answer {
        assert!(!command.contains('\n'), "a command is one line: {command}");
        let name = self.name.clone();
        let answer = tokio::time::timeout(ANSWER, self.ask(command)).await;
        answer.unwrap_or_else(|_| panic!("{name}: no answer to: {command}"))
    }

    /// What a line of shell says, which must succeed.
    pub async fn ok(&mut self, command: &str) -> String {
        let answer = self.run(command).await;
        assert_eq!(
            answer.status, 0,
            "{}: {command}: {}",
            self.name, answer.said
        );
        answer.said
    }

    /// Whether a line of shell succeeds.
    pub async fn does(&mut self, command: &str) -> bool {
        self.run(command).await.status == 0
    }

    /// Runs a line over and over until it succeeds. What it said then.
    pub async fn until(&mut self, what: &str, command: &str, limit: Duration) -> String {
        let begun = tokio::time::Instant::now();
        loop {
            let answer = self.run(command).await;
            if answer.status == 0 {
                return answer.said;
            }
            let name = &self.name;
            assert!(
                begun.elapsed() < limit,
                "{name}: {what}: not within {limit:?}: {command}: {}",
                answer.said
            );
        }
    }
}
