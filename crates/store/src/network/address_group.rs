//! Address groups: a named set of prefixes that security group rules point at.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::AddressGroupId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressGroup {
    pub id: AddressGroupId,
    #[serde(flatten)]
    pub standard: Standard,
    pub addresses: Vec<IpNet>,
}

impl Record for AddressGroup {
    const TABLE: &'static str = "address_groups";
    const COLUMNS: &'static [&'static str] = &["project_id", "name"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
        ]
    }
}

resource!(AddressGroup, "Address group", "AddressGroupNotFound");
