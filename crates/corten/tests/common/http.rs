//! A user of the APIs: a token, and what can be asked with it.

use super::{Shape, until};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::ops::Deref;
use std::time::Duration;

/// The compute microversion that tests speak.
const COMPUTE: &str = "compute 2.96";

/// Somebody who asks.
#[derive(Clone)]
pub struct Actor {
    http: Client,
    base: String,
    pub token: String,
    pub user_id: String,
    pub project_id: String,
}

/// What was answered. Derefs to the JSON body, which is null where there is none.
#[derive(Debug)]
pub struct Answer {
    pub asked: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    json: Value,
}

impl Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.json
    }
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        Self::try_of(request)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The answer, or why there is none.
    pub async fn try_of(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        let (client, request) = request.build_split();
        let request = request?;
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self {
            asked,
            status,
            headers,
            text,
            json,
        })
    }

    /// The answer, if it is a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.status.is_success(),
            "{}: {} {}",
            self.asked,
            self.status,
            self.text
        );
        self
    }

    /// The id of what was answered under this key, or at the top where the key is empty.
    #[track_caller]
    pub fn id(&self, key: &str) -> String {
        let found = if key.is_empty() {
            &self.json["id"]
        } else {
            &self.json[key]["id"]
        };
        found
            .as_str()
            .unwrap_or_else(|| panic!("{}: no id in {}", self.asked, self.text))
            .to_owned()
    }
}

impl Actor {
    pub fn new(http: Client, base: String) -> Self {
        Self {
            http,
            base,
            token: String::new(),
            user_id: String::new(),
            project_id: String::new(),
        }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// With a password, scoped to a project of the default domain.
    pub async fn log_in(&self, user: &str, password: &str, project: &str) -> Self {
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user, "domain": domain, "password": password,
            }}},
            "scope": {"project": {"name": project, "domain": domain}},
        }});
        let answer = self.post("/identity/v3/auth/tokens", body).await;
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        Self {
            token: answer.headers["x-subject-token"]
                .to_str()
                .unwrap()
                .to_owned(),
            user_id: text(&answer["token"]["user"]["id"]),
            project_id: text(&answer["token"]["project"]["id"]),
            ..self.clone()
        }
    }

    /// A request with nothing but its path.
    pub fn bare_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A request to be sent by hand.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .bare_request(method, path)
            .header("openstack-api-version", COMPUTE);
        if self.token.is_empty() {
            request
        } else {
            request.header("x-auth-token", &self.token)
        }
    }

    /// Asks, whatever the answer is.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        Answer::of(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await.ok()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(&body)).await.ok()
    }

    pub async fn put(&self, path: &str) -> Answer {
        self.ask(Method::PUT, path, None).await.ok()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await.ok()
    }

    /// The id of the thing with this name in a list.
    pub async fn find(&self, path: &str, list: &str, name: &str) -> Option<String> {
        let found = self.get(path).await;
        let one = found[list]
            .as_array()?
            .iter()
            .find(|one| one["name"] == name)?;
        Some(one["id"].as_str()?.to_owned())
    }

    /// Creates a server; it is accepted, not ready.
    pub async fn create_server(&self, shape: &Shape, name: &str) -> String {
        self.post("/compute/v2.1/servers", shape.body(name))
            .await
            .id("server")
    }

    /// A server's action that is accepted.
    pub async fn act(&self, server: &str, action: Value) -> Answer {
        self.post(&format!("/compute/v2.1/servers/{server}/action"), action)
            .await
    }

    pub async fn server(&self, id: &str) -> Value {
        self.get(&format!("/compute/v2.1/servers/{id}")).await["server"].clone()
    }

    /// Waits for a status; an ERROR that is not waited for ends the wait with its fault.
    pub async fn wait_for(&self, id: &str, status: &str, limit: Duration) -> Value {
        until(format!("server {id} {status}"), limit, async || {
            let server = self.server(id).await;
            if status != "ERROR" {
                assert_ne!(server["status"], "ERROR", "{}", server["fault"]);
            }
            (server["status"] == status && server["OS-EXT-STS:task_state"].is_null())
                .then_some(server)
        })
        .await
    }

    /// Waits until a server is gone.
    pub async fn wait_until_gone(&self, id: &str, limit: Duration) {
        let path = format!("/compute/v2.1/servers/{id}");
        until(format!("server {id} gone"), limit, async || {
            let answer = self.ask(Method::GET, &path, None).await;
            (answer.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }

    /// What a server wrote to its console.
    pub async fn console(&self, id: &str) -> String {
        let answer = self.act(id, json!({"os-getConsoleOutput": {}})).await;
        answer["output"].as_str().unwrap_or_default().to_owned()
    }
}
