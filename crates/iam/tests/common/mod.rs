//! A cloud of its own for every test: a store in a file, a clock that the test sets, the people of a new cloud.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part"
)]

use corten_iam::actor::Actor;
use corten_iam::assignment::Grant;
use corten_iam::authenticate::{DomainRef, IssuedToken, ProjectRef, Proof, ScopeWish, UserRef};
use corten_iam::bootstrap::{Bootstrap, services_under};
use corten_iam::project::NewProject;
use corten_iam::user::NewUser;
use corten_iam::{Iam, IamConfig};
use corten_model::ids::{DomainId, ProjectId, RequestId, RoleId, UserId};
use corten_model::refusal::{Reason, Refusal};
use corten_model::time::Timestamp;
use corten_store::identity::Extra;
use corten_store::identity::assignment::{Extent, Holder};
use corten_store::identity::project::Project;
use corten_store::identity::user::{User, UserOptions};
use corten_store::{Failure, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub const ADMIN_PASSWORD: &str = "admin's";
pub const DEMO_PASSWORD: &str = "demo's";

pub struct Cloud {
    pub iam: Iam,
    pub store: Store,
    clock: Arc<AtomicI64>,
    directory: tempfile::TempDir,
}

impl Cloud {
    pub async fn new() -> Self {
        Self::with(IamConfig::default()).await
    }

    pub async fn with(config: IamConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&format!(
            "sqlite:{}",
            directory.path().join("corten.db").display()
        ))
        .await
        .unwrap();
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000_000));
        let config = IamConfig {
            key_directory: directory.path().join("keys"),
            ..config
        };
        let iam = open(&store, config, &clock).await;
        iam.bootstrap(&bootstrap("http://127.0.0.1:8774"))
            .await
            .unwrap();
        Self {
            iam,
            store,
            clock,
            directory,
        }
    }

    /// Another process on the same store and keys.
    pub async fn replica(&self) -> Iam {
        let config = IamConfig {
            key_directory: self.directory.path().join("keys"),
            ..IamConfig::default()
        };
        open(&self.store, config, &self.clock).await
    }

    pub fn pass(&self, span: Duration) {
        self.clock
            .fetch_add(span.as_micros() as i64, Ordering::SeqCst);
    }

    /// Every reading is later than the one before.
    fn tick(clock: &AtomicI64) -> Timestamp {
        Timestamp(clock.fetch_add(1, Ordering::SeqCst))
    }

    pub async fn log_in(
        &self,
        user: &str,
        password: &str,
        wish: ScopeWish,
    ) -> Result<IssuedToken, Failure> {
        self.iam
            .authenticate(&[by_password(user, password)], &wish)
            .await
    }

    pub async fn admin(&self) -> Actor {
        let token = self
            .log_in("admin", ADMIN_PASSWORD, on_project("admin"))
            .await
            .unwrap();
        token.view.actor(RequestId::random())
    }

    pub async fn demo_token(&self) -> IssuedToken {
        self.log_in("demo", DEMO_PASSWORD, on_project("demo"))
            .await
            .unwrap()
    }

    pub async fn actor(&self, token: &str) -> Result<Actor, Failure> {
        self.iam.validate(token, RequestId::random()).await
    }

    pub async fn user(&self, domain: &str, name: &str, password: &str) -> User {
        let admin = self.admin().await;
        self.iam
            .create_user(&admin, new_user(domain, name, password))
            .await
            .unwrap()
    }

    pub async fn project(&self, domain: &str, name: &str, parent: Option<&ProjectId>) -> Project {
        let admin = self.admin().await;
        let new = NewProject {
            parent_id: parent.cloned(),
            ..new_project(domain, name)
        };
        self.iam.create_project(&admin, new).await.unwrap()
    }

    pub async fn role(&self, name: &str) -> RoleId {
        let admin = self.admin().await;
        self.iam
            .roles(&admin, None, Some(name))
            .await
            .unwrap()
            .remove(0)
            .id
    }

    pub async fn give(&self, user: &UserId, role: &str, extent: Extent) {
        let (admin, role) = (self.admin().await, self.role(role).await);
        self.iam
            .grant(&admin, &grant(user, extent), &role)
            .await
            .unwrap();
    }

    pub async fn take(&self, user: &UserId, role: &str, extent: Extent) {
        let (admin, role) = (self.admin().await, self.role(role).await);
        self.iam
            .revoke_grant(&admin, &grant(user, extent), &role)
            .await
            .unwrap();
    }
}

async fn open(store: &Store, config: IamConfig, clock: &Arc<AtomicI64>) -> Iam {
    let clock = clock.clone();
    Iam::open_with_clock(store.clone(), config, Arc::new(move || Cloud::tick(&clock)))
        .await
        .unwrap()
}

pub fn bootstrap(url: &str) -> Bootstrap {
    Bootstrap {
        admin_password: ADMIN_PASSWORD.to_owned(),
        demo_password: DEMO_PASSWORD.to_owned(),
        region: "RegionOne".to_owned(),
        services: services_under(url),
    }
}

pub fn grant(user: &UserId, extent: Extent) -> Grant {
    Grant {
        holder: Holder::User(user.clone()),
        extent,
        inherited: false,
    }
}

pub fn default_domain() -> DomainRef {
    DomainRef::Name("Default".to_owned())
}

pub fn by_password(user: &str, password: &str) -> Proof {
    let user = UserRef::Name {
        name: user.to_owned(),
        domain: default_domain(),
    };
    Proof::Password {
        user,
        password: password.to_owned(),
    }
}

pub fn by_id(user: &UserId, password: &str) -> Proof {
    Proof::Password {
        user: UserRef::Id(user.clone()),
        password: password.to_owned(),
    }
}

pub fn on_project(name: &str) -> ScopeWish {
    ScopeWish::Project(ProjectRef::Name {
        name: name.to_owned(),
        domain: default_domain(),
    })
}

pub fn new_user(domain: &str, name: &str, password: &str) -> NewUser {
    NewUser {
        name: name.to_owned(),
        domain_id: Some(DomainId::from(domain)),
        password: Some(password.to_owned()),
        description: None,
        enabled: true,
        default_project_id: None,
        options: UserOptions::default(),
        extra: Extra::new(),
    }
}

pub fn new_project(domain: &str, name: &str) -> NewProject {
    NewProject {
        name: name.to_owned(),
        domain_id: Some(DomainId::from(domain)),
        parent_id: None,
        is_domain: false,
        description: None,
        enabled: true,
        tags: Vec::new(),
        immutable: None,
        extra: Extra::new(),
    }
}

pub fn refusal<T>(result: Result<T, Failure>) -> Refusal {
    match result {
        Err(Failure::Refused(refusal)) => refusal,
        Err(other) => panic!("trouble in place of a refusal: {other:?}"),
        Ok(_) => panic!("was not refused"),
    }
}

pub fn reason<T>(result: Result<T, Failure>) -> Reason {
    refusal(result).reason
}
