//! Programs that the tests talk to: started on loopback, ended when dropped, told apart by what they say.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, interval};

/// For a program to listen, on a machine where guests boot beside it.
pub const START: Duration = Duration::from_secs(120);

/// A program that runs while this lives.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts it with its output in a file, so that a test that fails can show it.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { child, name }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn assert_alive(&mut self, log: &Path) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            panic!("{} ended ({status}): {said}", self.name);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports of loopback that nobody has now.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// Waits until something holds, and fails with `what` when it does not.
pub async fn wait_until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    let mut turns = interval(Duration::from_millis(50));
    loop {
        turns.tick().await;
        if holds().await {
            return;
        }
        assert!(Instant::now() < deadline, "within {limit:?} not {what}");
    }
}
