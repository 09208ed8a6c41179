//! Sensors of a Redfish system's chassis: `Thermal` and `Power`, or `Sensors` in newer services; and the health of drives.

use super::Redfish;
use super::document::Document;
use crate::error::BmcError;
use crate::sensors::{Health, Sensor, SensorKind, Sensors, Thresholds};

const HEALTHS: &[(&str, Health)] = &[
    ("OK", Health::Ok),
    ("Warning", Health::Warning),
    ("Critical", Health::Critical),
];

/// Of the collection `Sensors`, by `ReadingType`.
const KINDS: &[(&str, SensorKind)] = &[
    ("Temperature", SensorKind::Temperature),
    ("Rotational", SensorKind::Fan),
    ("Voltage", SensorKind::Voltage),
    ("Current", SensorKind::Current),
    ("Power", SensorKind::Power),
];

/// A list in `Thermal` or `Power`, and where its readings are.
struct Table {
    key: &'static str,
    kind: SensorKind,
    reading: &'static [&'static str],
    unit: &'static str,
    min: &'static str,
    max: &'static str,
}

const THERMAL: &[Table] = &[
    Table {
        key: "Temperatures",
        kind: SensorKind::Temperature,
        reading: &["ReadingCelsius"],
        unit: "Cel",
        min: "MinReadingRangeTemp",
        max: "MaxReadingRangeTemp",
    },
    Table {
        key: "Fans",
        kind: SensorKind::Fan,
        reading: &["Reading", "ReadingRPM"],
        unit: "RPM",
        min: "MinReadingRange",
        max: "MaxReadingRange",
    },
];

const POWER: &[Table] = &[
    Table {
        key: "PowerSupplies",
        kind: SensorKind::Power,
        reading: &[
            "LastPowerOutputWatts",
            "PowerOutputWatts",
            "PowerInputWatts",
        ],
        unit: "W",
        min: "",
        max: "PowerCapacityWatts",
    },
    Table {
        key: "Voltages",
        kind: SensorKind::Voltage,
        reading: &["ReadingVolts"],
        unit: "V",
        min: "MinReadingRange",
        max: "MaxReadingRange",
    },
];

pub(super) fn health_in(document: &Document) -> Option<Health> {
    document.word("Status/Health", HEALTHS)
}

impl Redfish {
    pub(super) async fn read_sensors(&self) -> Result<Sensors, BmcError> {
        let mut found = Vec::new();
        for path in &self.layout().await?.chassis {
            let Some(chassis) = self.transport.get_part(path).await? else {
                continue;
            };
            let name = chassis.text("Id").unwrap_or_else(|| path.clone());
            for (key, tables) in [("Thermal", THERMAL), ("Power", POWER)] {
                if let Some(path) = chassis.link(key)
                    && let Some(document) = self.transport.get_part(&path).await?
                {
                    found.extend(tables.iter().flat_map(|table| table.read(&document, &name)));
                }
            }
            if !chassis.has("Thermal") && !chassis.has("Power") {
                let sensors = self.collection(&chassis, "Sensors").await?;
                found.extend(sensors.iter().map(|sensor| newer(sensor, &name)));
            }
        }
        let system = self.system().await?;
        let name = system.text("Id").unwrap_or_default();
        let (_, drives) = self.storage(&system).await?;
        found.extend(drives.into_iter().map(|drive| Sensor {
            kind: SensorKind::Drive,
            id: format!("{}@{name}", drive.id),
            name: drive.name.unwrap_or(drive.id),
            reading: drive.capacity_bytes.map(|bytes| bytes as f64),
            unit: Some("By".to_owned()),
            state: None,
            health: drive.health,
            context: drive.model,
            thresholds: Thresholds::default(),
        }));
        Ok(Sensors(found))
    }
}

impl Table {
    fn read(&self, document: &Document, chassis: &str) -> Vec<Sensor> {
        let items = document.list(self.key);
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let id = item.text("MemberId").unwrap_or_else(|| index.to_string());
                let name = item.text("Name").or_else(|| item.text("FanName"));
                Sensor {
                    kind: self.kind,
                    name: name.unwrap_or_else(|| id.clone()),
                    id: format!("{id}@{chassis}"),
                    reading: self.reading.iter().find_map(|key| item.number(key)),
                    unit: item
                        .text("ReadingUnits")
                        .or_else(|| Some(self.unit.to_owned())),
                    state: item.text("Status/State"),
                    health: health_in(item),
                    context: item.text("PhysicalContext"),
                    thresholds: self.thresholds(item),
                }
            })
            .collect()
    }

    fn thresholds(&self, item: &Document) -> Thresholds {
        Thresholds {
            lower_critical: item.number("LowerThresholdCritical"),
            lower_warning: item.number("LowerThresholdNonCritical"),
            upper_warning: item.number("UpperThresholdNonCritical"),
            upper_critical: item.number("UpperThresholdCritical"),
            min: item.number(self.min),
            max: item.number(self.max),
        }
    }
}

/// A document of its own per sensor.
fn newer(sensor: &Document, chassis: &str) -> Sensor {
    let id = sensor.required_text("Id").unwrap_or_default();
    let known = sensor.text("ReadingType");
    let kind = KINDS
        .iter()
        .find(|(word, _)| known.as_deref() == Some(word));
    Sensor {
        kind: kind.map_or(SensorKind::Other, |(_, kind)| *kind),
        name: sensor.text("Name").unwrap_or_else(|| id.clone()),
        id: format!("{id}@{chassis}"),
        reading: sensor.number("Reading"),
        unit: sensor.text("ReadingUnits"),
        state: sensor.text("Status/State"),
        health: health_in(sensor),
        context: sensor.text("PhysicalContext"),
        thresholds: Thresholds {
            lower_critical: sensor.number("Thresholds/LowerCritical/Reading"),
            lower_warning: sensor.number("Thresholds/LowerCaution/Reading"),
            upper_warning: sensor.number("Thresholds/UpperCaution/Reading"),
            upper_critical: sensor.number("Thresholds/UpperCritical/Reading"),
            min: sensor.number("ReadingRangeMin"),
            max: sensor.number("ReadingRangeMax"),
        },
    }
}
