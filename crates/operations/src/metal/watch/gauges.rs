//! What was read, as metrics. Those of a node that is read no more end by themselves: the exporter forgets what is not
//! set again.

use corten_bmc::{About, Health, Sensor, SensorKind, Sensors};
use corten_model::ids::NodeId;
use corten_store::metal::node::PowerSeen;

/// 1 while the BMC answers.
pub(super) fn reachable(id: NodeId, reachable: bool) {
    let value = f64::from(u8::from(reachable));
    metrics::gauge!("corten_node_reachable", "node" => id.to_string()).set(value);
}

/// 1 while the server is on, as last seen.
pub(super) fn power(id: NodeId, power: Option<PowerSeen>) {
    if let Some(power) = power {
        let value = f64::from(u8::from(power == PowerSeen::On));
        metrics::gauge!("corten_node_power_on", "node" => id.to_string()).set(value);
    }
}

/// 1 while a stream of its BMC's events is open.
pub(super) fn streamed(id: NodeId, is_open: bool) {
    let value = f64::from(u8::from(is_open));
    metrics::gauge!("corten_node_event_stream", "node" => id.to_string()).set(value);
}

/// How many streams of events this process has open.
pub(super) fn streams(open: usize) {
    metrics::gauge!("corten_event_streams").set(open as f64);
}

/// A BMC told of something.
pub(super) fn event(about: About) {
    let about = match about {
        About::Power => "power",
        About::Health => "health",
        About::Other => "other",
    };
    metrics::counter!("corten_events_total", "about" => about).increment(1);
}

/// A change of power was found by a reading on time, although a stream was open.
pub(super) fn missed() {
    metrics::counter!("corten_events_missed_total").increment(1);
}

/// Each sensor with its unit, and the worst of all healths.
pub(super) fn sensors(id: NodeId, sensors: &Sensors) {
    for sensor in &sensors.0 {
        let labels = [
            ("node", id.to_string()),
            ("kind", kind(sensor.kind).to_owned()),
            ("sensor", sensor.name.clone()),
            ("id", sensor.id.clone()),
            ("unit", unit(sensor)),
        ];
        if let Some(value) = sensor.reading {
            metrics::gauge!("corten_node_sensor", &labels).set(value);
        }
        if let Some(health) = sensor.health {
            metrics::gauge!("corten_node_sensor_health", &labels).set(number(health));
        }
    }
    if let Some(health) = sensors.health() {
        metrics::gauge!("corten_node_health", "node" => id.to_string()).set(number(health));
    }
}

fn number(health: Health) -> f64 {
    match health {
        Health::Ok => 0.0,
        Health::Warning => 1.0,
        Health::Critical => 2.0,
    }
}

fn kind(kind: SensorKind) -> &'static str {
    match kind {
        SensorKind::Temperature => "temperature",
        SensorKind::Fan => "fan",
        SensorKind::Voltage => "voltage",
        SensorKind::Current => "current",
        SensorKind::Power => "power",
        SensorKind::Drive => "drive",
        SensorKind::Other => "other",
    }
}

/// The unit in one word for one thing, whatever the protocol calls it.
fn unit(sensor: &Sensor) -> String {
    let unit = sensor.unit.as_deref().unwrap_or_default();
    match unit.to_ascii_lowercase().as_str() {
        "cel" | "degrees c" | "c" | "celsius" => "celsius",
        "w" | "watt" | "watts" => "watts",
        "v" | "volt" | "volts" => "volts",
        "a" | "amp" | "amps" => "amperes",
        "rpm" | "{rev}/min" => "rpm",
        "%" | "percent" => "percent",
        "by" | "bytes" => "bytes",
        _ => unit,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_bmc::Thresholds;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn a_reading_is_shown_to_prometheus() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let sensor = Sensor {
            kind: SensorKind::Temperature,
            id: "0".to_owned(),
            name: "Inlet".to_owned(),
            reading: Some(24.5),
            unit: Some("Cel".to_owned()),
            state: None,
            health: Some(Health::Warning),
            context: None,
            thresholds: Thresholds::default(),
        };
        let id = NodeId::random();
        metrics::with_local_recorder(&recorder, || {
            reachable(id, true);
            power(id, Some(PowerSeen::Off));
            streamed(id, true);
            event(About::Power);
            sensors(id, &Sensors(vec![sensor]));
        });
        let text = recorder.handle().render();
        for line in [
            format!(r#"corten_node_reachable{{node="{id}"}} 1"#),
            format!(r#"corten_node_power_on{{node="{id}"}} 0"#),
            format!(r#"corten_node_event_stream{{node="{id}"}} 1"#),
            r#"corten_events_total{about="power"} 1"#.to_owned(),
            format!(
                r#"corten_node_sensor{{node="{id}",kind="temperature",sensor="Inlet",id="0",unit="celsius"}} 24.5"#
            ),
            format!(r#"corten_node_health{{node="{id}"}} 1"#),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
