//! A small client of our own API, for `corten up`: it does what a user would do.

use crate::process;
use anyhow::{Context as _, bail};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::path::Path;

/// One user's view of the cloud.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// Logs in with a password, scoped to a project of the default domain.
    pub async fn log_in(
        base: &str,
        user: &str,
        password: &str,
        project: &str,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user, "domain": domain, "password": password,
            }}},
            "scope": {"project": {"name": project, "domain": domain}},
        }});
        let response = http
            .post(format!("{base}/identity/v3/auth/tokens"))
            .json(&body)
            .send()
            .await
            .with_context(|| {
                format!(
                    "the control plane does not answer at {base}; `{} up` starts it",
                    process::called()
                )
            })?;
        let response = refuse(response, "log in").await?;
        let token = response
            .headers()
            .get("x-subject-token")
            .context("the answer has no token")?;
        Ok(Self {
            token: token.to_str()?.to_owned(),
            base: base.to_owned(),
            http,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .header("x-auth-token", &self.token)
            .header("openstack-api-version", "compute 2.90")
            .header("x-openstack-ironic-api-version", "1.95");
        if let Some(body) = body {
            request = request.json(&body);
        }
        refuse(request.send().await?, &format!("{method} {path}")).await
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.send(Method::GET, path, None).await?.json().await?)
    }

    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        Ok(self
            .send(Method::POST, path, Some(body))
            .await?
            .json()
            .await?)
    }

    pub async fn put(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        Ok(self
            .send(Method::PUT, path, Some(body))
            .await?
            .json()
            .await?)
    }

    /// Asks for something that is answered without a body.
    pub async fn order(&self, path: &str, body: Value) -> anyhow::Result<()> {
        self.send(Method::PUT, path, Some(body)).await.map(drop)
    }

    pub async fn patch(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        Ok(self
            .send(Method::PATCH, path, Some(body))
            .await?
            .json()
            .await?)
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    /// What is at a path; `None` if there is nothing.
    pub async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let request = self
            .http
            .get(format!("{}{path}", self.base))
            .header("x-auth-token", &self.token)
            .header("x-openstack-ironic-api-version", "1.95");
        let response = request.send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = refuse(response, &format!("GET {path}")).await?;
        Ok(Some(response.json().await?))
    }

    /// Uploads a file as an image's data.
    pub async fn upload(&self, image: &str, path: &Path) -> anyhow::Result<()> {
        let file = tokio::fs::File::open(path)
            .await
            .with_context(|| format!("cannot open {}", path.display()))?;
        let size = file.metadata().await?.len();
        let stream = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
        let request = self
            .http
            .put(format!("{}/image/v2/images/{image}/file", self.base))
            .header("x-auth-token", &self.token)
            .header("content-type", "application/octet-stream")
            .header("content-length", size)
            .body(reqwest::Body::wrap_stream(stream));
        refuse(request.send().await?, "upload").await?;
        Ok(())
    }
}

/// Is the control plane up?
pub async fn is_healthy(base: &str) -> bool {
    matches!(reqwest::get(format!("{base}/healthz")).await, Ok(answer) if answer.status() == StatusCode::OK)
}

async fn refuse(response: Response, what: &str) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    bail!("{what} was answered {status}: {text}")
}
