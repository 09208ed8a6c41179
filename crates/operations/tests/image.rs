//! The bytes of images: uploads that succeed, fail, are cut off, refused or deleted under way, and what a start
//! finds after a crash.
#![allow(clippy::unwrap_used, clippy::panic)]

mod image_fixture;

use bytes::Bytes;
use corten_model::refusal::Reason;
use corten_operations::image::{self, Incoming, NewImage};
use corten_operations::settings::Images;
use corten_store::images::{self, ImageStatus};
use corten_store::transitions;
use futures_util::{StreamExt, stream};
use image_fixture::{Cloud, admin, body, eventually, lenient, member, refusal};
use std::process::Command;
use tokio::sync::mpsc;

#[tokio::test]
async fn an_upload_makes_the_image_active_with_its_hashes() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.queued("raw").await;
    cloud.upload(id, b"hello world", Some(11)).await.unwrap();
    let found = cloud.image(id).await;
    assert_eq!(found.status, ImageStatus::Active);
    let content = found.content.unwrap();
    assert_eq!(content.size_bytes, 11);
    assert_eq!(content.md5, "5eb63bbbe01eeed093cb22bb8f5acdc3");
    assert!(
        content
            .sha512
            .starts_with("309ecc489c12d6eb4cc40f50c902f2b4"),
        "{}",
        content.sha512
    );
    assert_eq!(
        std::fs::read(image::file_path(&cloud.cx, id)).unwrap(),
        b"hello world"
    );
    assert_eq!(cloud.files(), [id.to_string()]);
    let mut tx = cloud.cx.store.read().await.unwrap();
    let log = transitions::of_subject(&mut tx, "image", &id.to_string())
        .await
        .unwrap();
    let states: Vec<_> = log.iter().map(|row| row.to.as_str()).collect();
    assert_eq!(states, ["queued", "saving", "active"]);
    let (reason, message) = refusal(cloud.upload(id, b"again", None).await);
    assert_eq!(reason, Reason::Conflict);
    assert!(message.contains("active"), "{message}");
}

#[tokio::test]
async fn a_truncated_upload_leaves_a_queued_image_and_no_file() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.queued("raw").await;
    let (reason, message) = refusal(cloud.upload(id, b"hello", Some(11)).await);
    assert_eq!(reason, Reason::Invalid);
    assert!(
        message.contains("promised 11 bytes and brought 5"),
        "{message}"
    );
    let cut = [
        Ok(Bytes::from_static(b"hel")),
        Err("connection reset".to_owned()),
    ];
    let incoming = Incoming {
        expected_bytes: None,
        body: stream::iter(cut),
    };
    let (reason, message) =
        refusal(image::upload(cloud.cx.clone(), member("p"), id, incoming).await);
    assert_eq!(reason, Reason::Invalid);
    assert!(message.contains("connection reset"), "{message}");
    assert_eq!(cloud.image(id).await.status, ImageStatus::Queued);
    assert_eq!(cloud.files(), Vec::<String>::new());
    cloud.upload(id, b"hello world", Some(11)).await.unwrap();
    assert_eq!(cloud.image(id).await.status, ImageStatus::Active);
}

#[tokio::test]
async fn too_many_bytes_are_refused_whether_or_not_they_were_promised() {
    let cloud = Cloud::open(Images {
        max_size_bytes: 8,
        ..lenient()
    })
    .await;
    let id = cloud.queued("raw").await;
    for promised in [Some(11), None] {
        let (reason, message) = refusal(cloud.upload(id, b"hello world", promised).await);
        assert_eq!(reason, Reason::TooLarge);
        assert!(message.contains("images.max_size_bytes"), "{message}");
        assert_eq!(cloud.image(id).await.status, ImageStatus::Queued);
        assert_eq!(cloud.files(), Vec::<String>::new());
    }
}

/// A file system of its own, gone when the test ends.
struct SmallDisk {
    directory: Option<tempfile::TempDir>,
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&path)
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a tmpfs, which needs root"
        );
        Self {
            directory: Some(directory),
            path,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
        drop(self.directory.take());
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_left() {
    let disk = SmallDisk::mount();
    let inside = tempfile::tempdir_in(&disk.path).unwrap();
    let cloud = Cloud::open_in(inside, lenient()).await;
    let id = cloud.queued("raw").await;
    let zeros = vec![0_u8; 3 << 20];
    for promised in [None, Some(3 << 20)] {
        let (reason, message) = refusal(cloud.upload(id, &zeros, promised).await);
        assert_eq!(reason, Reason::TooLarge);
        assert!(message.contains("Image storage media is full"), "{message}");
        assert_eq!(cloud.image(id).await.status, ImageStatus::Queued);
        assert_eq!(cloud.files(), Vec::<String>::new());
    }
    cloud.upload(id, &zeros[..1 << 19], None).await.unwrap();
    assert_eq!(cloud.image(id).await.status, ImageStatus::Active);
}

#[tokio::test]
async fn space_that_must_stay_free_stays_free() {
    let cloud = Cloud::open(Images {
        keep_free_bytes: u64::MAX,
        ..lenient()
    })
    .await;
    let id = cloud.queued("raw").await;
    let (reason, _) = refusal(cloud.upload(id, b"hello", Some(5)).await);
    assert_eq!(reason, Reason::TooLarge);
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_leans_on_another_file_or_lies_about_its_format_is_refused() {
    let cloud = Cloud::open(Images {
        inspect: true,
        ..lenient()
    })
    .await;
    let made = tempfile::tempdir().unwrap();
    let qemu_img = |arguments: &[&str]| {
        let status = Command::new("qemu-img")
            .args(arguments)
            .current_dir(made.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    };
    qemu_img(&["create", "-f", "qcow2", "good.qcow2", "4M"]);
    qemu_img(&[
        "create",
        "-f",
        "qcow2",
        "-b",
        "good.qcow2",
        "-F",
        "qcow2",
        "leaning.qcow2",
    ]);
    qemu_img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "data_file=data.raw",
        "outside.qcow2",
        "4M",
    ]);
    let read = |name: &str| std::fs::read(made.path().join(name)).unwrap();
    for (format, bytes, expected) in [
        ("qcow2", read("leaning.qcow2"), "backing file"),
        ("qcow2", read("outside.qcow2"), "external file"),
        ("qcow2", vec![7; 4096], "qcow2"),
        ("raw", read("good.qcow2"), "declare it as qcow2"),
    ] {
        let id = cloud.queued(format).await;
        let (reason, message) = refusal(cloud.upload(id, &bytes, None).await);
        assert_eq!(reason, Reason::UnsupportedMedia, "{message}");
        assert!(message.contains(expected), "{message}");
        assert_eq!(cloud.image(id).await.status, ImageStatus::Queued);
        assert_eq!(cloud.files(), Vec::<String>::new());
    }
    let id = cloud.queued("qcow2").await;
    cloud.upload(id, &read("good.qcow2"), None).await.unwrap();
    let content = cloud.image(id).await.content.unwrap();
    assert_eq!(content.virtual_size_bytes, Some(4 << 20));
}

/// An upload whose bytes the test sends when it likes.
fn slow() -> (
    mpsc::UnboundedSender<Bytes>,
    Incoming<impl futures_util::Stream<Item = Result<Bytes, String>> + Unpin>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let body = stream::unfold(receiver, |mut receiver| async move {
        let bytes: Bytes = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    });
    (
        sender,
        Incoming {
            expected_bytes: None,
            body: body.boxed(),
        },
    )
}

#[tokio::test]
async fn deleting_an_image_ends_its_upload_and_leaves_no_file() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.queued("raw").await;
    let (sender, incoming) = slow();
    let upload = tokio::spawn(image::upload(cloud.cx.clone(), member("p"), id, incoming));
    eventually("the upload", async || !cloud.files().is_empty()).await;
    image::delete(&cloud.cx, &member("p"), id).await.unwrap();
    sender.send(Bytes::from_static(b"late")).unwrap();
    drop(sender);
    let (reason, _) = refusal(upload.await.unwrap());
    assert_eq!(reason, Reason::Gone);
    assert_eq!(cloud.files(), Vec::<String>::new());
    assert_eq!(
        refusal(image::get(&cloud.cx, &admin(), id).await).0,
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_start_after_a_crash_undoes_dead_uploads_and_keeps_live_ones() {
    let cloud = Cloud::open(lenient()).await;
    let keeps = cloud.active().await;
    let dead = cloud.queued("raw").await;
    let staged = cloud.queued("raw").await;
    image::stage(cloud.cx.clone(), member("p"), staged, body(b"staged", None))
        .await
        .unwrap();
    let live = cloud.queued("raw").await;
    let (sender, incoming) = slow();
    let upload = tokio::spawn(image::upload(cloud.cx.clone(), member("p"), live, incoming));
    eventually("the upload", async || {
        cloud
            .files()
            .iter()
            .any(|name| name.starts_with(&live.to_string()))
    })
    .await;
    // What a process leaves that dies in the middle of an upload: the row, and a file that nobody has locked.
    let part = format!("{dead}.0123.part");
    std::fs::write(cloud.path().join(&part), b"half").unwrap();
    std::fs::write(
        cloud.path().join(dead.to_string()),
        b"renamed, not committed",
    )
    .unwrap();
    let orphan = corten_model::ids::ImageId::random();
    std::fs::write(cloud.path().join(orphan.to_string()), b"its row is gone").unwrap();
    std::fs::write(cloud.path().join("notes.txt"), b"not ours").unwrap();
    let mut tx = cloud.cx.store.write().await.unwrap();
    let mut row = images::lock(&mut tx, dead).await.unwrap().unwrap();
    row.status = ImageStatus::Saving;
    row.incoming = Some(part);
    images::update(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();

    image::recover(&cloud.cx).await.unwrap();

    assert_eq!(cloud.image(dead).await.status, ImageStatus::Queued);
    assert_eq!(cloud.image(staged).await.status, ImageStatus::Uploading);
    assert_eq!(cloud.image(live).await.status, ImageStatus::Saving);
    let files = cloud.files();
    assert!(
        !files.iter().any(|name| name.starts_with(&dead.to_string())),
        "{files:?}"
    );
    assert!(!files.contains(&orphan.to_string()), "{files:?}");
    assert!(files.contains(&"notes.txt".to_owned()), "{files:?}");
    assert!(files.contains(&keeps.to_string()), "{files:?}");
    assert_eq!(files.len(), 4, "{files:?}");
    sender.send(Bytes::from_static(b"alive")).unwrap();
    drop(sender);
    upload.await.unwrap().unwrap();
    assert_eq!(cloud.image(live).await.status, ImageStatus::Active);
    cloud.upload(dead, b"once more", None).await.unwrap();
}

#[tokio::test]
async fn a_file_of_this_machine_becomes_an_image_once() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.queued("raw").await;
    let source = cloud.directory.path().with_extension("source");
    std::fs::write(&source, b"snapshot").unwrap();
    let origin = member("p").origin();
    let stored = image::store_from_file(&cloud.cx, &origin, id, &source)
        .await
        .unwrap();
    let again = image::store_from_file(&cloud.cx, &origin, id, &source)
        .await
        .unwrap();
    assert_eq!(stored.content, again.content);
    assert_eq!(stored.content.unwrap().size_bytes, 8);
    assert_eq!(std::fs::read(&source).unwrap(), b"snapshot");
    assert_eq!(cloud.files(), [id.to_string()]);
    std::fs::remove_file(source).unwrap();
}

#[tokio::test]
async fn an_id_names_one_image_for_ever() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let again = async || {
        let new = NewImage {
            id: Some(id),
            ..NewImage::default()
        };
        image::create(&cloud.cx, &admin(), new).await
    };
    assert_eq!(refusal(again().await).0, Reason::Conflict);
    image::delete(&cloud.cx, &member("p"), id).await.unwrap();
    assert_eq!(cloud.files(), Vec::<String>::new());
    assert_eq!(refusal(again().await).0, Reason::Conflict);
}

#[tokio::test]
async fn a_protected_image_stays_until_its_owner_says_otherwise() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let protect = |protected| vec![image::Change::Set(image::Attribute::Protected(protected))];
    image::update(&cloud.cx, &member("p"), id, protect(true))
        .await
        .unwrap();
    assert_eq!(
        refusal(image::delete(&cloud.cx, &admin(), id).await).0,
        Reason::Forbidden
    );
    image::update(&cloud.cx, &member("p"), id, protect(false))
        .await
        .unwrap();
    image::delete(&cloud.cx, &member("p"), id).await.unwrap();
}
