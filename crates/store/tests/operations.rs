//! Operations on both engines: claimed under a lease by exactly one worker, fenced by epochs that only grow.
#![allow(clippy::unwrap_used)]

use corten_model::ids::{OperationId, ProjectId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::operations::{self, Claim, Filter, NewOperation, Operation, Progress, Status};
use corten_store::{Error, Store, on_both_engines};
use std::collections::BTreeSet;

/// Moments of a test: seconds after some midnight.
const fn at(secs: i64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + secs * 1_000_000)
}

fn new(subject: &str, place: &str, now: Timestamp) -> NewOperation {
    NewOperation {
        kind: "create".to_owned(),
        subject_kind: "instance".to_owned(),
        subject_id: subject.to_owned(),
        project_id: Some(ProjectId::from("demo")),
        origin: Origin::system(),
        place: place.to_owned(),
        step: "plan".to_owned(),
        input: "{\"password\":\"secret\"}".to_owned(),
        now,
        deadline: at(3600),
    }
}

async fn submit(
    store: &Store,
    subject: &str,
    place: &str,
    now: Timestamp,
) -> Result<OperationId, Error> {
    let mut tx = store.write().await?;
    let id = operations::insert(&mut tx, new(subject, place, now)).await?;
    tx.commit().await?;
    Ok(id)
}

/// Claims at `now` for a minute.
async fn claim(
    store: &Store,
    owner: &str,
    places: &[&str],
    now: Timestamp,
    limit: usize,
) -> Vec<Operation> {
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let mut tx = store.write().await.unwrap();
    let claim = Claim {
        owner,
        now,
        lease_until: Timestamp(now.micros() + 60_000_000),
        limit,
    };
    let claimed = operations::claim(&mut tx, claim, &places).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn read(store: &Store, id: OperationId) -> Operation {
    let mut tx = store.read().await.unwrap();
    operations::get(&mut tx, id).await.unwrap().unwrap()
}

async fn finish(store: &Store, id: OperationId, epoch: i64, now: Timestamp) -> Result<(), Error> {
    let mut tx = store.write().await?;
    operations::finish(&mut tx, id, epoch, Status::Done, "made", now).await?;
    tx.commit().await
}

fn progress(step: &str, now: Timestamp) -> Progress {
    Progress {
        status: Status::Running,
        place: "control".to_owned(),
        step: step.to_owned(),
        attempt: 2,
        run_at: now,
        lease_until: None,
        deadline: at(7200),
        note: "waits for the disk".to_owned(),
        now,
    }
}

on_both_engines! {
    async fn an_operation_reads_as_it_was_submitted(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        let operation = read(store, id).await;
        assert_eq!((operation.id, operation.epoch, operation.attempt), (id, 0, 0));
        assert_eq!((operation.kind.as_str(), operation.step.as_str()), ("create", "plan"));
        assert_eq!((operation.subject_kind.as_str(), operation.subject_id.as_str()), ("instance", "i1"));
        assert_eq!(operation.project_id, Some(ProjectId::from("demo")));
        assert_eq!((operation.user_id, operation.lease_owner, operation.finished_at), (None, None, None));
        assert_eq!((operation.status, operation.cancel_requested), (Status::Running, false));
        assert_eq!((operation.run_at, operation.deadline), (at(0), at(3600)));
    }

    async fn one_operation_at_a_time_works_on_a_subject(store) {
        let first = submit(store, "i1", "control", at(0)).await.unwrap();
        let second = submit(store, "i1", "control", at(1)).await;
        assert!(matches!(second, Err(Error::Exists { table: "operations" })), "{second:?}");
        submit(store, "i2", "control", at(1)).await.unwrap();
        let epoch = claim(store, "w", &["control"], at(2), 1).await[0].epoch;
        finish(store, first, epoch, at(3)).await.unwrap();
        submit(store, "i1", "control", at(4)).await.unwrap();
    }

    async fn what_is_over_at_once_is_listed_and_never_claimed(store) {
        let running = submit(store, "i1", "control", at(0)).await.unwrap();
        let mut tx = store.write().await.unwrap();
        let deed = NewOperation { kind: "lock".to_owned(), ..new("i1", "control", at(1)) };
        let id = operations::record(&mut tx, deed, Status::Failed, "it is locked").await.unwrap();
        tx.commit().await.unwrap();
        let kept = read(store, id).await;
        assert_eq!((kept.status, kept.note.as_str(), kept.finished_at), (Status::Failed, "it is locked", Some(at(1))));
        let claimed: Vec<_> = claim(store, "w", &["control"], at(2), 9).await.iter().map(|one| one.id).collect();
        assert_eq!(claimed, [running]);
        let mut tx = store.read().await.unwrap();
        let subject = Some(("instance".to_owned(), "i1".to_owned()));
        let listed = operations::list(&mut tx, Filter { subject, ..Filter::default() }).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [id, running]);
    }

    async fn a_claim_takes_what_is_due_at_its_places_the_oldest_first(store) {
        let late = submit(store, "late", "control", at(5)).await.unwrap();
        let early = submit(store, "early", "control", at(1)).await.unwrap();
        submit(store, "elsewhere", "host:1", at(0)).await.unwrap();
        submit(store, "future", "control", at(100)).await.unwrap();
        let ids = |claimed: Vec<Operation>| claimed.iter().map(|operation| operation.id).collect::<Vec<_>>();
        assert_eq!(ids(claim(store, "w", &["control"], at(10), 1).await), [early]);
        assert_eq!(ids(claim(store, "w", &["control"], at(10), 9).await), [late]);
        assert_eq!(claim(store, "w", &["control"], at(10), 9).await, []);
        let claimed = claim(store, "w", &["host:1", "control"], at(100), 9).await;
        let subjects: BTreeSet<_> = claimed.into_iter().map(|operation| operation.subject_id).collect();
        assert_eq!(subjects, BTreeSet::from(["early", "late", "elsewhere", "future"].map(str::to_owned)), "leases of 60 s ran out at 70 s");
    }

    async fn a_lease_that_ran_out_goes_to_another_with_a_higher_epoch(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        let first = claim(store, "slow", &["control"], at(0), 9).await.remove(0);
        assert_eq!((first.epoch, first.lease_owner.as_deref()), (1, Some("slow")));
        assert_eq!(claim(store, "fast", &["control"], at(59), 9).await, [], "leased until 60 s");
        let second = claim(store, "fast", &["control"], at(60), 9).await.remove(0);
        assert_eq!((second.id, second.epoch, second.lease_owner.as_deref()), (id, 2, Some("fast")));
        assert_fenced(store, id, 1).await;
        assert_eq!(read(store, id).await, second, "the slow worker has changed nothing");
        finish(store, id, 2, at(61)).await.unwrap();
    }

    async fn a_lease_that_is_kept_alive_is_not_taken(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        claim(store, "w", &["control"], at(0), 9).await;
        let mut tx = store.write().await.unwrap();
        operations::extend_lease(&mut tx, id, 1, at(500)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim(store, "thief", &["control"], at(499), 9).await, []);
        assert_eq!(claim(store, "heir", &["control"], at(500), 9).await.len(), 1);
    }

    async fn a_step_moves_the_operation_and_gives_the_lease_back(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        claim(store, "w", &["control"], at(0), 9).await;
        let mut tx = store.write().await.unwrap();
        operations::hold(&mut tx, id, 1).await.unwrap();
        let moved = Progress { place: "host:1".to_owned(), status: Status::Unwinding, ..progress("boot", at(9)) };
        operations::advance(&mut tx, id, 1, moved).await.unwrap();
        tx.commit().await.unwrap();
        let operation = read(store, id).await;
        assert_eq!((operation.place.as_str(), operation.step.as_str(), operation.attempt), ("host:1", "boot", 2));
        assert_eq!((operation.status, operation.note.as_str()), (Status::Unwinding, "waits for the disk"));
        assert_eq!((operation.run_at, operation.deadline, operation.updated_at), (at(9), at(7200), at(9)));
        assert_eq!(claim(store, "v", &["host:1"], at(8), 9).await, [], "not before its time");
        assert_eq!(claim(store, "v", &["host:1"], at(9), 9).await[0].epoch, 2);
    }

    async fn an_operation_that_ended_keeps_no_input_and_takes_no_more_writes(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        claim(store, "w", &["control"], at(0), 9).await;
        finish(store, id, 1, at(5)).await.unwrap();
        let operation = read(store, id).await;
        assert_eq!((operation.status, operation.finished_at), (Status::Done, Some(at(5))));
        assert_eq!((operation.note.as_str(), operation.input.as_str()), ("made", ""));
        assert_fenced(store, id, 1).await;
        assert_eq!(claim(store, "w", &["control"], at(1000), 9).await, []);
        let mut tx = store.write().await.unwrap();
        assert!(!operations::request_cancel(&mut tx, id, at(6)).await.unwrap());
    }

    async fn epochs_grow_from_one_operation_of_a_subject_to_the_next(store) {
        let mut seen = 0;
        for round in 0..3 {
            let now = at(round * 1000);
            let id = submit(store, "i1", "control", now).await.unwrap();
            for secs in [0, 60, 120] {
                let epoch = claim(store, "w", &["control"], Timestamp(now.micros() + secs * 1_000_000), 1).await[0].epoch;
                assert!(epoch > seen, "{epoch} after {seen}");
                seen = epoch;
            }
            finish(store, id, seen, now).await.unwrap();
        }
        submit(store, "i2", "control", at(9000)).await.unwrap();
        assert_eq!(claim(store, "w", &["control"], at(9000), 1).await[0].epoch, 1, "another subject begins anew");
    }

    async fn a_superseding_command_fences_the_worker_and_takes_the_place(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        claim(store, "w", &["control"], at(0), 9).await;
        let mut tx = store.write().await.unwrap();
        let old = operations::supersede(&mut tx, "instance", "i1", "deleted by its owner", at(1)).await.unwrap().unwrap();
        assert_eq!((old.id, old.status, old.input.as_str()), (id, Status::Superseded, ""));
        assert_eq!(operations::supersede(&mut tx, "instance", "i1", "", at(1)).await.unwrap(), None);
        let next = operations::insert(&mut tx, new("i1", "control", at(1))).await.unwrap();
        tx.commit().await.unwrap();
        assert_fenced(store, id, 1).await;
        let claimed = claim(store, "w", &["control"], at(1), 9).await;
        assert_eq!(claimed.iter().map(|operation| operation.id).collect::<Vec<_>>(), [next]);
        assert!(claimed[0].epoch > old.epoch, "{} after {}", claimed[0].epoch, old.epoch);
    }

    async fn a_cancelled_operation_runs_at_once_to_hear_of_it(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        claim(store, "w", &["control"], at(0), 9).await;
        let mut tx = store.write().await.unwrap();
        operations::advance(&mut tx, id, 1, progress("wait", at(900))).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim(store, "w", &["control"], at(10), 9).await, []);
        let mut tx = store.write().await.unwrap();
        assert!(operations::request_cancel(&mut tx, id, at(11)).await.unwrap());
        assert!(!operations::request_cancel(&mut tx, OperationId::random(), at(11)).await.unwrap());
        tx.commit().await.unwrap();
        let claimed = claim(store, "w", &["control"], at(11), 9).await;
        assert!(claimed[0].cancel_requested, "{claimed:?}");
    }

    async fn what_comes_while_a_step_is_worked_on_is_not_waited_for_when_it_ends(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        let hasten = async |now| {
            let mut tx = store.write().await.unwrap();
            operations::hasten(&mut tx, "instance", "i1", now).await.unwrap();
            tx.commit().await.unwrap();
        };
        let wait = async |epoch, now| {
            let mut tx = store.write().await.unwrap();
            let waits = Progress { run_at: at(900), ..progress("wait", now) };
            operations::advance(&mut tx, id, epoch, waits).await.unwrap();
            tx.commit().await.unwrap();
            read(store, id).await.run_at
        };
        let epoch = claim(store, "w", &["control"], at(0), 9).await[0].epoch;
        hasten(at(10)).await;
        assert_eq!(claim(store, "v", &["control"], at(11), 9).await, [], "the lease holds still");
        assert_eq!(wait(epoch, at(20)).await, at(20));

        claim(store, "w", &["control"], at(20), 9).await;
        hasten(at(30)).await;
        let again = claim(store, "v", &["control"], at(100), 9).await[0].epoch;
        assert_eq!(wait(again, at(110)).await, at(900), "it came before the claim, so the step has seen it");

        hasten(at(120)).await;
        assert_eq!(read(store, id).await.run_at, at(120), "what waits becomes runnable");
    }

    async fn who_is_asked_to_stop_while_a_step_is_worked_on_hears_of_it_when_it_ends(store) {
        let id = submit(store, "i1", "control", at(0)).await.unwrap();
        let epoch = claim(store, "w", &["control"], at(0), 9).await[0].epoch;
        let mut tx = store.write().await.unwrap();
        let onward = Progress { lease_until: Some(at(90)), ..progress("boot", at(10)) };
        assert!(!operations::advance(&mut tx, id, epoch, onward.clone()).await.unwrap());
        operations::request_cancel(&mut tx, id, at(20)).await.unwrap();
        assert!(operations::advance(&mut tx, id, epoch, onward).await.unwrap());
        operations::request_cancel(&mut tx, id, at(30)).await.unwrap();
        let waits = Progress { run_at: at(900), ..progress("wait", at(40)) };
        operations::advance(&mut tx, id, epoch, waits).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(read(store, id).await.run_at, at(40));
    }

    async fn the_next_due_moment_is_the_earliest_of_all_waits_and_leases(store) {
        let due = async |places: &[&str]| {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            let mut tx = store.read().await.unwrap();
            operations::next_due(&mut tx, &places).await.unwrap()
        };
        assert_eq!(due(&["control"]).await, None);
        submit(store, "i1", "control", at(0)).await.unwrap();
        assert_eq!(due(&["control"]).await, Some(at(0)));
        claim(store, "w", &["control"], at(0), 9).await;
        assert_eq!(due(&["control"]).await, Some(at(60)), "when the lease runs out");
        submit(store, "i2", "control", at(30)).await.unwrap();
        assert_eq!(due(&["control", "host:1"]).await, Some(at(30)));
        assert_eq!(due(&["host:1"]).await, None);
    }

    async fn lists_select_by_every_filter_newest_first(store) {
        let first = submit(store, "i1", "control", at(0)).await.unwrap();
        let second = submit(store, "i2", "control", at(1)).await.unwrap();
        claim(store, "w", &["control"], at(1), 1).await;
        finish(store, first, 1, at(2)).await.unwrap();
        let list = async |filter: Filter| {
            let mut tx = store.read().await.unwrap();
            let rows = operations::list(&mut tx, filter).await.unwrap();
            rows.into_iter().map(|operation| operation.id).collect::<Vec<_>>()
        };
        let request_id = read(store, second).await.request_id;
        let subject = |id: &str| Some(("instance".to_owned(), id.to_owned()));
        assert_eq!(list(Filter::default()).await, [second, first]);
        assert_eq!(list(Filter { limit: Some(1), ..Filter::default() }).await, [second]);
        assert_eq!(list(Filter { running: true, ..Filter::default() }).await, [second]);
        assert_eq!(list(Filter { subject: subject("i1"), ..Filter::default() }).await, [first]);
        assert_eq!(list(Filter { subject: subject("i1"), running: true, ..Filter::default() }).await, []);
        assert_eq!(list(Filter { project_id: Some(ProjectId::from("other")), ..Filter::default() }).await, []);
        assert!(list(Filter { request_id: Some(request_id), ..Filter::default() }).await.contains(&second));
        let mut tx = store.read().await.unwrap();
        let running = operations::running_on(&mut tx, "instance", "i2").await.unwrap();
        assert_eq!(running.map(|operation| operation.id), Some(second));
        assert_eq!(operations::running_on(&mut tx, "instance", "i1").await.unwrap(), None);
    }

    async fn concurrent_claimers_never_share_an_operation_and_respect_the_limit(store) {
        const OPERATIONS: usize = 120;
        for number in 0..OPERATIONS {
            submit(store, &format!("i{number}"), "control", at(0)).await.unwrap();
        }
        let claimers: Vec<_> = (0..8).map(|number| tokio::spawn(claim_all((**store).clone(), number))).collect();
        let mut claimed = Vec::new();
        for claimer in claimers {
            claimed.extend(claimer.await.unwrap());
        }
        let distinct: BTreeSet<_> = claimed.iter().copied().collect();
        assert_eq!((claimed.len(), distinct.len()), (OPERATIONS, OPERATIONS));
    }
}

/// Claims until nothing is left.
async fn claim_all(store: Store, number: usize) -> Vec<OperationId> {
    let owner = format!("worker-{number}");
    let mut all = Vec::new();
    loop {
        let claimed = claim(&store, &owner, &["control"], at(1), 5).await;
        assert!(claimed.len() <= 5, "{} at once", claimed.len());
        assert!(
            claimed.iter().all(|operation| operation.epoch == 1),
            "{claimed:?}"
        );
        if claimed.is_empty() {
            // Others may hold rows that they have not committed; then these are theirs.
            return all;
        }
        all.extend(claimed.iter().map(|operation| operation.id));
    }
}

/// Every write that names this epoch is refused.
async fn assert_fenced(store: &Store, id: OperationId, epoch: i64) {
    let mut tx = store.write().await.unwrap();
    for outcome in [
        operations::hold(&mut tx, id, epoch).await,
        operations::extend_lease(&mut tx, id, epoch, at(9999)).await,
        operations::advance(&mut tx, id, epoch, progress("boot", at(0)))
            .await
            .map(drop),
        operations::finish(&mut tx, id, epoch, Status::Failed, "", at(0)).await,
    ] {
        assert!(
            matches!(outcome, Err(Error::LeaseLost { .. })),
            "{outcome:?}"
        );
    }
}
