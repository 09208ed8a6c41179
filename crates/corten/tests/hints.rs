//! What the program says to people at its command line, and what it leaves behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under another name, as an operator may have installed it.
fn installed(folder: &Path) -> PathBuf {
    let path = folder.join("cloud-tool");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_corten"), &path).unwrap();
    path
}

fn run(program: &Path, data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(words).arg("--data").arg(data);
    command.output().unwrap()
}

#[test]
fn hints_can_be_typed_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let program = installed(folder.path());
    let data = folder.path().join("data");
    let mut command = Command::new(&program);
    let command = command.arg("--data").arg(&data);
    let refused = command.args(["ssh", "demo/first"]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    let hint = format!("run '{} up' first", program.display());
    assert!(said.contains(&hint), "{said}");
}

/// Whoever only looks makes nothing.
#[test]
fn doctor_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let program = installed(folder.path());
    let data = folder.path().join("data");
    let looked = run(&program, &data, &["doctor"]);
    let said = String::from_utf8(looked.stdout).unwrap();
    assert!(said.contains("findings"), "{said}");
    assert!(!data.exists(), "{said}");
}
