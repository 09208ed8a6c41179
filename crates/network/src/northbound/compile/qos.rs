//! Limits on what passes a port. They are meters of the switch: queues on interfaces, OVN's other way, need the
//! kernel's traffic control and do nothing in the userspace datapath.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{QOS, SWITCH};
use super::quoted;
use crate::ovsdb::Value;
use crate::plan::{Direction, NetworkPlan, Unit};

const PRIORITY: i64 = 2000;

pub fn compile(plan: &NetworkPlan, desired: &mut Desired) {
    let unit = Unit::Network(plan.id);
    for port in &plan.ports {
        for limit in &port.bandwidth {
            let (word, direction, end) = match limit.direction {
                Direction::Egress => ("egress", "from-lport", "inport"),
                Direction::Ingress => ("ingress", "to-lport", "outport"),
            };
            let key = format!("bandwidth/{}/{word}", port.id);
            let burst = (limit.max_burst_kbps > 0).then_some(("burst", limit.max_burst_kbps));
            let bandwidth = [("rate", limit.max_kbps)].into_iter().chain(burst);
            desired
                .row(QOS, unit, key.clone())
                .set("priority", Value::one(PRIORITY))
                .text("direction", direction)
                .text(
                    "match",
                    format!("{end} == {}", quoted(&names::port(port.id))),
                )
                .set("bandwidth", Value::map(bandwidth));
            desired
                .row(SWITCH, unit, names::network_key(plan.id))
                .refer("qos_rules", key);
        }
    }
}
