//! The binary: `up`, `down`, `destroy`, `serve`, `doctor`, `image …`, `admin …`.

/// Prints a line for people. A reader that went away (`corten up | head`) is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod admin;
mod cli;
mod client;
mod cloud;
mod config;
mod doctor;
mod first_network;
mod networks;
mod process;
mod server;
mod ssh;
mod up;

use clap::Parser;
use std::process::ExitCode;

/// Each password hash takes 19 MiB for a moment; the system's allocator would keep that per thread for good.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
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
