//! Boot files and images over HTTP, as firmware and BMCs ask for them; and what others read in an image.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{HTTP, Lab, inside, lease, run};
use corten_netboot::{Boot, BootStep, MediaPlan, Transport};
use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

const MAC: &str = "52:54:00:77:00:10";
const ADDRESS: &str = "10.77.0.60";

/// A node that boots two files of no meaning, with its station at its address.
fn know(lab: &Lab) -> Boot {
    let (kernel, ramdisk) = (lab.path("kernel"), lab.path("ramdisk"));
    std::fs::write(&kernel, "0123456789").unwrap();
    std::fs::write(&ramdisk, vec![7; 30_000_000]).unwrap();
    let boot = Boot {
        kernel,
        ramdisk,
        command_line: "console=ttyS0 a.b=c".parse().unwrap(),
        secure_boot: false,
    };
    lab.know(MAC, "10.77.0.60/24", Some(boot.clone()));
    run(&format!(
        "ip -n {} addr add {ADDRESS}/24 dev eth0",
        lab.station
    ));
    boot
}

fn url(file: &str) -> String {
    format!("http://{HTTP}/boot/{MAC}/uefi-x64/{file}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_given_whole_in_part_or_not_again() {
    let mut lab = Lab::new().await;
    know(&lab);
    inside(&lab.station, || async {
        let client = reqwest::Client::new();
        let kernel = || client.get(url("kernel"));
        let head = client.head(url("kernel")).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], "10");
        assert_eq!(head.headers()[ACCEPT_RANGES], "bytes");
        let tag = head.headers()[ETAG].to_str().unwrap().to_owned();

        let part = kernel().header(RANGE, "bytes=2-4").send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers()[CONTENT_RANGE], "bytes 2-4/10");
        assert_eq!(part.text().await.unwrap(), "234");

        let beyond = kernel().header(RANGE, "bytes=10-").send().await.unwrap();
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(beyond.headers()[CONTENT_RANGE], "bytes */10");

        let same = kernel().header(IF_NONE_MATCH, &tag).send().await.unwrap();
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        let other = kernel()
            .header(RANGE, "bytes=2-4")
            .header(IF_RANGE, "\"old\"");
        assert_eq!(
            other.send().await.unwrap().text().await.unwrap(),
            "0123456789"
        );
    })
    .await;
    // Of all of these, one sent the file.
    let told = lab.event("the kernel", |step| {
        matches!(step, BootStep::Fetched { .. })
    });
    let BootStep::Fetched {
        file,
        by,
        from,
        bytes,
        ..
    } = told.await
    else {
        unreachable!();
    };
    assert_eq!((file.as_str(), by, bytes), ("kernel", Transport::Http, 10));
    assert_eq!(from.to_string(), ADDRESS);
    assert_eq!(lab.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_yours_is_refused() {
    let lab = Lab::new().await;
    know(&lab);
    let other = "52:54:00:77:00:11";
    let boot = lab.rows.nodes.lock().unwrap()[&MAC.parse().unwrap()]
        .boot
        .clone();
    lab.know(other, "10.77.0.61/24", boot);
    lab.know("52:54:00:77:00:12", "10.77.0.60/24", None);
    inside(&lab.station, move || async move {
        let client = reqwest::Client::new();
        for (method, path, expected) in [
            (Method::GET, format!("boot/{other}/bios/kernel"), 403),
            (Method::GET, format!("boot/{MAC}/bios/ipxe.efi"), 404),
            (Method::GET, format!("boot/{MAC}/vax/kernel"), 404),
            (Method::GET, format!("boot/{MAC}/bios/../kernel"), 404),
            (Method::GET, format!("boot/{MAC}/bios/%2e%2e%2fkernel"), 404),
            (
                Method::GET,
                "boot/52:54:00:77:00:12/bios/kernel".to_owned(),
                404,
            ),
            (
                Method::GET,
                "boot/52:54:00:77:00:13/bios/kernel".to_owned(),
                404,
            ),
            (Method::GET, "boot/x/bios/kernel".to_owned(), 404),
            (Method::GET, "media/x.iso".to_owned(), 404),
            (Method::GET, "media/x".to_owned(), 404),
            (Method::GET, String::new(), 404),
            (Method::POST, format!("boot/{MAC}/bios/kernel"), 405),
        ] {
            let request = client.request(method, format!("http://{HTTP}/{path}"));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), expected, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_is_told_of() {
    let mut lab = Lab::new().await;
    know(&lab);
    inside(&lab.station, || async {
        let mut answer = reqwest::get(url("ramdisk")).await.unwrap();
        answer.chunk().await.unwrap();
    })
    .await;
    let told = lab.event("the break", |step| matches!(step, BootStep::Broken { .. }));
    let BootStep::Broken { file, bytes, .. } = told.await else {
        unreachable!();
    };
    assert!(
        file == "ramdisk" && (1..30_000_000).contains(&bytes),
        "{bytes}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_takes_over_and_old_connections_end() {
    let mut lab = Lab::new().await;
    know(&lab);
    let mut old = inside(&lab.station, || async {
        let stream = std::net::TcpStream::connect(HTTP).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        stream
    })
    .await;
    // It is alive, and kept.
    let request = format!("HEAD /boot/{MAC}/bios/kernel HTTP/1.1\r\nHost: x\r\n\r\n");
    old.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 15];
    old.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    lab.stop().await;
    lab.start(|_| {}).await;
    let closed = tokio::task::spawn_blocking(move || old.read_to_end(&mut Vec::new()));
    closed.await.unwrap().unwrap();
    inside(&lab.station, || async {
        let answer = reqwest::get(url("kernel")).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "0123456789");
    })
    .await;
}

fn plan(lab: &Lab) -> MediaPlan {
    MediaPlan {
        boot: know(lab),
        network: Some((MAC.parse().unwrap(), lease("10.78.0.5/24"))),
        files: BTreeMap::new(),
    }
}

fn xorriso(image: &Path, commands: &[&str]) -> String {
    let output = Command::new("xorriso")
        .args(["-report_about", "WARNING", "-indev"])
        .arg(image)
        .args(commands)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for complaint in ["WARNING", "FAILURE", "SORRY"] {
        assert!(!said.contains(complaint), "{said}");
    }
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_what_other_programs_take_it_for() {
    let lab = Lab::new().await;
    let plan = plan(&lab);
    let content = lab.server().image(&plan).await.unwrap();
    let again = lab.server().image(&plan).await.unwrap();
    assert_eq!(content.tag(), again.tag());
    let image = lab.path("image.iso");
    std::fs::write(&image, content.read().await.unwrap()).unwrap();

    let report = xorriso(&image, &["-report_el_torito", "plain"]);
    for line in [
        "El Torito cat path",
        "El Torito boot img :   1  BIOS  y   none",
        "El Torito boot img :   2  UEFI  y   none",
        "El Torito img path :   1  /isolinux/isolinux.bin",
        "El Torito img path :   2  /efi.img",
        "El Torito img opts :   1  boot-info-table isohybrid-suitable",
    ] {
        let expected = !line.contains("cat path");
        assert_eq!(report.contains(line), expected, "{line}: {report}");
    }
    let report = xorriso(&image, &["-report_system_area", "plain"]);
    assert!(report.contains("MBR isohybrid"), "{report}");
    assert!(report.contains("0xef"), "{report}");

    let files = xorriso(&image, &["-find", "/", "-type", "f"]);
    let mut files: Vec<&str> = files.lines().map(|line| line.trim_matches('\'')).collect();
    files.sort_unstable();
    let expected = [
        "/.disk/info",
        "/boot/grub/grub.cfg",
        "/boot/node.img",
        "/boot/ramdisk.img",
        "/boot/vmlinuz",
        "/efi.img",
        "/isolinux/isolinux.bin",
        "/isolinux/isolinux.cfg",
        "/isolinux/ldlinux.c32",
    ];
    assert_eq!(files, expected);
    let kernel = lab.path("extracted");
    let to = kernel.to_str().unwrap();
    xorriso(&image, &["-osirrox", "on", "-extract", "/boot/vmlinuz", to]);
    assert_eq!(std::fs::read(&kernel).unwrap(), b"0123456789");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_reads_an_image_in_parts() {
    let lab = Lab::new().await;
    let plan = plan(&lab);
    let whole = lab
        .server()
        .image(&plan)
        .await
        .unwrap()
        .read()
        .await
        .unwrap();
    lab.rows
        .media
        .lock()
        .unwrap()
        .insert("k3y".to_owned(), plan);
    let url = lab.server().media_url("k3y");
    inside(&lab.station, move || async move {
        let client = reqwest::Client::new();
        let (mut at, mut tag) = (0, None);
        let step = whole.len() / 7;
        while at < whole.len() {
            let range = format!("bytes={at}-{}", at + step - 1);
            let answer = client.get(&url).header(RANGE, range).send().await.unwrap();
            let this = answer.headers()[ETAG].clone();
            assert_eq!(*tag.get_or_insert_with(|| this.clone()), this);
            let part = answer.bytes().await.unwrap();
            assert!(part == whole[at..(at + step).min(whole.len())], "at {at}");
            at += part.len();
        }
    })
    .await;
}
