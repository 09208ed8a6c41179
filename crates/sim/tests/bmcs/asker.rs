//! Somebody who asks a simulated BMC over plain HTTP, and how answers are read.

use super::{PASSWORD, Rack, USERNAME};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

pub const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Somebody who asks with a password.
pub struct Asker {
    client: Client,
    url: String,
    login: Option<(String, String)>,
}

impl Asker {
    pub fn of(rack: &Rack) -> Self {
        Self {
            client: Client::builder().no_proxy().build().unwrap(),
            url: rack.url.clone(),
            login: Some((USERNAME.to_owned(), PASSWORD.to_owned())),
        }
    }

    pub fn named(rack: &Rack, name: &str, password: &str) -> Self {
        Self {
            login: Some((name.to_owned(), password.to_owned())),
            ..Self::of(rack)
        }
    }

    pub fn nobody(rack: &Rack) -> Self {
        Self {
            login: None,
            ..Self::of(rack)
        }
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, Some(password));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[], None).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Response {
        self.ask(Method::PATCH, path, &[], Some(body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub async fn reset(&self, word: &str) -> Response {
        let path = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
        self.post(&path, json!({"ResetType": word})).await
    }
}

pub fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("{name} is missing: {answer:?}"));
    value.to_str().unwrap().to_owned()
}

pub async fn json_of(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// The key of the message of a refusal.
pub async fn key_of(answer: Response, status: u16) -> String {
    let shown = format!("{answer:?}");
    assert_eq!(answer.status().as_u16(), status, "{shown}");
    assert_eq!(header(&answer, "odata-version"), "4.0");
    let body = json_of(answer).await;
    let info = &body["error"]["@Message.ExtendedInfo"][0];
    assert_eq!(info["MessageId"], body["error"]["code"]);
    assert!(
        info["Message"].is_string() && info["Resolution"].is_string(),
        "{body}"
    );
    let id = info["MessageId"].as_str().unwrap();
    id.rsplit('.').next().unwrap().to_owned()
}
