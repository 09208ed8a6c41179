//! Role assignments: giving, taking and listing (K116, K122: managing the members of a project).

use crate::access::{list_domain, list_target};
use crate::action::identity as action;
use crate::actor::Actor;
use crate::policy::Target;
use crate::role_book::RoleBook;
use crate::{Change, Iam};
use corten_model::ids::{DomainId, GroupId, ProjectId, RoleId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::application_credential;
use corten_store::identity::assignment::{self, Assignment, Extent, Holder};
use corten_store::identity::group::{self, Group};
use corten_store::identity::project::{self, Project};
use corten_store::identity::role::Role;
use corten_store::identity::user::User;
use corten_store::{Error, Failure, Record, Tx, record};
use std::collections::{BTreeMap, BTreeSet};

/// A holder on an extent, as the paths of the API name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub holder: Holder,
    pub extent: Extent,
    /// OS-INHERIT: on the projects below.
    pub inherited: bool,
}

impl Grant {
    fn of(&self, role: &RoleId) -> Assignment {
        let Self {
            holder,
            extent,
            inherited,
        } = self.clone();
        Assignment {
            holder,
            extent,
            role_id: role.clone(),
            inherited,
        }
    }
}

/// What a list of assignments is limited to.
#[derive(Debug, Default, Clone)]
pub struct AssignmentFilter {
    pub user: Option<UserId>,
    pub group: Option<GroupId>,
    pub role: Option<RoleId>,
    pub extent: Option<Extent>,
    pub inherited_only: bool,
    /// The roles that users have in effect: groups, inheritance and implied roles worked out.
    pub effective: bool,
    /// With a project as extent: the projects below it too.
    pub include_subtree: bool,
}

/// One line of a list, with where it comes from if it was worked out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub assignment: Assignment,
    pub through_group: Option<GroupId>,
    /// Where an inherited assignment was made.
    pub inherited_from: Option<Extent>,
    pub prior_role: Option<RoleId>,
}

/// The names of what a list of assignments mentions, for `include_names`.
#[derive(Default)]
pub struct Names {
    pub users: BTreeMap<UserId, (String, DomainId)>,
    pub groups: BTreeMap<GroupId, (String, DomainId)>,
    pub roles: BTreeMap<RoleId, Role>,
    pub projects: BTreeMap<ProjectId, (String, DomainId)>,
    pub domains: BTreeMap<DomainId, String>,
}

impl Iam {
    pub async fn grant(&self, actor: &Actor, grant: &Grant, role: &RoleId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let domain = self.may_assign(&mut change, actor, grant).await?;
        let role = crate::role::existing(&mut change, role).await?;
        if role.domain_id.is_some() && role.domain_id != domain {
            return Err(Refusal::forbidden(format!(
                "Role {} belongs to domain {}; it can be given inside that domain only.",
                role.id,
                role.domain_id.map(|id| id.0).unwrap_or_default()
            ))
            .into());
        }
        self.check_grantable(actor, &RoleBook::load(&mut change).await?, &role.id)?;
        match record::insert(&mut change, &grant.of(&role.id)).await {
            Ok(()) => change.commit().await,
            Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a role back. What the user lent out on the project goes too: application credentials there.
    pub async fn revoke_grant(
        &self,
        actor: &Actor,
        grant: &Grant,
        role: &RoleId,
    ) -> Result<(), Failure> {
        let mut change = self.change().await?;
        self.may_assign(&mut change, actor, grant).await?;
        self.check_grantable(actor, &RoleBook::load(&mut change).await?, role)?;
        if !record::delete::<Assignment>(&mut change, grant.of(role).id()).await? {
            return Err(not_assigned(grant, role).into());
        }
        if let (Holder::User(user), Extent::Project(project)) = (&grant.holder, &grant.extent) {
            application_credential::forget(&mut change, user, Some(project)).await?;
        }
        change.commit().await
    }

    pub async fn check_grant(
        &self,
        actor: &Actor,
        grant: &Grant,
        role: &RoleId,
    ) -> Result<(), Failure> {
        let mut tx = self.read().await?;
        self.may_read_grants(&mut tx, actor, grant).await?;
        let found = record::get::<Assignment>(&mut tx, grant.of(role).id()).await?;
        Ok(found.map(|_| ()).ok_or_else(|| not_assigned(grant, role))?)
    }

    /// The roles given to a holder on an extent, as they were given.
    pub async fn granted(&self, actor: &Actor, grant: &Grant) -> Result<Vec<Role>, Failure> {
        let mut tx = self.read().await?;
        self.may_read_grants(&mut tx, actor, grant).await?;
        let mut roles = Vec::new();
        for one in assignment::of_holder(&mut tx, &grant.holder).await? {
            if one.extent == grant.extent && one.inherited == grant.inherited {
                roles.extend(record::get::<Role>(&mut tx, &one.role_id).await?);
            }
        }
        Ok(roles)
    }

    /// May the actor hand out roles there, to this holder? Gives the domain of the extent.
    async fn may_assign(
        &self,
        change: &mut Change,
        actor: &Actor,
        grant: &Grant,
    ) -> Result<Option<DomainId>, Failure> {
        let (found, missing) = extent_domain(change, &grant.extent).await?;
        let domain = match &grant.extent {
            Extent::System => {
                self.policy
                    .check(actor, action::SYSTEM_ASSIGNMENTS_WRITE, &Target::cloud())?;
                None
            }
            Extent::Project(_) | Extent::Domain(_) => Some(self.writable(
                actor,
                action::ASSIGNMENTS_WRITE,
                found,
                Target::domain,
                || missing,
            )?),
        };
        let (holder_domain, missing) = holder_domain(change, &grant.holder).await?;
        match grant.extent {
            Extent::System => {
                holder_domain.ok_or(missing)?;
            }
            Extent::Project(_) | Extent::Domain(_) => {
                self.writable(
                    actor,
                    action::ASSIGNMENTS_WRITE,
                    holder_domain,
                    Target::domain,
                    || missing,
                )?;
            }
        }
        Ok(domain)
    }

    async fn may_read_grants(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        grant: &Grant,
    ) -> Result<(), Failure> {
        let (found, missing) = extent_domain(tx, &grant.extent).await?;
        match grant.extent {
            Extent::System => {
                self.policy
                    .check(actor, action::SYSTEM_ASSIGNMENTS_READ, &Target::cloud())?
            }
            Extent::Project(_) | Extent::Domain(_) => {
                self.writable(
                    actor,
                    action::ASSIGNMENTS_READ,
                    found,
                    Target::domain,
                    || missing,
                )?;
            }
        }
        let (holder, missing) = holder_domain(tx, &grant.holder).await?;
        holder.ok_or(missing)?;
        Ok(())
    }

    /// The assignments that pass the filter; for a domain-scoped token, those inside that domain.
    pub async fn assignments(
        &self,
        actor: &Actor,
        filter: &AssignmentFilter,
    ) -> Result<Vec<Line>, Failure> {
        self.policy
            .check(actor, action::ASSIGNMENTS_READ, &list_target(actor))?;
        if filter.effective && filter.group.is_some() {
            return Err(Refusal::invalid(
                "effective shows what users have, through groups too; it cannot be combined with group.id.",
            )
            .into());
        }
        let mut tx = self.read().await?;
        let mut lines: BTreeSet<Line> = BTreeSet::new();
        for assignment in assignment::all(&mut tx).await? {
            let line = Line {
                assignment,
                through_group: None,
                inherited_from: None,
                prior_role: None,
            };
            if filter.effective {
                lines.extend(work_out(&mut tx, line).await?);
            } else {
                lines.insert(line);
            }
        }
        if filter.effective {
            lines = with_implied(&RoleBook::load(&mut tx).await?, lines);
        }
        let subtree = match (&filter.extent, filter.include_subtree) {
            (Some(Extent::Project(id)), true) => project::descendants(&mut tx, id).await?,
            _ => Vec::new(),
        };
        let mut found = Vec::new();
        for line in lines
            .into_iter()
            .filter(|line| filter.passes(line, &subtree))
        {
            if let Some(own) = list_domain(actor) {
                let (domain, _) = extent_domain(&mut tx, &line.assignment.extent).await?;
                if domain.as_ref() != Some(own) {
                    continue;
                }
            }
            found.push(line);
        }
        Ok(found)
    }

    /// The names of all that these lines mention.
    pub async fn names_of(&self, lines: &[Line]) -> Result<Names, Failure> {
        let mut tx = self.read().await?;
        let mut names = Names::default();
        for Line { assignment, .. } in lines {
            match &assignment.holder {
                Holder::User(id) => {
                    if let Some(user) = record::get::<User>(&mut tx, id).await? {
                        names.users.insert(id.clone(), (user.name, user.domain_id));
                    }
                }
                Holder::Group(id) => {
                    if let Some(group) = record::get::<Group>(&mut tx, id).await? {
                        names
                            .groups
                            .insert(id.clone(), (group.name, group.domain_id));
                    }
                }
            }
            if let Extent::Project(id) = &assignment.extent
                && let Some(project) = record::get::<Project>(&mut tx, id).await?
            {
                names
                    .projects
                    .insert(id.clone(), (project.name.clone(), project.domain()));
            }
            if let Some(role) = record::get::<Role>(&mut tx, &assignment.role_id).await? {
                names.roles.insert(role.id.clone(), role);
            }
        }
        for domain in corten_store::Query::<Project>::new()
            .equals("is_domain", true)
            .all(&mut tx)
            .await?
        {
            names.domains.insert(domain.domain(), domain.name);
        }
        Ok(names)
    }
}

impl AssignmentFilter {
    fn passes(&self, line: &Line, subtree: &[Project]) -> bool {
        let Assignment {
            holder,
            extent,
            role_id,
            inherited,
        } = &line.assignment;
        let user = self
            .user
            .as_ref()
            .is_none_or(|user| *holder == Holder::User(user.clone()));
        let group = self
            .group
            .as_ref()
            .is_none_or(|group| *holder == Holder::Group(group.clone()));
        let role = self.role.as_ref().is_none_or(|role| role == role_id);
        let below = |extent: &Extent| matches!(extent, Extent::Project(id) if subtree.iter().any(|project| project.id == *id));
        let place = self
            .extent
            .as_ref()
            .is_none_or(|wanted| wanted == extent || below(extent));
        let inherits = !self.inherited_only || *inherited || line.inherited_from.is_some();
        user && group && role && place && inherits
    }
}

/// An assignment as the users have it: one line per member of a group, and per project below an inherited one.
async fn work_out(tx: &mut Tx, line: Line) -> Result<Vec<Line>, Failure> {
    let holders: Vec<(Holder, Option<GroupId>)> = match &line.assignment.holder {
        Holder::User(_) => vec![(line.assignment.holder.clone(), None)],
        Holder::Group(id) => {
            let members = group::members(tx, id).await?;
            members
                .into_iter()
                .map(|user| (Holder::User(user), Some(id.clone())))
                .collect()
        }
    };
    let origin = &line.assignment.extent;
    let extents: Vec<(Extent, Option<Extent>)> = if line.assignment.inherited {
        let root = ProjectId(origin.id().to_owned());
        let below = project::descendants(tx, &root).await?;
        below
            .into_iter()
            .map(|project| (Extent::Project(project.id), Some(origin.clone())))
            .collect()
    } else {
        vec![(origin.clone(), None)]
    };
    let mut lines = Vec::new();
    for (holder, through_group) in &holders {
        for (extent, inherited_from) in &extents {
            lines.push(Line {
                assignment: Assignment {
                    holder: holder.clone(),
                    extent: extent.clone(),
                    role_id: line.assignment.role_id.clone(),
                    inherited: false,
                },
                through_group: through_group.clone(),
                inherited_from: inherited_from.clone(),
                prior_role: None,
            });
        }
    }
    Ok(lines)
}

/// Adds what each line's role implies; roles of single domains only stand for that.
fn with_implied(book: &RoleBook, lines: BTreeSet<Line>) -> BTreeSet<Line> {
    let mut all = BTreeSet::new();
    for line in lines {
        for role in book.effective([line.assignment.role_id.clone()]) {
            let direct = role.id == line.assignment.role_id;
            let prior_role = (!direct).then(|| line.assignment.role_id.clone());
            let assignment = Assignment {
                role_id: role.id.clone(),
                ..line.assignment.clone()
            };
            all.insert(Line {
                assignment,
                prior_role,
                ..line.clone()
            });
        }
    }
    all
}

/// The domain of an extent, or what to say if the extent is not there.
async fn extent_domain(
    tx: &mut Tx,
    extent: &Extent,
) -> Result<(Option<DomainId>, Refusal), Failure> {
    Ok(match extent {
        Extent::Project(id) => {
            let found = record::get::<Project>(tx, id)
                .await?
                .map(|project| project.domain());
            (
                found,
                Refusal::not_found(format!("Could not find project: {id}.")),
            )
        }
        Extent::Domain(id) => {
            let found = project::domain(tx, id).await?.map(|domain| domain.domain());
            (
                found,
                Refusal::not_found(format!("Could not find domain: {id}.")),
            )
        }
        Extent::System => (None, Refusal::not_found("The system is in no domain.")),
    })
}

async fn holder_domain(
    tx: &mut Tx,
    holder: &Holder,
) -> Result<(Option<DomainId>, Refusal), Failure> {
    Ok(match holder {
        Holder::User(id) => {
            let found = record::get::<User>(tx, id)
                .await?
                .map(|user| user.domain_id);
            (
                found,
                Refusal::not_found(format!("Could not find user: {id}.")),
            )
        }
        Holder::Group(id) => {
            let found = record::get::<Group>(tx, id)
                .await?
                .map(|group| group.domain_id);
            (
                found,
                Refusal::not_found(format!("Could not find group: {id}.")),
            )
        }
    })
}

fn not_assigned(grant: &Grant, role: &RoleId) -> Refusal {
    let place = match &grant.extent {
        Extent::Project(id) => format!("project {id}"),
        Extent::Domain(id) => format!("domain {id}"),
        Extent::System => "the system".to_owned(),
    };
    Refusal::not_found(format!(
        "Could not find role assignment with role: {role}, holder: {}, on {place}.",
        grant.holder.id()
    ))
}
