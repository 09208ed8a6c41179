//! `corten admin`: what the operator of the machine can see and do, straight on the store.

use crate::config::Config;
use crate::rack;
use anyhow::{Context as _, bail};
use clap::Subcommand;
use corten_agent::{Authority, Invitation};
use corten_engine::{Clock as _, SystemClock};
use corten_iam::Iam;
use corten_model::ids::OperationId;
use corten_operations::agent;
use corten_operations::metal::rotate_key::{self, Rotated};
use corten_operations::metal::vault::Vault;
use corten_store::operations::{self, Filter, Operation};
use corten_store::{Store, transitions};

#[derive(Subcommand)]
pub enum AdminCommand {
    /// Operations: what is being done, and what was.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Hosts on other machines.
    #[command(subcommand)]
    Host(HostCommand),
    /// Bare-metal servers.
    #[command(subcommand)]
    Metal(MetalCommand),
    /// Make the staged token key the primary and stage a new one.
    RotateTokenKeys,
}

#[derive(Subcommand)]
pub enum MetalCommand {
    /// Seal the passwords of BMCs under a new key and remove the old one. The cloud goes on; when killed, run it again.
    RotateKey,
    #[command(flatten)]
    Rack(rack::RackCommand),
}

#[derive(Subcommand)]
pub enum OperationCommand {
    /// Those that run, newest first.
    List {
        /// Those that have ended, too.
        #[arg(long)]
        all: bool,
    },
    /// One, with every state it caused.
    Show { id: OperationId },
    /// Ask one to stop at its next step and clean up.
    Cancel { id: OperationId },
}

#[derive(Subcommand)]
pub enum HostCommand {
    /// Invite a machine to be the host of this name, and print what to run there. An invitation is good for an hour, once.
    Invite { name: String },
}

pub async fn run(config: &Config, command: AdminCommand) -> anyhow::Result<()> {
    if let AdminCommand::Metal(MetalCommand::Rack(command)) = command {
        return rack::run(config, command).await;
    }
    let store = Store::open(&config.database_url())
        .await
        .context("cannot open the store")?;
    match command {
        AdminCommand::Operation(OperationCommand::List { all }) => list(&store, all).await,
        AdminCommand::Operation(OperationCommand::Show { id }) => show(&store, id).await,
        AdminCommand::Operation(OperationCommand::Cancel { id }) => cancel(&store, id).await,
        AdminCommand::Host(HostCommand::Invite { name }) => invite(config, &store, &name).await,
        AdminCommand::Metal(MetalCommand::RotateKey) => rotate_metal_key(config, &store).await,
        AdminCommand::Metal(MetalCommand::Rack(command)) => rack::run(config, command).await,
        AdminCommand::RotateTokenKeys => {
            Iam::open(store, config.identity.clone())
                .await?
                .rotate_keys()?;
            say!("The staged key is the primary now; restart or wait for replicas to read it.");
            Ok(())
        }
    }
}

async fn rotate_metal_key(config: &Config, store: &Store) -> anyhow::Result<()> {
    let vault = Vault::open(&config.metal_key_directory())
        .context("cannot open the key of the passwords of bare-metal servers")?;
    let Rotated { key, sealed } = rotate_key::rotate(store, &vault).await?;
    say!(
        "{sealed} nodes and inspection rules are sealed under the new key {key}; the old one is gone."
    );
    Ok(())
}

async fn invite(config: &Config, store: &Store, name: &str) -> anyhow::Result<()> {
    let Some(listen) = config.agents.listen else {
        bail!(
            "hosts on other machines cannot come in: set agents.listen in corten.toml to an address of this machine that \
             they reach, for example \"10.0.0.1:8775\", and start the control plane again"
        );
    };
    let address = config.agents.address.clone();
    if address.is_none() && listen.ip().is_unspecified() {
        bail!(
            "agents.listen is {listen}, which is no address that a machine can go to: set agents.address in corten.toml to \
             HOST:PORT by which hosts reach this one"
        );
    }
    let authority = Authority::open(&config.agents.authority_directory)?;
    let address = address.unwrap_or_else(|| listen.to_string());
    let invitation = Invitation::new(address, authority.fingerprint()?);
    let secret = Invitation::secret_hash(&invitation.secret);
    agent::invite(store, SystemClock.now(), name, secret).await?;
    say!("corten agent --join {invitation}");
    Ok(())
}

async fn list(store: &Store, all: bool) -> anyhow::Result<()> {
    let mut tx = store.read().await?;
    let found = operations::list(
        &mut tx,
        Filter {
            running: !all,
            ..Filter::default()
        },
    )
    .await?;
    say!(
        "{:36}  {:22}  {:10}  {:>8}  {:36}  note",
        "id",
        "kind",
        "status",
        "age",
        "subject"
    );
    for operation in found {
        say!(
            "{:36}  {:22}  {:10}  {:>6} s  {:36}  {}",
            operation.id,
            operation.kind,
            operation.status.as_str(),
            age_secs(&operation),
            operation.subject_id,
            operation.note
        );
    }
    Ok(())
}

fn age_secs(operation: &Operation) -> u64 {
    operation
        .finished_at
        .unwrap_or_else(|| SystemClock.now())
        .since(operation.created_at)
        .as_secs()
}

async fn show(store: &Store, id: OperationId) -> anyhow::Result<()> {
    let mut tx = store.read().await?;
    let Some(operation) = operations::get(&mut tx, id).await? else {
        bail!("there is no operation {id}")
    };
    say!("id        {}", operation.id);
    say!("kind      {}", operation.kind);
    say!(
        "subject   {} {}",
        operation.subject_kind,
        operation.subject_id
    );
    say!("status    {}", operation.status.as_str());
    say!(
        "step      {} at {}, attempt {}",
        operation.step,
        operation.place,
        operation.attempt
    );
    say!("request   {}", operation.request_id);
    say!("started   {}", operation.created_at.seconds_z());
    say!("deadline  {}", operation.deadline.seconds_z());
    if let Some(owner) = &operation.lease_owner {
        say!("worker    {owner}, epoch {}", operation.epoch);
    }
    if !operation.note.is_empty() {
        say!("note      {}", operation.note);
    }
    for transition in transitions::of_operation(&mut tx, id).await? {
        let from = transition.from.as_deref().unwrap_or("-");
        say!(
            "{}  {from} → {}  ({})",
            transition.at.micros_z(),
            transition.to,
            transition.why
        );
    }
    Ok(())
}

async fn cancel(store: &Store, id: OperationId) -> anyhow::Result<()> {
    let mut tx = store.write().await?;
    if !operations::request_cancel(&mut tx, id, SystemClock.now()).await? {
        bail!("operation {id} does not run");
    }
    tx.commit().await?;
    say!("Operation {id} will stop at its next step and clean up.");
    Ok(())
}
