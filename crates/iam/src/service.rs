//! Services of the catalog.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::{Given, check_name, give, merge_extra};
use crate::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::identity::Extra;
use corten_store::identity::service::{self, Service};
use corten_store::{Error, Failure, Tx, record};

pub struct NewService {
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub extra: Extra,
}

#[derive(Default)]
pub struct ServiceChanges {
    pub kind: Option<String>,
    pub name: Given<String>,
    pub description: Given<String>,
    pub enabled: Option<bool>,
    pub extra: Extra,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find service: {id}."))
}

/// The service that an endpoint or limit is to belong to.
pub(crate) async fn existing(tx: &mut Tx, id: &str) -> Result<Service, Failure> {
    Ok(record::get::<Service>(tx, id)
        .await?
        .ok_or_else(missing(id))?)
}

impl Iam {
    pub async fn create_service(&self, actor: &Actor, new: NewService) -> Result<Service, Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        let NewService {
            kind,
            name,
            description,
            enabled,
            extra,
        } = new;
        check_name("service type", &kind)?;
        let service = Service {
            id: new_id(),
            kind,
            name,
            description,
            enabled,
            extra,
        };
        let mut change = self.change().await?;
        record::insert(&mut change, &service).await?;
        change.commit().await?;
        Ok(service)
    }

    pub async fn service(&self, actor: &Actor, id: &str) -> Result<Service, Failure> {
        let found = record::get::<Service>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::CATALOG_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn services(&self, actor: &Actor) -> Result<Vec<Service>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        Ok(service::all(&mut self.read().await?).await?)
    }

    pub async fn update_service(
        &self,
        actor: &Actor,
        id: &str,
        changes: ServiceChanges,
    ) -> Result<Service, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Service>(&mut change, id).await?;
        let mut service = self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let ServiceChanges {
            kind,
            name,
            description,
            enabled,
            extra,
        } = changes;
        if let Some(kind) = kind {
            check_name("service type", &kind)?;
            service.kind = kind;
        }
        give(&mut service.name, name);
        give(&mut service.description, description);
        service.enabled = enabled.unwrap_or(service.enabled);
        merge_extra(&mut service.extra, extra);
        record::update(&mut change, &service).await?;
        change.commit().await?;
        Ok(service)
    }

    /// Deletes a service; its endpoints go with it.
    pub async fn delete_service(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Service>(&mut change, id).await?;
        self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        match record::delete::<Service>(&mut change, id).await {
            Ok(_) => change.commit().await,
            Err(Error::Referenced { .. }) => Err(Refusal::forbidden(format!(
                "Unable to delete service {id}: registered limits refer to it; delete those first."
            ))
            .into()),
            Err(error) => Err(error.into()),
        }
    }
}
