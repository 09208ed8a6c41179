//! What a new cloud starts with. Idempotent: on a cloud that has it, nothing changes but moved addresses.

use crate::{Change, Iam, token};
use corten_model::ids::{DomainId, ProjectId, RoleId, UserId};
use corten_model::time::Timestamp;
use corten_store::identity::Extra;
use corten_store::identity::assignment::{Assignment, Extent, Holder};
use corten_store::identity::endpoint::{self, Endpoint};
use corten_store::identity::project::{self, Project};
use corten_store::identity::region::Region;
use corten_store::identity::role::{self, Implication, Role};
use corten_store::identity::service::{self, Service};
use corten_store::identity::user::{self, User, UserOptions};
use corten_store::{Error, Failure, Record, record};

/// A service to be listed in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogService {
    /// `compute`
    pub kind: String,
    /// `nova`
    pub name: String,
    /// The whole address: `http://127.0.0.1:8774/compute/v2.1`.
    pub url: String,
}

/// What a new cloud is told.
pub struct Bootstrap {
    pub admin_password: String,
    pub demo_password: String,
    pub region: String,
    pub services: Vec<CatalogService>,
}

/// The services of this release under one base URL, without a trailing slash.
pub fn services_under(base_url: &str) -> Vec<CatalogService> {
    [
        ("identity", "keystone", "/identity/v3"),
        ("compute", "nova", "/compute/v2.1"),
        ("image", "glance", "/image"),
        ("network", "neutron", "/network"),
        ("placement", "placement", "/placement"),
        ("baremetal", "ironic", "/baremetal"),
    ]
    .into_iter()
    .map(|(kind, name, path)| CatalogService {
        kind: kind.to_owned(),
        name: name.to_owned(),
        url: format!("{base_url}{path}"),
    })
    .collect()
}

/// The id of the domain that every cloud has.
pub const DEFAULT_DOMAIN: &str = "default";

/// Each role implies the next.
const ROLE_CHAIN: [&str; 4] = ["admin", "manager", "member", "reader"];

impl Iam {
    /// Makes the default domain, the roles, the projects `admin`, `demo` and `service`, the users `admin` and `demo`
    /// and the catalog, as far as they are missing. Passwords of users that exist stay as they are.
    pub async fn bootstrap(&self, bootstrap: &Bootstrap) -> Result<(), Failure> {
        let domain = DomainId::from(DEFAULT_DOMAIN);
        // Hashing takes its time and must not happen inside the transaction.
        let admin_hash = self
            .hash_if_missing(&domain, "admin", &bootstrap.admin_password)
            .await?;
        let demo_hash = self
            .hash_if_missing(&domain, "demo", &bootstrap.demo_password)
            .await?;
        let mut change = self.change().await?;
        ensure_domain(&mut change, &domain).await?;
        let admin_role = ensure_roles(&mut change).await?;
        let admin_project = ensure_project(
            &mut change,
            &domain,
            "admin",
            "The administrators' own project",
        )
        .await?;
        let demo_project =
            ensure_project(&mut change, &domain, "demo", "A project to try things in").await?;
        ensure_project(
            &mut change,
            &domain,
            "service",
            "For the services of the cloud",
        )
        .await?;
        let admin = self
            .ensure_user(&mut change, &domain, "admin", &admin_project, admin_hash)
            .await?;
        let demo = self
            .ensure_user(&mut change, &domain, "demo", &demo_project, demo_hash)
            .await?;
        let member = ensure_role(&mut change, "member").await?;
        for (user, extent, role) in [
            (&admin, Extent::Project(admin_project), &admin_role),
            (&admin, Extent::System, &admin_role),
            (&demo, Extent::Project(demo_project), &member),
        ] {
            let holder = Holder::User(user.clone());
            ensure(
                &mut change,
                &Assignment {
                    holder,
                    extent,
                    role_id: role.clone(),
                    inherited: false,
                },
            )
            .await?;
        }
        ensure_catalog(&mut change, &bootstrap.region, &bootstrap.services).await?;
        change.commit().await
    }

    async fn hash_if_missing(
        &self,
        domain: &DomainId,
        name: &str,
        password: &str,
    ) -> Result<Option<String>, Failure> {
        if user::by_name(&mut self.read().await?, domain, name)
            .await?
            .is_some()
        {
            return Ok(None);
        }
        Ok(Some(self.hasher.hash(password).await?))
    }

    async fn ensure_user(
        &self,
        change: &mut Change,
        domain: &DomainId,
        name: &str,
        project: &ProjectId,
        hash: Option<String>,
    ) -> Result<UserId, Failure> {
        let (Some(hash), None) = (hash, user::by_name(change, domain, name).await?) else {
            let user = user::by_name(change, domain, name).await?;
            return user.map(|user| user.id).ok_or_else(|| {
                Failure::outside(
                    format!("making the user {name}"),
                    "it was deleted at this moment; start again",
                )
            });
        };
        let mut user = User {
            id: UserId::random(),
            domain_id: domain.clone(),
            name: name.to_owned(),
            description: None,
            enabled: true,
            default_project_id: Some(project.clone()),
            options: UserOptions {
                ignore_change_password_upon_first_use: Some(true),
                ignore_password_expiry: Some(true),
                ..UserOptions::default()
            },
            extra: Extra::new(),
            passwords: Vec::new(),
            failed_logins: 0,
            last_failed_login: None,
            tokens_valid_after: Timestamp(0),
        };
        self.rules.put(&mut user, hash, self.now(), false);
        record::insert(change, &user).await?;
        Ok(user.id)
    }
}

/// Adds a row unless it is there.
async fn ensure<T: Record>(change: &mut Change, row: &T) -> Result<(), Failure> {
    if record::get::<T>(change, row.id()).await?.is_none() {
        record::insert(change, row).await?;
    }
    Ok(())
}

async fn ensure_domain(change: &mut Change, id: &DomainId) -> Result<(), Failure> {
    let domain = Project {
        id: ProjectId(id.0.clone()),
        domain_id: None,
        parent_id: None,
        is_domain: true,
        name: "Default".to_owned(),
        description: "The default domain".to_owned(),
        enabled: true,
        tags: Vec::new(),
        immutable: None,
        extra: Extra::new(),
        tokens_valid_after: Timestamp(0),
    };
    ensure(change, &domain).await
}

async fn ensure_project(
    change: &mut Change,
    domain: &DomainId,
    name: &str,
    description: &str,
) -> Result<ProjectId, Failure> {
    if let Some(project) = project::by_name(change, domain, name).await? {
        return Ok(project.id);
    }
    let project = Project {
        id: ProjectId::random(),
        domain_id: Some(domain.clone()),
        parent_id: Some(ProjectId(domain.0.clone())),
        is_domain: false,
        name: name.to_owned(),
        description: description.to_owned(),
        enabled: true,
        tags: Vec::new(),
        immutable: None,
        extra: Extra::new(),
        tokens_valid_after: Timestamp(0),
    };
    record::insert(change, &project).await?;
    Ok(project.id)
}

async fn ensure_role(change: &mut Change, name: &str) -> Result<RoleId, Failure> {
    if let Some(role) = role::by_name(change, name).await? {
        return Ok(role.id);
    }
    let role = Role {
        id: RoleId::random(),
        domain_id: None,
        name: name.to_owned(),
        description: None,
        immutable: Some(true),
        extra: Extra::new(),
    };
    record::insert(change, &role).await?;
    Ok(role.id)
}

/// Makes the roles and what they imply; gives the id of `admin`.
async fn ensure_roles(change: &mut Change) -> Result<RoleId, Failure> {
    ensure_role(change, "service").await?;
    for pair in ROLE_CHAIN.windows(2) {
        let prior_id = ensure_role(change, pair[0]).await?;
        let implied_id = ensure_role(change, pair[1]).await?;
        ensure(
            change,
            &Implication {
                prior_id,
                implied_id,
            },
        )
        .await?;
    }
    ensure_role(change, ROLE_CHAIN[0]).await
}

async fn ensure_catalog(
    change: &mut Change,
    region: &str,
    services: &[CatalogService],
) -> Result<(), Failure> {
    let region_row = Region {
        id: region.to_owned(),
        description: String::new(),
        parent_region_id: None,
        extra: Extra::new(),
    };
    ensure(change, &region_row).await?;
    for CatalogService { kind, name, url } in services {
        let existing = service::of_kind(change, kind)
            .await?
            .into_iter()
            .find(|one| one.name.as_ref() == Some(name));
        let service_id = match existing {
            Some(service) => service.id,
            None => {
                let service = Service {
                    id: new_id(),
                    kind: kind.clone(),
                    name: Some(name.clone()),
                    description: None,
                    enabled: true,
                    extra: Extra::new(),
                };
                record::insert(change, &service).await?;
                service.id
            }
        };
        ensure_endpoints(change, &service_id, region, url).await?;
    }
    Ok(())
}

async fn ensure_endpoints(
    change: &mut Change,
    service_id: &str,
    region: &str,
    url: &str,
) -> Result<(), Error> {
    let existing = endpoint::of_service(change, service_id).await?;
    for interface in ["public", "internal", "admin"] {
        let found = existing.iter().find(|endpoint| {
            endpoint.interface == interface && endpoint.region_id.as_deref() == Some(region)
        });
        match found {
            Some(endpoint) if endpoint.url == url => {}
            Some(endpoint) => {
                record::update(
                    change,
                    &Endpoint {
                        url: url.to_owned(),
                        ..endpoint.clone()
                    },
                )
                .await?;
            }
            None => {
                let endpoint = Endpoint {
                    id: new_id(),
                    service_id: service_id.to_owned(),
                    interface: interface.to_owned(),
                    region_id: Some(region.to_owned()),
                    url: url.to_owned(),
                    enabled: true,
                    extra: Extra::new(),
                };
                record::insert(change, &endpoint).await?;
            }
        }
    }
    Ok(())
}

/// 32 hexadecimal digits, as Keystone gives to what has no id type of its own.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A password for somebody who is to read it off a screen once: 22 letters, digits, `-` and `_`.
pub fn generated_password() -> String {
    token::audit_id()
}
