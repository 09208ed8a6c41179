//! Allocations, as whoever asks for a node notices them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::ids::{NodeAllocationId, NodeId};
use corten_model::lifecycle::node::NodeVerb;
use corten_operations::metal::allocation;
use corten_store::metal::allocation::{AllocationState, NodeAllocation};
use corten_store::metal::{Object, Standard};
use corten_store::record;
use harness::Cloud;
use harness::metal::{after, node_of, operator};
use std::collections::BTreeSet;

const CLASS: &str = "bm.small";

/// A node that waits for an instance.
async fn free(cloud: &Cloud, name: &str, class: &str) -> NodeId {
    let id = after(cloud, false, &[NodeVerb::Manage, NodeVerb::Provide]).await;
    let mut node = node_of(cloud, id).await;
    node.name = Some(name.to_owned());
    node.resource_class = Some(class.to_owned());
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// The node that an allocation of this name is given.
async fn given(cloud: &Cloud, name: &str) -> Option<NodeId> {
    let allocation = NodeAllocation {
        id: NodeAllocationId::random(),
        name: Some(name.to_owned()),
        resource_class: Some(CLASS.to_owned()),
        traits: BTreeSet::new(),
        candidates: Vec::new(),
        node_id: None,
        state: AllocationState::Allocating,
        last_error: None,
        owner: None,
        standard: Standard::new(Object::new(), cloud.cx.now()),
    };
    let made = allocation::create(&cloud.cx, &operator(), allocation, &[], None).await;
    let id = made.unwrap().id;
    cloud.drain().await;
    let mut tx = cloud.cx.store.read().await.unwrap();
    let found: NodeAllocation = record::get(&mut tx, id).await.unwrap().unwrap();
    found.node_id
}

#[tokio::test]
async fn an_allocation_prefers_the_node_of_its_own_name_if_that_fits() {
    let cloud = Cloud::open().await;
    let first = free(&cloud, "first", CLASS).await;
    let namesake = free(&cloud, "web", CLASS).await;
    free(&cloud, "other", "bm.large").await;
    assert_eq!(given(&cloud, "web").await, Some(namesake));
    // One that bears the name and does not fit is passed over.
    assert_eq!(given(&cloud, "other").await, Some(first));
    assert_eq!(given(&cloud, "late").await, None);
}
