//! Whatever the database holds, one difference makes it as planned, and the next is empty.

use super::super::compile::compile;
use super::super::schema::MONITORED;
use super::model::Model;
use super::*;
use crate::plan::*;
use corten_model::ids::*;
use proptest::prelude::*;
use std::net::IpAddr;

/// A small world: few ids, so that plans meet.
fn id(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

prop_compose! {
    fn port(network: u8)(
        number in 0_u8..6,
        kind in 0_u8..4,
        guarded: bool,
        enabled: bool,
        groups in prop::collection::btree_set(0_u8..3, 0..3),
        host in prop::option::of(0_u8..2),
        limit in prop::option::of(1_u32..3),
        overridden: bool,
        named: bool,
    ) -> PortPlan {
        let number = network * 10 + number;
        let address = IpAddr::from([10, 0, network, number]);
        PortPlan {
            id: PortId(id(number)),
            mac: Mac([2, 0, 0, 0, network, number]),
            addresses: vec![(SubnetId(id(network)), address)],
            kind: match kind {
                0 => PortKind::Service,
                1 => PortKind::Router { router: RouterId(id(0)), gateway: guarded },
                2 => PortKind::Sub { parent: PortId(id(99)), vlan: 7 },
                _ => PortKind::Guest,
            },
            enabled,
            guarded,
            allowed_pairs: Vec::new(),
            security_groups: groups.into_iter().map(|group| SecurityGroupId(id(group))).collect(),
            host: host.map(|host| format!("host-{host}")),
            dhcp_options: if overridden {
                vec![DhcpOverride { family: Family::V4, name: "mtu".to_owned(), value: "1400".to_owned() }]
            } else {
                Vec::new()
            },
            dns_names: if named { vec![(format!("name-{number}"), address)] } else { Vec::new() },
            bandwidth: limit
                .map(|max_kbps| Bandwidth { direction: Direction::Ingress, max_kbps, max_burst_kbps: 0 })
                .into_iter()
                .collect(),
            unknown_addresses: !guarded,
        }
    }
}

fn network() -> impl Strategy<Value = Plan> {
    let parts = (0_u8..3).prop_flat_map(|number| {
        (
            Just(number),
            prop::collection::vec(port(number), 0..5),
            any::<bool>(),
            prop::option::of(1_u16..9),
        )
    });
    parts.prop_map(|(number, ports, dhcp, vlan)| {
        let ports: BTreeMap<_, _> = ports.into_iter().map(|port| (port.id, port)).collect();
        Plan::Network(NetworkPlan {
            id: NetworkId(id(number)),
            name: format!("network {vlan:?}"),
            mtu: 1442,
            enabled: dhcp,
            provider: vlan.map(|vlan| Provider {
                physical_network: "physnet1".to_owned(),
                vlan: Some(vlan),
            }),
            subnets: vec![SubnetPlan {
                id: SubnetId(id(number)),
                cidr: format!("10.0.{number}.0/24").parse().unwrap(),
                gateway: None,
                dhcp,
                dns_servers: Vec::new(),
                host_routes: Vec::new(),
                ipv6: None,
                service_address: None,
                domain: None,
            }],
            ports: ports.into_values().collect(),
        })
    })
}

fn router() -> impl Strategy<Value = Plan> {
    let parts = (
        0_u8..2,
        prop::collection::btree_set(0_u8..5, 0..4),
        any::<bool>(),
        0_u8..3,
        0_u16..3,
    );
    parts.prop_map(|(number, interfaces, gateway, chassis, forwards)| {
        let outside = IpAddr::from([192, 0, 2, number + 1]);
        let interface = |host: u8| RouterInterface {
            port: PortId(id(number * 10 + host)),
            mac: Mac([2, 0, 0, 1, number, host]),
            addresses: vec![format!("10.{chassis}.{host}.1/24").parse().unwrap()],
            ipv6: gateway.then_some(Ipv6Mode::Slaac),
            announced_dns: None,
            mtu: 1442,
        };
        Plan::Router(RouterPlan {
            id: RouterId(id(number)),
            name: "router".to_owned(),
            enabled: gateway,
            interfaces: interfaces.into_iter().map(interface).collect(),
            gateway: gateway.then(|| RouterGateway {
                port: PortId(id(number + 100)),
                mac: Mac([2, 0, 0, 2, 0, number]),
                addresses: vec!["192.0.2.9/24".parse().unwrap()],
                next_hops: vec![outside],
                chassis: (0..chassis).map(|host| format!("host-{host}")).collect(),
                mtu: 1500,
            }),
            snat: vec![Snat {
                external: outside,
                internal: format!("10.{chassis}.0.0/16").parse().unwrap(),
            }],
            floating: Vec::new(),
            forwards: (0..forwards)
                .map(|port| Forward {
                    external: outside,
                    external_port: port + 1,
                    protocol: ForwardProtocol::Tcp,
                    internal: IpAddr::from([10, 0, 0, chassis]),
                    internal_port: 22,
                })
                .collect(),
            routes: vec![(
                "198.51.100.0/24".parse().unwrap(),
                IpAddr::from([10, 0, 0, chassis]),
            )],
        })
    })
}

fn group() -> impl Strategy<Value = Plan> {
    (
        0_u8..3,
        prop::collection::btree_set(0_u8..4, 0..4),
        any::<bool>(),
    )
        .prop_map(|(number, rules, stateful)| {
            let rule = |rule: u8| Rule {
                id: SecurityGroupRuleId(id(number * 10 + rule)),
                direction: if rule == 0 {
                    Direction::Egress
                } else {
                    Direction::Ingress
                },
                family: Family::V4,
                protocol: stateful.then_some(Protocol::Tcp(Some((1, 2)))),
                remote: Remote::Group(SecurityGroupId(id(rule))),
            };
            Plan::SecurityGroup(SecurityGroupPlan {
                id: SecurityGroupId(id(number)),
                stateful,
                rules: rules.into_iter().map(rule).collect(),
            })
        })
}

fn addresses() -> impl Strategy<Value = Plan> {
    (0_u8..2, prop::collection::btree_set(0_u8..9, 0..4)).prop_map(|(number, networks)| {
        let network = |number: u8| format!("10.{number}.0.0/16").parse().unwrap();
        Plan::AddressGroup(AddressGroupPlan {
            id: AddressGroupId(id(number)),
            addresses: networks.into_iter().map(network).collect(),
        })
    })
}

/// At most one plan of each unit.
fn cloud() -> impl Strategy<Value = BTreeMap<Unit, Plan>> {
    let plan = prop_oneof![3 => network(), 1 => router(), 2 => group(), 1 => addresses()];
    prop::collection::vec(plan, 0..8)
        .prop_map(|plans| plans.into_iter().map(|plan| (plan.unit(), plan)).collect())
}

fn wanted<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Desired {
    let mut desired = Desired::default();
    plans
        .into_iter()
        .for_each(|plan| desired.merge(compile(plan)));
    desired
}

fn reconcile(model: &mut Model, plans: &BTreeMap<Unit, Plan>) {
    let desired = wanted(plans.values());
    let mut index = model.index();
    let difference = diff(&model.replica, &index, &Scope::All, &desired);
    model.run(&difference.operations, &mut index).unwrap();
    let again = diff(&model.replica, &index, &Scope::All, &desired);
    assert_eq!(again.operations, []);
    assert!(again.repair.is_empty(), "{:?}", again.repair);
}

fn fresh(plans: &BTreeMap<Unit, Plan>) -> BTreeSet<String> {
    let mut model = Model::default();
    reconcile(&mut model, plans);
    model.content()
}

/// What somebody else did to a row.
#[derive(Debug, Clone)]
enum Edit {
    Delete,
    Unmark,
    Empty(prop::sample::Index),
    /// As a restored database has it.
    Renumber,
    Duplicate,
}

fn edit() -> impl Strategy<Value = (prop::sample::Index, Edit)> {
    let edit = prop_oneof![
        Just(Edit::Delete),
        Just(Edit::Unmark),
        any::<prop::sample::Index>().prop_map(Edit::Empty),
        Just(Edit::Renumber),
        Just(Edit::Duplicate),
    ];
    (any::<prop::sample::Index>(), edit)
}

fn damage(model: &mut Model, at: prop::sample::Index, edit: Edit) {
    let mut rows: Vec<_> = model
        .rows()
        .map(|(table, uuid, row)| (table, uuid, row.clone()))
        .collect();
    rows.sort_by_key(|(table, uuid, _)| (*table, *uuid));
    if rows.is_empty() {
        return;
    }
    let (table, uuid, mut row) = at.get(&rows).clone();
    match edit {
        Edit::Delete => drop(model.replica.remove(table, uuid)),
        Edit::Unmark => {
            row.set("external_ids", Value::empty_map());
            model.replica.put(table, uuid, row);
        }
        Edit::Empty(column) => {
            let (_, columns) = MONITORED.tables().find(|(name, _)| *name == table).unwrap();
            let column = *column.get(columns);
            let emptied = cleared(row.get(column).unwrap());
            row.set(column, emptied);
            model.replica.put(table, uuid, row);
        }
        Edit::Renumber => {
            model.replica.remove(table, uuid);
            model
                .replica
                .put(table, Uuid::from_u128(uuid.as_u128() ^ 1), row);
        }
        Edit::Duplicate if is_child(table) || super::super::schema::is_named(table) => {}
        Edit::Duplicate => drop(
            model
                .replica
                .put(table, Uuid::from_u128(uuid.as_u128() ^ 2), row),
        ),
    }
    // The server lets no reference lead nowhere.
    model.run(&[], &mut Index::default()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn changes_one_by_one_lead_where_the_whole_leads(steps in prop::collection::vec(cloud(), 1..5)) {
        let mut model = Model::default();
        let mut index = model.index();
        let mut held: BTreeMap<Unit, Plan> = BTreeMap::new();
        for cloud in steps {
            for unit in held.keys().chain(cloud.keys()).copied().collect::<BTreeSet<_>>() {
                let scope = Scope::Units([unit].into());
                let desired = wanted(cloud.get(&unit));
                let difference = diff(&model.replica, &index, &scope, &desired);
                model.run(&difference.operations, &mut index).unwrap();
                let again = diff(&model.replica, &index, &scope, &desired);
                prop_assert_eq!(again.operations, vec![]);
            }
            held = cloud;
            // Groups that ports name are there, whoever came first; all else is as if made at once.
            reconcile(&mut model, &held);
            prop_assert_eq!(model.content(), fresh(&held));
            index = model.index();
        }
    }

    #[test]
    fn a_damaged_database_is_put_right(cloud in cloud(), edits in prop::collection::vec(edit(), 0..8)) {
        let mut model = Model::default();
        reconcile(&mut model, &cloud);
        for (at, edit) in edits {
            damage(&mut model, at, edit);
        }
        reconcile(&mut model, &cloud);
        let unmarked = |row: &str| row.contains(" ?: ");
        let ours: BTreeSet<_> = model.content().into_iter().filter(|row| !unmarked(row)).collect();
        prop_assert_eq!(ours, fresh(&cloud));
    }
}
