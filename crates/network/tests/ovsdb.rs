//! The OVSDB client against a real ovsdb-server: transactions, replica, reconnection, TLS.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Database, LIMIT, NORTHBOUND_SCHEMA, run};
use corten_network::NetworkError;
use corten_network::ovsdb::{
    Client, Condition, Connection, Event, Identity, Monitored, Mutation, Operation, Remote, Value,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const MONITORED: Monitored = Monitored(&[
    ("Logical_Switch", &["name", "ports", "other_config"]),
    (
        "Logical_Switch_Port",
        &["name", "addresses", "enabled", "options"],
    ),
]);

fn insert(table: &'static str, uuid: Uuid, row: &[(&'static str, Value)]) -> Operation {
    Operation::Insert {
        table,
        uuid: Some(uuid),
        name: None,
        row: row.iter().cloned().collect(),
    }
}

fn mutate(row: Uuid, mutation: Mutation) -> Operation {
    Operation::Mutate {
        table: "Logical_Switch",
        rows: Condition::row(row),
        mutations: vec![mutation],
    }
}

fn northbound(directory: &tempfile::TempDir) -> Database {
    Database::create(directory.path(), "nb", NORTHBOUND_SCHEMA)
}

#[tokio::test]
async fn the_replica_holds_what_a_transaction_did_when_it_returns() {
    let directory = tempfile::tempdir().unwrap();
    let database = northbound(&directory);
    let _server = database.serve();
    let client = Client::connect(database.remote(), "OVN_Northbound", MONITORED);
    client.ready(LIMIT).await.unwrap();

    let (switch, port) = (Uuid::new_v4(), Uuid::new_v4());
    let text = "with } and \" and \u{e9}";
    let options = Value::map([("a", "1"), ("b", text)]);
    let done = client
        .transact(&[
            insert(
                "Logical_Switch",
                switch,
                &[("name", Value::one("s")), ("ports", Value::one(port))],
            ),
            insert(
                "Logical_Switch_Port",
                port,
                &[("name", Value::one("p")), ("options", options.clone())],
            ),
        ])
        .await
        .unwrap();
    assert_eq!(done[0].uuid, Some(switch));
    client.read(|replica| {
        let row = replica.row("Logical_Switch_Port", port).unwrap();
        assert_eq!(row.get("options"), Some(&options));
        assert_eq!(
            row.get("addresses"),
            Some(&Value::empty_set()),
            "a column that nobody named"
        );
        let row = replica.row("Logical_Switch", switch).unwrap();
        assert_eq!(row.get("ports"), Some(&Value::one(port)));
    });

    let other_config = |pairs: &[(&'static str, &'static str)]| Value::map(pairs.iter().copied());
    let change = [
        mutate(
            switch,
            Mutation::insert("other_config", other_config(&[("x", "1"), ("y", "2")])),
        ),
        mutate(switch, Mutation::delete("ports", Value::one(port))),
    ];
    assert_eq!(client.transact(&change).await.unwrap()[0].count, 1);
    let change = [
        mutate(
            switch,
            Mutation::delete("other_config", Value::set(["x", "y"])),
        ),
        mutate(
            switch,
            Mutation::insert("other_config", other_config(&[("y", "3"), ("z", "4")])),
        ),
    ];
    client.transact(&change).await.unwrap();
    client.read(|replica| {
        assert_eq!(
            replica.row("Logical_Switch_Port", port),
            None,
            "nothing refers to it"
        );
        let row = replica.row("Logical_Switch", switch).unwrap();
        assert_eq!(
            row.get("other_config"),
            Some(&other_config(&[("y", "3"), ("z", "4")]))
        );
        assert_eq!(row.get("ports"), Some(&Value::empty_set()));
    });

    let select = [Operation::Select {
        table: "Logical_Switch",
        rows: vec![Condition::equal("name", Value::one("s"))],
        columns: vec!["name"],
    }];
    let found = client.transact(&select).await.unwrap();
    assert_eq!(
        found[0].rows,
        [BTreeMap::from([("name".to_owned(), Value::one("s"))])]
    );
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words_and_nothing_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let database = northbound(&directory);
    let _server = database.serve();
    let client = Client::connect(database.remote(), "OVN_Northbound", MONITORED);
    client.ready(LIMIT).await.unwrap();
    let switch = Uuid::new_v4();
    let row = [("name", Value::one("s"))];
    let twice = [
        insert("Logical_Switch", switch, &row),
        insert("Logical_Switch", switch, &row),
    ];
    let Err(NetworkError::Refused { error, details, .. }) = client.transact(&twice).await else {
        panic!("two rows with one UUID");
    };
    assert_eq!(error, "duplicate uuid");
    assert!(details.is_some());
    assert!(client.read(|replica| replica.is_empty()));

    // Compare and set.
    client.transact(&twice[..1]).await.unwrap();
    let expect = |name: &str| Operation::Expect {
        table: "Logical_Switch",
        row: switch,
        columns: BTreeMap::from([("name", Value::one(name))]),
    };
    let rename = Operation::Update {
        table: "Logical_Switch",
        rows: Condition::row(switch),
        row: BTreeMap::from([("name", Value::one("t"))]),
    };
    client
        .transact(&[expect("s"), rename.clone()])
        .await
        .unwrap();
    let refused = client.transact(&[expect("s"), rename]).await.unwrap_err();
    assert!(matches!(refused, NetworkError::Refused { ref error, .. } if error == "timed out"));
    assert!(!refused.is_transient());
}

#[tokio::test]
async fn requests_are_concurrent_and_changes_of_others_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let database = northbound(&directory);
    let _server = database.serve();
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    let client = Client::connect_observed(
        database.remote(),
        "OVN_Northbound",
        MONITORED,
        Box::new(move |_, event| told.lock().unwrap().push(event.clone())),
    );
    client.ready(LIMIT).await.unwrap();
    // Large enough that a server that does not read until it has written would stall.
    let name = "n".repeat(20_000);
    let inserts: Vec<_> = (0..100)
        .map(|_| {
            let (client, name) = (client.clone(), name.clone());
            tokio::spawn(async move {
                let insert = insert(
                    "Logical_Switch",
                    Uuid::new_v4(),
                    &[("name", Value::one(name))],
                );
                client.transact(&[insert]).await
            })
        })
        .collect();
    for insert in inserts {
        insert.await.unwrap().unwrap();
    }
    assert_eq!(
        client.read(|replica| replica.rows("Logical_Switch").count()),
        100
    );

    run(
        "ovn-nbctl",
        &[
            "--timeout=30",
            &format!("--db={}", database.socket()),
            "ls-add",
            "theirs",
        ],
    );
    let theirs = client.wait_until(LIMIT, |replica| {
        replica
            .rows("Logical_Switch")
            .find(|(_, row)| row.text("name") == Some("theirs"))
            .map(|(uuid, _)| uuid)
    });
    let theirs = theirs.await.unwrap();
    let events = events.lock().unwrap();
    assert_eq!(events[0], Event::Loaded);
    assert!(events.iter().any(|event| {
        match event {
            Event::Changed(changes) => changes
                .iter()
                .any(|change| change.uuid == theirs && change.before.is_none()),
            Event::Loaded | Event::Lost => false,
        }
    }));
}

#[tokio::test]
async fn a_server_that_went_away_is_found_again_with_what_it_has_now() {
    let directory = tempfile::tempdir().unwrap();
    let database = northbound(&directory);
    let client = Client::connect(database.remote(), "OVN_Northbound", MONITORED);
    let early = client.transact(&[]).await.unwrap_err();
    assert!(early.is_transient());
    assert!(early.to_string().contains("nb.sock"), "{early}");

    let server = database.serve();
    client.ready(LIMIT).await.unwrap();
    let switch = Uuid::new_v4();
    client
        .transact(&[insert(
            "Logical_Switch",
            switch,
            &[("name", Value::one("s"))],
        )])
        .await
        .unwrap();
    let mut connection = client.connection();
    server.stop();
    connection
        .wait_for(|state| matches!(state, Connection::Down { .. }))
        .await
        .unwrap();
    assert!(client.transact(&[]).await.unwrap_err().is_transient());
    assert!(client.read(|replica| replica.row("Logical_Switch", switch).is_some()));

    // The database was replaced by an empty one meanwhile.
    std::fs::remove_file(database.path("db")).unwrap();
    run(
        "ovsdb-tool",
        &["create", &database.path("db"), NORTHBOUND_SCHEMA],
    );
    let _server = database.serve();
    client.ready(LIMIT).await.unwrap();
    assert!(client.read(|replica| replica.is_empty()));
}

#[tokio::test]
async fn a_schema_without_a_watched_column_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let database = northbound(&directory);
    let _server = database.serve();
    const UNKNOWN: Monitored = Monitored(&[("Logical_Switch", &["name", "colour"])]);
    let client = Client::connect(database.remote(), "OVN_Northbound", UNKNOWN);
    let mut connection = client.connection();
    let down = connection.wait_for(|state| match state {
        Connection::Down { reason } => reason.contains("colour"),
        Connection::Up => false,
    });
    tokio::time::timeout(LIMIT, down).await.unwrap().unwrap();
}

#[tokio::test]
async fn over_tls_both_ends_prove_who_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let ours = authority(directory.path(), "ours");
    authority(directory.path(), "theirs");
    let mut database = northbound(&directory);
    let port = free_port();
    database.arguments = vec![
        format!("--remote=pssl:{port}:127.0.0.1"),
        format!("--certificate={}", ours.certificate.display()),
        format!("--private-key={}", ours.key.display()),
        format!("--ca-cert={}", ours.authority.display()),
    ];
    let _server = database.serve();
    let connect = |identity: Identity| {
        let remote = Remote::Tls {
            host: "127.0.0.1".to_owned(),
            port,
            identity,
        };
        Client::connect(remote, "OVN_Northbound", MONITORED)
    };
    let client = connect(ours.clone());
    client.ready(LIMIT).await.unwrap();
    client
        .transact(&[insert(
            "Logical_Switch",
            Uuid::new_v4(),
            &[("name", Value::one("s"))],
        )])
        .await
        .unwrap();

    // A client whom the server does not know, and a server whom the client does not know.
    let mut stranger = ours.clone();
    (stranger.certificate, stranger.key) = (path("theirs.pem"), path("theirs.key"));
    let mut distrustful = ours;
    distrustful.authority = path("theirs.ca");
    for (identity, complaint) in [
        (stranger, "alert: UnknownCA"),
        (distrustful, "invalid peer certificate"),
    ] {
        let client = connect(identity);
        let mut connection = client.connection();
        let down = connection.wait_for(|state| match state {
            Connection::Down { reason } => reason.contains(complaint),
            Connection::Up => panic!("connected"),
        });
        tokio::time::timeout(LIMIT, down).await.unwrap().unwrap();
    }
}

/// An authority `NAME.ca`, and a certificate that it signed, for either end.
fn authority(directory: &std::path::Path, name: &str) -> Identity {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let identity = Identity {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        authority: directory.join(format!("{name}.ca")),
    };
    std::fs::write(&identity.authority, certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    std::fs::write(&identity.certificate, certificate.pem()).unwrap();
    std::fs::write(&identity.key, key.serialize_pem()).unwrap();
    identity
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
