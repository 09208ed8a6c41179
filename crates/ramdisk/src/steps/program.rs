//! Runs one of Debian's helper programs, for what no system call does.

use std::process::{Command, Stdio};

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("the ramdisk has no program {program}")]
    Missing {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{line}` failed ({status}): {output}")]
    Failed {
        line: String,
        status: std::process::ExitStatus,
        output: String,
    },
}

/// Runs a program to its end and returns what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, ProgramError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProgramError::Missing {
            program: program.to_owned(),
            source,
        })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(ProgramError::Failed {
        line: format!("{program} {}", arguments.join(" ")),
        status: output.status,
        output: text(&output.stderr),
    })
}
