//! The server's log at a Redfish service: one of several log services, of the system, its manager or its chassis.

use super::Redfish;
use super::document::Document;
use crate::bmc::Bmc;
use crate::capability::Capability;
use crate::error::BmcError;
use crate::event_log::{LogEntry, Severity};
use serde_json::json;

const ENTRIES_MAX: usize = 5000;

const SEVERITIES: &[(&str, Severity)] = &[
    ("OK", Severity::Ok),
    ("Informational", Severity::Ok),
    ("Warning", Severity::Warning),
    ("Critical", Severity::Critical),
];

impl Redfish {
    /// The one with the server's hardware events.
    pub(super) async fn log_service(&self) -> Result<Option<Document>, BmcError> {
        let layout = self.layout().await?;
        let mut found = Vec::new();
        let places = std::iter::once(&layout.system)
            .chain(&layout.managers)
            .chain(&layout.chassis);
        for place in places {
            if let Some(place) = self.transport.get_part(place).await? {
                found.extend(self.collection(&place, "LogServices").await?);
            }
        }
        Ok(best(found, &layout.quirks.event_log))
    }

    pub(super) async fn read_event_log(&self) -> Result<Vec<LogEntry>, BmcError> {
        let service = self.log_service().await?;
        let service = service.ok_or_else(|| self.lacks(Capability::EventLog))?;
        let Some(path) = service.link("Entries") else {
            return Err(service.without(self.name(), "Entries", "a link"));
        };
        let entries = self.collection_at(&path, ENTRIES_MAX).await?;
        let mut entries: Vec<LogEntry> = entries.iter().map(entry_in).collect();
        // Some tell the newest first. Dates of one log have one form, so they sort as texts.
        entries.sort_by_key(|entry| (entry.created.clone(), entry.id.parse::<u64>().ok()));
        Ok(entries)
    }

    pub(super) async fn empty_event_log(&self) -> Result<(), BmcError> {
        let service = self.log_service().await?;
        let action = service.and_then(|service| service.action("LogService.ClearLog"));
        let action = action.ok_or_else(|| self.lacks(Capability::EventLog))?;
        self.transport.post(&action.target, &json!({})).await?;
        Ok(())
    }
}

/// A vendor's choice, else the one that says it is the System Event Log, else the first.
fn best(services: Vec<Document>, by_vendor: &[String]) -> Option<Document> {
    let position = |test: &dyn Fn(&Document) -> bool| services.iter().position(test);
    let chosen = by_vendor
        .iter()
        .find_map(|id| position(&|service| service.text("Id").as_ref() == Some(id)))
        .or_else(|| position(&|service| service.text("LogEntryType").as_deref() == Some("SEL")))
        .or_else(|| position(&|_| true))?;
    services.into_iter().nth(chosen)
}

fn entry_in(document: &Document) -> LogEntry {
    LogEntry {
        id: document.required_text("Id").unwrap_or_default(),
        created: document.text("Created"),
        severity: document
            .word("Severity", SEVERITIES)
            .unwrap_or(Severity::Unknown),
        message: document.required_text("Message").unwrap_or_default(),
        subject: document
            .text("SensorType")
            .or_else(|| document.text("MessageId")),
    }
}
