//! Sensors: temperatures, fans, voltages, power supplies and drives, also in the form that Ironic publishes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sensors(pub Vec<Sensor>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    pub kind: SensorKind,
    /// Unique among those of its kind: the BMC's own number and the part that it is in.
    pub id: String,
    pub name: String,
    /// `None`: there is none, or none now.
    pub reading: Option<f64>,
    pub unit: Option<String>,
    /// Enabled, Absent …: Redfish's words.
    pub state: Option<String>,
    pub health: Option<Health>,
    /// What is measured: CPU, Intake …; of a drive its model.
    pub context: Option<String>,
    pub thresholds: Thresholds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorKind {
    Temperature,
    Fan,
    Voltage,
    Current,
    /// Power supplies and power meters.
    Power,
    Drive,
    Other,
}

impl SensorKind {
    /// Ironic's word for the group.
    fn group(self) -> &'static str {
        match self {
            Self::Temperature => "Temperature",
            Self::Fan => "Fan",
            Self::Voltage => "Voltage",
            Self::Current => "Current",
            Self::Power => "Power",
            Self::Drive => "Drive",
            Self::Other => "Other",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Health {
    #[serde(rename = "OK")]
    Ok,
    Warning,
    Critical,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Thresholds {
    pub lower_critical: Option<f64>,
    pub lower_warning: Option<f64>,
    pub upper_warning: Option<f64>,
    pub upper_critical: Option<f64>,
    /// What the sensor can measure.
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Sensors {
    pub fn of(&self, kind: SensorKind) -> impl Iterator<Item = &Sensor> {
        self.0.iter().filter(move |sensor| sensor.kind == kind)
    }

    /// The worst of all healths; `None` if no sensor tells one.
    pub fn health(&self) -> Option<Health> {
        self.0.iter().filter_map(|sensor| sensor.health).max()
    }

    /// As Ironic publishes them: groups by kind, in each an object per sensor under its id, with the keys of Ironic's Redfish
    /// driver whatever the protocol, so that exporters read one form.
    pub fn ironic(&self) -> Value {
        let mut groups = Map::new();
        for sensor in &self.0 {
            let group = groups
                .entry(sensor.kind.group())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(group) = group {
                group.insert(sensor.id.clone(), sensor.ironic());
            }
        }
        Value::Object(groups)
    }
}

impl Sensor {
    fn ironic(&self) -> Value {
        let mut shown = json!({
            "identity": self.id.split('@').next(),
            "name": self.name,
            "health": self.health,
            "state": self.state,
        });
        let mut show = |key: &str, value: Value| shown[key] = value;
        let (min, max) = (json!(self.thresholds.min), json!(self.thresholds.max));
        match self.kind {
            SensorKind::Temperature => {
                show("reading_celsius", json!(self.reading));
                show("physical_context", json!(self.context));
                show("min_reading_range_temp", min);
                show("max_reading_range_temp", max);
            }
            SensorKind::Power => {
                show("last_power_output_watts", json!(self.reading));
                show("power_capacity_watts", max);
            }
            SensorKind::Drive => {
                show("capacity_bytes", json!(self.reading));
                show("model", json!(self.context));
            }
            SensorKind::Fan | SensorKind::Voltage | SensorKind::Current | SensorKind::Other => {
                show("reading", json!(self.reading));
                show("reading_units", json!(self.unit));
                show("physical_context", json!(self.context));
                show("min_reading_range", min);
                show("max_reading_range", max);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_have_the_form_that_ironic_publishes() {
        let sensor = Sensor {
            kind: SensorKind::Temperature,
            id: "0@chassis-1".to_owned(),
            name: "CPU Temp".to_owned(),
            reading: Some(41.0),
            unit: Some("Cel".to_owned()),
            state: Some("Enabled".to_owned()),
            health: Some(Health::Ok),
            context: Some("CPU".to_owned()),
            thresholds: Thresholds {
                min: Some(0.0),
                max: Some(60.0),
                ..Thresholds::default()
            },
        };
        let sensors = Sensors(vec![sensor]);
        assert_eq!(
            sensors.ironic(),
            json!({"Temperature": {"0@chassis-1": {
                "identity": "0", "name": "CPU Temp", "health": "OK", "state": "Enabled", "reading_celsius": 41.0,
                "physical_context": "CPU", "min_reading_range_temp": 0.0, "max_reading_range_temp": 60.0,
            }}})
        );
        assert_eq!(sensors.health(), Some(Health::Ok));
    }
}
