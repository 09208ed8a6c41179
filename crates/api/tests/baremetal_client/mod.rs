//! A client of the bare-metal service: everything that is served, in this process, asked by the administrator.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use corten_api::App;
use corten_api::app::Parts;
use corten_engine::SystemClock;
use corten_iam::bootstrap::{Bootstrap, services_under};
use corten_iam::{Iam, IamConfig};
use corten_operations::context::Hosts;
use corten_operations::metal::{Metal, Simulator};
use corten_operations::{Context, Settings};
use corten_sim::{SimFabric, SimMachines};
use corten_store::testing::{self, TestStore};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tower::ServiceExt as _;

pub const NEWEST: u16 = 115;
const PASSWORD: &str = "a long secret";

/// Everything that is served, asked by the administrator; no worker runs.
pub struct Cloud {
    pub router: Router,
    token: String,
    keys: PathBuf,
    _store: TestStore,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.keys);
    }
}

impl Cloud {
    pub async fn open() -> Self {
        let store = testing::sqlite().await;
        let keys = std::env::temp_dir().join(format!("corten-test.{}", uuid::Uuid::new_v4()));
        let config = IamConfig {
            key_directory: keys.clone(),
            ..IamConfig::default()
        };
        let iam = Iam::open((*store).clone(), config).await.unwrap();
        let bootstrap = Bootstrap {
            admin_password: PASSWORD.to_owned(),
            demo_password: PASSWORD.to_owned(),
            region: "RegionOne".to_owned(),
            services: services_under("http://cloud"),
        };
        iam.bootstrap(&bootstrap).await.unwrap();
        let machines = SimMachines::default();
        let simulator: Simulator = Arc::new(move |id| machines.machine(&id.to_string()));
        let cx = Arc::new(Context {
            store: (*store).clone(),
            policy: iam.policy(),
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
            hosts: Hosts::default(),
            fabric: Arc::new(SimFabric::default()),
            image_dir: PathBuf::new(),
            metal: Metal::forgetful(Some(simulator)).unwrap(),
        });
        let app = App::new(Parts {
            iam: Arc::new(iam),
            cx,
            public_url: "http://cloud".to_owned(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
        });
        let mut cloud = Self {
            router: corten_api::router(app),
            token: String::new(),
            keys,
            _store: store,
        };
        cloud.log_in().await;
        cloud
    }

    async fn log_in(&mut self) {
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "admin", "domain": domain, "password": PASSWORD,
            }}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }});
        let request = Request::post("/identity/v3/auth/tokens")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let token = answer.headers()["x-subject-token"].to_str().unwrap();
        self.token = token.to_owned();
    }

    /// Asks in a version 1.`minor`; the path is below `/baremetal/v1`.
    pub async fn ask(
        &self,
        minor: u16,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/baremetal/v1{path}"))
            .header("x-auth-token", &self.token)
            .header("x-openstack-ironic-api-version", format!("1.{minor}"))
            .header("content-type", "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let value = serde_json::from_slice(&bytes).unwrap_or_default();
        (status, value)
    }

    #[track_caller]
    pub fn ok(asked: &str, (status, value): (StatusCode, Value)) -> Value {
        assert!(status.is_success(), "{asked}: {status} {value}");
        value
    }

    pub async fn get(&self, minor: u16, path: &str) -> Value {
        Self::ok(path, self.ask(minor, "GET", path, None).await)
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        Self::ok(path, self.ask(NEWEST, "POST", path, Some(body)).await)
    }

    /// What is told of a request that is refused.
    pub async fn refused(
        &self,
        minor: u16,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, String) {
        let (status, answer) = self.ask(minor, method, path, body).await;
        let text = answer["error_message"].as_str();
        let text = text.unwrap_or_else(|| panic!("{method} {path}: {status} {answer}"));
        // A text that is JSON itself, as Ironic has it.
        let fault: Value = serde_json::from_str(text).unwrap();
        assert_eq!(fault["faultcode"], "Client", "{fault}");
        assert!(fault["debuginfo"].is_null(), "{fault}");
        let told = fault["faultstring"].as_str().unwrap().to_owned();
        (status.as_u16(), told)
    }

    pub async fn node(&self, fields: Value) -> String {
        let mut body = json!({"driver": "fake-hardware"});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let made = self.post("/nodes", body).await;
        made["uuid"].as_str().unwrap().to_owned()
    }

    /// The values of a field in a list, in its order.
    pub async fn listed(&self, path: &str, list: &str, field: &str) -> Vec<String> {
        let found = self.get(NEWEST, path).await;
        let found = found[list].as_array().unwrap().iter();
        found
            .map(|one| one[field].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
