//! `docs/lifecycles/` says what the tables say. `CORTEN_BLESS=1` writes the pages anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use corten_model::lifecycle::docs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lifecycles")
}

#[test]
fn the_pages_are_those_made_from_the_tables() {
    let bless = std::env::var_os("CORTEN_BLESS").is_some_and(|value| value == "1");
    if bless {
        std::fs::create_dir_all(folder()).unwrap();
    }
    for page in docs::pages() {
        let path = folder().join(page.file);
        if bless {
            std::fs::write(&path, &page.text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == page.text,
            "{} is stale: run the test with CORTEN_BLESS=1 and commit",
            path.display()
        );
    }
}

#[test]
fn there_is_no_page_without_a_table() {
    let made: Vec<_> = docs::pages().iter().map(|page| page.file).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            made.contains(&name.as_str()),
            "docs/lifecycles/{name} belongs to no life cycle"
        );
    }
}
