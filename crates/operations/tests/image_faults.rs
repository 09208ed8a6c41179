//! Imports, disturbed at every point of every step in every way: the end is the same and no file is left over.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use bytes::Bytes;
use corten_engine::Point;
use corten_iam::actor::Actor;
use corten_model::ids::ImageId;
use corten_operations::Settings;
use corten_operations::image::tasks::{self, TaskStatus};
use corten_operations::image::{self, ImportMethod, ImportRequest, Incoming, NewImage};
use corten_store::Failure;
use corten_store::images::{Image, ImageStatus};
use corten_store::operations::{self, Filter};
use corten_store::transitions;
use futures_util::stream;
use harness::{Cloud, Disturbance, member};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BYTES: &[u8] = &[7; 2048];

/// A web server that answers every request with [`BYTES`], or 404 for `/none`.
async fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let (status, body) = if request[..read].starts_with(b"GET /none") {
                    ("404 Not Found", &b""[..])
                } else {
                    ("200 OK", BYTES)
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(body).await;
            });
        }
    });
    format!("http://{address}")
}

async fn queued(cloud: &Cloud) -> ImageId {
    let new = NewImage {
        disk_format: Some("raw".to_owned()),
        container_format: Some("bare".to_owned()),
        ..NewImage::default()
    };
    image::create(&cloud.cx, &member(), new).await.unwrap().id
}

async fn begin(cloud: &Cloud, method: ImportMethod) -> ImageId {
    let id = queued(cloud).await;
    if method == ImportMethod::GlanceDirect {
        let body = stream::iter([Ok::<_, String>(Bytes::from_static(BYTES))]);
        let incoming = Incoming {
            expected_bytes: Some(2048),
            body,
        };
        image::stage(cloud.cx.clone(), member(), id, incoming)
            .await
            .unwrap();
    }
    let request = ImportRequest {
        method,
        stores: Vec::new(),
        all_stores: false,
        all_stores_must_succeed: true,
    };
    image::import(&cloud.cx, &member(), id, request)
        .await
        .unwrap();
    id
}

fn files(cloud: &Cloud) -> Vec<String> {
    let entries = std::fs::read_dir(&cloud.cx.image_dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn shown(cloud: &Cloud, id: ImageId) -> Image {
    image::get(&cloud.cx, &member(), id).await.unwrap()
}

/// The import is over, its log is lawful, and there is a file if and only if the image is active.
async fn assert_settled(cloud: &Cloud, id: ImageId, context: &str) {
    // A start removes what a dead worker left.
    image::recover(&cloud.cx).await.unwrap();
    let found = shown(cloud, id).await;
    let expected: Vec<_> = if found.status == ImageStatus::Active {
        vec![id.to_string()]
    } else {
        Vec::new()
    };
    assert_eq!(files(cloud), expected, "{context}");
    assert_eq!((found.incoming, found.staged), (None, None), "{context}");
    let import = found.import.unwrap();
    assert!(!import.running, "{context}");
    assert_eq!(
        import.failed,
        found.status == ImageStatus::Queued,
        "{context}"
    );
    let mut tx = cloud.cx.store.read().await.unwrap();
    let running = operations::list(
        &mut tx,
        Filter {
            running: true,
            ..Filter::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(running, [], "{context}");
    let log = transitions::of_subject(&mut tx, "image", &id.to_string())
        .await
        .unwrap();
    for transition in log {
        let Some(from) = transition.from else {
            continue;
        };
        let (from, to): (ImageStatus, ImageStatus) =
            (from.parse().unwrap(), transition.to.parse().unwrap());
        assert!(
            from.may_become(to),
            "{context}: {from} must not become {to}"
        );
    }
}

async fn survive_everything(method: ImportMethod) {
    let cloud = Cloud::open().await;
    let id = begin(&cloud, method.clone()).await;
    cloud.drain().await;
    assert_settled(&cloud, id, "undisturbed").await;
    let wanted = shown(&cloud, id).await.content;
    assert_eq!(
        wanted.as_ref().map(|content| content.size_bytes),
        Some(2048)
    );
    let moments = cloud.moments();
    assert!(moments.len() >= 6, "the harness saw {moments:?}");
    for (index, moment) in moments.iter().enumerate() {
        for way in moment.ways() {
            let context = format!("{way:?} at {moment:?}");
            let cloud = Cloud::open().await;
            cloud.plan(index, way.clone());
            let id = begin(&cloud, method.clone()).await;
            cloud.drain().await;
            assert_settled(&cloud, id, &context).await;
            if *way != Disturbance::Failure {
                assert_eq!(shown(&cloud, id).await.content, wanted, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn glance_direct() {
    survive_everything(ImportMethod::GlanceDirect).await;
}

#[tokio::test]
async fn web_download() {
    let uri = format!("{}/image.raw", web_server().await);
    survive_everything(ImportMethod::WebDownload { uri }).await;
}

#[tokio::test]
async fn a_download_that_fails_is_told_and_the_image_can_be_imported_again() {
    let cloud = Cloud::open().await;
    let server = web_server().await;
    let id = begin(
        &cloud,
        ImportMethod::WebDownload {
            uri: format!("{server}/none"),
        },
    )
    .await;
    assert_eq!(shown(&cloud, id).await.status, ImageStatus::Importing);
    cloud.drain().await;
    assert_settled(&cloud, id, "404").await;
    let found = shown(&cloud, id).await;
    assert_eq!(found.status, ImageStatus::Queued);
    let tasks = tasks::of_image(&cloud.cx, &member(), id).await.unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].status, TaskStatus::Failure);
    assert!(tasks[0].message.contains("404"), "{}", tasks[0].message);
    assert_eq!(
        tasks[0].input["import_req"]["method"]["name"],
        "web-download"
    );

    let method = ImportMethod::WebDownload {
        uri: format!("{server}/image.raw"),
    };
    let request = ImportRequest {
        method,
        stores: Vec::new(),
        all_stores: false,
        all_stores_must_succeed: true,
    };
    image::import(&cloud.cx, &member(), id, request)
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(shown(&cloud, id).await.status, ImageStatus::Active);
    assert_eq!(
        tasks::of_image(&cloud.cx, &member(), id).await.unwrap()[0].status,
        TaskStatus::Success
    );
}

#[tokio::test]
async fn deleting_an_image_ends_its_import() {
    let cloud = Cloud::open().await;
    let id = begin(&cloud, ImportMethod::GlanceDirect).await;
    image::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert_eq!(files(&cloud), Vec::<String>::new());
    let mut tx = cloud.cx.store.read().await.unwrap();
    assert_eq!(
        operations::list(
            &mut tx,
            Filter {
                running: true,
                ..Filter::default()
            }
        )
        .await
        .unwrap(),
        []
    );
}

#[tokio::test]
async fn an_image_that_a_task_made_goes_when_the_task_fails() {
    let cloud = Cloud::open().await;
    let admin = Actor {
        roles: ["admin", "member", "reader"].map(str::to_owned).into(),
        ..member()
    };
    let uri = format!("{}/none", web_server().await);
    let new = NewImage {
        disk_format: Some("raw".to_owned()),
        container_format: Some("bare".to_owned()),
        ..NewImage::default()
    };
    let sent = serde_json::json!({"import_from": uri});
    let id = tasks::import_new(&cloud.cx, &admin, new, &uri, sent.clone())
        .await
        .unwrap();
    cloud.drain().await;
    let task = tasks::get(&cloud.cx, &admin, id).await.unwrap();
    assert_eq!((task.status, task.input), (TaskStatus::Failure, sent));
    assert!(image::get(&cloud.cx, &admin, task.image_id).await.is_err());
    assert_eq!(files(&cloud), Vec::<String>::new());
}

async fn download(cloud: &Cloud, actor: &Actor, id: ImageId, uri: String) -> Result<(), Failure> {
    let request = ImportRequest {
        method: ImportMethod::WebDownload { uri },
        stores: Vec::new(),
        all_stores: false,
        all_stores_must_succeed: true,
    };
    image::import(&cloud.cx, actor, id, request).await
}

/// A tenant cannot make the control plane ask itself, by address or by a name that turns out to be one; an
/// administrator can.
#[tokio::test]
async fn a_tenant_does_not_fetch_from_this_machine() {
    let cloud = Cloud::with(Settings::default()).await;
    let server = web_server().await;
    let id = queued(&cloud).await;
    let by_address = format!("{server}/image.raw");
    let refused = download(&cloud, &member(), id, by_address.clone()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("a loopback address"), "{refused}");
    assert!(refused.contains("images.web_download_hosts"), "{refused}");

    let by_name = by_address.replace("127.0.0.1", "localhost");
    download(&cloud, &member(), id, by_name).await.unwrap();
    cloud.drain().await;
    assert_settled(&cloud, id, "by name").await;
    assert_eq!(shown(&cloud, id).await.status, ImageStatus::Queued);
    let task = tasks::of_image(&cloud.cx, &member(), id).await.unwrap();
    let told = &task[0].message;
    assert!(told.contains("a loopback address"), "{told}");
    let tries = cloud.moments().into_iter();
    let tries = tries.filter(|moment| moment.point == Point::BeforeStep);
    assert_eq!(tries.count(), 1, "no use in trying again");

    let admin = Actor {
        roles: ["admin", "member", "reader"].map(str::to_owned).into(),
        ..member()
    };
    download(&cloud, &admin, id, by_address).await.unwrap();
    cloud.drain().await;
    assert_eq!(shown(&cloud, id).await.status, ImageStatus::Active);
}
