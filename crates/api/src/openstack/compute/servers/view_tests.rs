//! Which fields a server has as of each version, and for whom.

use super::*;
use corten_model::ids::HostId;
use corten_model::lifecycle::{InstanceClass, InstanceState};
use corten_store::instances::{Intent, Key, Observed};

fn instance() -> Instance {
    let intent = Intent {
        name: "web".to_owned(),
        hostname: "web".to_owned(),
        key: Some(Key {
            name: "laptop".to_owned(),
            kind: "ssh".to_owned(),
            public_key: "ssh-ed25519 AAAA".to_owned(),
        }),
        user_data: Some("ZGF0YQ==".to_owned()),
        ..Intent::default()
    };
    Instance {
        id: InstanceId::random(),
        project_id: ProjectId::from("p"),
        user_id: UserId::from("u"),
        class: InstanceClass::Vm,
        state: InstanceState::REQUESTED,
        state_since: Timestamp(0),
        intent,
        observed: Observed::default(),
        host_id: Some(HostId::random()),
        host_name: Some("h1".to_owned()),
        reservation_id: "r-1".to_owned(),
        launch_index: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        launched_at: None,
        terminated_at: None,
        fault: None,
        progress: 0,
        resize: None,
        guest_password: None,
        shelved_image_id: None,
        deleted: false,
    }
}

fn seen(minor: u16, sees_hosts: bool, mode: Mode) -> Value {
    let viewer = Viewer {
        mv: Microversion::of(minor),
        base: "http://h",
        sees_hosts,
        host_statuses: HashMap::from([("h1".to_owned(), "UP")]),
        default_zone: "nova".to_owned(),
        wirings: HashMap::new(),
    };
    json!(viewer.server(&instance(), mode))
}

fn fields(minor: u16, sees_hosts: bool, mode: Mode) -> BTreeSet<String> {
    let shown = seen(minor, sees_hosts, mode);
    shown.as_object().unwrap().keys().cloned().collect()
}

fn added(newer: &BTreeSet<String>, older: &BTreeSet<String>) -> Vec<String> {
    newer.difference(older).cloned().collect()
}

#[test]
fn each_version_adds_its_fields() {
    let mut before = fields(1, true, Mode::Show);
    assert_eq!(before.len(), 29, "{before:?}");
    for (minor, expected) in [
        (9, vec!["locked"]),
        (19, vec!["description", "host_status"]),
        (26, vec!["tags"]),
        (63, vec!["trusted_image_certificates"]),
        (71, vec!["server_groups"]),
        (73, vec!["locked_reason"]),
        (96, vec!["pinned_availability_zone"]),
        (100, vec!["scheduler_hints"]),
    ] {
        let since_3: &[&str] = match minor {
            9 => &[
                "OS-EXT-SRV-ATTR:hostname",
                "OS-EXT-SRV-ATTR:kernel_id",
                "OS-EXT-SRV-ATTR:launch_index",
                "OS-EXT-SRV-ATTR:ramdisk_id",
                "OS-EXT-SRV-ATTR:reservation_id",
                "OS-EXT-SRV-ATTR:root_device_name",
                "OS-EXT-SRV-ATTR:user_data",
            ],
            _ => &[],
        };
        let now = fields(minor, true, Mode::Show);
        assert_eq!(
            added(&now, &before),
            [since_3, &expected].concat(),
            "2.{minor}"
        );
        assert_eq!(
            added(&before, &now),
            [""; 0],
            "2.{minor} takes nothing away"
        );
        before = now;
    }
}

#[test]
fn tenants_do_not_see_hosts_and_lists_have_no_groups() {
    let tenant = fields(100, false, Mode::Show);
    let hidden = added(&fields(100, true, Mode::Show), &tenant);
    assert!(
        hidden
            .iter()
            .all(|name| name.starts_with("OS-EXT-SRV-ATTR:") || name == "host_status"),
        "{hidden:?}"
    );
    assert!(tenant.contains("OS-EXT-SRV-ATTR:hostname"));
    let missing = added(&tenant, &fields(100, false, Mode::Detail));
    assert_eq!(missing, ["server_groups"]);
}

#[test]
fn a_rebuild_shows_the_key_and_the_user_data_as_of_its_version() {
    let older = seen(53, true, Mode::Rebuild);
    assert!(older.get("key_name").is_none() && older.get("OS-EXT-STS:vm_state").is_none());
    let newer = seen(75, true, Mode::Rebuild);
    assert_eq!(newer["key_name"], "laptop");
    assert_eq!(newer["user_data"], "ZGF0YQ==");
    assert!(newer.get("OS-EXT-SRV-ATTR:user_data").is_none());
    assert_eq!(newer["image"], "");
    assert_eq!(newer["host_status"], "UP");
}

#[test]
fn no_field_is_written_twice() {
    for minor in 1..=100 {
        for mode in [Mode::Show, Mode::Detail, Mode::Update, Mode::Rebuild] {
            let viewer = Viewer {
                mv: Microversion::of(minor),
                base: "http://h",
                sees_hosts: true,
                host_statuses: HashMap::new(),
                default_zone: "nova".to_owned(),
                wirings: HashMap::new(),
            };
            let text = serde_json::to_string(&viewer.server(&instance(), mode)).unwrap();
            let tree: Value = serde_json::from_str(&text).unwrap();
            // A tree keeps one of two equal keys, and would be shorter.
            assert_eq!(
                tree.to_string().len(),
                text.len(),
                "2.{minor} {mode:?}: {text}"
            );
        }
    }
}
