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
    /// Where else it listens and with which certificates is written in the database itself, in its tables `SSL` and
    /// `Connection`. This is the database's name and its root table.
    pub remotes_in: Option<(&'static str, &'static str)>,
}

impl DatabaseServer {
    /// Adopts the server or starts it. Its sockets are files, so it does not matter which network namespace it is in.
    pub async fn start(self, dirs: &Dirs) -> Result<Supervised, MachineError> {
        let file = dirs.state.join(format!("{}.db", self.name));
        let remote = format!("--remote=punix:{}", self.socket.display());
        let mut arguments = vec![file.display().to_string(), remote];
        if let Some((database, root)) = self.remotes_in {
            arguments.push(format!("--remote=db:{database},{root},connections"));
            let files = [
                ("private-key", "private_key"),
                ("certificate", "certificate"),
                ("ca-cert", "ca_cert"),
            ];
            let from_table = |(option, column)| format!("--{option}=db:{database},SSL,{column}");
            arguments.extend(files.map(from_table));
        }
        let daemon = Daemon {
            name: self.name,
            program: "ovsdb-server",
            arguments,
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
