//! The calls that the APIs take, one line each in `calls.txt`: who may make them, and a body that is in order.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

use crate::common::Actor;
use crate::common::http::Answer;
use crate::fixture::Fixture;
use reqwest::{Method, StatusCode};

const TABLE: &str = include_str!("calls.txt");
/// What only its project may know to exist.
pub const HIDDEN: [&str; 3] = ["$server", "$image", "$group"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    Public,
    Anyone,
    Reader,
    Member,
    Manager,
    Own,
    Admin,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Call {
    pub right: Right,
    /// What the one who may is answered, if no success.
    pub answered: Option<StatusCode>,
    pub method: Method,
    pub microversion: &'static str,
    pub path: String,
    pub body: Option<&'static str>,
}

impl Call {
    fn parse(line: &'static str) -> Self {
        let mut words = line.splitn(2, char::is_whitespace);
        let (right, rest) = (words.next().unwrap(), words.next().unwrap().trim_start());
        let mut words = rest.splitn(2, char::is_whitespace);
        let (method, rest) = (words.next().unwrap(), words.next().unwrap().trim_start());
        let (path, body) = rest
            .split_once(char::is_whitespace)
            .map_or((rest, None), |(path, body)| (path, Some(body.trim())));
        let (right, answered) = right
            .split_once('!')
            .map_or((right, None), |(right, status)| (right, Some(status)));
        let (method, microversion) = method.split_once('@').unwrap_or((method, "2.96"));
        let right = match right {
            "public" => Right::Public,
            "anyone" => Right::Anyone,
            "reader" => Right::Reader,
            "member" => Right::Member,
            "manager" => Right::Manager,
            "own" => Right::Own,
            "admin" => Right::Admin,
            other => panic!("the table has an unknown right '{other}': {line}"),
        };
        let answered = answered.map(|status| status.parse().unwrap());
        Self {
            right,
            answered,
            method: method.parse().unwrap(),
            microversion,
            path: path.to_owned(),
            body,
        }
    }

    pub fn names_hidden(&self) -> bool {
        self.path
            .split(['/', '?'])
            .any(|segment| HIDDEN.contains(&segment))
    }

    pub async fn ask(&self, fixture: &Fixture, actor: &Actor) -> Answer {
        let request = actor
            .request(self.method.clone(), &fixture.filled(&self.path))
            .header("x-openstack-nova-api-version", self.microversion)
            .header(
                "openstack-api-version",
                format!(
                    "compute {}, placement 1.39, baremetal 1.115",
                    self.microversion
                ),
            );
        let request = match self.body.map(|body| fixture.filled(body)) {
            Some(_) if self.path.ends_with("/file") || self.path.ends_with("/stage") => request
                .header("content-type", "application/octet-stream")
                .body("bytes"),
            Some(body) if self.method == Method::PATCH && self.path.starts_with("/image/") => {
                request
                    .header(
                        "content-type",
                        "application/openstack-images-v2.1-json-patch",
                    )
                    .body(body)
            }
            Some(body) => request
                .header("content-type", "application/json")
                .body(body),
            None => request,
        };
        Answer::of(request).await
    }
}

/// The table.
pub fn table() -> Vec<Call> {
    let lines = TABLE
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Call::parse).collect()
}
