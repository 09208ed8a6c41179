//! Ways to spoil a request that is in order. The same seed and number give the same request.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A stream of numbers that a seed decides (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, number: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, number).hash(&mut hasher);
        Self(hasher.finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// True this many times in a hundred.
    pub fn percent(&mut self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }
}

/// A request as it goes out.
#[derive(Debug, Clone)]
pub struct Spoilt {
    pub method: String,
    pub path: String,
    pub headers: HashMap<&'static str, String>,
    pub body: Vec<u8>,
}

impl Spoilt {
    pub fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.insert(name, value.into());
    }

    /// Spoils one thing about the request.
    pub fn spoil(&mut self, dice: &mut Dice) {
        let has_body = !self.body.is_empty();
        match dice.below(if has_body { 12 } else { 6 }) {
            0 | 1 => self.spoil_path(dice),
            2 => self.spoil_query(dice),
            3 => self.spoil_headers(dice),
            4 => {
                self.method = (*dice.one_of(&[
                    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FROB",
                ]))
                .to_owned()
            }
            5 => self.body = a_body(dice),
            6 | 7 => self.spoil_bytes(dice),
            _ => self.spoil_json(dice),
        }
    }

    fn spoil_path(&mut self, dice: &mut Dice) {
        let (path, query) = self
            .path
            .split_once('?')
            .map_or((self.path.as_str(), None), |(path, query)| {
                (path, Some(query))
            });
        let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        // What comes first names the service.
        let first = 3.min(segments.len() - 1);
        let at = first + dice.below(segments.len() - first);
        segments[at] = absurd_segment(dice);
        if dice.percent(10) {
            segments.push(absurd_segment(dice));
        }
        let path = segments.join("/");
        self.path = query.map_or(path.clone(), |query| format!("{path}?{query}"));
    }

    fn spoil_query(&mut self, dice: &mut Dice) {
        let keys = [
            "limit",
            "marker",
            "sort_key",
            "sort_dir",
            "sort",
            "name",
            "status",
            "changes-since",
            "all_tenants",
            "user_id",
            "page",
            "detailed",
            "start",
            "resources",
            "created_at",
            "size_min",
            "tags",
            "member_status",
            "%ff",
            "",
        ];
        let count = 1 + dice.below(4);
        let pairs: Vec<_> = (0..count)
            .map(|_| format!("{}={}", dice.one_of(&keys), absurd_segment(dice)))
            .collect();
        let joint = if self.path.contains('?') { "&" } else { "?" };
        self.path = format!("{}{joint}{}", self.path, pairs.join("&"));
        if dice.percent(5) {
            self.path.push_str(&format!("&name={}", "x".repeat(8000)));
        }
    }

    fn spoil_headers(&mut self, dice: &mut Dice) {
        let versions = [
            "2.0",
            "2.999",
            "3.1",
            "latest",
            "",
            "2",
            "two",
            "-2.1",
            "2.1.1",
            "999999999999.1",
            "2.96 2.97",
            "1.38",
        ];
        let types = [
            "text/plain",
            "application/xml",
            "",
            "application/octet-stream",
            "json",
            "application/jsonx; charset=latin1",
        ];
        let tokens = ["", "x", "gAAAAAB", "\u{e9}", "null", "Bearer 1"];
        match dice.below(6) {
            0 | 1 => {
                let version = *dice.one_of(&versions);
                self.header("x-openstack-nova-api-version", version);
                let service = *dice.one_of(&["compute", "placement", "", "identity", "compute,"]);
                self.header("openstack-api-version", format!("{service} {version}"));
            }
            2 | 3 => self.header("content-type", *dice.one_of(&types)),
            4 => self.header("x-auth-token", *dice.one_of(&tokens)),
            _ => {
                let extra = [
                    "x-subject-token",
                    "accept",
                    "range",
                    "if-none-match",
                    "x-openstack-request-id",
                    "x-forwarded-proto",
                ];
                let name = *dice.one_of(&extra);
                let value = *dice.one_of(&["", "bytes=9-1", "a/b/c", "req-x", "\u{fc}", "0"]);
                self.header(name, value);
            }
        }
    }

    fn spoil_bytes(&mut self, dice: &mut Dice) {
        let length = self.body.len();
        match dice.below(5) {
            0 => self.body.truncate(dice.below(length)),
            1 => self.body[dice.below(length)] = dice.below(256) as u8,
            2 => self.body.insert(
                dice.below(length),
                *dice.one_of(&[0xff, 0x00, b'"', b'{', 0xc3]),
            ),
            3 => self.body.extend_from_slice(b"{}"),
            _ => {
                // The same key again.
                let at = self
                    .body
                    .iter()
                    .position(|byte| *byte == b'{')
                    .map_or(0, |at| at + 1);
                let again = br#""name": 1, "server": 2, "name": 3, "#;
                self.body.splice(at..at, again.iter().copied());
            }
        }
    }

    fn spoil_json(&mut self, dice: &mut Dice) {
        let Ok(mut body) = serde_json::from_slice::<Value>(&self.body) else {
            return self.spoil_bytes(dice);
        };
        for _ in 0..=dice.below(2) {
            let count = places(&body);
            change(&mut body, &mut dice.below(count), dice);
        }
        self.body = body.to_string().into_bytes();
    }
}

/// How many values there are in this one, itself included.
fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(fields) => fields.values().map(places).sum::<usize>(),
        _ => 0,
    }
}

/// Changes the value at a place, counted in depth-first order.
fn change(value: &mut Value, place: &mut usize, dice: &mut Dice) {
    if *place == 0 {
        match value {
            Value::Object(fields) if dice.percent(40) => change_fields(fields, dice),
            other => *other = absurd_value(dice),
        }
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return,
    };
    for value in inner {
        if *place != usize::MAX {
            change(value, place, dice);
        }
    }
}

fn change_fields(fields: &mut Map<String, Value>, dice: &mut Dice) {
    let names: Vec<String> = fields.keys().cloned().collect();
    if names.is_empty() || dice.percent(50) {
        let name = *dice.one_of(&[
            "colour",
            "id",
            "",
            "$ref",
            "__proto__",
            "os-extended:thing",
            "name",
            "project_id",
        ]);
        fields.insert(name.to_owned(), absurd_value(dice));
    } else {
        fields.remove(dice.one_of(&names));
    }
}

fn absurd_value(dice: &mut Dice) -> Value {
    match dice.below(20) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(1.5),
        5 => json!(i64::MAX),
        6 => json!(u64::MAX),
        7 => json!(1e308),
        8 => json!(""),
        9 => json!("x".repeat(256)),
        10 => json!("x".repeat(5_000)),
        11 => json!("\u{0}"),
        12 => json!("\u{1f525}\u{202e}\u{fffd}"),
        13 => json!("'; DROP TABLE instances; --"),
        14 => json!([]),
        15 => json!({}),
        16 => json!([[1], "a", null, {}]),
        17 => json!("00000000-0000-0000-0000-000000000000"),
        18 => json!("2030-13-45T99:99:99Z"),
        _ => json!({"a": {"b": [{"c": null}]}}),
    }
}

fn absurd_segment(dice: &mut Dice) -> String {
    let texts = [
        "",
        "..",
        "%2e%2e%2fetc%2fpasswd",
        "%00",
        "%ff%fe",
        "-1",
        "0",
        "99999999999999999999",
        "'",
        "%27%20OR%201=1--",
        "null",
        "00000000-0000-0000-0000-000000000000",
        "b7e1c0de-0000-4000-8000-00000000dead",
        "detail",
        "%F0%9F%94%A5",
        "a%2Fb",
        "in:active",
        "2030-13-45",
        "true",
        "*",
        "[]",
        "1e9",
        "NaN",
        "%",
        "%zz",
        ".",
    ];
    if dice.percent(10) {
        "x".repeat(*dice.one_of(&[255, 256, 4000]))
    } else {
        (*dice.one_of(&texts)).to_owned()
    }
}

/// A body that has nothing to do with the call.
fn a_body(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0 => b"{".to_vec(),
        1 => b"null".to_vec(),
        2 => b"[]".to_vec(),
        3 => b"{}".to_vec(),
        4 => b"\xff\xfe\x00".to_vec(),
        5 => "[".repeat(20_000).into_bytes(),
        6 => format!("{}{}", r#"{"a":"#.repeat(20_000), "1").into_bytes(),
        7 => br#"{"server": {"name": "\ud800"}}"#.to_vec(),
        8 => format!("1{}", "0".repeat(5000)).into_bytes(),
        _ if dice.percent(10) => vec![b' '; (1 << 20) + 1],
        _ => b"<server/>".to_vec(),
    }
}
