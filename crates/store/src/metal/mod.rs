//! Bare-metal servers and what belongs to them, in Ironic's words: a file per resource.

pub mod allocation;
pub mod boot_sign;
pub mod chassis;
pub mod deploy_template;
pub mod discovery;
pub mod flash;
pub mod inspection_rule;
pub mod lease;
pub mod node;
pub mod offer;
pub mod order_span;
pub mod port;
pub mod port_group;
pub mod runbook;
pub mod vault_keys;
pub mod volume_connector;
pub mod volume_target;
pub mod wipe;

use crate::record::Record;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object of the API whose keys are its owner's.
pub type Object = Map<String, Value>;

/// What every resource of the bare-metal API has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standard {
    pub extra: Object,
    pub created_at: Timestamp,
    /// `None` until its first change.
    pub updated_at: Option<Timestamp>,
}

impl Standard {
    pub fn new(extra: Object, now: Timestamp) -> Self {
        Self {
            extra,
            created_at: now,
            updated_at: None,
        }
    }

    fn updated(&self) -> crate::record::Value {
        self.updated_at.unwrap_or(Timestamp::from_micros(0)).into()
    }
}

/// A resource of the bare-metal API.
pub trait Resource: Record + Clone {
    /// In texts for people: `Node`, `Port`.
    const KIND: &'static str;
    /// The column that holds the name, where it can be addressed by one.
    const NAME: Option<&'static str>;

    fn standard(&self) -> &Standard;
    fn standard_mut(&mut self) -> &mut Standard;
}

/// The parts of a resource that read the same for all of them.
macro_rules! resource {
    ($type:ty, $kind:literal, $name:expr) => {
        impl $crate::metal::Resource for $type {
            const KIND: &'static str = $kind;
            const NAME: Option<&'static str> = $name;

            fn standard(&self) -> &$crate::metal::Standard {
                &self.standard
            }

            fn standard_mut(&mut self) -> &mut $crate::metal::Standard {
                &mut self.standard
            }
        }
    };
}
pub(crate) use resource;

/// A column's text for what may be missing.
fn text(value: Option<impl ToString>) -> crate::record::Value {
    value
        .map(|value| value.to_string())
        .unwrap_or_default()
        .into()
}
