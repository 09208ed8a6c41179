//! Whether the server of an instance can take a command now: asked when the command is taken, where a refusal harms nothing, and
//! again under the node's lock when it is carried out.

use crate::context::Context;
use crate::metal::firmware_steps;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::lifecycle::{Command, InstanceClass};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use corten_store::metal::node::{Node, SUBJECT};
use corten_store::operations::Operation;
use corten_store::{Failure, Tx, operations, record};

/// Refuses a command that the server of an instance cannot take now. A change of power waits for what works on the node at
/// the moment; a rebuild, which may come to wait for hours, is refused at once.
pub async fn check(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    command: Command,
) -> Result<(), Failure> {
    if instance.class == InstanceClass::Metal {
        super::node::check_node(tx, instance.id, command).await?;
    }
    let needs_server = matches!(
        command,
        Command::Start | Command::Stop | Command::HardReboot | Command::Rebuild
    );
    if instance.class != InstanceClass::Metal || !needs_server {
        return Ok(());
    }
    let node = super::node::find(tx, instance.id).await?;
    let node = node.ok_or_else(|| without_server(instance.id))?;
    if command == Command::Rebuild
        && let Some(running) = working_on(tx, &node).await?
    {
        return Err(
            Refusal::conflict(busy(&node, instance.id, command, &running, cx.now())).into(),
        );
    }
    Ok(takes(&node, instance.id, command, cx.now())?)
}

pub(super) fn without_server(id: InstanceId) -> Refusal {
    Refusal::conflict(format!(
        "Instance {id} has no server any more. Delete it, and create another."
    ))
}

/// What works on a node now.
pub(super) async fn working_on(tx: &mut Tx, node: &Node) -> Result<Option<Operation>, Failure> {
    Ok(operations::running_on(tx, SUBJECT, &node.id.to_string()).await?)
}

/// That something works on the server of an instance: what, and since when.
pub(super) fn busy(
    node: &Node,
    id: InstanceId,
    command: Command,
    running: &Operation,
    now: Timestamp,
) -> String {
    format!(
        "Cannot '{command}' instance {id} now: its server, node {}, is worked on by operation {} ({}), which runs for {} s. Ask \
         again when it has ended.",
        node.id,
        running.id,
        running.kind,
        now.since(running.created_at).as_secs()
    )
}

/// Whether a node that nothing works on takes a command of the instance on it.
pub(super) fn takes(
    node: &Node,
    id: InstanceId,
    command: Command,
    now: Timestamp,
) -> Result<(), Refusal> {
    let state = node.provision.state;
    let refused = |rule: &str, advice: &str| {
        Refusal::conflict(format!(
            "Cannot '{command}' instance {id}: its server, node {}, is '{state}', and {rule}. {advice}",
            node.id
        ))
    };
    if command == Command::Rebuild {
        if !state.legal().any(|verb| verb == NodeVerb::Rebuild) {
            let rule = "only one that is 'active', 'deploy failed' or 'error' is rebuilt";
            return Err(refused(rule, advice(state)));
        }
    } else if state != ProvisionState::Active {
        return Err(refused("only an 'active' one is switched", advice(state)));
    }
    if command == Command::Stop && node.disable_power_off {
        return Err(Refusal::conflict(format!(
            "Cannot 'stop' instance {id}: its server, node {}, has disable_power_off set and is never turned off. Reboot it hard, \
             or delete it.",
            node.id
        )));
    }
    firmware_steps::check_quiet(node, now, &format!("'{command}' of its instance"))
}

fn advice(state: ProvisionState) -> &'static str {
    use ProvisionState as S;
    match state {
        S::DeployFailed | S::Error => "Rebuild the instance, or delete it.",
        S::Deploying | S::WaitCallBack | S::DeployHold => {
            "Ask again when its operating system is on it."
        }
        S::Deleting | S::Cleaning | S::CleanWait | S::CleanHold => {
            "It is being taken off the instance: delete the instance."
        }
        _ => {
            "Who operates this cloud works on it: ask again when the node is 'active', or ask them for that."
        }
    }
}

/// Refuses what would take the server from under an instance: its owner alone ends it, and rebuilds it. `asked` names what
/// was asked for, as in "target 'deleted'".
pub async fn check_unowned(tx: &mut Tx, node: &Node, asked: &str) -> Result<(), Failure> {
    let Some(id) = node.instance_id else {
        return Ok(());
    };
    let instance: Option<Instance> = record::get(tx, id).await?;
    if instance.is_none_or(|instance| instance.deleted || instance.class != InstanceClass::Metal) {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "Node {} takes no {asked}: it carries instance {id}, whose owner would be left without a server. End the instance with \
         'openstack server delete {id}', or give it a new system with 'openstack server rebuild {id}'.",
        node.id
    ))
    .into())
}
