//! The command line.

use crate::{admin, agent, config, doctor, server, ssh, up};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use corten::images::{self, ConsoleProgress, DebianOptions, RamdiskOptions, TinyOptions};
use corten_agent::Invitation;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Turns servers into a cloud.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the cloud is.
#[derive(Args, Clone)]
pub struct Place {
    /// The directory that holds everything this cloud keeps.
    #[arg(long, global = true, env = "CORTEN_DATA", default_value = ".corten")]
    pub data: PathBuf,
    /// The address to listen on.
    #[arg(long, global = true, env = "CORTEN_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// The settings; by default `corten.toml` in the data directory, if it is there.
    #[arg(long, global = true, env = "CORTEN_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cloud in the background and boot a first instance.
    Up {
        /// Start the cloud alone, without a first instance.
        #[arg(long)]
        bare: bool,
    },
    /// Stop the control plane. Guests go on running; the next `up` adopts them.
    Down,
    /// Stop everything and remove all data, after asking.
    Destroy {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Run the control plane in the foreground.
    Serve,
    /// Run this machine as a host of a cloud whose control plane is elsewhere.
    Agent {
        /// The invitation that `corten admin host invite` printed; needed the first time only.
        #[arg(
            long,
            value_name = "INVITATION",
            env = "CORTEN_JOIN",
            hide_env_values = true
        )]
        join: Option<Invitation>,
    },
    /// Log in to a server through its public IP.
    Ssh {
        /// PROJECT/SERVER, for example `demo/first`, or USER@PROJECT/SERVER where the image has another user than the tiny one's.
        server: String,
        /// What to run there; without it, a shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// What this machine can do, and what to do about what it cannot.
    Doctor,
    /// Build or fetch guest images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look into a cloud and help it along, on the machine it runs on.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Build an image from Debian packages.
    Build {
        /// `tiny`, `debian-12` or `ramdisk`.
        name: String,
        /// The file to write; raw if it ends in `.raw`, else qcow2. For `ramdisk`, a directory.
        #[arg(long)]
        output: Option<PathBuf>,
        /// Where downloaded packages are kept.
        #[arg(long)]
        cache: Option<PathBuf>,
        /// For `ramdisk`: its agent as a static program, as `scripts/ramdisk-agent` builds it.
        #[arg(long, required_if_eq("name", "ramdisk"))]
        agent: Option<PathBuf>,
    },
    /// The catalogue's images and where they come from.
    Catalog,
    /// Fetch one of the catalogue's images and verify it.
    Pull {
        name: String,
        #[arg(long)]
        output: Option<PathBuf>,
        /// Fetch from this address in place of the vendor's.
        #[arg(long)]
        from: Option<String>,
    },
}

impl Cli {
    /// Whether this process is to work until it is stopped.
    pub fn serves(&self) -> bool {
        matches!(self.command, Command::Serve | Command::Agent { .. })
    }
}

pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = cli.place;
    match cli.command {
        Command::Up { bare } => up::up(&place, bare).await?,
        Command::Down => up::down(&place).await?,
        Command::Destroy { yes } => up::destroy(&place, yes).await?,
        Command::Serve => server::serve(config::load(&place)?).await?,
        Command::Agent { join } => agent::run(config::load(&place)?, join).await?,
        Command::Ssh { server, command } => ssh::run(&place, &server, &command).await?,
        Command::Doctor => return doctor::run(&config::load(&place)?).await,
        Command::Image(command) => image(&place, command).await?,
        Command::Admin(command) => admin::run(&config::load(&place)?, command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn image(place: &Place, command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Build {
            name,
            output,
            cache,
            agent,
        } => {
            if let Some(agent) = agent {
                return build_ramdisk(place, &name, output, cache, agent).await;
            }
            let output = output.unwrap_or_else(|| PathBuf::from(format!("{name}.qcow2")));
            let cache = cache.unwrap_or_else(|| place.data.join("cache/packages"));
            build(&name, output, cache).await
        }
        ImageCommand::Catalog => {
            print!("{}", images::catalog_table()?);
            Ok(())
        }
        ImageCommand::Pull { name, output, from } => {
            let output = output.unwrap_or_else(|| PathBuf::from(format!("{name}.qcow2")));
            let pulled =
                images::pull(&name, &output, from.as_deref(), &ConsoleProgress::new()).await?;
            say!("{}: {pulled}", output.display());
            Ok(())
        }
    }
}

async fn build_ramdisk(
    place: &Place,
    name: &str,
    output: Option<PathBuf>,
    cache: Option<PathBuf>,
    agent: PathBuf,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        name == "ramdisk",
        "the image '{name}' has no agent: leave out --agent, or build 'ramdisk'"
    );
    let options = RamdiskOptions {
        agent,
        output: output.unwrap_or_else(|| PathBuf::from(".")),
        cache: cache.unwrap_or_else(|| place.data.join("cache/packages")),
    };
    let built = images::build_ramdisk(&options, &ConsoleProgress::new())
        .await
        .context("the ramdisk could not be built")?;
    say!(
        "{} and {} ({:.1} MiB)",
        built.kernel.display(),
        built.initrd.display(),
        built.bytes as f64 / f64::from(1 << 20)
    );
    Ok(())
}

async fn build(name: &str, output: PathBuf, cache: PathBuf) -> anyhow::Result<()> {
    let progress = ConsoleProgress::new();
    let built = match name {
        "tiny" => images::build_tiny(&TinyOptions { output, cache }, &progress).await,
        "debian-12" => images::build_debian(&DebianOptions { output, cache }, &progress).await,
        other => anyhow::bail!(
            "there is no image '{other}' to build; there are: tiny, debian-12, ramdisk"
        ),
    }
    .with_context(|| format!("image {name} could not be built"))?;
    say!(
        "{} ({:.1} MiB)",
        built.path.display(),
        built.file_bytes as f64 / f64::from(1 << 20)
    );
    Ok(())
}
