//! `LogServices` of a system or its manager: the server's log, and logs of the BMC's own, which stay empty.

use super::RedfishNode;
use super::refusal::Refusal;
use super::resource::{Done, Resource, collection, collection_of, document, healthy, link};
use super::shape::{LogShape, Owner};
use crate::hardware::LogLine;
use corten_bmc::Severity;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn find(node: &Arc<RedfishNode>, of: Owner, rest: &[&str]) -> Option<Resource> {
    let owner = match of {
        Owner::System => node.system_path(),
        Owner::Manager => node.manager_path(),
    };
    let path = format!("{owner}/LogServices");
    let logs = &node.shape.data().logs;
    let theirs = logs.iter().filter(|log| log.of == of);
    theirs.clone().next()?;
    let [id, rest @ ..] = rest else {
        let members: Vec<String> = theirs.map(|log| format!("{path}/{}", log.id)).collect();
        return Some(Resource::of(collection(&path, "LogService", members)));
    };
    let log = theirs.clone().find(|log| log.id == *id)?;
    let is_servers = logs.first().is_some_and(|first| first.id == log.id);
    let path = format!("{path}/{id}");
    let lines: Vec<LogLine> = node.look(|server| {
        let lines = server.log.iter().filter(|_| is_servers);
        lines.cloned().collect()
    });
    let entries = format!("{path}/Entries");
    match rest {
        [] => Some(service(&path, log)),
        ["Entries"] => {
            let members = lines
                .iter()
                .map(|line| entry(&entries, log, line))
                .collect();
            Some(Resource::of(collection_of(&entries, "LogEntry", members)))
        }
        ["Entries", id] => {
            let line = lines.iter().find(|line| line.id.to_string() == *id)?;
            Some(Resource::of(entry(&entries, log, line)))
        }
        ["Actions", "LogService.ClearLog"] => {
            let node = Arc::clone(node);
            Some(Resource::action(move |_| {
                if is_servers {
                    node.look(|server| server.log.clear());
                }
                Ok::<_, Refusal>(Done::Nothing)
            }))
        }
        _ => None,
    }
}

fn service(path: &str, log: &LogShape) -> Resource {
    let rest = json!({
        "ServiceEnabled": true,
        "LogEntryType": log.kind,
        "MaxNumberOfRecords": 512,
        "OverWritePolicy": "WrapsWhenFull",
        "Status": healthy(),
        "Entries": link(&format!("{path}/Entries")),
        "Actions": {"#LogService.ClearLog": {"target": format!("{path}/Actions/LogService.ClearLog")}},
    });
    Resource::of(document(path, "LogService", &log.id, "Log", rest))
}

fn entry(entries: &str, log: &LogShape, line: &LogLine) -> Value {
    let id = line.id.to_string();
    let severity = match line.severity {
        Severity::Critical => "Critical",
        Severity::Warning => "Warning",
        Severity::Ok | Severity::Unknown => "OK",
    };
    let mut rest = json!({
        "EntryType": if log.kind == "SEL" { "SEL" } else { "Event" },
        "Created": line.at.to_string(),
        "Severity": severity,
        "Message": line.message,
    });
    if log.kind == "SEL" {
        rest["EntryCode"] = json!("Assert");
        rest["SensorType"] = json!("System Event");
    }
    document(
        &format!("{entries}/{id}"),
        "LogEntry",
        &id,
        "Log entry",
        rest,
    )
}
