//! Tokens that were validated a moment ago, good as long as identity's generation has not moved.

use crate::view::TokenView;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// More than this and all is forgotten: rare, and cheaper than keeping an order.
const MAX_ENTRIES: usize = 10_000;

#[derive(Default)]
pub struct Cache(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    generation: i64,
    views: HashMap<[u8; 32], Arc<TokenView>>,
}

/// Tokens are kept by their hash: a dump of memory does not show one.
fn key(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Cache {
    pub fn get(&self, generation: i64, token: &str) -> Option<Arc<TokenView>> {
        let remembered = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if remembered.generation != generation {
            return None;
        }
        remembered.views.get(&key(token)).cloned()
    }

    pub fn put(&self, generation: i64, token: &str, view: Arc<TokenView>) {
        let mut remembered = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if generation < remembered.generation {
            return;
        }
        if generation > remembered.generation || remembered.views.len() >= MAX_ENTRIES {
            remembered.generation = generation;
            remembered.views.clear();
        }
        remembered.views.insert(key(token), view);
    }
}
