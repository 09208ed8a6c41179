//! Groups of users, and who is in them.

use super::{Extra, name_key};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{DomainId, GroupId, UserId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    pub domain_id: DomainId,
    pub name: String,
    pub description: String,
    pub extra: Extra,
}

impl Record for Group {
    const TABLE: &'static str = "user_groups";
    const COLUMNS: &'static [&'static str] = &["domain_id", "name_key"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.domain_id).into(), name_key(&self.name).into()]
    }
}

/// One user in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub group_id: GroupId,
    pub user_id: UserId,
}

impl Record for Member {
    const TABLE: &'static str = "group_members";
    const COLUMNS: &'static [&'static str] = &["group_id", "user_id"];

    fn id(&self) -> String {
        format!("{}/{}", self.group_id, self.user_id)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.group_id).into(), (&self.user_id).into()]
    }
}

/// The ids of the groups that a user is in.
pub async fn ids_of_user(tx: &mut Tx, user: &UserId) -> Result<Vec<GroupId>> {
    let members = Query::<Member>::new()
        .equals("user_id", user)
        .all(tx)
        .await?;
    Ok(members.into_iter().map(|member| member.group_id).collect())
}

/// The ids of the users in a group.
pub async fn members(tx: &mut Tx, group: &GroupId) -> Result<Vec<UserId>> {
    let members = Query::<Member>::new()
        .equals("group_id", group)
        .all(tx)
        .await?;
    Ok(members.into_iter().map(|member| member.user_id).collect())
}

pub async fn of_domain(tx: &mut Tx, domain: &DomainId) -> Result<Vec<Group>> {
    Query::new().equals("domain_id", domain).all(tx).await
}
