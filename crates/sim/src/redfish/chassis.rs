//! `Chassis`: the box, its sensors, which follow the power, and network adapters where they are told here.

use super::RedfishNode;
use super::resource::{Body, Done, Resource, collection, document, healthy, link};
use super::systems::{light, power_word, set_light};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is measured: when the server is off and when it is on.
struct Gauge {
    id: &'static str,
    name: &'static str,
    kind: Kind,
    context: &'static str,
    off: f64,
    on: f64,
    critical: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Temperature,
    Fan,
    Voltage,
    Power,
}

const GAUGES: &[Gauge] = &[
    Gauge {
        id: "Inlet",
        name: "Inlet temperature",
        kind: Kind::Temperature,
        context: "Intake",
        off: 22.0,
        on: 24.0,
        critical: Some(47.0),
    },
    Gauge {
        id: "CPU0",
        name: "Processor temperature",
        kind: Kind::Temperature,
        context: "CPU",
        off: 23.0,
        on: 58.0,
        critical: Some(95.0),
    },
    Gauge {
        id: "Fan1",
        name: "Fan 1",
        kind: Kind::Fan,
        context: "Fan",
        off: 0.0,
        on: 6360.0,
        critical: None,
    },
    Gauge {
        id: "Fan2",
        name: "Fan 2",
        kind: Kind::Fan,
        context: "Fan",
        off: 0.0,
        on: 6480.0,
        critical: None,
    },
    Gauge {
        id: "Board12V",
        name: "Board 12 V",
        kind: Kind::Voltage,
        context: "SystemBoard",
        off: 0.0,
        on: 12.1,
        critical: Some(13.2),
    },
    Gauge {
        id: "PSU1",
        name: "Power supply 1",
        kind: Kind::Power,
        context: "PowerSupply",
        off: 8.0,
        on: 212.0,
        critical: None,
    },
];

const SUPPLY_WATTS: f64 = 800.0;

impl Gauge {
    fn now(&self, is_on: bool) -> f64 {
        if is_on { self.on } else { self.off }
    }
}

pub(super) fn find(node: &Arc<RedfishNode>, rest: &[&str]) -> Option<Resource> {
    let data = node.shape.data();
    let path = format!("{}/{}", node.chassis_path(), rest.join("/"));
    let path = path.trim_end_matches('/');
    match rest {
        [] => Some(chassis(node)),
        ["Thermal"] if !data.sensor_documents => Some(thermal(node, path)),
        ["Power"] if !data.sensor_documents => Some(power(node, path)),
        ["Sensors"] if data.sensor_documents => {
            let members: Vec<String> = GAUGES
                .iter()
                .map(|gauge| format!("{path}/{}", gauge.id))
                .collect();
            Some(Resource::of(collection(path, "Sensor", members)))
        }
        ["Sensors", id] if data.sensor_documents => {
            let gauge = GAUGES.iter().find(|gauge| gauge.id == *id)?;
            Some(Resource::of(sensor(node, gauge, path)))
        }
        ["NetworkAdapters", rest @ ..] if data.adapters => adapters(node, path, rest),
        _ => None,
    }
}

fn chassis(node: &Arc<RedfishNode>) -> Resource {
    let path = node.chassis_path();
    let data = node.shape.data();
    let made = node.machine.made_of();
    let mut rest = json!({
        "ChassisType": "RackMount",
        "Manufacturer": data.manufacturer,
        "Model": data.model,
        "SerialNumber": made.identity.serial_number,
        "PowerState": power_word(node),
        "Status": healthy(),
        "Links": {
            "ComputerSystems": [link(&node.system_path())],
            "ManagedBy": [link(&node.manager_path())],
        },
    });
    let mut parts = if data.sensor_documents {
        vec!["Sensors"]
    } else {
        vec!["Thermal", "Power"]
    };
    if data.adapters {
        parts.push("NetworkAdapters");
    }
    for part in parts {
        rest[part] = link(&format!("{path}/{part}"));
    }
    let (key, light) = light(node);
    rest[key] = light;
    let node = Arc::clone(node);
    let document = document(&path, "Chassis", &node.chassis, "Chassis", rest);
    let writable = &["IndicatorLED", "LocationIndicatorActive"];
    Resource::of(document).patched(writable, move |body| {
        set_light(&node, &Body(body))?;
        Ok(Done::Shown)
    })
}

/// The rows of a table, each with its place in the document.
fn rows(
    node: &RedfishNode,
    path: &str,
    key: &str,
    kind: Kind,
    row: impl Fn(&Gauge, f64) -> Value,
) -> Vec<Value> {
    let is_on = node.look(|server| server.is_on());
    let gauges = GAUGES.iter().filter(|gauge| gauge.kind == kind);
    let rows = gauges.enumerate().map(|(index, gauge)| {
        let mut row = row(gauge, gauge.now(is_on));
        row["@odata.id"] = json!(format!("{path}#/{key}/{index}"));
        row["MemberId"] = json!(index.to_string());
        row["Name"] = json!(gauge.name);
        row["Status"] = healthy();
        row
    });
    rows.collect()
}

fn thermal(node: &RedfishNode, path: &str) -> Resource {
    let temperatures = rows(
        node,
        path,
        "Temperatures",
        Kind::Temperature,
        |gauge, now| {
            json!({
                "ReadingCelsius": now,
                "PhysicalContext": gauge.context,
                "UpperThresholdCritical": gauge.critical,
                "MinReadingRangeTemp": 0,
                "MaxReadingRangeTemp": 125,
            })
        },
    );
    let fans = rows(
        node,
        path,
        "Fans",
        Kind::Fan,
        |gauge, now| json!({"Reading": now as i64, "ReadingUnits": "RPM", "PhysicalContext": gauge.context}),
    );
    let rest = json!({
        "Temperatures@odata.count": temperatures.len(),
        "Temperatures": temperatures,
        "Fans@odata.count": fans.len(),
        "Fans": fans,
        "Status": healthy(),
    });
    Resource::of(document(path, "Thermal", "Thermal", "Thermal", rest))
}

fn power(node: &RedfishNode, path: &str) -> Resource {
    let supplies = rows(
        node,
        path,
        "PowerSupplies",
        Kind::Power,
        |_, now| json!({"LastPowerOutputWatts": now, "PowerCapacityWatts": SUPPLY_WATTS, "PowerSupplyType": "AC"}),
    );
    let voltages = rows(node, path, "Voltages", Kind::Voltage, |gauge, now| {
        json!({
            "ReadingVolts": now,
            "PhysicalContext": gauge.context,
            "UpperThresholdCritical": gauge.critical,
        })
    });
    let is_on = node.look(|server| server.is_on());
    let watts: f64 = GAUGES
        .iter()
        .filter(|gauge| gauge.kind == Kind::Power)
        .map(|gauge| gauge.now(is_on))
        .sum();
    let rest = json!({
        "PowerControl": [{
            "@odata.id": format!("{path}#/PowerControl/0"),
            "MemberId": "0",
            "Name": "Power of the server",
            "PowerConsumedWatts": watts,
            "PowerCapacityWatts": SUPPLY_WATTS,
            "Status": healthy(),
        }],
        "PowerControl@odata.count": 1,
        "PowerSupplies@odata.count": supplies.len(),
        "PowerSupplies": supplies,
        "Voltages@odata.count": voltages.len(),
        "Voltages": voltages,
    });
    Resource::of(document(path, "Power", "Power", "Power", rest))
}

fn sensor(node: &RedfishNode, gauge: &Gauge, path: &str) -> Value {
    let is_on = node.look(|server| server.is_on());
    let (reading_type, units) = match gauge.kind {
        Kind::Temperature => ("Temperature", "Cel"),
        Kind::Fan => ("Rotational", "{rev}/min"),
        Kind::Voltage => ("Voltage", "V"),
        Kind::Power => ("Power", "W"),
    };
    let mut rest = json!({
        "ReadingType": reading_type,
        "Reading": gauge.now(is_on),
        "ReadingUnits": units,
        "PhysicalContext": gauge.context,
        "Status": healthy(),
    });
    if let Some(critical) = gauge.critical {
        rest["Thresholds"] = json!({"UpperCritical": {"Reading": critical}});
    }
    document(path, "Sensor", gauge.id, gauge.name, rest)
}

fn adapters(node: &RedfishNode, path: &str, rest: &[&str]) -> Option<Resource> {
    let card = node.machine.made_of().network_cards.into_iter().next()?;
    let one = |kind: &str| {
        let members = [format!("{path}/1")];
        Some(Resource::of(collection(path, kind, members)))
    };
    match rest {
        [] => one("NetworkAdapter"),
        ["1"] => {
            let functions = link(&format!("{path}/NetworkDeviceFunctions"));
            let rest = json!({
                "Manufacturer": node.shape.data().manufacturer,
                "NetworkDeviceFunctions": functions,
                "Status": healthy(),
            });
            Some(Resource::of(document(
                path,
                "NetworkAdapter",
                "1",
                "Network adapter",
                rest,
            )))
        }
        ["1", "NetworkDeviceFunctions"] => one("NetworkDeviceFunction"),
        ["1", "NetworkDeviceFunctions", "1"] => {
            let rest = json!({
                "NetDevFuncType": "Ethernet",
                "Ethernet": {"MACAddress": card.mac, "PermanentMACAddress": card.mac},
                "Status": healthy(),
            });
            let name = "Network function";
            Some(Resource::of(document(
                path,
                "NetworkDeviceFunction",
                "1",
                name,
                rest,
            )))
        }
        _ => None,
    }
}
