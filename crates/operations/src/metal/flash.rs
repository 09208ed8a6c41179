//! Decisions about firmware that a BMC installs: which part of it is meant, whether it heard, and what proves the end. Pure:
//! what the BMC shows in, what to do out.

use super::firmware_args::Setting;
use corten_bmc::{BmcError, FirmwareItem, TaskRef, TaskSeen, TaskState, TaskWork};
use corten_model::time::Timestamp;
use corten_store::metal::flash::{Flash, Stage};
use std::time::Duration;

/// What was asked for shows in the BMC's tasks by then. Longer than [`super::firmware_steps::ASK_LIMIT`]: a worker that was
/// overtaken asks no more.
const SHOWS: Duration = Duration::from_secs(300);
/// From then on a task may have ended and been forgotten.
const REMEMBERED: Duration = Duration::from_secs(900);
/// How long the version of what is installed may take to show.
const SETTLES: Duration = Duration::from_secs(120);
/// The same where the BMC forgot its tasks: it restarts.
const RETURNS: Duration = Duration::from_secs(600);
/// The BMC is asked so often at most, each time after it was shown that nothing was begun.
const TRIES: u32 = 3;
/// How Dell's BMC begins the ids of what is not installed: what was there before, and what could be.
const NOT_INSTALLED: &[&str] = &["Previous-", "Available-"];

/// What the BMC shows at one moment.
pub struct Seen {
    pub version: Option<String>,
    pub tasks: Option<Vec<TaskSeen>>,
}

/// What became of a component whose BMC was about to be asked.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// This task installs it.
    Task(TaskRef),
    /// It cannot be told yet.
    Wait(String),
    /// It shows another version.
    Changed,
    /// Nothing was begun.
    Nothing,
    /// It cannot be told at all.
    Unknown(String),
}

/// What an ended task proves.
#[derive(Debug, PartialEq)]
pub enum Proof {
    Wait(String),
    /// It may hold from the next boot on.
    Boot,
    Done(String),
    Unknown(String),
}

/// The part of an id behind its last slash.
fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn name(item: &FirmwareItem) -> &str {
    item.name.as_deref().unwrap_or_else(|| last(&item.id))
}

fn is_installed(item: &FirmwareItem) -> bool {
    let id = last(&item.id);
    !NOT_INSTALLED.iter().any(|begin| id.starts_with(begin))
}

/// What a BMC lists for each setting, by its name or id, or why one is refused.
pub fn resolve(settings: &[Setting], shown: &[FirmwareItem]) -> Result<Vec<Flash>, String> {
    let mut flashes: Vec<Flash> = Vec::new();
    for setting in settings {
        let item = find(&setting.component, shown)?;
        if item.updateable != Some(true) {
            return Err(format!(
                "The component '{}' cannot be updated, as its BMC tells. Leave it out.",
                setting.component
            ));
        }
        if let Some(other) = flashes.iter().find(|other| other.target == item.id) {
            return Err(format!(
                "The components '{}' and '{}' are the same, {}. Name it once.",
                other.component, setting.component, item.id
            ));
        }
        flashes.push(Flash {
            component: setting.component.clone(),
            target: item.id.clone(),
            name: item.name.clone(),
            url: setting.url.to_string(),
            wait_secs: setting.wait_secs,
            version_before: item.version.clone(),
            tasks_before: None,
            since: None,
            tries: 0,
            task: None,
            looks: 0,
            lost_at: None,
            stage: Stage::Planned,
        });
    }
    Ok(flashes)
}

fn find<'a>(component: &str, shown: &'a [FirmwareItem]) -> Result<&'a FirmwareItem, String> {
    let fits = |item: &&FirmwareItem| {
        item.id == component
            || last(&item.id).eq_ignore_ascii_case(component)
            || name(item).eq_ignore_ascii_case(component)
    };
    let installed = shown.iter().filter(|item| is_installed(item));
    let fitting: Vec<_> = installed.clone().filter(fits).collect();
    match fitting.as_slice() {
        [item] => Ok(item),
        [] => {
            let names: Vec<_> = installed.map(name).collect();
            Err(format!(
                "The BMC has no component '{component}' with firmware. It has: {}.",
                names.join(", ")
            ))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|item| last(&item.id)).collect();
            Err(format!(
                "The BMC has several components '{component}': name one by its id, {}.",
                ids.join(" or ")
            ))
        }
    }
}

/// Where a component stands in a BMC's list now. An id that holds the version is another one after an update.
pub fn place(flash: &Flash, shown: &[FirmwareItem]) -> Option<usize> {
    let by_id = shown.iter().position(|item| item.id == flash.target);
    by_id.or_else(|| {
        let same = |item: &FirmwareItem| flash.name.is_some() && item.name == flash.name;
        let mut same =
            (0..shown.len()).filter(|index| is_installed(&shown[*index]) && same(&shown[*index]));
        same.next().filter(|_| same.next().is_none())
    })
}

/// Whether a task installs this image on this component.
fn is_it(flash: &Flash, task: &TaskSeen) -> bool {
    matches!(&task.work, TaskWork::Update { image, targets }
        if *image == flash.url && (targets.is_empty() || targets.contains(&flash.target)))
}

/// Whether a task is surely for something else.
fn is_foreign(flash: &Flash, task: &TaskSeen) -> bool {
    match &task.work {
        TaskWork::Other => true,
        TaskWork::Update { targets, .. } => !targets.is_empty() && !targets.contains(&flash.target),
        TaskWork::Untold => false,
    }
}

fn is_over(task: &TaskSeen) -> bool {
    matches!(
        task.state,
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled
    )
}

fn words(task: &TaskSeen) -> String {
    let named = task.name.as_ref().map(|name| format!(" ({name})"));
    format!("{}{}", task.task.0, named.unwrap_or_default())
}

/// A task that stands in the way of a new update: firmware is being installed already.
pub fn in_the_way(tasks: Option<&[TaskSeen]>) -> Option<String> {
    let updates = |task: &&TaskSeen| {
        let named = task.name.as_deref().unwrap_or_default().to_lowercase();
        let untold = named.contains("firmware") || named.contains("update");
        match &task.work {
            TaskWork::Update { .. } => true,
            TaskWork::Other => false,
            TaskWork::Untold => untold && task.state == TaskState::Running,
        }
    };
    let tasks = tasks.unwrap_or_default().iter();
    let mut open = tasks.filter(|task| !is_over(task));
    open.find(updates).map(words)
}

/// What became of a component whose BMC was about to be asked at `since`. That nothing was begun is said only if the BMC would
/// show a task of it, and has not forgotten since what it had before.
pub fn judge(flash: &Flash, seen: &Seen, now: Timestamp) -> Verdict {
    let age = flash.since.map_or(Duration::MAX, |since| now.since(since));
    // Where nobody knows which tasks there were before, none is known to be new.
    let (before, tasks) = match (&flash.tasks_before, &seen.tasks) {
        (Some(before), Some(tasks)) => (before.as_slice(), tasks.as_slice()),
        _ => (&[][..], &[][..]),
    };
    // A BMC that restarted may count from one again: what is not over is new, whatever its number.
    let is_known = |task: &TaskSeen| is_over(task) && before.contains(&task.task.0);
    let is_new = |task: &&TaskSeen| !is_known(task) && !is_foreign(flash, task);
    let new: Vec<_> = tasks.iter().filter(is_new).collect();
    if let Some(task) = new.iter().rev().find(|task| is_it(flash, task)) {
        return Verdict::Task(task.task.clone());
    }
    if let Some(task) = new.iter().find(|task| !is_over(task)) {
        return Verdict::Wait(format!(
            "the BMC is at the task {}, which may install it",
            words(task)
        ));
    }
    if changed(flash, seen.version.as_deref()) {
        return Verdict::Changed;
    }
    let said_yes = flash.stage == Stage::Begun;
    if said_yes {
        // How far it is nobody tells; its version will.
        return Verdict::Wait("the BMC said yes, and names no task for it".to_owned());
    }
    let unknown = |why: &str| Verdict::Unknown(why.to_owned());
    if let Some(task) = new.first() {
        return Verdict::Unknown(format!(
            "the BMC has ended the task {} since, which may have been it",
            words(task)
        ));
    }
    // A BMC that starts anew may list none for a while.
    if age < SHOWS {
        return Verdict::Wait("whether the BMC heard is not known yet".to_owned());
    }
    if seen.tasks.is_none() || flash.tasks_before.is_none() {
        return unknown("the BMC does not list its tasks");
    }
    if age > REMEMBERED {
        return unknown(
            "the BMC was asked so long ago that it may have ended, and forgotten the task",
        );
    }
    if seen.version != flash.version_before {
        return unknown("the BMC does not show its version");
    }
    let remembers = tasks.iter().any(|task| before.contains(&task.task.0));
    if !remembers {
        return unknown(
            "the BMC shows no task of the time before, by which it could be told that it has forgotten none since",
        );
    }
    if flash.tries >= TRIES {
        return Verdict::Unknown(format!(
            "it was asked {TRIES} times, and the answer was lost each time"
        ));
    }
    Verdict::Nothing
}

/// Whether the inventory proves that other firmware is there than before.
pub fn changed(flash: &Flash, version: Option<&str>) -> bool {
    let before = flash.version_before.as_deref();
    before.is_some() && version.is_some() && before != version
}

/// What it proves that the BMC's task is over, with what its inventory shows.
pub fn prove(flash: &Flash, version: Option<&str>, now: Timestamp) -> Proof {
    let Stage::Ended { at, well, booted } = flash.stage else {
        return Proof::Wait("its task is not over".to_owned());
    };
    let shown = version.unwrap_or("no version");
    if changed(flash, version) {
        let before = flash.version_before.as_deref().unwrap_or_default();
        let forgotten = if well {
            ""
        } else {
            "; the BMC forgot the task"
        };
        return Proof::Done(format!("{before} became {shown}{forgotten}"));
    }
    let age = now.since(at);
    let hides = version.is_none() && flash.version_before.is_some();
    if age < if well && !hides { SETTLES } else { RETURNS } {
        return Proof::Wait(format!("its task is over, and the BMC still shows {shown}"));
    }
    if hides {
        return Proof::Unknown("the BMC does not show its version any more".to_owned());
    }
    match (well, booted) {
        (true, false) => Proof::Boot,
        (true, true) if flash.version_before.is_none() => Proof::Done(format!(
            "{shown}, by the word of its task alone, for the BMC showed no version before"
        )),
        (true, true) => Proof::Done(format!(
            "{shown} as before, so the same version was installed, by the word of its task"
        )),
        (false, _) => Proof::Unknown(format!(
            "the BMC forgot the task, and shows {shown} as before"
        )),
    }
}

/// Whether a BMC that answered so surely began nothing.
pub fn said_no(error: &BmcError) -> bool {
    match error {
        BmcError::Refused { .. }
        | BmcError::NotAllowed { .. }
        | BmcError::LoginRefused { .. }
        | BmcError::Untrusted { .. }
        | BmcError::Lacks { .. }
        | BmcError::Invalid { .. }
        | BmcError::Busy { .. }
        | BmcError::NoConnectionLeft { .. }
        | BmcError::ProgramMissing { .. } => true,
        BmcError::Unreachable { .. }
        | BmcError::TimedOut { .. }
        | BmcError::Failed { .. }
        | BmcError::Odd { .. }
        | BmcError::NotAsAsked { .. }
        | BmcError::TaskFailed { .. }
        | BmcError::ImageUnfit { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://10.0.0.9/bios-2.0.bin";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(secs))
    }

    /// Its BMC was about to be asked at 0 s, and had one task then.
    fn asked() -> Flash {
        let settings = [Setting {
            component: "bios".to_owned(),
            url: URL.parse().unwrap(),
            wait_secs: 0,
        }];
        let mut flash = resolve(&settings, &[item("bios", "1.0")])
            .unwrap()
            .remove(0);
        flash.tasks_before = Some(vec!["/1".to_owned()]);
        flash.since = Some(at(0));
        flash.tries = 1;
        flash.stage = Stage::Beginning;
        flash
    }

    fn item(name: &str, version: &str) -> FirmwareItem {
        FirmwareItem {
            id: format!("/inventory/{name}-{version}"),
            name: Some(name.to_owned()),
            version: Some(version.to_owned()),
            updateable: Some(true),
        }
    }

    fn task(id: &str, state: TaskState, work: TaskWork) -> TaskSeen {
        TaskSeen {
            task: TaskRef(id.to_owned()),
            name: None,
            state,
            work,
        }
    }

    fn old() -> TaskSeen {
        task("/1", TaskState::Completed, TaskWork::Untold)
    }

    fn update_of(target: &str) -> TaskWork {
        TaskWork::Update {
            image: URL.to_owned(),
            targets: vec![target.to_owned()],
        }
    }

    fn seen(version: &str, tasks: Option<Vec<TaskSeen>>) -> Seen {
        Seen {
            version: Some(version.to_owned()),
            tasks,
        }
    }

    #[test]
    fn nothing_was_begun_only_if_the_bmc_can_show_it() {
        let told = |version, tasks, secs| judge(&asked(), &seen(version, tasks), at(secs));
        let only_old = || Some(vec![old()]);
        assert_eq!(told("1.0", only_old(), 400), Verdict::Nothing);
        // Another server's, and what is no update.
        let foreign = [TaskWork::Other, update_of("/inventory/bmc")]
            .map(|work| task("/2", TaskState::Running, work));
        let with_foreign = || Some([vec![old()], foreign.to_vec()].concat());
        assert_eq!(told("1.0", with_foreign(), 400), Verdict::Nothing);

        assert!(matches!(told("1.0", only_old(), 10), Verdict::Wait(_)));
        assert!(matches!(told("1.0", only_old(), 1000), Verdict::Unknown(_)));
        assert!(matches!(told("1.0", None, 400), Verdict::Unknown(_)));
        assert!(matches!(
            told("1.0", Some(vec![]), 400),
            Verdict::Unknown(_)
        ));
        assert_eq!(told("2.0", only_old(), 400), Verdict::Changed);
        let hidden = Seen {
            version: None,
            tasks: only_old(),
        };
        assert!(matches!(
            judge(&asked(), &hidden, at(400)),
            Verdict::Unknown(_)
        ));
        let mut often = asked();
        often.tries = TRIES;
        let last = judge(&often, &seen("1.0", only_old()), at(400));
        assert!(matches!(last, Verdict::Unknown(_)));
    }

    #[test]
    fn a_task_is_its_own_only_if_it_says_so() {
        let told = |new| judge(&asked(), &seen("1.0", Some(vec![old(), new])), at(400));
        let own = update_of(&asked().target);
        let task_two = TaskRef("/2".to_owned());
        for state in [TaskState::Running, TaskState::Failed] {
            let verdict = told(task("/2", state, own.clone()));
            assert_eq!(verdict, Verdict::Task(task_two.clone()));
        }
        let open = told(task("/2", TaskState::Running, TaskWork::Untold));
        assert!(matches!(open, Verdict::Wait(_)));
        let over = told(task("/2", TaskState::Completed, TaskWork::Untold));
        assert!(matches!(over, Verdict::Unknown(_)));
        // One that was there before is not it, whatever it says.
        let before = seen("1.0", Some(vec![task("/1", TaskState::Completed, own)]));
        assert_eq!(judge(&asked(), &before, at(400)), Verdict::Nothing);
    }

    /// What the BMC has said yes to is never begun again, whatever it shows.
    #[test]
    fn a_yes_without_a_task_is_waited_for() {
        let mut flash = asked();
        flash.stage = Stage::Begun;
        for tasks in [None, Some(vec![]), Some(vec![old()])] {
            let verdict = judge(&flash, &seen("1.0", tasks), at(400));
            assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
        }
        assert_eq!(judge(&flash, &seen("2.0", None), at(400)), Verdict::Changed);
    }

    #[test]
    fn what_is_proved_needs_the_version_or_the_word_of_the_task() {
        let ended = |well, booted| Flash {
            stage: Stage::Ended {
                at: at(0),
                well,
                booted,
            },
            ..asked()
        };
        let proof =
            |well, booted, version, secs| prove(&ended(well, booted), Some(version), at(secs));
        assert!(matches!(proof(true, false, "2.0", 1), Proof::Done(_)));
        assert!(matches!(proof(true, false, "1.0", 1), Proof::Wait(_)));
        assert_eq!(proof(true, false, "1.0", 300), Proof::Boot);
        assert!(matches!(proof(true, true, "1.0", 300), Proof::Done(_)));
        assert!(matches!(proof(false, true, "1.0", 300), Proof::Wait(_)));
        assert!(matches!(proof(false, true, "1.0", 700), Proof::Unknown(_)));
        assert!(matches!(proof(false, false, "2.0", 1), Proof::Done(_)));
        let hidden = |secs| prove(&ended(true, true), None, at(secs));
        assert!(matches!(hidden(300), Proof::Wait(_)));
        assert!(matches!(hidden(700), Proof::Unknown(_)));
    }

    #[test]
    fn a_component_is_one_that_is_installed_wherever_its_version_stands() {
        let previous = FirmwareItem {
            id: "/inventory/Previous-159-0.9".to_owned(),
            ..item("BIOS", "0.9")
        };
        let shown = [
            previous.clone(),
            item("BIOS", "1.0"),
            item("NIC", "7"),
            item("NIC", "8"),
        ];
        let wish = |component: &str| {
            let setting = Setting {
                component: component.to_owned(),
                url: URL.parse().unwrap(),
                wait_secs: 0,
            };
            resolve(&[setting], &shown)
        };
        let flash = wish("bios").unwrap().remove(0);
        assert_eq!(flash.target, "/inventory/BIOS-1.0");
        assert!(wish("nic").unwrap_err().contains("NIC-7 or NIC-8"));
        assert_eq!(wish("NIC-8").unwrap()[0].target, "/inventory/NIC-8");
        // After the update its id is another one.
        assert_eq!(place(&flash, &[previous, item("BIOS", "2.0")]), Some(1));
    }
}
