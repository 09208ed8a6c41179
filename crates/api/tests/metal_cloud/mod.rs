//! A cloud behind its whole API, in one process: nothing works on what is accepted, instances and nodes are rows of the test's.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use corten_api::App;
use corten_api::app::Parts;
use corten_engine::SystemClock;
use corten_iam::authenticate::{DomainRef, ProjectRef, Proof, ScopeWish, UserRef};
use corten_iam::bootstrap::{Bootstrap, services_under};
use corten_iam::{Iam, IamConfig};
use corten_model::ids::{FlavorId, ImageId, InstanceId, NodeId, ProjectId, RequestId, UserId};
use corten_model::lifecycle::image::ImageStatus;
use corten_model::lifecycle::node::ProvisionState;
use corten_model::lifecycle::{InstanceClass, InstanceState, PowerState, VmState};
use corten_model::time::Timestamp;
use corten_operations::context::Hosts;
use corten_operations::metal::{Metal, Simulator, driver, node};
use corten_operations::{Context, Settings, flavor};
use corten_sim::{SimFabric, SimMachines};
use corten_store::flavors::Flavor;
use corten_store::images::{Content, Image, Visibility};
use corten_store::instances::{Instance, Intent, Observed};
use corten_store::metal::node::Node;
use corten_store::testing::{self, TestStore};
use corten_store::{Query, Tx, record};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower::ServiceExt as _;

const NOW: Timestamp = Timestamp(0);
/// The id of nothing.
pub const NOTHING: &str = "b7e1c0de-0000-4000-8000-00000000dead";

/// A user of the cloud.
pub struct Caller {
    token: String,
    user_id: UserId,
    pub project_id: ProjectId,
}

/// A cloud in which nothing works on what is accepted.
pub struct Cloud {
    pub store: TestStore,
    pub cx: Arc<Context>,
    api: Router,
    pub machines: Arc<SimMachines>,
    pub admin: Caller,
    pub tenant: Caller,
    /// Where is kept what servers print.
    consoles: PathBuf,
}

impl Cloud {
    pub async fn open() -> Self {
        let store = testing::sqlite().await;
        let file = Path::new(store.url().trim_start_matches("sqlite:")).to_owned();
        let consoles = file.with_file_name("consoles");
        let config = IamConfig {
            key_directory: file.with_file_name("keys"),
            ..IamConfig::default()
        };
        let iam = Iam::open((*store).clone(), config).await.unwrap();
        let iam = Arc::new(iam);
        let url = "http://127.0.0.1:8774";
        let bootstrap = Bootstrap {
            admin_password: "secret".to_owned(),
            demo_password: "secret".to_owned(),
            region: "RegionOne".to_owned(),
            services: services_under(url),
        };
        iam.bootstrap(&bootstrap).await.unwrap();
        let mut settings = Settings::default();
        settings.quota.instances = -1;
        settings.quota.cores = -1;
        settings.quota.ram_mib = -1;
        let machines = Arc::new(SimMachines::default());
        let reached = machines.clone();
        let simulator: Simulator = Arc::new(move |id| reached.machine(&id.to_string()));
        let mut metal = Metal::forgetful(Some(simulator)).unwrap();
        metal.console_directory = Some(consoles.clone());
        let cx = Arc::new(Context {
            store: (*store).clone(),
            policy: iam.policy(),
            settings,
            clock: Arc::new(SystemClock),
            hosts: Hosts::default(),
            fabric: Arc::new(SimFabric::default()),
            image_dir: file.with_file_name("images"),
            metal,
        });
        flavor::seed(&cx).await.unwrap();
        let api = corten_api::router(App::new(Parts {
            iam: iam.clone(),
            cx: cx.clone(),
            public_url: url.to_owned(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
        }));
        Self {
            admin: log_in(&iam, "admin").await,
            tenant: log_in(&iam, "demo").await,
            store,
            cx,
            api,
            machines,
            consoles,
        }
    }

    async fn write(&self) -> Tx {
        self.store.write().await.unwrap()
    }

    /// A flavor that is like the smallest one but for this.
    pub async fn flavor(&self, id: &str, change: impl FnOnce(&mut Flavor)) {
        let mut tx = self.write().await;
        let small: Flavor = record::get(&mut tx, "1").await.unwrap().unwrap();
        let specs = [("resources:CUSTOM_BM_SMALL", "1"), ("resources:VCPU", "0")];
        let specs = specs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut flavor = Flavor {
            id: FlavorId::from(id),
            name: format!("{id}.small"),
            class: InstanceClass::Metal,
            extra_specs: specs.into(),
            ..small
        };
        change(&mut flavor);
        record::insert(&mut tx, &flavor).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn image(&self, change: impl FnOnce(&mut Image)) -> ImageId {
        let mut image = Image {
            id: ImageId::random(),
            name: Some("tiny".to_owned()),
            status: ImageStatus::Active,
            visibility: Visibility::Public,
            owner: None,
            protected: false,
            hidden: false,
            disk_format: Some("qcow2".to_owned()),
            container_format: Some("bare".to_owned()),
            content: Some(Content {
                size_bytes: 1,
                virtual_size_bytes: Some(1),
                md5: "00".to_owned(),
                sha512: "5d0d".repeat(32),
            }),
            min_disk_gib: 0,
            min_ram_mib: 0,
            tags: BTreeSet::new(),
            properties: BTreeMap::new(),
            incoming: None,
            staged: None,
            import: None,
            created_at: NOW,
            updated_at: NOW,
            status_since: NOW,
        };
        change(&mut image);
        let mut tx = self.write().await;
        record::insert(&mut tx, &image).await.unwrap();
        tx.commit().await.unwrap();
        image.id
    }

    /// An instance that runs, of this caller; a whole server with its node.
    pub async fn instance(&self, caller: &Caller, class: InstanceClass) -> InstanceId {
        let instance = Instance {
            id: InstanceId::random(),
            project_id: caller.project_id.clone(),
            user_id: caller.user_id.clone(),
            class,
            state: InstanceState::stable(VmState::Active, PowerState::Running),
            state_since: NOW,
            intent: Intent {
                name: "one".to_owned(),
                hostname: "one".to_owned(),
                disk_config: "AUTO".to_owned(),
                ..Intent::default()
            },
            observed: Observed::default(),
            host_id: None,
            host_name: None,
            reservation_id: String::new(),
            launch_index: 0,
            created_at: NOW,
            updated_at: NOW,
            launched_at: Some(NOW),
            terminated_at: None,
            fault: None,
            progress: 0,
            resize: None,
            guest_password: None,
            shelved_image_id: None,
            deleted: false,
        };
        let mut tx = self.write().await;
        record::insert(&mut tx, &instance).await.unwrap();
        tx.commit().await.unwrap();
        if class == InstanceClass::Metal {
            self.node(|node| node.instance_id = Some(instance.id)).await;
        }
        instance.id
    }

    pub async fn node(&self, change: impl FnOnce(&mut Node)) -> NodeId {
        let driver = driver::of_node(&self.cx.metal, driver::FAKE).unwrap();
        let mut node = node::blank(NodeId::random(), driver, NOW);
        node.provision.state = ProvisionState::Active;
        change(&mut node);
        let mut tx = self.write().await;
        record::insert(&mut tx, &node).await.unwrap();
        tx.commit().await.unwrap();
        node.id
    }

    pub async fn ask(
        &self,
        caller: &Caller,
        method: &str,
        path: &str,
        version: &str,
        body: &Value,
    ) -> (StatusCode, String) {
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", &caller.token)
            .header("openstack-api-version", format!("compute {version}"))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let answer = self.api.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Asks for a server and tells the answer.
    pub async fn create(&self, body: &Value) -> (StatusCode, String) {
        let path = "/compute/v2.1/servers";
        let body = json!({ "server": body });
        self.ask(&self.tenant, "POST", path, "2.96", &body).await
    }
}

impl Cloud {
    /// The console log of a node holds this.
    pub fn printed(&self, file: &str, text: &str) {
        std::fs::create_dir_all(&self.consoles).unwrap();
        std::fs::write(self.consoles.join(file), text).unwrap();
    }

    /// The node under an instance.
    pub async fn node_of(&self, id: InstanceId) -> Node {
        let mut tx = self.store.read().await.unwrap();
        let query = Query::new().equals("instance_id", &id);
        query.first(&mut tx).await.unwrap().unwrap()
    }
}

async fn log_in(iam: &Iam, name: &str) -> Caller {
    let domain = DomainRef::Name("Default".to_owned());
    let proof = Proof::Password {
        user: UserRef::Name {
            name: name.to_owned(),
            domain: domain.clone(),
        },
        password: "secret".to_owned(),
    };
    let wish = ScopeWish::Project(ProjectRef::Name {
        name: name.to_owned(),
        domain,
    });
    let issued = iam.authenticate(&[proof], &wish).await.unwrap();
    let actor = issued.view.actor(RequestId::random());
    Caller {
        token: issued.text,
        user_id: actor.user_id.clone(),
        project_id: actor.project_id().unwrap().clone(),
    }
}

/// The message of an error in the body of either API.
pub fn message(text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let mut errors = body.as_object().into_iter().flatten();
    let message = errors.find_map(|(_, error)| Some(error["message"].as_str()?.to_owned()));
    message.unwrap_or_else(|| text.to_owned())
}
