//! Addresses of a provisioning network on both engines: however many unknown servers boot at once, none has another's.
#![allow(clippy::unwrap_used, clippy::panic)]

use corten_model::ids::NodeId;
use corten_model::time::Timestamp;
use corten_store::metal::discovery::{self, Discovery, DiscoveryToken};
use corten_store::metal::lease;
use corten_store::{Error, Store, on_both_engines, record};
use std::net::Ipv4Addr;

const LAB: &str = "lab";

fn boot(number: u8, address: Ipv4Addr) -> Discovery {
    Discovery {
        mac: format!("52:54:00:77:00:{number:02x}"),
        node_id: NodeId::random(),
        network: LAB.to_owned(),
        address,
        token: Some(DiscoveryToken {
            sha256: "00".to_owned(),
            sealed: "key:00".to_owned(),
        }),
        since: Timestamp(i64::from(number)),
    }
}

/// Takes the first address that nobody has.
async fn begin(store: Store, number: u8) {
    let mut tx = store.write().await.unwrap();
    lease::serialize(&mut tx, LAB).await.unwrap();
    let taken = discovery::of_network(&mut tx, LAB).await.unwrap();
    let mut all = (50..100).map(|last| Ipv4Addr::new(10, 77, 0, last));
    let free = all.find(|address| taken.iter().all(|boot| boot.address != *address));
    let row = boot(number, free.unwrap());
    record::insert(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
}

on_both_engines! {
    async fn boots_that_begin_together_have_an_address_each(store) {
        let boots: Vec<_> = (1..=12).map(|number| tokio::spawn(begin((**store).clone(), number))).collect();
        for boot in boots {
            boot.await.unwrap();
        }
        let mut tx = store.write().await.unwrap();
        let rows = discovery::of_network(&mut tx, LAB).await.unwrap();
        let mut last: Vec<u8> = rows.iter().map(|row| row.address.octets()[3]).collect();
        last.sort_unstable();
        assert_eq!(last, (50..62).collect::<Vec<u8>>());
        let twice = record::insert(&mut tx, &boot(99, rows[0].address)).await;
        assert!(matches!(twice, Err(Error::Exists { .. })), "{twice:?}");
        let others = discovery::of_network(&mut tx, "other").await.unwrap();
        assert_eq!(others, []);
    }
}
