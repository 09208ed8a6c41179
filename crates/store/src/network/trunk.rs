//! Trunks: several networks for one guest over one NIC, told apart by VLAN tags.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{PortId, TrunkId};
use serde::{Deserialize, Serialize};

/// Who owns a port while it is a sub-port.
pub const SUB_PORT_OWNER: &str = "trunk:subport";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    pub id: TrunkId,
    #[serde(flatten)]
    pub standard: Standard,
    pub enabled: bool,
    pub port_id: PortId,
    pub sub_ports: Vec<SubPort>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubPort {
    pub port_id: PortId,
    /// 1 to 4094.
    pub vlan: u16,
}

impl Record for Trunk {
    const TABLE: &'static str = "trunks";
    const COLUMNS: &'static [&'static str] = &["project_id", "name", "port_id"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            (&self.port_id).into(),
        ]
    }
}

resource!(Trunk, "Trunk", "TrunkNotFound");

/// The trunk of a parent port.
pub async fn of_parent(tx: &mut Tx, port: PortId) -> Result<Option<Trunk>> {
    Query::new().equals("port_id", &port).first(tx).await
}

/// The trunk that a port is a sub-port of.
pub async fn of_sub_port(tx: &mut Tx, port: PortId) -> Result<Option<Trunk>> {
    let all: Vec<Trunk> = Query::new().all(tx).await?;
    Ok(all
        .into_iter()
        .find(|trunk| trunk.sub_ports.iter().any(|sub| sub.port_id == port)))
}
