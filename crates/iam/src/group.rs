//! Groups: users who get roles together.

use crate::Iam;
use crate::access::{home_domain, list_domain, list_target};
use crate::action::identity as action;
use crate::actor::Actor;
use crate::naming::{check_name, merge_extra, taken};
use crate::policy::Target;
use crate::{domain, user};
use corten_model::ids::{DomainId, GroupId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::assignment::{self, Holder};
use corten_store::identity::group::{self, Group, Member};
use corten_store::identity::user::User;
use corten_store::identity::{Extra, name_key};
use corten_store::{Error, Failure, Query, Record, record};

pub struct NewGroup {
    pub name: String,
    pub domain_id: Option<DomainId>,
    pub description: Option<String>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct GroupChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    /// Given only to be compared: a group stays in its domain.
    pub domain_id: Option<DomainId>,
    pub extra: Extra,
}

fn missing(id: &GroupId) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find group: {id}."))
}

fn target(group: &Group) -> Target {
    Target::domain(&group.domain_id)
}

impl Iam {
    pub async fn create_group(&self, actor: &Actor, new: NewGroup) -> Result<Group, Failure> {
        let NewGroup {
            name,
            domain_id,
            description,
            extra,
        } = new;
        let domain_id = domain_id.unwrap_or_else(|| home_domain(actor));
        self.policy
            .check(actor, action::GROUPS_WRITE, &Target::domain(&domain_id))?;
        check_name("group", &name)?;
        let description = description.unwrap_or_default();
        let group = Group {
            id: GroupId::random(),
            domain_id,
            name,
            description,
            extra,
        };
        let mut change = self.change().await?;
        domain::existing(&mut change, &group.domain_id).await?;
        record::insert(&mut change, &group)
            .await
            .map_err(taken("group", &group.name))?;
        change.commit().await?;
        Ok(group)
    }

    pub async fn group(&self, actor: &Actor, id: &GroupId) -> Result<Group, Failure> {
        let found = record::get::<Group>(&mut self.read().await?, id).await?;
        Ok(self.readable(actor, action::GROUPS_LIST, found, target, missing(id))?)
    }

    pub async fn groups(
        &self,
        actor: &Actor,
        domain: Option<&DomainId>,
        name: Option<&str>,
    ) -> Result<Vec<Group>, Failure> {
        self.policy
            .check(actor, action::GROUPS_LIST, &list_target(actor))?;
        let mut query = Query::<Group>::new();
        for id in list_domain(actor).into_iter().chain(domain) {
            query = query.equals("domain_id", id);
        }
        if let Some(name) = name {
            query = query.equals("name_key", name_key(name));
        }
        Ok(query.all(&mut self.read().await?).await?)
    }

    pub async fn update_group(
        &self,
        actor: &Actor,
        id: &GroupId,
        changes: GroupChanges,
    ) -> Result<Group, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Group>(&mut change, id).await?;
        let mut group = self.writable(actor, action::GROUPS_WRITE, found, target, missing(id))?;
        let GroupChanges {
            name,
            description,
            domain_id,
            extra,
        } = changes;
        if domain_id.is_some_and(|wanted| wanted != group.domain_id) {
            return Err(Refusal::invalid(
                "domain_id cannot be changed: a group stays in its domain.",
            )
            .into());
        }
        if let Some(name) = name {
            check_name("group", &name)?;
            group.name = name;
        }
        if let Some(description) = description {
            group.description = description.unwrap_or_default();
        }
        merge_extra(&mut group.extra, extra);
        record::update(&mut change, &group)
            .await
            .map_err(taken("group", &group.name))?;
        change.commit().await?;
        Ok(group)
    }

    pub async fn delete_group(&self, actor: &Actor, id: &GroupId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Group>(&mut change, id).await?;
        self.writable(actor, action::GROUPS_WRITE, found, target, missing(id))?;
        let holder = Holder::Group(id.clone());
        self.check_not_above(&mut change, actor, &holder).await?;
        assignment::forget_holder(&mut change, &holder).await?;
        record::delete::<Group>(&mut change, id).await?;
        change.commit().await
    }

    /// The users in a group.
    pub async fn members(&self, actor: &Actor, id: &GroupId) -> Result<Vec<User>, Failure> {
        self.group(actor, id).await?;
        let mut tx = self.read().await?;
        let ids = group::members(&mut tx, id).await?;
        Ok(Query::<User>::new()
            .any_of("id", ids.iter().map(UserId::as_str))
            .all(&mut tx)
            .await?)
    }

    /// The groups of a user.
    pub async fn groups_of_user(&self, actor: &Actor, id: &UserId) -> Result<Vec<Group>, Failure> {
        let mut tx = self.read().await?;
        let found = record::get::<User>(&mut tx, id).await?;
        self.readable(
            actor,
            action::GROUPS_OF_USER,
            found,
            user::target,
            user::missing(id),
        )?;
        let ids = group::ids_of_user(&mut tx, id).await?;
        Ok(Query::<Group>::new()
            .any_of("id", ids.iter().map(GroupId::as_str))
            .all(&mut tx)
            .await?)
    }

    pub async fn add_member(
        &self,
        actor: &Actor,
        group: &GroupId,
        user: &UserId,
    ) -> Result<(), Failure> {
        let mut change = self.change().await?;
        self.may_manage_member(&mut change, actor, group, user)
            .await?;
        let member = Member {
            group_id: group.clone(),
            user_id: user.clone(),
        };
        match record::insert(&mut change, &member).await {
            Ok(()) => change.commit().await,
            Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn remove_member(
        &self,
        actor: &Actor,
        group: &GroupId,
        user: &UserId,
    ) -> Result<(), Failure> {
        let mut change = self.change().await?;
        self.may_manage_member(&mut change, actor, group, user)
            .await?;
        let member = Member {
            group_id: group.clone(),
            user_id: user.clone(),
        };
        if !record::delete::<Member>(&mut change, member.id()).await? {
            return Err(no_member(group, user).into());
        }
        change.commit().await
    }

    pub async fn check_member(
        &self,
        actor: &Actor,
        group: &GroupId,
        user: &UserId,
    ) -> Result<(), Failure> {
        self.group(actor, group).await?;
        let member = Member {
            group_id: group.clone(),
            user_id: user.clone(),
        };
        let found = record::get::<Member>(&mut self.read().await?, member.id()).await?;
        Ok(found.map(|_| ()).ok_or_else(|| no_member(group, user))?)
    }

    /// Both the group and the user must be the actor's to manage, and the group must not raise their power.
    async fn may_manage_member(
        &self,
        change: &mut crate::Change,
        actor: &Actor,
        group: &GroupId,
        user: &UserId,
    ) -> Result<(), Failure> {
        let found = record::get::<Group>(change, group).await?;
        self.writable(actor, action::GROUPS_WRITE, found, target, missing(group))?;
        let found = record::get::<User>(change, user).await?;
        self.writable(
            actor,
            action::GROUPS_WRITE,
            found,
            |user| Target::domain(&user.domain_id),
            user::missing(user),
        )?;
        self.check_not_above(change, actor, &Holder::Group(group.clone()))
            .await
    }
}

fn no_member(group: &GroupId, user: &UserId) -> Refusal {
    Refusal::not_found(format!("User '{user}' not found in group '{group}'."))
}
