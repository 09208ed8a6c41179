//! The switch's own configuration: the database `Open_vSwitch` (ovs-vswitchd.conf.db(5)).

use crate::daemons::{Datapath, MachineError};
use crate::ovsdb::{
    Atom, Client, Condition, Monitored, Mutation, Operation, Remote, Replica, Row, Value,
};
use crate::plan::Mac;
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

const ROOT: &str = "Open_vSwitch";
const MONITORED: Monitored = Monitored(&[
    (ROOT, &["bridges", "external_ids", "cur_cfg"]),
    ("Bridge", &["name", "ports", "datapath_type"]),
    ("Port", &["name", "interfaces"]),
    ("Interface", &["name", "external_ids"]),
]);
/// OVN finds a port's device by this key.
const IFACE_ID: &str = "iface-id";
const MAPPINGS: &str = "ovn-bridge-mappings";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For the switch to do what the database says.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Conf {
    client: Client,
    datapath: Datapath,
}

impl Conf {
    /// Connects to the database, and makes its one root row if it is new.
    pub async fn connect(socket: PathBuf) -> Result<Client, MachineError> {
        let client = Client::connect(Remote::Unix(socket), ROOT, MONITORED);
        client.ready(CONNECT_LIMIT).await?;
        if client.read(|replica| replica.only(ROOT).is_none()) {
            let row = Operation::Insert {
                table: ROOT,
                uuid: None,
                name: None,
                row: BTreeMap::new(),
            };
            client.transact(&[row]).await?;
        }
        Ok(client)
    }

    /// The datapath that a bridge has.
    pub fn datapath_of(client: &Client, bridge: &str) -> Option<Datapath> {
        client.read(|replica| {
            let (_, row) = by_name(replica, "Bridge", bridge)?;
            match row.text("datapath_type")? {
                "netdev" => Some(Datapath::Userspace),
                _ => Some(Datapath::Kernel),
            }
        })
    }

    pub fn new(client: Client, datapath: Datapath) -> Self {
        Self { client, datapath }
    }

    /// Sets what OVN's controller reads.
    pub async fn set_external_ids(&self, pairs: &[(&str, String)]) -> Result<(), MachineError> {
        let keys = pairs.iter().map(|(key, _)| *key);
        let values = pairs.iter().map(|(key, value)| (*key, value.clone()));
        let mutations = vec![
            Mutation::delete("external_ids", Value::set(keys)),
            Mutation::insert("external_ids", Value::map(values)),
        ];
        self.apply(vec![on_root(mutations)]).await
    }

    /// Lets OVN use a bridge for a physical network.
    pub async fn map_bridge(
        &self,
        physical_network: &str,
        bridge: &str,
    ) -> Result<(), MachineError> {
        let had = self.client.read(|replica| {
            let (_, root) = replica.only(ROOT)?;
            root.at("external_ids", MAPPINGS).map(str::to_owned)
        });
        let mut mappings: BTreeMap<&str, &str> = had
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .collect();
        mappings.insert(physical_network, bridge);
        let pairs: Vec<String> = mappings
            .iter()
            .map(|(name, bridge)| format!("{name}:{bridge}"))
            .collect();
        self.set_external_ids(&[(MAPPINGS, pairs.join(","))]).await
    }

    /// Has a bridge. One that is `programmed` forwards nothing by itself. Without a hardware address it gets one of its
    /// own.
    pub async fn ensure_bridge(
        &self,
        name: &str,
        programmed: bool,
        hardware: Option<&str>,
    ) -> Result<(), MachineError> {
        let exists = self
            .client
            .read(|replica| by_name(replica, "Bridge", name).is_some());
        if !exists {
            let hardware = hardware.map_or_else(|| mac_of(name), str::to_owned);
            self.apply(self.new_bridge(name, programmed, &hardware))
                .await?;
        }
        Ok(())
    }

    fn new_bridge(&self, name: &str, programmed: bool, hardware: &str) -> Vec<Operation> {
        let fail_mode = if programmed { "secure" } else { "standalone" };
        let mut operations = new_port(name, [("type", Value::one("internal"))]);
        operations.push(Operation::Insert {
            table: "Bridge",
            uuid: None,
            name: Some("bridge".to_owned()),
            row: BTreeMap::from([
                ("name", Value::one(name)),
                ("ports", Value::one(named("port"))),
                ("datapath_type", Value::one(self.datapath.as_str())),
                ("fail_mode", Value::one(fail_mode)),
                // A device that kept its address over a restart stays in its neighbours' tables.
                (
                    "other_config",
                    Value::map([("hwaddr", hardware), ("disable-in-band", "true")]),
                ),
            ]),
        });
        operations.push(on_root(vec![Mutation::insert(
            "bridges",
            Value::one(named("bridge")),
        )]));
        operations
    }

    /// Has the device as a port of the bridge, for the logical port `iface_id` if there is one.
    pub async fn add_port(
        &self,
        bridge: &str,
        device: &str,
        iface_id: Option<&str>,
    ) -> Result<(), MachineError> {
        let known = self.client.read(|replica| {
            let (_, row) = by_name(replica, "Interface", device)?;
            Some(row.at("external_ids", IFACE_ID) == iface_id)
        });
        match known {
            Some(true) => return Ok(()),
            Some(false) => self.release(device).await?,
            None => {}
        }
        let external_ids = Value::map(iface_id.map(|id| (IFACE_ID, id)));
        let mut operations = new_port(device, [("external_ids", external_ids)]);
        operations.push(Operation::Mutate {
            table: "Bridge",
            rows: vec![Condition::equal("name", Value::one(bridge))],
            mutations: vec![Mutation::insert("ports", Value::one(named("port")))],
        });
        self.apply(operations).await
    }

    /// Before a device is made: makes the switch forget an earlier one of that name. It would stay with the one that is
    /// gone, or open the new one at once; and a device that is opened and set up at the same time ends down, because
    /// the switch writes flags back that it read before.
    pub async fn release(&self, device: &str) -> Result<(), MachineError> {
        let is_known = |replica: &Replica| by_name(replica, "Port", device).is_some();
        if self.client.read(is_known) {
            self.remove_port(device).await?;
            self.settle().await?;
        }
        Ok(())
    }

    /// Takes a device out of the switch; one that is not in it is fine.
    pub async fn remove_port(&self, device: &str) -> Result<(), MachineError> {
        let port = self.client.read(|replica| {
            let (port, _) = by_name(replica, "Port", device)?;
            let has_it = |row: &Row| {
                row.get("ports")
                    .is_some_and(|ports| ports.uuids().any(|uuid| uuid == port))
            };
            let (bridge, _) = replica.rows("Bridge").find(|(_, row)| has_it(row))?;
            Some((bridge, port))
        });
        let Some((bridge, port)) = port else {
            return Ok(());
        };
        // A port that no bridge has is collected with its interface.
        self.apply(vec![Operation::Mutate {
            table: "Bridge",
            rows: Condition::row(bridge),
            mutations: vec![Mutation::delete("ports", Value::one(port))],
        }])
        .await
    }

    /// The devices in the switch that stand for logical ports, and which.
    pub fn logical_ports(&self) -> BTreeMap<String, String> {
        self.client.read(|replica| {
            let interfaces = replica.rows("Interface");
            let pair = |(_, row): (Uuid, &Row)| {
                Some((
                    row.text("name")?.to_owned(),
                    row.at("external_ids", IFACE_ID)?.to_owned(),
                ))
            };
            interfaces.filter_map(pair).collect()
        })
    }

    /// Waits until OVN's controller has wired the device; false if it has not in time.
    pub async fn wait_installed(&self, device: &str, limit: Duration) -> bool {
        let installed = |replica: &Replica| {
            let (_, row) = by_name(replica, "Interface", device)?;
            (row.at("external_ids", "ovn-installed")? == "true").then_some(())
        };
        self.client.wait_until(limit, installed).await.is_some()
    }

    /// Waits until the switch has done all that was written.
    pub async fn settle(&self) -> Result<(), MachineError> {
        self.client.ready(CONNECT_LIMIT).await?;
        let outcomes = self
            .client
            .transact(&[
                on_root(vec![Mutation::add("next_cfg", 1)]),
                Operation::Select {
                    table: ROOT,
                    rows: Vec::new(),
                    columns: vec!["next_cfg"],
                },
            ])
            .await?;
        let rows = outcomes.last().map(|outcome| outcome.rows.as_slice());
        let wanted = rows.and_then(|rows| rows.first()?.get("next_cfg")?.as_integer());
        let done = |replica: &Replica| {
            let (_, root) = replica.only(ROOT)?;
            (root.get("cur_cfg")?.as_integer() >= wanted).then_some(())
        };
        self.client
            .wait_until(SETTLE_LIMIT, done)
            .await
            .ok_or_else(|| MachineError::TimedOut {
                what: "ovs-vswitchd".to_owned(),
                doing: "do what its database says",
                secs: SETTLE_LIMIT.as_secs(),
            })
    }

    /// Writes, and wakes the switch.
    async fn apply(&self, mut operations: Vec<Operation>) -> Result<(), MachineError> {
        operations.push(on_root(vec![Mutation::add("next_cfg", 1)]));
        // A database that is just being started again is waited for.
        self.client.ready(CONNECT_LIMIT).await?;
        self.client.transact(&operations).await?;
        Ok(())
    }
}

fn on_root(mutations: Vec<Mutation>) -> Operation {
    Operation::Mutate {
        table: ROOT,
        rows: Vec::new(),
        mutations,
    }
}

/// A port of one interface; the transaction knows it as `port`.
fn new_port<const N: usize>(device: &str, columns: [(&'static str, Value); N]) -> Vec<Operation> {
    let mut interface = BTreeMap::from(columns);
    interface.insert("name", Value::one(device));
    let port = BTreeMap::from([
        ("name", Value::one(device)),
        ("interfaces", Value::one(named("interface"))),
    ]);
    let insert = |table, name: &str, row| Operation::Insert {
        table,
        uuid: None,
        name: Some(name.to_owned()),
        row,
    };
    vec![
        insert("Interface", "interface", interface),
        insert("Port", "port", port),
    ]
}

/// An address of a bridge's own device, the same at each start: locally administered, and from its name.
fn mac_of(bridge: &str) -> String {
    let digest: [u8; 64] = Sha512::digest(bridge.as_bytes()).into();
    let [a, b, c, d, e, ..] = digest;
    Mac([0x0a, a, b, c, d, e]).to_string()
}

fn named(name: &str) -> Atom {
    Atom::NamedUuid(name.to_owned())
}

fn by_name<'a>(replica: &'a Replica, table: &str, name: &str) -> Option<(Uuid, &'a Row)> {
    replica
        .rows(table)
        .find(|(_, row)| row.text("name") == Some(name))
}
