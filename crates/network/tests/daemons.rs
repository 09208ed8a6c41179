//! OVN's and Open vSwitch's real daemons: adopted, restarted, ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use corten_network::chassis::HostSwitch;
use corten_network::daemons::{Central, DaemonStatus, Dirs, MachineError};
use machine::{kill9, listing, on_a_machine, processes_with, until};

fn pids(status: &[DaemonStatus]) -> Vec<Option<u32>> {
    status.iter().map(|daemon| daemon.pid).collect()
}

#[test]
fn daemons_outlive_us_and_are_adopted() {
    on_a_machine(async |mut machine| {
        let before = pids(&machine.central().await.status());
        let config = machine.config("host").await;
        let switch = HostSwitch::open(config.clone()).await.unwrap();
        let before_here = pids(&switch.status());
        drop(switch);
        machine.forget_central();
        let again = Central::open(&machine.data("data")).await.unwrap();
        assert_eq!(pids(&again.status()), before);

        // Without its pid file a daemon is found all the same.
        for name in ["conf", "vswitchd", "controller"] {
            let run = Dirs::new(&machine.data("host"), "switch").run;
            std::fs::remove_file(run.join(format!("{name}.pid"))).unwrap();
        }
        let switch = HostSwitch::open(config).await.unwrap();
        assert_eq!(pids(&switch.status()), before_here);

        switch.destroy().await.unwrap();
        again.destroy().await.unwrap();
        assert!(processes_with(machine.dir.path().to_str().unwrap()).is_empty());
        assert!(
            listing(&machine.data("data")).is_empty() && listing(&machine.data("host")).is_empty()
        );
    });
}

#[test]
fn a_daemon_that_dies_is_started_again() {
    on_a_machine(async |mut machine| {
        machine.central().await;
        let switch = machine.switch("host").await;
        let watched = |machine: &machine::Machine, switch: &HostSwitch| {
            [machine.running_central().status(), switch.status()].concat()
        };
        let before = watched(&machine, &switch);
        for daemon in &before {
            kill9(daemon.pid.unwrap());
        }
        until("all daemons run again", || {
            let now = watched(&machine, &switch);
            now.iter().zip(&before).all(|(now, before)| {
                now.restarts == before.restarts + 1 && now.pid.is_some() && now.pid != before.pid
            })
        })
        .await;
        // And they work: what is asked of them is done.
        switch
            .external_bridge("physnet1", &["172.24.4.1/24".parse().unwrap()])
            .await
            .unwrap();
    });
}

#[test]
fn a_deep_data_directory_works_and_is_cleared() {
    on_a_machine(async |machine| {
        let deep = machine.data(&"deep/".repeat(40));
        let central = Central::open(&deep).await.unwrap();
        let run = Dirs::new(&deep, "central").run;
        assert!(run.starts_with("/run") && central.northbound_socket().exists());
        central.destroy().await.unwrap();
        assert!(!run.exists());
    });
}

#[test]
fn a_second_switch_in_one_namespace_is_refused_and_in_its_own_it_runs() {
    on_a_machine(async |mut machine| {
        let first = machine.switch("first").await;
        let mut config = machine.config("second").await;
        let own = config.namespace.clone();
        config.namespace = first.namespace().clone();
        let error = HostSwitch::open(config.clone()).await.err().unwrap();
        assert!(
            matches!(error, MachineError::ForeignSwitch { .. }),
            "{error}"
        );
        config.namespace = own;
        let second = HostSwitch::open(config).await.unwrap();
        second.destroy().await.unwrap();
        assert!(first.status().iter().all(|daemon| daemon.pid.is_some()));
    });
}
