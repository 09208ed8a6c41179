//! A provisioning network for a test: a namespace with a bridge, in which the whole test runs, and what is booted there.

use super::common::Cloud;
use super::ramdisk_image::ramdisk;
use corten::images::{DebianOptions, Silent, TinyOptions, build_debian, build_tiny};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::sync::OnceCell;

/// The image that is put on servers, in the bytes of its file.
static IMAGE: OnceCell<Vec<u8>> = OnceCell::const_new();

/// What is put on servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    Tiny,
    Debian,
}

impl System {
    pub fn image(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Debian => "debian-12",
        }
    }

    /// Who logs in.
    pub fn user(self) -> &'static str {
        match self {
            Self::Tiny => "root",
            Self::Debian => "debian",
        }
    }

    async fn build(self, output: PathBuf) -> PathBuf {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages");
        let built = match self {
            Self::Tiny => build_tiny(&TinyOptions { output, cache }, &Silent).await,
            Self::Debian => build_debian(&DebianOptions { output, cache }, &Silent).await,
        };
        built.unwrap().path
    }
}

/// Builds what is put on servers while packages can be downloaded.
async fn prepare_image(system: System) {
    IMAGE
        .get_or_init(async || {
            let directory = tempfile::tempdir().unwrap();
            let path = system.build(directory.path().join("image.qcow2")).await;
            fs::read(path).unwrap()
        })
        .await;
}

/// Makes the image of the system known to the cloud.
pub async fn add_image(cloud: &Cloud, system: System) -> String {
    let admin = cloud.admin().await;
    let fields = json!({"disk_format": "qcow2"});
    let bytes = IMAGE.get().unwrap().clone();
    cloud
        .image_with(&admin, system.image(), fields, bytes)
        .await
}

/// Runs a test in a new namespace with the bridge `br0`, where the control plane has the address 10.77.0.1, with our own
/// ramdisk at hand.
pub fn in_lab<F: Future<Output = ()>>(system: System, test: impl FnOnce() -> F) {
    let make = async {
        ramdisk().await;
    };
    in_lab_after(system, make, test);
}

/// The same, with another ramdisk: what makes it is run while packages can be downloaded.
pub fn in_lab_after<F: Future<Output = ()>>(
    system: System,
    make: impl Future<Output = ()>,
    test: impl FnOnce() -> F,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(make);
    runtime.block_on(prepare_image(system));
    drop(runtime);
    let name = format!("corten-metal-{}", std::process::id());
    let _lab = Namespace(name.clone());
    run(&format!(
        "ip netns add {name}
         ip -n {name} link set lo up
         ip -n {name} link add br0 type bridge
         ip -n {name} addr add 10.77.0.1/24 dev br0
         ip -n {name} link set br0 up"
    ));
    let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
    // Threads and processes that are started from here on are in it too.
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test());
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs commands, one a line.
pub fn run(commands: &str) {
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", line.trim());
    }
}

/// A cloud that boots servers on the lab's network.
pub async fn cloud() -> Cloud {
    cloud_with("").await
}

/// The same, with more said of that network.
pub async fn cloud_with(more: &str) -> Cloud {
    let built = ramdisk().await;
    cloud_that_boots(&built.kernel, &built.initrd, more).await
}

/// One whose servers boot this, unless they are told otherwise.
pub async fn cloud_that_boots(kernel: &Path, initrd: &Path, more: &str) -> Cloud {
    Cloud::start(&format!(
        "[host]\nenabled = false\n[network]\nenabled = false\n[sim]\nhosts = 1\n[provisioning]\nkernel = \"{}\"\nramdisk = \"{}\"\n\
         kernel_arguments = \"console=ttyS0,115200 quiet loglevel=3 panic=10 cryptomgr.notests\"\n\
         [[provisioning.networks]]\nname = \"lab\"\ninterface = \"br0\"\naddress = \"10.77.0.1/24\"\n\
         first = \"10.77.0.50\"\nlast = \"10.77.0.99\"\n{more}\n",
        kernel.display(),
        initrd.display()
    ))
    .await
}
