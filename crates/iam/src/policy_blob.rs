//! Policies that services deposit at Keystone for each other. Corten's own are Cedar files; see [`crate::policy`].

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::merge_extra;
use crate::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::identity::Extra;
use corten_store::identity::policy::PolicyBlob;
use corten_store::{Failure, Query, record};
use serde_json::Value;

#[derive(Default)]
pub struct PolicyBlobChanges {
    pub kind: Option<String>,
    pub blob: Option<Value>,
    pub extra: Extra,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find policy: {id}."))
}

impl Iam {
    pub async fn create_policy(
        &self,
        actor: &Actor,
        kind: String,
        blob: Value,
        extra: Extra,
    ) -> Result<PolicyBlob, Failure> {
        self.policy
            .check(actor, action::POLICIES_WRITE, &Target::cloud())?;
        let policy = PolicyBlob {
            id: new_id(),
            kind,
            blob,
            extra,
        };
        let mut change = self.change().await?;
        record::insert(&mut change, &policy).await?;
        change.commit().await?;
        Ok(policy)
    }

    pub async fn policy_blob(&self, actor: &Actor, id: &str) -> Result<PolicyBlob, Failure> {
        let found = record::get::<PolicyBlob>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::POLICIES_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn policy_blobs(&self, actor: &Actor) -> Result<Vec<PolicyBlob>, Failure> {
        self.policy
            .check(actor, action::POLICIES_READ, &Target::cloud())?;
        Ok(Query::new().all(&mut self.read().await?).await?)
    }

    pub async fn update_policy(
        &self,
        actor: &Actor,
        id: &str,
        changes: PolicyBlobChanges,
    ) -> Result<PolicyBlob, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<PolicyBlob>(&mut change, id).await?;
        let mut policy = self.writable(
            actor,
            action::POLICIES_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let PolicyBlobChanges { kind, blob, extra } = changes;
        policy.kind = kind.unwrap_or(policy.kind);
        policy.blob = blob.unwrap_or(policy.blob);
        merge_extra(&mut policy.extra, extra);
        record::update(&mut change, &policy).await?;
        change.commit().await?;
        Ok(policy)
    }

    pub async fn delete_policy(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<PolicyBlob>(&mut change, id).await?;
        self.writable(
            actor,
            action::POLICIES_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        record::delete::<PolicyBlob>(&mut change, id).await?;
        change.commit().await
    }
}
