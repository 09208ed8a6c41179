//! A host obeys only who may act now: epochs of one guest grow over all of its operations.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Fixture, spec};
use corten_host::{Fence, GuestSpec, Hands, HostError, Power, Task};
use corten_model::ids::OperationId;

#[tokio::test]
async fn a_straggler_is_fenced_even_by_a_new_host_and_after_delete() {
    let mut fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.guest("fenced").await;
    let fence = |epoch| Fence {
        operation: OperationId("00000000-0000-4000-8000-000000000001".parse().unwrap()),
        epoch,
    };
    fixture
        .host()
        .perform(fence(7), Task::Start { id })
        .await
        .unwrap();
    let refusal = fixture
        .host()
        .perform(fence(6), Task::DeleteGuest { id })
        .await
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            HostError::Fenced {
                epoch: 6,
                seen: 7,
                ..
            }
        ),
        "{refusal}"
    );
    fixture.restart().await;
    let refusal = fixture
        .host()
        .perform(
            fence(6),
            Task::Stop {
                id,
                graceful_secs: None,
            },
        )
        .await
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            HostError::Fenced {
                epoch: 6,
                seen: 7,
                ..
            }
        ),
        "{refusal}"
    );
    assert_eq!(fixture.power(id).await, Power::Running);

    fixture
        .host()
        .perform(fence(8), Task::DeleteGuest { id })
        .await
        .unwrap();
    let late = Task::CreateGuest {
        spec: GuestSpec { id, ..spec(None) },
    };
    let refusal = fixture.host().perform(fence(7), late).await.unwrap_err();
    assert!(
        matches!(refusal, HostError::Fenced { .. }),
        "what was deleted must not come back: {refusal}"
    );
    assert!(fixture.guest_files().is_empty());
}

/// Epochs of one guest grow over all of its operations, so that an older operation cannot undo what a newer one did.
#[tokio::test]
async fn a_task_of_a_replaced_operation_is_fenced_also_after_delete() {
    let fixture = Fixture::new().await;
    let GuestSpec { id, .. } = fixture.guest("replaced").await;
    let fence = |operation, epoch| Fence { operation, epoch };
    let (older, newer) = (OperationId::random(), OperationId::random());
    let host = fixture.host();
    host.perform(fence(older, 4), Task::Start { id })
        .await
        .unwrap();
    let stop = Task::Stop {
        id,
        graceful_secs: None,
    };
    host.perform(fence(newer, 5), stop.clone()).await.unwrap();
    for (operation, task) in [
        (older, Task::Start { id }),
        (OperationId::random(), stop),
        (older, Task::DeleteGuest { id }),
    ] {
        let refusal = host.perform(fence(operation, 4), task).await.unwrap_err();
        assert!(
            matches!(
                refusal,
                HostError::Fenced {
                    epoch: 4,
                    seen: 5,
                    ..
                }
            ),
            "{refusal}"
        );
    }
    assert_eq!(fixture.power(id).await, Power::Shutdown);

    host.perform(fence(newer, 6), Task::DeleteGuest { id })
        .await
        .unwrap();
    let create = Task::CreateGuest {
        spec: GuestSpec { id, ..spec(None) },
    };
    let refusal = host.perform(fence(older, 5), create).await.unwrap_err();
    assert!(
        matches!(refusal, HostError::Fenced { seen: 6, .. }),
        "{refusal}"
    );
    assert!(fixture.guest_files().is_empty());
}
