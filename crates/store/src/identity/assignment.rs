//! Role assignments: a user or group has a role on a project, a domain or the system.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{DomainId, GroupId, ProjectId, RoleId, UserId};
use serde::{Deserialize, Serialize};

/// Who has a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Holder {
    User(UserId),
    Group(GroupId),
}

impl Holder {
    fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Group(id) => id.as_str(),
        }
    }
}

/// What a role is held on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Extent {
    Project(ProjectId),
    Domain(DomainId),
    System,
}

impl Extent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Domain(_) => "domain",
            Self::System => "system",
        }
    }

    /// Empty for the system.
    pub fn id(&self) -> &str {
        match self {
            Self::Project(id) => id.as_str(),
            Self::Domain(id) => id.as_str(),
            Self::System => "",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assignment {
    pub holder: Holder,
    pub extent: Extent,
    pub role_id: RoleId,
    /// Holds on the projects below the extent, not on the extent itself.
    pub inherited: bool,
}

impl Record for Assignment {
    const TABLE: &'static str = "assignments";
    const COLUMNS: &'static [&'static str] = &[
        "actor_kind",
        "actor_id",
        "target_kind",
        "target_id",
        "role_id",
        "inherited",
    ];

    fn id(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}/{}",
            self.holder.kind(),
            self.holder.id(),
            self.extent.kind(),
            self.extent.id(),
            self.role_id,
            i32::from(self.inherited)
        )
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.holder.kind().into(),
            self.holder.id().into(),
            self.extent.kind().into(),
            self.extent.id().into(),
            (&self.role_id).into(),
            self.inherited.into(),
        ]
    }
}

/// Everything assigned to one holder.
pub async fn of_holder(tx: &mut Tx, holder: &Holder) -> Result<Vec<Assignment>> {
    Query::new()
        .equals("actor_kind", holder.kind())
        .equals("actor_id", holder.id())
        .all(tx)
        .await
}

/// Everything assigned to a user directly and through these groups.
pub async fn of_user(tx: &mut Tx, user: &UserId, groups: &[GroupId]) -> Result<Vec<Assignment>> {
    let ids = std::iter::once(user.as_str()).chain(groups.iter().map(GroupId::as_str));
    let found = Query::<Assignment>::new()
        .any_of("actor_id", ids)
        .all(tx)
        .await?;
    Ok(found
        .into_iter()
        .filter(|assignment| match &assignment.holder {
            Holder::User(id) => id == user,
            Holder::Group(id) => groups.contains(id),
        })
        .collect())
}

/// Everything assigned on one extent.
pub async fn on_extent(tx: &mut Tx, extent: &Extent) -> Result<Vec<Assignment>> {
    Query::new()
        .equals("target_kind", extent.kind())
        .equals("target_id", extent.id())
        .all(tx)
        .await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Assignment>> {
    Query::new().all(tx).await
}

/// Takes everything from a holder that goes away.
pub async fn forget_holder(tx: &mut Tx, holder: &Holder) -> Result<u64> {
    let query = Query::<Assignment>::new()
        .equals("actor_kind", holder.kind())
        .equals("actor_id", holder.id());
    query.delete(tx).await
}

/// Takes everything on an extent that goes away.
pub async fn forget_extent(tx: &mut Tx, extent: &Extent) -> Result<u64> {
    let query = Query::<Assignment>::new()
        .equals("target_kind", extent.kind())
        .equals("target_id", extent.id());
    query.delete(tx).await
}
