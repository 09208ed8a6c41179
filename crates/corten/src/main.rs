//! The binary: `up`, `down`, `destroy`, `serve`, `agent`, `doctor`, `image …`, `admin …`.

/// Prints a line for people. A reader that went away (`corten up | head`) is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod admin;
mod agent;
mod cli;
mod client;
mod cloud;
mod config;
mod doctor;
mod first_network;
mod fleet;
mod guest_services;
mod networks;
mod process;
mod provisioning;
mod rack;
mod server;
mod ssh;
mod up;

use clap::Parser;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

/// Each password hash takes 19 MiB for a moment; the system's allocator would keep that per thread for good.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has memory that was freed given back after a millisecond: the control plane idles in half of what it would keep.
const ALLOCATOR_SETTINGS: [(&str, &str); 2] = [
    ("MIMALLOC_PURGE_DELAY", "1"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
];

/// The allocator reads its settings before `main` is called, so the control plane starts itself once more with them.
fn settle_allocator() {
    if ALLOCATOR_SETTINGS
        .iter()
        .all(|(name, _)| std::env::var_os(name).is_some())
    {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(ALLOCATOR_SETTINGS)
        .exec();
    // It works without them as well.
    eprintln!("corten: cannot start anew with the allocator's settings: {error}");
}

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if cli.serves() {
        settle_allocator();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("corten: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corten: {error:#}");
            ExitCode::FAILURE
        }
    }
}
