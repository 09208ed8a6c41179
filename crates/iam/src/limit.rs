//! Limits: what one project or domain may have, in place of the registered default. Unified limits, flat model.

use crate::action::identity as action;
use crate::actor::{Actor, Scope};
use crate::bootstrap::new_id;
use crate::naming::{Given, give};
use crate::policy::Target;
use crate::registered_limit::check_amount;
use crate::{Change, Iam};
use corten_model::ids::{DomainId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::identity::limit::{self, Limit, LimitTarget};
use corten_store::identity::project::{self, Project};
use corten_store::identity::registered_limit::{self, RegisteredLimit};
use corten_store::{Error, Failure, Tx, record};

pub struct NewLimit {
    pub target: LimitTarget,
    pub service_id: String,
    pub region_id: Option<String>,
    pub resource_name: String,
    pub resource_limit: i64,
    pub description: Option<String>,
}

/// A limit with the resource it is for.
pub struct LimitDetail {
    pub limit: Limit,
    pub registered: RegisteredLimit,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find limit for {id}."))
}

/// How unified limits are enforced, in Keystone's words.
pub const MODEL: (&str, &str) = (
    "flat",
    "Limit enforcement and validation does not take project hierarchy into consideration.",
);

impl Iam {
    /// All of them or none.
    pub async fn create_limits(
        &self,
        actor: &Actor,
        new: Vec<NewLimit>,
    ) -> Result<Vec<LimitDetail>, Failure> {
        self.policy
            .check(actor, action::LIMITS_WRITE, &Target::cloud())?;
        let mut change = self.change().await?;
        let mut details = Vec::with_capacity(new.len());
        for one in new {
            details.push(create(&mut change, one).await?);
        }
        change.commit().await?;
        Ok(details)
    }

    pub async fn limit(&self, actor: &Actor, id: &str) -> Result<LimitDetail, Failure> {
        let mut tx = self.read().await?;
        let found = match record::get::<Limit>(&mut tx, id).await? {
            Some(limit) => Some((policy_target(&mut tx, &limit.target).await?, limit)),
            None => None,
        };
        let (_, limit) = self.readable(
            actor,
            action::LIMITS_READ,
            found,
            |(target, _)| target.clone(),
            missing(id),
        )?;
        detail(&mut tx, limit).await
    }

    /// Those that the actor may see: all, those in his domain, or his project's.
    pub async fn limits(&self, actor: &Actor) -> Result<Vec<LimitDetail>, Failure> {
        if actor.scope == Scope::Unscoped {
            return Ok(Vec::new());
        }
        let mut tx = self.read().await?;
        let mut details = Vec::new();
        for limit in limit::all(&mut tx).await? {
            let target = policy_target(&mut tx, &limit.target).await?;
            if self
                .policy
                .check(actor, action::LIMITS_READ, &target)
                .is_ok()
            {
                details.push(detail(&mut tx, limit).await?);
            }
        }
        Ok(details)
    }

    pub async fn update_limit(
        &self,
        actor: &Actor,
        id: &str,
        resource_limit: Option<i64>,
        description: Given<String>,
    ) -> Result<LimitDetail, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Limit>(&mut change, id).await?;
        let mut limit = self.writable(
            actor,
            action::LIMITS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        if let Some(amount) = resource_limit {
            check_amount("resource_limit", amount)?;
            limit.resource_limit = amount;
        }
        give(&mut limit.description, description);
        record::update(&mut change, &limit).await?;
        let detail = detail(&mut change, limit).await?;
        change.commit().await?;
        Ok(detail)
    }

    pub async fn delete_limit(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Limit>(&mut change, id).await?;
        self.writable(
            actor,
            action::LIMITS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        record::delete::<Limit>(&mut change, id).await?;
        change.commit().await
    }
}

async fn create(change: &mut Change, new: NewLimit) -> Result<LimitDetail, Failure> {
    let NewLimit {
        target,
        service_id,
        region_id,
        resource_name,
        resource_limit,
        description,
    } = new;
    check_amount("resource_limit", resource_limit)?;
    let registered =
        registered_limit::find(change, &service_id, region_id.as_deref(), &resource_name).await?;
    let registered = registered.ok_or_else(|| {
        Refusal::forbidden(format!(
            "Unable to create a limit that has no corresponding registered limit: register {resource_name} of service \
             {service_id} first."
        ))
    })?;
    match &target {
        LimitTarget::Project(id) => {
            let found = record::get::<Project>(change, id).await?;
            found.ok_or_else(|| Refusal::invalid(format!("There is no project {id}.")))?;
        }
        LimitTarget::Domain(id) => {
            project::domain(change, id)
                .await?
                .ok_or_else(|| Refusal::invalid(format!("There is no domain {id}.")))?;
        }
    }
    let limit = Limit {
        id: new_id(),
        registered_limit_id: registered.id.clone(),
        target,
        resource_limit,
        description,
    };
    record::insert(change, &limit)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::from(Refusal::conflict(format!(
                "There is a limit for {resource_name} of {}; update that one.",
                limit.target.id()
            ))),
            other => other.into(),
        })?;
    Ok(LimitDetail { limit, registered })
}

async fn detail(tx: &mut Tx, limit: Limit) -> Result<LimitDetail, Failure> {
    let registered = record::get::<RegisteredLimit>(tx, &limit.registered_limit_id).await?;
    let registered = registered.ok_or_else(|| {
        Failure::outside(
            format!("reading limit {}", limit.id),
            "its registered limit is gone",
        )
    })?;
    Ok(LimitDetail { limit, registered })
}

async fn policy_target(tx: &mut Tx, target: &LimitTarget) -> Result<Target, Failure> {
    Ok(match target {
        LimitTarget::Project(id) => {
            let domain: Option<DomainId> = record::get::<Project>(tx, id)
                .await?
                .map(|project| project.domain());
            Target {
                project_id: Some(ProjectId(id.0.clone())),
                domain_id: domain,
                owner: None,
            }
        }
        LimitTarget::Domain(id) => Target::domain(id),
    })
}
