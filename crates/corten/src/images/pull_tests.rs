//! Pulls from a small HTTP server on this machine that serves well, wrongly, or breaks off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::super::progress::Silent;
use super::*;

const IMAGE: &str = "rocky-9.4";
const FILE: &str = "Rocky-9-GenericCloud-Base-9.4-20240609.1.x86_64.qcow2";

#[derive(Default)]
struct Site {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes of a body after which the connection is cut, once.
    cut_after: Option<usize>,
    ranges: Vec<String>,
}

struct Server {
    base: String,
    site: Arc<Mutex<Site>>,
}

impl Server {
    async fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/mirror", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site {
            files: files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.clone()))
                .collect(),
            ..Site::default()
        }));
        let served = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &served).await;
            }
        });
        Self { base, site }
    }
}

/// Answers one request and closes the connection.
async fn answer(stream: tokio::net::TcpStream, site: &Mutex<Site>) {
    let mut stream = BufReader::new(stream);
    let (mut name, mut from) = (String::new(), None);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if let Some(path) = line.strip_prefix("GET ") {
            let path = path.split(' ').next().unwrap();
            name = path.strip_prefix("/mirror/").unwrap_or_default().to_owned();
        } else if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            site.lock().unwrap().ranges.push(range.trim().to_owned());
            from = range.trim().trim_end_matches('-').parse::<usize>().ok();
        } else if line.trim().is_empty() {
            break;
        }
    }
    let response = respond(&name, from, &mut site.lock().unwrap());
    stream.write_all(&response).await.unwrap();
    stream.shutdown().await.unwrap();
}

fn respond(name: &str, from: Option<usize>, site: &mut Site) -> Vec<u8> {
    let Some(content) = site.files.get(name) else {
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_vec();
    };
    let (status, body) = match from {
        None => ("200 OK", &content[..]),
        Some(from) if from < content.len() => ("206 Partial Content", &content[from..]),
        Some(_) => ("416 Range Not Satisfiable", &[][..]),
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    let sent = if name == FILE {
        site.cut_after.take()
    } else {
        None
    };
    response.extend_from_slice(&body[..sent.unwrap_or(body.len())]);
    response
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn checksum_line(content: &[u8]) -> Vec<u8> {
    format!(
        "# {FILE}: {} bytes\nSHA256 ({FILE}) = {}\n",
        content.len(),
        hex::encode(Sha256::digest(content))
    )
    .into_bytes()
}

async fn pull_into(directory: &Path, server: &Server) -> anyhow::Result<PulledImage> {
    pull(IMAGE, &directory.join(FILE), Some(&server.base), &Silent).await
}

fn files_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn a_good_image_arrives_under_its_name() {
    let server = Server::start(&[(FILE, content()), ("CHECKSUM", checksum_line(&content()))]).await;
    let directory = tempfile::tempdir().unwrap();
    let pulled = pull_into(directory.path(), &server).await.unwrap();
    assert_eq!(pulled.bytes, 1_200_000);
    assert_eq!(std::fs::read(&pulled.path).unwrap(), content());
    assert_eq!(files_in(directory.path()), [FILE]);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_with_both_values_and_nothing_stays() {
    let other = b"something else".to_vec();
    let server = Server::start(&[
        (FILE, other.clone()),
        ("CHECKSUM", checksum_line(&content())),
    ])
    .await;
    let directory = tempfile::tempdir().unwrap();
    let error = pull_into(directory.path(), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "expected sha256:{}",
            hex::encode(Sha256::digest(content()))
        )),
        "{error}"
    );
    assert!(
        error.contains(&format!(
            "got sha256:{}",
            hex::encode(Sha256::digest(other))
        )),
        "{error}"
    );
    assert!(files_in(directory.path()).is_empty());
}

#[tokio::test]
async fn a_broken_download_is_continued_where_it_stopped() {
    let server = Server::start(&[(FILE, content()), ("CHECKSUM", checksum_line(&content()))]).await;
    server.site.lock().unwrap().cut_after = Some(500_000);
    let directory = tempfile::tempdir().unwrap();
    let error = pull_into(directory.path(), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("broke off after 500000 of 1200000 bytes"),
        "{error}"
    );
    assert_eq!(files_in(directory.path()), [format!("{FILE}.part")]);

    let pulled = pull_into(directory.path(), &server).await.unwrap();
    assert_eq!(server.site.lock().unwrap().ranges, ["500000-"]);
    assert_eq!(std::fs::read(&pulled.path).unwrap(), content());
    assert_eq!(files_in(directory.path()), [FILE]);
}

#[tokio::test]
async fn a_part_of_another_image_is_thrown_away() {
    let server = Server::start(&[(FILE, content()), ("CHECKSUM", checksum_line(&content()))]).await;
    for part in [vec![7; 1000], vec![7; 2_000_000]] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(format!("{FILE}.part")), part).unwrap();
        let pulled = pull_into(directory.path(), &server).await.unwrap();
        assert_eq!(std::fs::read(&pulled.path).unwrap(), content());
    }
}

#[tokio::test]
async fn missing_images_and_checksums_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[("CHECKSUM", checksum_line(&content()))]).await;
    let error = pull_into(directory.path(), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(FILE) && error.contains("404"), "{error}");

    let server = Server::start(&[(FILE, content())]).await;
    let error = pull_into(directory.path(), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("CHECKSUM answers 404"), "{error}");

    let server = Server::start(&[
        (FILE, content()),
        ("CHECKSUM", b"nothing of use\n".to_vec()),
    ])
    .await;
    let error = pull_into(directory.path(), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no SHA-256 or SHA-512 checksum"), "{error}");
    assert!(files_in(directory.path()).is_empty());
}

#[tokio::test]
async fn an_image_that_nobody_publishes_says_how_to_provide_it() {
    let error = pull(
        "windows-server-2022",
        Path::new("/nonexistent/x"),
        None,
        &Silent,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("licensed media"), "{error}");
}
