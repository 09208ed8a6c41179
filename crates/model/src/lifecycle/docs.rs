//! The life cycles as Markdown: one page for each, with its table and its diagrams.
//!
//! `docs/lifecycles/` holds what this makes; a test compares the two.

use super::command::Command;
use super::decide::decide;
use super::display::Display;
use super::node::{self, NodeStateKind};
use super::nova::{InstanceClass, InstanceState, PowerState, TaskState, VmState};
use super::progress::{OnRestart, Outcome, RootDisk, on_restart, path, settle};
use super::table::{Budget, Row, rows};
use super::{image, volume};
use std::fmt::{Debug, Display as Text};
use std::time::Duration;

const NOTICE: &str = "<!-- Made from the tables in crates/model/src/lifecycle; do not edit. -->\n";

/// A page of `docs/lifecycles/`.
pub struct Page {
    pub file: &'static str,
    pub text: String,
}

/// All pages, the index first.
pub fn pages() -> Vec<Page> {
    let pages = [
        ("vm.md", "virtual machine", vm_page()),
        ("metal.md", "bare-metal instance", metal_page()),
        ("volume.md", "volume", volume_page()),
        ("image.md", "image", image_page()),
        ("node.md", "bare-metal node", node_page()),
    ];
    let mut index = format!(
        "{NOTICE}# Life cycles\n\nEach is a table in the code; these pages are made from it.\n\n"
    );
    for (file, title, _) in &pages {
        index += &format!("- [{title}]({file})\n");
    }
    let pages = pages.into_iter().map(|(file, _, text)| Page { file, text });
    std::iter::once(Page {
        file: "README.md",
        text: index,
    })
    .chain(pages)
    .collect()
}

fn vm_page() -> String {
    instance_page(InstanceClass::Vm, "virtual machine")
}

fn metal_page() -> String {
    let mut page = instance_page(InstanceClass::Metal, "bare-metal instance");
    page += "\n## What metal lacks\n\nThese commands are refused, and the refusal names what is missing.\n\n";
    page += "| Command | Missing |\n| --- | --- |\n";
    for command in Command::ALL {
        if let Some(capability) = command.metal_lacks() {
            page += &format!("| {command} | {capability} |\n");
        }
    }
    page +=
        "\n## The server under it\n\n| Instance | Provision states of the node |\n| --- | --- |\n";
    for row in rows(InstanceClass::Metal) {
        page += &format!(
            "| {} | {} |\n",
            row.state,
            list(super::metal::node_states(row.state))
        );
    }
    page
}

fn instance_page(class: InstanceClass, title: &str) -> String {
    let rows = rows(class);
    let mut page = format!("{NOTICE}# Life cycle of a {title}\n\n");
    page += "The state is one total function of Nova's `vm_state` and `task_state`. An instance begins in the state\n";
    page += &format!(
        "{} when its create is accepted.\n",
        InstanceState::REQUESTED.display(class)
    );
    page += &table(rows, "task_state", |row| {
        let shown = |task: &TaskState| {
            let vm = if task.is_build() {
                VmState::Building
            } else {
                VmState::Active
            };
            let shown = Display::of(class, vm, Some(*task));
            shown == row.state && (task.is_build() || shown != Display::of(class, vm, None))
        };
        list(TaskState::ALL.iter().filter(|task| shown(task)))
    });
    page += &families(
        rows,
        INSTANCE_FAMILIES,
        InstanceState::REQUESTED.display(class),
    );
    page += &commands(class);
    page + &restarts()
}

/// The states of each diagram; a change is drawn in the first that knows one of its two ends.
const INSTANCE_FAMILIES: &[(&str, &[Display])] = &[
    (
        "Removal",
        &[Display::SoftDeleted, Display::Restoring, Display::Deleted],
    ),
    (
        "Create",
        &[
            Display::Scheduling,
            Display::Building,
            Display::Starting,
            Display::Networking,
            Display::BlockDeviceMapping,
            Display::Spawning,
        ],
    ),
    ("Power", &[Display::PoweringOff, Display::PoweringOn]),
    (
        "Reboot",
        &[
            Display::Rebooting,
            Display::RebootStarted,
            Display::RebootingHard,
            Display::RebootingStartedHard,
        ],
    ),
    (
        "Shelve",
        &[
            Display::Shelving,
            Display::Shelved,
            Display::ShelvedOffloaded,
            Display::Unshelving,
        ],
    ),
    (
        "Resize",
        &[
            Display::ResizePrep,
            Display::ResizeMigrating,
            Display::ResizeMigrated,
            Display::ResizeFinished,
            Display::Resized,
            Display::ResizeConfirm,
            Display::ResizeRevert,
        ],
    ),
    (
        "Rebuild",
        &[
            Display::Rebuilding,
            Display::RebuildBlockDeviceMapping,
            Display::RebuildSpawning,
        ],
    ),
    (
        "Rescue",
        &[Display::Rescuing, Display::Rescued, Display::Unrescuing],
    ),
    (
        "Pause and suspend",
        &[
            Display::Pausing,
            Display::Unpausing,
            Display::Suspending,
            Display::Resuming,
        ],
    ),
    (
        "Live migration and password",
        &[Display::Migrating, Display::UpdatingPassword],
    ),
    (
        "Image capture",
        &[
            Display::ImageSnapshotPending,
            Display::ImageSnapshot,
            Display::ImagePendingUpload,
            Display::ImageUploading,
            Display::ImageBackup,
        ],
    ),
    (
        "Without an operation",
        &[
            Display::Active,
            Display::Stopped,
            Display::Paused,
            Display::Error,
        ],
    ),
];

/// What each command passes and where it ends.
fn commands(class: InstanceClass) -> String {
    let mut text = "\n## Commands\n\nFrom stable states: what is passed, where it ends, and where if it fails at its \
                    last step.\n\n"
        .to_owned();
    text +=
        "| Command | From | Passes | Ends in | If it fails |\n| --- | --- | --- | --- | --- |\n";
    for command in Command::ALL {
        let mut lines: Vec<(Vec<Display>, String)> = Vec::new();
        for vm in VmState::ALL {
            let from = InstanceState::stable(*vm, usual_power(*vm));
            let known = Display::of(InstanceClass::Vm, *vm, None) == from.display(class);
            let Some(line) = course(class, from, *command).filter(|_| known) else {
                continue;
            };
            match lines.iter_mut().find(|(_, same)| *same == line) {
                Some((states, _)) => states.push(from.display(class)),
                None => lines.push((vec![from.display(class)], line)),
            }
        }
        for (from, line) in lines {
            text += &format!("| {command} | {} | {line} |\n", list(from));
        }
    }
    text
}

/// The last three cells of a command's line; `None` if it is not legal or sets no task.
fn course(class: InstanceClass, from: InstanceState, command: Command) -> Option<String> {
    let begun = decide(class, from, command).ok()?.state;
    begun.task?;
    let mut passed = vec![begun];
    for task in path(command, from.vm, RootDisk::Local).iter().skip(1) {
        passed.push(passed.last()?.enter(*task));
    }
    let last = *passed.last()?;
    let mut shown: Vec<Display> = passed.iter().map(|state| state.display(class)).collect();
    shown.dedup();
    let end = |outcome| settle(command, last, outcome).display(class);
    Some(format!(
        "{} | {} | {}",
        list(&shown),
        end(Outcome::Succeeded),
        end(Outcome::Failed)
    ))
}

/// What becomes of unfinished work when a worker starts again.
fn restarts() -> String {
    let mut text = "\n## After a restart of the control plane or of a host's agent\n\n".to_owned();
    text += "| Found task | With the guest on | With the guest off |\n| --- | --- | --- |\n";
    let at = |task: TaskState| {
        [PowerState::Running, PowerState::Shutdown].map(|power| on_restart(task, power))
    };
    for task in TaskState::ALL
        .iter()
        .filter(|task| at(**task) != [OnRestart::Resume; 2])
    {
        let [on, off] = at(*task);
        text += &format!("| {task} | {on} | {off} |\n");
    }
    text + &format!("| every other | {0} | {0} |\n", OnRestart::Resume)
}

fn usual_power(vm: VmState) -> PowerState {
    match vm {
        VmState::Building | VmState::Deleted => PowerState::NoState,
        VmState::Active | VmState::Rescued | VmState::Resized => PowerState::Running,
        VmState::Paused => PowerState::Paused,
        VmState::Suspended => PowerState::Suspended,
        VmState::Stopped
        | VmState::Shelved
        | VmState::ShelvedOffloaded
        | VmState::SoftDeleted
        | VmState::Error => PowerState::Shutdown,
    }
}

fn volume_page() -> String {
    use volume::{TABLE, VolumeContext, VolumeStatus as V};
    let mut page = format!("{NOTICE}# Life cycle of a volume\n\n");
    page += "Cinder's status, and in the column \"Shown as\" the state that people see. The administrator can reset any\n";
    page += &format!("status to one of: {}.\n", list(volume::RESET_TARGETS));
    page += &table(TABLE, "Shown as", |row| {
        let offloaded = VolumeContext {
            attached: true,
            holder_offloaded: true,
            ..VolumeContext::default()
        };
        let contexts = [VolumeContext::default(), offloaded];
        let mut shown = contexts.map(|context| row.state.display(context)).to_vec();
        shown.dedup();
        list(&shown)
    });
    let known: &[(&str, &[V])] = &[
        (
            "Create",
            &[
                V::Creating,
                V::Downloading,
                V::RestoringBackup,
                V::Managing,
                V::ErrorManaging,
            ],
        ),
        ("Attach", &[V::Reserved, V::Attaching, V::Detaching]),
        (
            "Copy and change",
            &[
                V::Extending,
                V::BackingUp,
                V::Uploading,
                V::Retyping,
                V::Maintenance,
            ],
        ),
        ("Transfer", &[V::AwaitingTransfer]),
        ("Removal", V::ALL),
    ];
    page += &families(TABLE, known, V::Creating);
    page
}

fn image_page() -> String {
    use image::{ImageStatus, TABLE};
    let mut page = format!("{NOTICE}# Life cycle of an image\n\nGlance's status.\n");
    page += &table(TABLE, "", |_| String::new());
    page += &families(TABLE, &[("All", ImageStatus::ALL)], ImageStatus::Queued);
    page
}

fn node_page() -> String {
    use node::ProvisionState as P;
    let mut page = format!("{NOTICE}# Life cycle of a bare-metal node\n\n");
    page += "Ironic's provision states. A verb is sent by an operator, an event is reported by the running operation.\n";
    page += "The only way into `available` is a finished `cleaning`.\n\n";
    page += "| State | Kind | Meaning | Verbs | Events | Time budget |\n| --- | --- | --- | --- | --- | --- |\n";
    for row in node::TABLE {
        let moves = |(name, to): (String, P)| format!("{name} → {to}");
        page += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.state,
            kind(row.kind),
            row.meaning,
            list(
                row.verbs
                    .iter()
                    .map(|(verb, to)| moves((format!("**{verb}**"), *to)))
            ),
            list(
                row.events
                    .iter()
                    .map(|(event, to)| moves((event.to_string(), *to)))
            ),
            budget(row.budget),
        );
    }
    let parts: &[(&str, &[P])] = &[
        (
            "Enrolment, inspection, adoption",
            &[
                P::Enroll,
                P::Verifying,
                P::Inspecting,
                P::InspectWait,
                P::InspectFailed,
                P::Adopting,
                P::AdoptFailed,
            ],
        ),
        (
            "Cleaning",
            &[P::Cleaning, P::CleanWait, P::CleanHold, P::CleanFailed],
        ),
        (
            "Rescue",
            &[
                P::Rescuing,
                P::RescueWait,
                P::Rescue,
                P::RescueFailed,
                P::Unrescuing,
                P::UnrescueFailed,
            ],
        ),
        (
            "Service",
            &[
                P::Servicing,
                P::ServiceWait,
                P::ServiceHold,
                P::ServiceFailed,
            ],
        ),
        ("Deployment", P::ALL),
    ];
    let mut edges: Vec<(P, P, String)> = Vec::new();
    for row in node::TABLE {
        edges.extend(
            row.verbs
                .iter()
                .map(|(verb, to)| (row.state, *to, verb.to_string())),
        );
        edges.extend(
            row.events
                .iter()
                .map(|(event, to)| (row.state, *to, event.to_string())),
        );
    }
    page + &diagrams(&edges, parts, Some(P::Enroll), &[])
}

fn kind(kind: NodeStateKind) -> &'static str {
    match kind {
        NodeStateKind::Rests => "rests",
        NodeStateKind::Moves => "moves",
        NodeStateKind::Waits => "waits for the ramdisk",
        NodeStateKind::Holds => "waits for a person",
        NodeStateKind::Failed => "failed",
    }
}

/// The table of a life cycle, with one column of its own. What is common to all states is said once above it.
fn table<S, C>(rows: &[Row<S, C>], own_title: &str, own: impl Fn(&Row<S, C>) -> String) -> String
where
    S: Text + Copy + PartialEq,
    C: Text + Copy + PartialEq,
{
    let commands = common(rows, |row| row.legal().collect());
    let states = common_next(rows);
    let mut text = String::new();
    if !commands.is_empty() || !states.is_empty() {
        text += "\nCommon to all states but a final one, and not repeated below:\n\n";
        text += &format!("- legal: {}\n- next: {}\n", list(&commands), list(&states));
    }
    let (own_head, own_rule) = match own_title {
        "" => (String::new(), ""),
        title => (format!(" {title} |"), " --- |"),
    };
    text += &format!(
        "\n| K | State | Meaning | Billed |{own_head} Time budget | Legal commands | Next states |\n\
         | --- | --- | --- | --- |{own_rule} --- | --- | --- |\n"
    );
    for row in rows {
        let k = row.k.map_or_else(String::new, |k| format!("K{k}"));
        let own_cell = if own_title.is_empty() {
            String::new()
        } else {
            format!(" {} |", own(row))
        };
        text += &format!(
            "| {k} | {} | {} | {} |{own_cell} {} | {} | {} |\n",
            row.state,
            row.meaning,
            if row.billed { "yes" } else { "–" },
            budget(row.budget),
            list(row.legal().filter(|command| !commands.contains(command))),
            list(row.next().filter(|state| !states.contains(state))),
        );
    }
    text
}

/// What the lists of all rows but the empty ones share.
fn common<S, C, T: Copy + PartialEq>(
    rows: &[Row<S, C>],
    items: impl Fn(&Row<S, C>) -> Vec<T>,
) -> Vec<T> {
    let lists: Vec<Vec<T>> = rows
        .iter()
        .map(items)
        .filter(|list| !list.is_empty())
        .collect();
    let first = lists.first().cloned().unwrap_or_default();
    first
        .into_iter()
        .filter(|item| lists.iter().all(|list| list.contains(item)))
        .collect()
}

/// As `common`, for the next states; a state counts as its own next.
fn common_next<S: Copy + PartialEq, C: Copy + PartialEq>(rows: &[Row<S, C>]) -> Vec<S> {
    common(rows, |row| {
        let next: Vec<S> = row.next().collect();
        if next.is_empty() {
            next
        } else {
            next.into_iter().chain([row.state]).collect()
        }
    })
}

fn families<S, C>(rows: &[Row<S, C>], parts: &[(&str, &[S])], first: S) -> String
where
    S: Debug + Text + Copy + PartialEq,
    C: Copy + PartialEq,
{
    let edges: Vec<(S, S, String)> = rows
        .iter()
        .flat_map(|row| row.next().map(|next| (row.state, next, String::new())))
        .collect();
    diagrams(&edges, parts, Some(first), &common_next(rows))
}

/// One diagram for each part, without the changes into a state of `left_out`: they can happen anywhere, and the text
/// above says so.
fn diagrams<S>(
    edges: &[(S, S, String)],
    parts: &[(&str, &[S])],
    first: Option<S>,
    left_out: &[S],
) -> String
where
    S: Debug + Text + Copy + PartialEq,
{
    let mut text = "\n## Diagrams\n".to_owned();
    let mut left: Vec<&(S, S, String)> = edges
        .iter()
        .filter(|(_, to, _)| !left_out.contains(to))
        .collect();
    for (title, states) in parts {
        let (here, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(from, to, _)| states.contains(from) || states.contains(to));
        left = rest;
        if here.is_empty() {
            continue;
        }
        text += &format!("\n### {title}\n\n```mermaid\nstateDiagram-v2\n");
        let mut named: Vec<S> = Vec::new();
        for state in here.iter().flat_map(|(from, to, _)| [*from, *to]) {
            if !named.contains(&state) {
                text += &format!("    state \"{state}\" as {state:?}\n");
                named.push(state);
            }
        }
        if let Some(first) = first.filter(|first| named.contains(first) && states.contains(first)) {
            text += &format!("    [*] --> {first:?}\n");
        }
        for (from, to, label) in here {
            let label = if label.is_empty() {
                String::new()
            } else {
                format!(" : {label}")
            };
            text += &format!("    {from:?} --> {to:?}{label}\n");
        }
        text += "```\n";
    }
    text
}

fn budget(budget: Option<Budget>) -> String {
    budget.map_or_else(
        || "–".to_owned(),
        |budget| format!("{}, then {}", span(budget.span), budget.over),
    )
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn list<T: Text>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
