//! Address scopes: subnets of the same scope have addresses that do not overlap, so they may be routed without NAT.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::AddressScopeId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressScope {
    pub id: AddressScopeId,
    #[serde(flatten)]
    pub standard: Standard,
    pub shared: bool,
    /// 4 or 6.
    pub ip_version: u8,
}

impl Record for AddressScope {
    const TABLE: &'static str = "address_scopes";
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

resource!(AddressScope, "Address scope", "AddressScopeNotFound");
