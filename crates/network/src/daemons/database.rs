//! A database server and its file.

use super::daemon::Daemon;
use super::dirs::Dirs;
use super::error::MachineError;
use super::namespace::Namespace;
use super::program::Program;
use super::supervisor::Supervised;
use std::path::{Path, PathBuf};

/// One `ovsdb-server` with one database.
pub struct DatabaseServer {
    pub name: &'static str,
    pub socket: PathBuf,
    pub schema: PathBuf,
    /// The Debian package that has the schema.
    pub package: &'static str,
}

impl DatabaseServer {
    /// Adopts the server or starts it. Its sockets are files, so it does not matter which network namespace it is in.
    pub async fn start(self, dirs: &Dirs) -> Result<Supervised, MachineError> {
        let file = dirs.state.join(format!("{}.db", self.name));
        let remote = format!("--remote=punix:{}", self.socket.display());
        let daemon = Daemon {
            name: self.name,
            program: "ovsdb-server",
            arguments: vec![file.display().to_string(), remote],
            dirs: dirs.clone(),
            namespace: Namespace::Own,
            names_its_socket: false,
        };
        if daemon.find()?.is_none() {
            self.prepare(&file).await?;
        }
        Supervised::start(daemon).await
    }

    /// Makes the database, or brings an older one to the schema of today's package.
    async fn prepare(&self, file: &Path) -> Result<(), MachineError> {
        if !self.schema.exists() {
            return Err(MachineError::ProgramMissing {
                program: self.schema.display().to_string(),
                package: self.package.to_owned(),
            });
        }
        let tool = |word: &str| {
            Program::new("ovsdb-tool")
                .arg(word)
                .arg(file)
                .arg(&self.schema)
        };
        if !file.exists() {
            return tool("create").run().await.map(drop);
        }
        if tool("needs-conversion").run().await?.trim() == "yes" {
            tool("convert").run().await?;
        }
        Ok(())
    }
}
