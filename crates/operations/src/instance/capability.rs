//! What a whole server lacks of what an instance can be asked: refused with the capability that is missing (K67, K68).
//!
//! `Command::metal_lacks` knows what metal never does. Here is added what its life cycle has and nothing carries out, and
//! what is no command: fields of a request, security groups, addresses.

use super::networks::Networks;
use super::new::NewInstances;
use super::query;
use crate::context::Context;
use crate::{extra_specs, metal_instance};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{
    self, Begin, Command, Illegal, InstanceClass, InstanceState, Reason,
};
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::images::Image;
use corten_store::instances::{Flavor, Instance};

/// What joins a server to more than the flat network that it is deployed on.
pub const CABLING: &str = "a DPU or a managed switch port";
/// What keeps to the rules of a security group outside a server's own system.
pub const ENFORCER: &str = "a DPU or a switch that enforces its rules";

/// What a command of metal's life cycle lacks to be carried out.
fn lacks(command: Command) -> Option<&'static str> {
    Some(match command {
        Command::Shelve | Command::Unshelve | Command::ShelveOffload => {
            "a place apart from the server to keep its root disk in"
        }
        Command::Rescue | Command::Unrescue => {
            "a rescue by its tenant (its operator can rescue the node)"
        }
        Command::AttachInterface | Command::DetachInterface => {
            "a DPU or a managed switch port to attach networks with"
        }
        Command::RemoteConsole => "a way to its serial line for its tenant",
        _ => return None,
    })
}

/// The life cycle's decision on a command. What nothing carries out is refused, and not named as legal.
pub fn decide(
    class: InstanceClass,
    state: InstanceState,
    command: Command,
) -> Result<Begin, Illegal> {
    let decided = lifecycle::decide(class, state, command);
    if class == InstanceClass::Vm {
        return decided;
    }
    let legal = legal_commands(class, state);
    match lacks(command) {
        Some(capability) => Err(Illegal {
            class,
            command,
            state,
            reason: Reason::ClassCannot { capability },
            legal,
        }),
        None => decided.map_err(|illegal| Illegal { legal, ..illegal }),
    }
}

/// The commands that are accepted now.
pub fn legal_commands(class: InstanceClass, state: InstanceState) -> Vec<Command> {
    let mut legal = lifecycle::legal_commands(class, state);
    if class == InstanceClass::Metal {
        legal.retain(|command| lacks(*command).is_none());
    }
    legal
}

/// The 409 of an action on a whole server. `word` is the API's name of the action.
pub fn cannot(instance: &Instance, word: &str, capability: &str) -> Refusal {
    Refusal::conflict(format!(
        "Cannot '{word}' instance {} while it is a bare-metal server: it lacks {capability}.",
        instance.id
    ))
}

/// Refuses on a whole server an action that is no command of the life cycle.
pub fn refuse(instance: &Instance, word: &str, capability: &str) -> Result<(), Refusal> {
    match instance.class {
        InstanceClass::Vm => Ok(()),
        InstanceClass::Metal => Err(cannot(instance, word, capability)),
    }
}

/// Refuses on a whole server what a request says of it.
pub fn refuse_field(instance: &Instance, asked: &str, capability: &str) -> Result<(), Refusal> {
    match instance.class {
        InstanceClass::Vm => Ok(()),
        InstanceClass::Metal => Err(Refusal::conflict(format!(
            "Instance {} is a bare-metal server, and {asked} needs {capability}, which it lacks.",
            instance.id
        ))),
    }
}

/// Refuses on a whole server a command that no class is served, with what it lacks. A virtual machine passes.
pub async fn check(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    command: Command,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    if instance.class == InstanceClass::Vm {
        return Ok(());
    }
    let action = match command {
        Command::Evacuate => compute::SERVERS_ADMINISTER,
        _ => compute::SERVERS_WRITE,
    };
    query::permit(cx, actor, &instance, action)?;
    decide(instance.class, instance.state, command)
        .map_err(|illegal| Refusal::conflict(illegal.message(id)))?;
    Ok(())
}

/// What a create asks for that its flavor's servers lack.
struct Lacking<'a> {
    flavor: &'a Flavor,
}

impl Lacking<'_> {
    fn refuse(&self, asked: &str, capability: &str, instead: &str) -> Result<(), Refusal> {
        Err(Refusal::conflict(format!(
            "Flavor {} gives a whole bare-metal server, and {asked} needs {capability}, which it does not have: {instead}.",
            self.flavor.name
        )))
    }
}

/// Refuses what a whole server cannot be given, with the capability it lacks.
pub fn check_new(
    new: &NewInstances,
    flavor: &Flavor,
    image: Option<&Image>,
    default_zone: &str,
) -> Result<(), Refusal> {
    let lacking = Lacking { flavor };
    check_flavor(flavor)?;
    check_wiring(new, &lacking)?;
    if let Some(host) = &new.host {
        let asked = format!("the chosen host {host}");
        return lacking.refuse(&asked, "a hypervisor", "leave it out");
    }
    if let Some(zone) = &new.availability_zone
        && zone != default_zone
    {
        let asked = format!("the availability zone {zone}");
        return lacking.refuse(&asked, "a place in one", "leave it out");
    }
    if !new.scheduler_hints.is_empty() {
        return lacking.refuse(
            "a scheduler hint or server group",
            "a host that is shared",
            "leave them out",
        );
    }
    if new.disk_config.as_deref() == Some(MANUAL) {
        let asked = "OS-DCF:diskConfig MANUAL";
        return lacking.refuse(asked, FIXED_DISK, "leave it out, or ask for AUTO");
    }
    image.map_or(Ok(()), check_image)
}

const MANUAL: &str = "MANUAL";
const FIXED_DISK: &str =
    "a disk of the image's size (the system of a whole server grows over its whole disk)";

/// A flavor whose servers have all that it promises.
fn check_flavor(flavor: &Flavor) -> Result<(), Refusal> {
    if extra_specs::resource_class(&flavor.extra_specs).is_none() {
        return Err(Refusal::invalid(format!(
            "Flavor {} is for whole servers but names none: set the extra spec resources:CUSTOM_CLASS=1, where CLASS is the \
             resource class of nodes.",
            flavor.name
        )));
    }
    let lacking = Lacking { flavor };
    let capability = "a second disk that is made with the server";
    let instead = "choose a flavor with neither an ephemeral disk nor swap";
    if flavor.ephemeral_gib > 0 {
        let asked = format!("its ephemeral disk of {} GiB", flavor.ephemeral_gib);
        return lacking.refuse(&asked, capability, instead);
    }
    if flavor.swap_mib > 0 {
        let asked = format!("its swap of {} MiB", flavor.swap_mib);
        return lacking.refuse(&asked, capability, instead);
    }
    Ok(())
}

/// Networks, public IPs and security groups: nothing stands between a server and its network that could tell them apart.
fn check_wiring(new: &NewInstances, lacking: &Lacking<'_>) -> Result<(), Refusal> {
    let flat =
        "it is on the flat network of its conductor group; leave networks out, or ask for 'auto'";
    match &new.networks {
        Networks::Unsaid | Networks::Auto => {}
        Networks::None => {
            return lacking.refuse("an instance on no network", CABLING, flat);
        }
        Networks::These(_) => {
            return lacking.refuse("a network or port of its own", CABLING, flat);
        }
    }
    if new.public_ip.is_some() {
        return lacking.refuse("a public IP", CABLING, "leave it out");
    }
    if let Some(group) = new.security_groups.first() {
        let asked = format!("the security group {group}");
        return lacking.refuse(&asked, ENFORCER, "leave security_groups out");
    }
    Ok(())
}

/// An image that whole servers get, and that lets its system grow over their disk.
pub fn check_image(image: &Image) -> Result<(), Refusal> {
    metal_instance::check_image(image)?;
    let is_off = |value: &String| value.eq_ignore_ascii_case("false");
    if image.properties.get("auto_disk_config").is_some_and(is_off) {
        return Err(Refusal::conflict(format!(
            "Image {} has auto_disk_config=false, which needs {FIXED_DISK}: choose an image without it.",
            image.id
        )));
    }
    Ok(())
}

/// Refuses to a whole server that is there what an update says and nothing would do.
pub fn check_update(
    instance: &Instance,
    hostname: Option<&str>,
    disk_config: Option<&str>,
) -> Result<(), Refusal> {
    if let Some(hostname) = hostname
        && hostname != instance.intent.hostname
    {
        let asked = format!("the new hostname {hostname}");
        let capability =
            "a metadata service on its network that tells it (a rebuild with 'hostname' does)";
        refuse_field(instance, &asked, capability)?;
    }
    check_disk_config(instance, disk_config)
}

/// Its disk is all its own.
pub fn check_disk_config(instance: &Instance, disk_config: Option<&str>) -> Result<(), Refusal> {
    match disk_config {
        Some(MANUAL) => refuse_field(instance, "OS-DCF:diskConfig MANUAL", FIXED_DISK),
        _ => Ok(()),
    }
}
