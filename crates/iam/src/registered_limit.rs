//! Registered limits: the defaults of unified limits.

use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::{Given, check_name, give};
use crate::policy::Target;
use crate::{Change, Iam, service};
use corten_model::refusal::Refusal;
use corten_store::identity::limit;
use corten_store::identity::region::Region;
use corten_store::identity::registered_limit::{self, RegisteredLimit};
use corten_store::{Error, Failure, record};

pub struct NewRegisteredLimit {
    pub service_id: String,
    pub region_id: Option<String>,
    pub resource_name: String,
    pub default_limit: i64,
    pub description: Option<String>,
}

#[derive(Default)]
pub struct RegisteredLimitChanges {
    pub service_id: Option<String>,
    pub region_id: Given<String>,
    pub resource_name: Option<String>,
    pub default_limit: Option<i64>,
    pub description: Given<String>,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find registered limit for {id}."))
}

/// -1 is "unlimited".
pub(crate) fn check_amount(name: &str, amount: i64) -> Result<(), Refusal> {
    if (-1..=0x7FFF_FFFF).contains(&amount) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "{name} is -1 (unlimited) to 2147483647, not {amount}."
    )))
}

fn taken(limit: &RegisteredLimit) -> impl Fn(Error) -> Failure + use<> {
    let text = format!(
        "There is a registered limit for {} of this service and region.",
        limit.resource_name
    );
    move |error| match error {
        Error::Exists { .. } => Refusal::conflict(&text).into(),
        other => other.into(),
    }
}

async fn check_references(change: &mut Change, limit: &RegisteredLimit) -> Result<(), Failure> {
    let not_there = |what: &str, id: &str| -> Failure {
        Refusal::invalid(format!("There is no {what} {id}.")).into()
    };
    service::existing(change, &limit.service_id)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(_) => not_there("service", &limit.service_id),
            other => other,
        })?;
    if let Some(region) = &limit.region_id
        && record::get::<Region>(change, region).await?.is_none()
    {
        return Err(not_there("region", region));
    }
    Ok(())
}

impl Iam {
    /// All of them or none.
    pub async fn create_registered_limits(
        &self,
        actor: &Actor,
        new: Vec<NewRegisteredLimit>,
    ) -> Result<Vec<RegisteredLimit>, Failure> {
        self.policy
            .check(actor, action::LIMITS_WRITE, &Target::cloud())?;
        let mut change = self.change().await?;
        let mut limits = Vec::with_capacity(new.len());
        for NewRegisteredLimit {
            service_id,
            region_id,
            resource_name,
            default_limit,
            description,
        } in new
        {
            check_name("resource", &resource_name)?;
            check_amount("default_limit", default_limit)?;
            let limit = RegisteredLimit {
                id: new_id(),
                service_id,
                region_id,
                resource_name,
                default_limit,
                description,
            };
            check_references(&mut change, &limit).await?;
            record::insert(&mut change, &limit)
                .await
                .map_err(taken(&limit))?;
            limits.push(limit);
        }
        change.commit().await?;
        Ok(limits)
    }

    pub async fn registered_limit(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<RegisteredLimit, Failure> {
        let found = record::get::<RegisteredLimit>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::REGISTERED_LIMITS_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn registered_limits(&self, actor: &Actor) -> Result<Vec<RegisteredLimit>, Failure> {
        self.policy
            .check(actor, action::REGISTERED_LIMITS_READ, &Target::cloud())?;
        Ok(registered_limit::all(&mut self.read().await?).await?)
    }

    pub async fn update_registered_limit(
        &self,
        actor: &Actor,
        id: &str,
        changes: RegisteredLimitChanges,
    ) -> Result<RegisteredLimit, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<RegisteredLimit>(&mut change, id).await?;
        let mut limit = self.writable(
            actor,
            action::LIMITS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let RegisteredLimitChanges {
            service_id,
            region_id,
            resource_name,
            default_limit,
            description,
        } = changes;
        let renames = service_id.is_some() || region_id.is_some() || resource_name.is_some();
        if renames {
            check_unused(&mut change, id).await?;
        }
        limit.service_id = service_id.unwrap_or(limit.service_id);
        give(&mut limit.region_id, region_id);
        if let Some(name) = resource_name {
            check_name("resource", &name)?;
            limit.resource_name = name;
        }
        if let Some(amount) = default_limit {
            check_amount("default_limit", amount)?;
            limit.default_limit = amount;
        }
        give(&mut limit.description, description);
        check_references(&mut change, &limit).await?;
        record::update(&mut change, &limit)
            .await
            .map_err(taken(&limit))?;
        change.commit().await?;
        Ok(limit)
    }

    pub async fn delete_registered_limit(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<RegisteredLimit>(&mut change, id).await?;
        self.writable(
            actor,
            action::LIMITS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        check_unused(&mut change, id).await?;
        record::delete::<RegisteredLimit>(&mut change, id).await?;
        change.commit().await
    }
}

async fn check_unused(change: &mut Change, id: &str) -> Result<(), Failure> {
    if limit::of_registered(change, id).await?.is_empty() {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "Unable to update or delete registered limit {id} because there are project limits associated with it."
    ))
    .into())
}
