//! Which roles somebody has where: assignments, groups, inheritance and implied roles put together.

use corten_model::ids::{DomainId, GroupId, ProjectId, RoleId, UserId};
use corten_store::identity::assignment::{self, Assignment, Extent};
use corten_store::identity::project::{self, Project};
use corten_store::identity::role::{self, Role};
use corten_store::identity::{group, name_key};
use corten_store::{Failure, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// Every role and what it implies.
pub struct RoleBook {
    roles: BTreeMap<RoleId, Role>,
    implied: BTreeMap<RoleId, Vec<RoleId>>,
}

impl RoleBook {
    pub async fn load(tx: &mut Tx) -> Result<Self, Failure> {
        let roles = role::all(tx)
            .await?
            .into_iter()
            .map(|role| (role.id.clone(), role))
            .collect();
        let mut implied: BTreeMap<RoleId, Vec<RoleId>> = BTreeMap::new();
        for implication in role::implications(tx).await? {
            implied
                .entry(implication.prior_id)
                .or_default()
                .push(implication.implied_id);
        }
        Ok(Self { roles, implied })
    }

    pub fn get(&self, id: &RoleId) -> Option<&Role> {
        self.roles.get(id)
    }

    /// What a role implies directly.
    pub fn implied_by(&self, id: &RoleId) -> &[RoleId] {
        self.implied.get(id).map_or(&[], Vec::as_slice)
    }

    /// These roles and all that they imply, roles of single domains included.
    pub fn closure(&self, roles: impl IntoIterator<Item = RoleId>) -> BTreeSet<RoleId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<RoleId> = roles.into_iter().collect();
        while let Some(id) = open.pop() {
            if found.insert(id.clone()) {
                open.extend(self.implied_by(&id).iter().cloned());
            }
        }
        found
    }

    /// The same as tokens show it: roles of single domains only stand for what they imply. In the order of names.
    pub fn effective(&self, roles: impl IntoIterator<Item = RoleId>) -> Vec<&Role> {
        let closure = self.closure(roles);
        let mut found: Vec<&Role> = closure
            .iter()
            .filter_map(|id| self.roles.get(id))
            .filter(|role| role.domain_id.is_none())
            .collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        found
    }

    /// Whether these roles, with all they imply, stay within the names given.
    pub fn within(&self, roles: impl IntoIterator<Item = RoleId>, names: &[&str]) -> bool {
        self.effective(roles)
            .iter()
            .all(|role| names.contains(&name_key(&role.name).as_str()))
    }
}

/// Where roles are looked up.
#[derive(Debug, Clone)]
pub enum Place {
    /// A project, with the ids of the projects above it (its domain's last) and its domain.
    Project {
        id: ProjectId,
        above: Vec<ProjectId>,
        domain_id: DomainId,
    },
    Domain(DomainId),
    System,
}

impl Place {
    pub async fn of_project(tx: &mut Tx, project: &Project) -> Result<Self, Failure> {
        let above = project::ancestors(tx, project)
            .await?
            .into_iter()
            .map(|project| project.id)
            .collect();
        Ok(Self::Project {
            id: project.id.clone(),
            above,
            domain_id: project.domain(),
        })
    }

    /// Whether an assignment counts here.
    pub fn is_reached_by(&self, assignment: &Assignment) -> bool {
        match (self, &assignment.extent) {
            (Self::Project { id, .. }, Extent::Project(on)) if !assignment.inherited => on == id,
            (Self::Project { above, .. }, Extent::Project(on)) => above.contains(on),
            (Self::Project { domain_id, .. }, Extent::Domain(on)) => {
                assignment.inherited && on == domain_id
            }
            (Self::Domain(id), Extent::Domain(on)) => !assignment.inherited && on == id,
            (Self::System, Extent::System) => true,
            (Self::Project { .. } | Self::Domain(_) | Self::System, _) => false,
        }
    }
}

/// Everything assigned to a user, directly and through groups.
pub async fn assignments_of(tx: &mut Tx, user: &UserId) -> Result<Vec<Assignment>, Failure> {
    let groups: Vec<GroupId> = group::ids_of_user(tx, user).await?;
    Ok(assignment::of_user(tx, user, &groups).await?)
}

/// The ids of the roles that a user was given for a place, not yet with what they imply.
pub async fn roles_at(
    tx: &mut Tx,
    user: &UserId,
    place: &Place,
) -> Result<BTreeSet<RoleId>, Failure> {
    let assignments = assignments_of(tx, user).await?;
    Ok(assignments
        .into_iter()
        .filter(|one| place.is_reached_by(one))
        .map(|one| one.role_id)
        .collect())
}
