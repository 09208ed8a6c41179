//! A cloud with images and nothing else, and the people who use it.
#![allow(dead_code)]

use bytes::Bytes;
use corten_engine::SystemClock;
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{DomainId, ImageId, ProjectId, RequestId, UserId};
use corten_model::refusal::Reason;
use corten_model::time::Timestamp;
use corten_operations::context::Hosts;
use corten_operations::image::{self, Incoming, NewImage};
use corten_operations::settings::Images;
use corten_operations::{Context, Settings};
use corten_store::Failure;
use corten_store::images::Image;
use corten_store::testing::{self, TestStore};
use futures_util::stream;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::shipped().unwrap()));

pub struct Cloud {
    pub cx: Arc<Context>,
    pub directory: tempfile::TempDir,
    _store: TestStore,
}

/// Does not look into uploads and needs no free space.
pub fn lenient() -> Images {
    Images {
        inspect: false,
        keep_free_bytes: 0,
        ..Images::default()
    }
}

impl Cloud {
    pub async fn open(images: Images) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::open_in(directory, images).await
    }

    pub async fn open_in(directory: tempfile::TempDir, images: Images) -> Self {
        let store = testing::sqlite().await;
        let cx = Arc::new(Context {
            store: (*store).clone(),
            policy: POLICY.clone(),
            settings: Settings {
                images,
                ..Settings::default()
            },
            clock: Arc::new(SystemClock),
            hosts: Hosts::default(),
            fabric: Arc::new(corten_sim::SimFabric::default()),
            image_dir: directory.path().to_owned(),
            metal: corten_operations::metal::Metal::forgetful(None).unwrap(),
        });
        Self {
            cx,
            directory,
            _store: store,
        }
    }

    /// A queued image of the project `p`.
    pub async fn queued(&self, disk_format: &str) -> ImageId {
        let new = NewImage {
            name: Some("tiny".to_owned()),
            disk_format: Some(disk_format.to_owned()),
            container_format: Some("bare".to_owned()),
            ..NewImage::default()
        };
        image::create(&self.cx, &member("p"), new).await.unwrap().id
    }

    /// An active image of the project `p`.
    pub async fn active(&self) -> ImageId {
        let id = self.queued("raw").await;
        self.upload(id, b"bytes", None).await.unwrap();
        id
    }

    pub async fn upload(
        &self,
        id: ImageId,
        bytes: &[u8],
        promised: Option<u64>,
    ) -> Result<(), Failure> {
        image::upload(self.cx.clone(), member("p"), id, body(bytes, promised)).await
    }

    pub async fn image(&self, id: ImageId) -> Image {
        image::get(&self.cx, &admin(), id).await.unwrap()
    }

    /// The names of all files that images left on the disk.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

type Piece = Result<Bytes, String>;

/// A body in pieces of three bytes.
pub fn body(
    bytes: &[u8],
    promised: Option<u64>,
) -> Incoming<stream::Iter<std::vec::IntoIter<Piece>>> {
    let pieces: Vec<Piece> = bytes
        .chunks(3)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Incoming {
        expected_bytes: promised,
        body: stream::iter(pieces),
    }
}

fn actor(project: &str, roles: &[&str]) -> Actor {
    Actor {
        user_id: UserId::from("u"),
        user_domain_id: DomainId::from("default"),
        scope: Scope::Project {
            id: ProjectId::from(project),
            domain_id: DomainId::from("default"),
        },
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        expires_at: Timestamp(i64::MAX),
        request_id: RequestId::random(),
    }
}

pub fn admin() -> Actor {
    actor("admin", &["admin", "manager", "member", "reader"])
}

pub fn member(project: &str) -> Actor {
    actor(project, &["member", "reader"])
}

pub fn reader(project: &str) -> Actor {
    actor(project, &["reader"])
}

/// The reason of a refusal and its text.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> (Reason, String) {
    match result {
        Err(Failure::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Looks again and again until `condition` holds.
pub async fn eventually<F: AsyncFn() -> bool>(what: &str, condition: F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}
