//! Server groups: instances that must, or should, share a host or not share one.

use crate::db::Tx;
use crate::error::Result;
use crate::instances::Instance;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{InstanceId, ProjectId, ServerGroupId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How the members of a group are placed. The soft policies are wishes, the others are rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupPolicy {
    Affinity,
    AntiAffinity,
    SoftAffinity,
    SoftAntiAffinity,
}

impl GroupPolicy {
    pub const ALL: [Self; 4] = [
        Self::Affinity,
        Self::AntiAffinity,
        Self::SoftAffinity,
        Self::SoftAntiAffinity,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti-affinity",
            Self::SoftAffinity => "soft-affinity",
            Self::SoftAntiAffinity => "soft-anti-affinity",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerGroup {
    pub id: ServerGroupId,
    pub name: String,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub policy: GroupPolicy,
    /// For anti-affinity: how many members may share a host. `None` means one.
    pub max_server_per_host: Option<u32>,
    pub created_at: Timestamp,
}

impl Record for ServerGroup {
    const TABLE: &'static str = "server_groups";
    const COLUMNS: &'static [&'static str] = &["project_id", "user_id", "created_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.project_id).into(),
            (&self.user_id).into(),
            self.created_at.into(),
        ]
    }
}

/// The groups of a project, or of all, oldest first.
pub async fn list(tx: &mut Tx, project: Option<&ProjectId>) -> Result<Vec<ServerGroup>> {
    let mut query = Query::new().order_by("created_at", Direction::Ascending);
    if let Some(project) = project {
        query = query.equals("project_id", project);
    }
    query.all(tx).await
}

/// How many groups a project has, or one user in it.
pub async fn count(tx: &mut Tx, project: &ProjectId, user: Option<&UserId>) -> Result<i64> {
    let mut query = Query::<ServerGroup>::new().equals("project_id", project);
    if let Some(user) = user {
        query = query.equals("user_id", user);
    }
    query.count(tx).await
}

/// The living members of several groups, oldest first: group and instance. An instance's own row says which group it
/// is in.
pub async fn members(
    tx: &mut Tx,
    groups: &[ServerGroup],
) -> Result<Vec<(ServerGroupId, InstanceId)>> {
    let mut members = Vec::new();
    // One statement for at most this many groups: engines limit the number of bound values.
    for groups in groups.chunks(500) {
        let living = Query::<Instance>::new()
            .any_of("server_group_id", groups.iter().map(|group| &group.id))
            .equals("deleted", false)
            .order_by("created_at", Direction::Ascending)
            .all(tx)
            .await?;
        members.extend(
            living
                .iter()
                .filter_map(|instance| Some((instance.intent.server_group_id?, instance.id))),
        );
    }
    Ok(members)
}
