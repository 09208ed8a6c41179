//! What `ipmitool` prints, read by tables.

use crate::event_log::{LogEntry, Severity};
use crate::oddity::Oddities;
use crate::power::PowerState;
use crate::sensors::{Health, Sensor, SensorKind, Thresholds};
use std::collections::BTreeMap;

/// Parts of an event's description, and how bad it is. The first that is found counts.
const SEVERITIES: &[(&str, Severity)] = &[
    ("Non-recoverable", Severity::Critical),
    ("Non-critical", Severity::Warning),
    ("Critical", Severity::Critical),
    ("Uncorrectable", Severity::Critical),
    ("Failure", Severity::Critical),
    ("Fault", Severity::Critical),
    ("Correctable", Severity::Warning),
    ("lost", Severity::Warning),
];

const SENSOR_KINDS: &[(&str, SensorKind)] = &[
    ("Temperature", SensorKind::Temperature),
    ("Fan", SensorKind::Fan),
    ("Voltage", SensorKind::Voltage),
    ("Current", SensorKind::Current),
    ("Power Supply", SensorKind::Power),
    ("Power Unit", SensorKind::Power),
    ("Drive Slot", SensorKind::Drive),
];

const HEALTHS: &[(&str, Health)] = &[
    ("ok", Health::Ok),
    ("lnc", Health::Warning),
    ("unc", Health::Warning),
    ("nc", Health::Warning),
    ("lcr", Health::Critical),
    ("ucr", Health::Critical),
    ("cr", Health::Critical),
    ("lnr", Health::Critical),
    ("unr", Health::Critical),
    ("nr", Health::Critical),
];

pub(super) fn power(said: &str) -> Option<PowerState> {
    match said.trim().rsplit(' ').next()? {
        "on" => Some(PowerState::On),
        "off" => Some(PowerState::Off),
        _ => None,
    }
}

/// Lines of `name : value`; of two with one name the first.
pub(super) fn table(said: &str) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for line in said.lines() {
        if let Some((name, value)) = line.split_once(':') {
            let (name, value) = (name.trim(), value.trim());
            if !name.is_empty() && !value.is_empty() {
                table.entry(name.to_owned()).or_insert(value.to_owned());
            }
        }
    }
    table
}

/// Bytes in hexadecimal, with or without blanks between them.
pub(super) fn bytes(said: &str) -> Vec<u8> {
    let digits: String = said.chars().filter(char::is_ascii_hexdigit).collect();
    hex::decode(digits).unwrap_or_default()
}

pub(super) fn uuid(said: &str) -> Option<String> {
    let guid = table(said).remove("System GUID")?;
    let is_guid = guid.len() == 36
        && guid.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        && guid.chars().any(|c| !matches!(c, '-' | '0'));
    is_guid.then(|| guid.to_lowercase())
}

/// `id, date, time, sensor, event, direction, reading`. A reading may hold commas.
pub(super) fn event_log(said: &str, oddities: &Oddities) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    for line in said.lines().map(str::trim) {
        let cells: Vec<&str> = line.splitn(7, ',').map(str::trim).collect();
        let is_entry = cells.len() >= 5 && cells[0].chars().all(|c| c.is_ascii_hexdigit());
        if !is_entry {
            if !line.is_empty() && !line.contains("no entries") {
                oddities.note("sel elist", "an entry of five values or more", line);
            }
            continue;
        }
        let event = cells[4..].join(", ");
        let over = cells.get(5) == Some(&"Deasserted");
        entries.push(LogEntry {
            id: cells[0].to_owned(),
            created: date(cells[1], cells[2]),
            severity: if over {
                Severity::Ok
            } else {
                severity(cells[4])
            },
            message: event,
            subject: Some(cells[3].to_owned()).filter(|text| !text.is_empty()),
        });
    }
    entries
}

/// `MM/DD/YYYY` and a time, as RFC 3339. A clock that was never set says no date.
fn date(day: &str, time: &str) -> Option<String> {
    let mut parts = day.splitn(3, '/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    let time = time.split(' ').next()?;
    let year = if year.len() == 2 {
        format!("20{year}")
    } else {
        year.to_owned()
    };
    Some(format!("{year}-{month}-{day}T{time}Z"))
}

fn severity(event: &str) -> Severity {
    let event = event.to_lowercase();
    let found = SEVERITIES
        .iter()
        .find(|(words, _)| event.contains(&words.to_lowercase()));
    found.map_or(Severity::Unknown, |(_, severity)| *severity)
}

/// `name, reading, unit, status, entity, entity's name, type, nominal, normal min, normal max, upper non-recoverable, critical,
/// non-critical, lower non-recoverable, critical, non-critical, min, max`.
pub(super) fn sensors(said: &str, oddities: &Oddities) -> Vec<Sensor> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() < 7 {
            if cells.len() > 1 {
                oddities.note("sdr elist", "a sensor of seven values or more", line);
            }
            continue;
        }
        let number = |index: usize| cells.get(index).and_then(|cell| cell.parse::<f64>().ok());
        // Zero is how a threshold is told that there is not.
        let threshold = |index| number(index).filter(|value| *value != 0.0);
        let text = |index: usize| Some(cells[index].to_owned()).filter(|text| !text.is_empty());
        let kind = SENSOR_KINDS
            .iter()
            .find(|(words, _)| cells[6].starts_with(words));
        let status = cells[3];
        found.push(Sensor {
            kind: kind.map_or(SensorKind::Other, |(_, kind)| *kind),
            id: format!("{}@{}", cells[0], cells[4]),
            name: cells[0].to_owned(),
            reading: number(1),
            unit: text(2),
            state: Some(
                if status == "ns" {
                    "Disabled"
                } else {
                    "Enabled"
                }
                .to_owned(),
            ),
            health: HEALTHS
                .iter()
                .find(|(word, _)| *word == status)
                .map(|(_, health)| *health),
            context: text(5),
            thresholds: Thresholds {
                lower_critical: threshold(14),
                lower_warning: threshold(15),
                upper_warning: threshold(12),
                upper_critical: threshold(11),
                min: number(16),
                max: number(17),
            },
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_has_its_reading_and_its_thresholds() {
        let oddities = Oddities::default();
        let said = "Inlet Temp,23,degrees C,ok,7.1,System Board,Temperature,25.000,10.000,40.000,60.000,50.000,45.000,0.000,5.000,8.000,0.000,255.000\n\
            PSU1 Status,0x01,,ok,10.1,Power Supply,Power Supply,Presence detected\n\
            Fan 3,,,ns,29.3,Fan Device,Fan\nnonsense\n";
        let sensors = sensors(said, &oddities);
        let names: Vec<&str> = sensors.iter().map(|sensor| sensor.name.as_str()).collect();
        assert_eq!(names, ["Inlet Temp", "PSU1 Status", "Fan 3"]);
        assert_eq!(sensors[0].reading, Some(23.0));
        assert_eq!(sensors[0].thresholds.upper_critical, Some(50.0));
        assert_eq!(sensors[0].thresholds.lower_warning, Some(8.0));
        assert_eq!(sensors[1].kind, SensorKind::Power);
        assert_eq!(sensors[1].reading, None);
        assert_eq!((sensors[2].reading, sensors[2].health), (None, None));
    }

    #[test]
    fn an_event_has_its_time_and_its_severity() {
        let oddities = Oddities::default();
        let said = "1,11/25/2026,10:11:12 UTC,Temperature Inlet Temp,Upper Critical going high,Asserted,Reading 51 > Threshold 50 degrees C\n\
            2,Pre-Init ,0000012502,Power Supply PSU2,Power Supply AC lost,Asserted\n\
            a3,11/25/2026,10:12:00,Temperature Inlet Temp,Upper Critical going high,Deasserted\nSEL has gone\n";
        let log = event_log(said, &oddities);
        assert_eq!(log[0].created.as_deref(), Some("2026-11-25T10:11:12Z"));
        assert_eq!(log[0].severity, Severity::Critical);
        assert!(log[0].message.contains("Reading 51"));
        assert_eq!(
            (log[1].created.clone(), log[1].severity),
            (None, Severity::Warning)
        );
        assert_eq!(log[2].severity, Severity::Ok);
        assert_eq!(oddities.list().len(), 1);
    }

    #[test]
    fn labels_and_power_are_read() {
        assert_eq!(power("Chassis Power is on\n"), Some(PowerState::On));
        assert_eq!(power("Chassis Power is weak\n"), None);
        let labels = table(
            "FRU Device Description : Builtin FRU Device (ID 0)\n Product Manufacturer  : Supermicro\n Product Serial :\n",
        );
        assert_eq!(labels["Product Manufacturer"], "Supermicro");
        assert!(!labels.contains_key("Product Serial"));
        assert_eq!(bytes(" 01 00 40\n"), [1, 0, 0x40]);
        let guid = "System GUID  : A1234567-89AB-CDEF-A123-456789ABCDEF\nTimestamp : x\n";
        assert_eq!(
            uuid(guid).as_deref(),
            Some("a1234567-89ab-cdef-a123-456789abcdef")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(said in "[ -~,:|\\n]{0,200}") {
            let oddities = Oddities::default();
            let log = event_log(&said, &oddities);
            let found = sensors(&said, &oddities);
            proptest::prop_assert!(log.len() + found.len() <= 2 * said.lines().count());
            power(&said);
            table(&said);
            bytes(&said);
            uuid(&said);
        }
    }
}
