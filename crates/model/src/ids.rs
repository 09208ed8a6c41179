//! Newtype identifiers: a function cannot be handed the id of another kind of thing.
//!
//! Two shapes exist, because the field has two. Compute, image and our own objects are UUIDs written with dashes.
//! Identity objects (Keystone) are opaque strings of up to 64 characters: 32 hexadecimal digits when generated, but
//! also words such as `default`, the id of the default domain.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind} id: {rule}")]
pub struct InvalidId {
    pub kind: &'static str,
    pub text: String,
    pub rule: &'static str,
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id (UUID version 4).
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    rule: "a UUID is 32 hexadecimal digits",
                })
            }
        }
    )*};
}

macro_rules! word_id {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// A new random id: 32 hexadecimal digits, as Keystone makes them.
            pub fn random() -> Self {
                Self(Uuid::new_v4().simple().to_string())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
                    return Err(InvalidId {
                        kind: $kind,
                        text: text.chars().take(80).collect(),
                        rule: "1 to 64 letters, digits, '-', '_' or '.'",
                    });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl From<&str> for $name {
            /// For ids that are already known to be good: constants and rows.
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )*};
}

uuid_id! {
    /// A server of either class: a virtual machine or a whole bare-metal machine.
    InstanceId = "server";
    ImageId = "image";
    VolumeId = "volume";
    /// A bare-metal machine under management.
    NodeId = "node";
    /// A hypervisor host; also its resource provider in Placement.
    HostId = "host";
    OperationId = "operation";
    ServerGroupId = "server group";
    AggregateUuid = "aggregate";
    /// One row of the transition log. Version 7: ids sort by time.
    TransitionId = "transition";
    NetworkId = "network";
    SubnetId = "subnet";
    SubnetPoolId = "subnet pool";
    AddressScopeId = "address scope";
    PortId = "port";
    TrunkId = "trunk";
    RouterId = "router";
    FloatingIpId = "floating IP";
    PortForwardingId = "port forwarding";
    SecurityGroupId = "security group";
    SecurityGroupRuleId = "security group rule";
    AddressGroupId = "address group";
    QosPolicyId = "QoS policy";
    QosRuleId = "QoS rule";
    RbacPolicyId = "RBAC policy";
    /// A rack or another thing that holds nodes.
    ChassisId = "chassis";
    /// A network card of a node.
    NodePortId = "node port";
    PortGroupId = "port group";
    /// A node set aside for whoever asked for one of its kind.
    NodeAllocationId = "node allocation";
    DeployTemplateId = "deploy template";
    RunbookId = "runbook";
    InspectionRuleId = "inspection rule";
    VolumeConnectorId = "volume connector";
    VolumeTargetId = "volume target";
    WipeId = "wipe";
    /// One line of a node's boot timeline.
    BootSignId = "boot sign";
}

word_id! {
    ProjectId = "project";
    UserId = "user";
    DomainId = "domain";
    GroupId = "group";
    RoleId = "role";
    FlavorId = "flavor";
}

impl TransitionId {
    /// A new id that sorts after every earlier one of this process.
    pub fn next() -> Self {
        Self(Uuid::now_v7())
    }
}

/// `req-` and a UUID: names one API request through API, operation, host and log, and is the id of the instance
/// action it caused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

impl RequestId {
    pub fn random() -> Self {
        Self(format!("req-{}", Uuid::new_v4()))
    }

    /// A request id that a caller sent, if it has the form `req-UUID`.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = text.strip_prefix("req-")?;
        Uuid::parse_str(uuid).ok()?;
        Some(Self(text.to_owned()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_id_is_written_with_dashes_and_read_either_way() {
        let id: InstanceId = "00000000000000000000000000000001".parse().unwrap();
        assert_eq!(id.to_string(), "00000000-0000-0000-0000-000000000001");
        assert_eq!(id.to_string().parse::<InstanceId>().unwrap(), id);
    }

    #[test]
    fn a_bad_id_says_what_it_should_be() {
        let error = "myname".parse::<ImageId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'myname' is not a valid image id: a UUID is 32 hexadecimal digits"
        );
        assert!("a/b".parse::<ProjectId>().is_err());
        assert!("default".parse::<DomainId>().is_ok());
    }

    #[test]
    fn transition_ids_sort_by_time() {
        let ids: Vec<_> = (0..100).map(|_| TransitionId::next().to_string()).collect();
        assert!(ids.is_sorted());
    }
}
