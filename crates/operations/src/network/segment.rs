//! How a network's frames travel: what an administrator may choose, and what others get.

use super::invalid_input;
use crate::context::Context;
use corten_model::refusal::Refusal;
use corten_store::network::network::Segment;
use corten_store::{Failure, Tx, sequences};

/// What was asked for: Neutron's `provider:*` attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    pub network_type: Option<String>,
    pub physical_network: Option<String>,
    pub segmentation_id: Option<i64>,
}

impl Provider {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The segment of a new network. Without a wish it is a tunnelled one.
pub(super) async fn choose(
    cx: &Context,
    tx: &mut Tx,
    provider: &Provider,
) -> Result<Segment, Failure> {
    let Provider {
        network_type,
        physical_network,
        segmentation_id,
    } = provider;
    match network_type.as_deref() {
        None if physical_network.is_some() || segmentation_id.is_some() => {
            Err(invalid_input("network_type required").into())
        }
        None | Some("geneve") => tunnelled(tx, provider).await,
        Some("flat") => {
            if segmentation_id.is_some() {
                return Err(
                    invalid_input("segmentation_id prohibited for flat provider network").into(),
                );
            }
            Ok(Segment::Flat {
                physical_network: physical(cx, physical_network.as_deref(), "flat")?,
            })
        }
        Some("vlan") => Ok(Segment::Vlan {
            physical_network: physical(cx, physical_network.as_deref(), "VLAN")?,
            id: vlan(*segmentation_id)?,
        }),
        Some(other) => Err(invalid_input(format!(
            "network_type value '{other}' not supported: this cloud has geneve, flat and vlan"
        ))
        .into()),
    }
}

async fn tunnelled(tx: &mut Tx, provider: &Provider) -> Result<Segment, Failure> {
    if provider.physical_network.is_some() {
        return Err(invalid_input("provider:physical_network specified for GENEVE network").into());
    }
    if let Some(id) = provider.segmentation_id {
        return Err(invalid_input(format!(
            "segmentation_id {id} cannot be chosen for a geneve network: the fabric numbers its tunnels itself"
        ))
        .into());
    }
    Ok(Segment::Geneve {
        id: sequences::next(tx, "geneve_segments").await?,
    })
}

fn physical(cx: &Context, wanted: Option<&str>, kind: &str) -> Result<String, Refusal> {
    let Some(name) = wanted else {
        return Err(invalid_input(format!(
            "physical_network required for {kind} provider network"
        )));
    };
    let known = &cx.settings.network.physical_networks;
    if known.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    Err(invalid_input(format!(
        "physical_network '{name}' unknown for {kind} provider network: this cloud has {}",
        known.join(", ")
    )))
}

fn vlan(wanted: Option<i64>) -> Result<u16, Refusal> {
    let id = wanted.ok_or_else(|| {
        invalid_input(
            "segmentation_id required for VLAN provider network: this cloud keeps no pool of them",
        )
    })?;
    match u16::try_from(id) {
        Ok(id @ 1..=4094) => Ok(id),
        _ => Err(invalid_input(format!(
            "segmentation_id {id} out of range (1 through 4094)"
        ))),
    }
}
