//! `corten doctor`: what this machine can do, each finding with its remedy.

use crate::config::Config;
use crate::process;
use corten_host::{Acceleration, Accelerator, HostConfig, probe_acceleration};
use corten_network::daemons::{Datapath, Namespace};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// It works, but less well than it could.
    Weak,
    /// Something will not work.
    Bad,
}

/// One thing that was looked at.
struct Finding {
    grade: Grade,
    what: String,
    /// What to do, where something is to be done.
    remedy: Option<String>,
}

fn finding(grade: Grade, what: impl Into<String>, remedy: Option<&str>) -> Finding {
    Finding {
        grade,
        what: what.into(),
        remedy: remedy.map(str::to_owned),
    }
}

/// The programs a cloud runs, the package each comes from, and what goes without it. `CORTEN` stands for this program.
const PROGRAMS: [(&str, &str, &str); 12] = [
    ("qemu-system-x86_64", "qemu-system-x86", "no guest can run"),
    (
        "qemu-img",
        "qemu-utils",
        "no disk can be made and no image inspected",
    ),
    ("genisoimage", "genisoimage", "no config drive can be made"),
    ("mformat", "mtools", "`CORTEN image build` does not work"),
    ("mke2fs", "e2fsprogs", "`CORTEN image build` does not work"),
    (
        "mmdebstrap",
        "mmdebstrap",
        "`CORTEN image build debian-12` does not work",
    ),
    ("ovs-vswitchd", "openvswitch-switch", NO_NETWORKS),
    ("ovn-northd", "ovn-central", NO_NETWORKS),
    ("ovn-controller", "ovn-host", NO_NETWORKS),
    ("ip", "iproute2", NO_NETWORKS),
    ("nft", "nftables", NO_NETWORKS),
    ("ethtool", "ethtool", NO_NETWORKS),
];
const NO_NETWORKS: &str = "guests have no networks";

/// Looks at this machine and prints what it found. Fails if something is bad.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    findings.extend(
        PROGRAMS
            .iter()
            .map(|(program, package, loss)| check_program(program, package, loss)),
    );
    findings.push(check_acceleration(config).await);
    findings.push(check_user());
    findings.push(check_tun());
    findings.push(check_datapath().await);
    findings.push(check_cgroup());
    findings.push(check_memory());
    findings.push(check_disk(config));
    findings.push(check_port(config));
    for Finding {
        grade,
        what,
        remedy,
    } in &findings
    {
        let mark = match grade {
            Grade::Good => "ok  ",
            Grade::Weak => "weak",
            Grade::Bad => "BAD ",
        };
        say!("{mark}  {what}");
        if let Some(remedy) = remedy {
            say!("      → {remedy}");
        }
    }
    let bad = findings
        .iter()
        .filter(|finding| finding.grade == Grade::Bad)
        .count();
    say!("\n{} findings, {bad} of them bad.", findings.len());
    Ok(if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn check_program(program: &str, package: &str, loss: &str) -> Finding {
    match find_program(program) {
        Some(path) => finding(
            Grade::Good,
            format!("{program} is at {}", path.display()),
            None,
        ),
        None => {
            let remedy = format!("apt-get install {package}");
            let loss = loss.replace("CORTEN", &process::called());
            finding(
                Grade::Bad,
                format!("{program} is missing: {loss}"),
                Some(&remedy),
            )
        }
    }
}

/// A guest is booted: the presence of `/dev/kvm` proves nothing.
async fn check_acceleration(config: &Config) -> Finding {
    let probed = probe(config).await.map_err(|error| format!("{error:#}"));
    match probed {
        Ok(found) if found.accelerator == Accelerator::Kvm => finding(
            Grade::Good,
            format!("guests run on KVM: {}", found.reason),
            None,
        ),
        Ok(found) => finding(
            Grade::Weak,
            format!(
                "guests are emulated (TCG), 10 to 30 times slower than KVM: {}",
                found.reason
            ),
            Some(
                "use a machine with hardware virtualization, enabled in its firmware (or nested in its hypervisor)",
            ),
        ),
        Err(error) => finding(
            Grade::Bad,
            format!("no guest could be booted: {error}"),
            Some("see the text above"),
        ),
    }
}

/// What it needs for a moment is not put into the cloud: looking leaves nothing behind.
async fn probe(config: &Config) -> anyhow::Result<Acceleration> {
    let place = tempfile::tempdir()?;
    let host = HostConfig {
        data_dir: place.path().to_owned(),
        ..config.host_config()?
    };
    Ok(probe_acceleration(&host).await?)
}

fn check_user() -> Finding {
    if rustix::process::geteuid().is_root() {
        finding(
            Grade::Good,
            "running as root; guests run as an unprivileged user",
            None,
        )
    } else {
        finding(
            Grade::Weak,
            "not running as root: guests run as this user, without cgroup limits of their own, and have no networks",
            Some("run as root, which gives guests a user of their own, limits and networks"),
        )
    }
}

/// It is opened, because a device file may stand for a driver that is not there.
fn check_tun() -> Finding {
    let device = "/dev/net/tun";
    let opened = std::fs::File::options().read(true).write(true).open(device);
    match opened {
        Ok(_) => finding(
            Grade::Good,
            format!("{device} opens, for network cards of guests"),
            None,
        ),
        Err(error) => finding(
            Grade::Bad,
            format!("{device} does not open ({error}): guests have no network cards"),
            Some("load the kernel module tun (modprobe tun) and run as root"),
        ),
    }
}

/// A datapath is made and removed: the presence of a module proves nothing.
async fn check_datapath() -> Finding {
    match Datapath::probe(&Namespace::Own, "doctor").await {
        Datapath::Kernel => finding(Grade::Good, "the kernel switches guests' packets", None),
        Datapath::Userspace => finding(
            Grade::Weak,
            "guests' packets are switched outside the kernel (Open vSwitch's userspace datapath), which is slower",
            Some("use a kernel with the module openvswitch"),
        ),
    }
}

fn check_cgroup() -> Finding {
    let writable = |path: &str| {
        let probe = Path::new(path).join(format!("corten-doctor-{}", std::process::id()));
        std::fs::create_dir(&probe)
            .and_then(|()| std::fs::remove_dir(&probe))
            .is_ok()
    };
    let roots = [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/memory",
    ];
    match roots.into_iter().find(|root| writable(root)) {
        Some(root) => finding(
            Grade::Good,
            format!("cgroups can be made below {root}"),
            None,
        ),
        None => finding(
            Grade::Weak,
            "no cgroup can be made: a guest's memory and CPU are limited by QEMU alone",
            Some("mount cgroup2 on /sys/fs/cgroup and run as root"),
        ),
    }
}

fn check_memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    let mib = kib.unwrap_or(0) / 1024;
    let what = format!("{mib} MiB of memory are available");
    if mib >= 1024 {
        finding(Grade::Good, what, None)
    } else {
        finding(
            Grade::Weak,
            what,
            Some("free some memory: a small cloud with one guest wants 1 GiB"),
        )
    }
}

fn check_disk(config: &Config) -> Finding {
    let existing = config
        .data
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(existing) else {
        return finding(
            Grade::Bad,
            format!("cannot measure the disk of {}", existing.display()),
            None,
        );
    };
    let gib = (stat.f_bavail * stat.f_frsize) >> 30;
    let what = format!("{gib} GiB are free on the disk of {}", existing.display());
    if gib >= 5 {
        finding(Grade::Good, what, None)
    } else {
        finding(
            Grade::Weak,
            what,
            Some("free some space, or put the data elsewhere with CORTEN_DATA"),
        )
    }
}

fn check_port(config: &Config) -> Finding {
    let listen = config.server.listen;
    if process::running(&config.data).is_some() {
        return finding(
            Grade::Good,
            format!("the cloud of {} listens on {listen}", config.data.display()),
            None,
        );
    }
    match TcpListener::bind(listen) {
        Ok(_) => finding(Grade::Good, format!("{listen} is free to listen on"), None),
        Err(error) => finding(
            Grade::Bad,
            format!("cannot listen on {listen}: {error}"),
            Some("stop what listens there, or choose another address with CORTEN_LISTEN"),
        ),
    }
}
