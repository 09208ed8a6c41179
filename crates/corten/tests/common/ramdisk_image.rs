//! The deploy ramdisk, built for the tests that boot it.

use corten::images::{BuiltRamdisk, RamdiskOptions, Silent, build_ramdisk};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;
use tokio::sync::OnceCell;

static RAMDISK: OnceCell<BuiltRamdisk> = OnceCell::const_new();

/// Built once for each state of the agent and of the builder, whose code is in this test; packages are kept between runs.
pub async fn ramdisk() -> &'static BuiltRamdisk {
    RAMDISK.get_or_init(build).await
}

async fn build() -> BuiltRamdisk {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new(root.join("scripts/ramdisk-agent"))
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    assert!(built.status.success(), "the agent cannot be built");
    let agent = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
    let mut state = Sha256::new();
    for file in [&agent, &std::env::current_exe().unwrap()] {
        state.update(std::fs::read(file).unwrap());
    }
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let finished = temporary.join(format!("ramdisk-{:x}", state.finalize()));
    if !finished.exists() {
        let unfinished = tempfile::tempdir_in(temporary).unwrap();
        let options = RamdiskOptions {
            agent,
            output: unfinished.path().to_owned(),
            cache: temporary.join("guest-packages"),
        };
        build_ramdisk(&options, &Silent).await.unwrap();
        // Another test may have built the same meanwhile.
        std::fs::rename(unfinished.path(), &finished).ok();
    }
    BuiltRamdisk {
        kernel: finished.join("ramdisk.kernel"),
        initrd: finished.join("ramdisk.initrd"),
        bytes: 0,
    }
}
