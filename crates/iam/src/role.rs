//! Roles, and which role implies which.

use crate::access::list_target;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::naming::{Given, check_immutable, check_name, give, merge_extra, taken};
use crate::policy::Target;
use crate::role_book::RoleBook;
use crate::{Change, Iam, domain};
use corten_model::ids::{DomainId, RoleId};
use corten_model::refusal::Refusal;
use corten_store::identity::role::{self, Implication, Role};
use corten_store::identity::{Extra, name_key};
use corten_store::{Error, Failure, Query, record};

pub struct NewRole {
    pub name: String,
    pub domain_id: Option<DomainId>,
    pub description: Option<String>,
    pub immutable: Option<bool>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct RoleChanges {
    pub name: Option<String>,
    pub description: Given<String>,
    pub immutable: Option<Option<bool>>,
    /// Given only to be compared: a role stays where it is.
    pub domain_id: Option<Option<DomainId>>,
    pub extra: Extra,
}

/// A role and the roles it implies directly.
pub struct Inference {
    pub prior: Role,
    pub implied: Vec<Role>,
}

fn missing(id: &RoleId) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find role: {id}."))
}

/// The role to be assigned, implied or lent.
pub(crate) async fn existing(change: &mut Change, id: &RoleId) -> Result<Role, Failure> {
    Ok(record::get::<Role>(change, id)
        .await?
        .ok_or_else(missing(id))?)
}

impl Iam {
    pub async fn create_role(&self, actor: &Actor, new: NewRole) -> Result<Role, Failure> {
        self.policy
            .check(actor, action::ROLES_WRITE, &Target::cloud())?;
        let NewRole {
            name,
            domain_id,
            description,
            immutable,
            extra,
        } = new;
        check_name("role", &name)?;
        let mut change = self.change().await?;
        if let Some(id) = &domain_id {
            domain::existing(&mut change, id).await?;
        }
        let role = Role {
            id: RoleId::random(),
            domain_id,
            name,
            description,
            immutable,
            extra,
        };
        record::insert(&mut change, &role)
            .await
            .map_err(taken("role", &role.name))?;
        change.commit().await?;
        Ok(role)
    }

    pub async fn role(&self, actor: &Actor, id: &RoleId) -> Result<Role, Failure> {
        let found = record::get::<Role>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::ROLES_READ,
            found,
            |_| list_target(actor),
            missing(id),
        )?)
    }

    /// The roles of one domain, or those of the whole cloud.
    pub async fn roles(
        &self,
        actor: &Actor,
        domain: Option<&DomainId>,
        name: Option<&str>,
    ) -> Result<Vec<Role>, Failure> {
        self.policy
            .check(actor, action::ROLES_READ, &list_target(actor))?;
        let mut query =
            Query::<Role>::new().equals("domain_id", domain.map_or("", DomainId::as_str));
        if let Some(name) = name {
            query = query.equals("name_key", name_key(name));
        }
        Ok(query.all(&mut self.read().await?).await?)
    }

    pub async fn update_role(
        &self,
        actor: &Actor,
        id: &RoleId,
        changes: RoleChanges,
    ) -> Result<Role, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Role>(&mut change, id).await?;
        let mut role = self.writable(
            actor,
            action::ROLES_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let RoleChanges {
            name,
            description,
            immutable,
            domain_id,
            extra,
        } = changes;
        check_immutable("role", id.as_str(), role.immutable, immutable)?;
        if domain_id.is_some_and(|wanted| wanted != role.domain_id) {
            return Err(Refusal::invalid(
                "domain_id cannot be changed: a role stays in its domain.",
            )
            .into());
        }
        if let Some(name) = name {
            check_name("role", &name)?;
            role.name = name;
        }
        give(&mut role.description, description);
        if let Some(immutable) = immutable {
            role.immutable = immutable;
        }
        merge_extra(&mut role.extra, extra);
        record::update(&mut change, &role)
            .await
            .map_err(taken("role", &role.name))?;
        change.commit().await?;
        Ok(role)
    }

    /// Deletes a role; its assignments and implications go with the row.
    pub async fn delete_role(&self, actor: &Actor, id: &RoleId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Role>(&mut change, id).await?;
        let role = self.writable(
            actor,
            action::ROLES_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        check_immutable("role", id.as_str(), role.immutable, None)?;
        record::delete::<Role>(&mut change, id).await?;
        change.commit().await
    }

    /// Who has `prior` has `implied` too. Nothing can imply admin: whoever may hand out the one would hand out the
    /// cloud.
    pub async fn imply(
        &self,
        actor: &Actor,
        prior: &RoleId,
        implied: &RoleId,
    ) -> Result<Inference, Failure> {
        self.policy
            .check(actor, action::ROLES_WRITE, &Target::cloud())?;
        let mut change = self.change().await?;
        let prior = existing(&mut change, prior).await?;
        let implied = existing(&mut change, implied).await?;
        let forbidden = |why: &str| -> Failure {
            Refusal::forbidden(format!(
                "Role {} cannot imply role {}: {why}.",
                prior.id, implied.id
            ))
            .into()
        };
        if name_key(&implied.name) == "admin" {
            return Err(forbidden("no role may imply admin"));
        }
        if prior.id == implied.id {
            return Err(forbidden("they are the same"));
        }
        if implied.domain_id.is_some() && prior.domain_id.is_none() {
            return Err(forbidden(
                "a role of the whole cloud cannot imply one of a single domain",
            ));
        }
        let implication = Implication {
            prior_id: prior.id.clone(),
            implied_id: implied.id.clone(),
        };
        match record::insert(&mut change, &implication).await {
            Ok(()) => change.commit().await?,
            Err(Error::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Inference {
            prior,
            implied: vec![implied],
        })
    }

    pub async fn stop_implying(
        &self,
        actor: &Actor,
        prior: &RoleId,
        implied: &RoleId,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::ROLES_WRITE, &Target::cloud())?;
        let implication = Implication {
            prior_id: prior.clone(),
            implied_id: implied.clone(),
        };
        let mut change = self.change().await?;
        if !record::delete::<Implication>(&mut change, corten_store::Record::id(&implication))
            .await?
        {
            return Err(not_implied(prior, implied).into());
        }
        change.commit().await
    }

    /// What one role implies directly.
    pub async fn inference(&self, actor: &Actor, prior: &RoleId) -> Result<Inference, Failure> {
        let prior = self.role(actor, prior).await?;
        let book = RoleBook::load(&mut self.read().await?).await?;
        Ok(infer(&book, &prior))
    }

    /// One implication, if it is there.
    pub async fn implication(
        &self,
        actor: &Actor,
        prior: &RoleId,
        implied: &RoleId,
    ) -> Result<Inference, Failure> {
        let Inference {
            prior,
            implied: mut all,
        } = self.inference(actor, prior).await?;
        all.retain(|role| role.id == *implied);
        if all.is_empty() {
            return Err(not_implied(&prior.id, implied).into());
        }
        Ok(Inference {
            prior,
            implied: all,
        })
    }

    /// Every role that implies another.
    pub async fn inferences(&self, actor: &Actor) -> Result<Vec<Inference>, Failure> {
        self.policy
            .check(actor, action::ROLES_READ, &list_target(actor))?;
        let mut tx = self.read().await?;
        let book = RoleBook::load(&mut tx).await?;
        let all = role::all(&mut tx).await?;
        Ok(all
            .iter()
            .map(|prior| infer(&book, prior))
            .filter(|one| !one.implied.is_empty())
            .collect())
    }
}

fn infer(book: &RoleBook, prior: &Role) -> Inference {
    let implied = book
        .implied_by(&prior.id)
        .iter()
        .filter_map(|id| book.get(id))
        .cloned()
        .collect();
    Inference {
        prior: prior.clone(),
        implied,
    }
}

fn not_implied(prior: &RoleId, implied: &RoleId) -> Refusal {
    Refusal::not_found(format!("Role {prior} does not imply role {implied}."))
}
