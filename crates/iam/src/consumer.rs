//! OS-OAUTH1 consumers.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::{Given, give, merge_extra};
use crate::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::identity::Extra;
use corten_store::identity::consumer::Consumer;
use corten_store::{Failure, Query, record};

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find consumer: {id}."))
}

impl Iam {
    /// Gives the consumer and its secret, which is told once.
    pub async fn create_consumer(
        &self,
        actor: &Actor,
        description: Option<String>,
        extra: Extra,
    ) -> Result<(Consumer, String), Failure> {
        self.policy
            .check(actor, action::CONSUMERS_WRITE, &Target::cloud())?;
        let secret = new_id();
        let sealed_secret = self.credential_keys.encrypt(secret.as_bytes());
        let consumer = Consumer {
            id: new_id(),
            description,
            sealed_secret,
            extra,
        };
        let mut change = self.change().await?;
        record::insert(&mut change, &consumer).await?;
        change.commit().await?;
        Ok((consumer, secret))
    }

    pub async fn consumer(&self, actor: &Actor, id: &str) -> Result<Consumer, Failure> {
        let found = record::get::<Consumer>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::CONSUMERS_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn consumers(&self, actor: &Actor) -> Result<Vec<Consumer>, Failure> {
        self.policy
            .check(actor, action::CONSUMERS_READ, &Target::cloud())?;
        Ok(Query::new().all(&mut self.read().await?).await?)
    }

    pub async fn update_consumer(
        &self,
        actor: &Actor,
        id: &str,
        description: Given<String>,
        extra: Extra,
    ) -> Result<Consumer, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Consumer>(&mut change, id).await?;
        let mut consumer = self.writable(
            actor,
            action::CONSUMERS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        give(&mut consumer.description, description);
        merge_extra(&mut consumer.extra, extra);
        record::update(&mut change, &consumer).await?;
        change.commit().await?;
        Ok(consumer)
    }

    pub async fn delete_consumer(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Consumer>(&mut change, id).await?;
        self.writable(
            actor,
            action::CONSUMERS_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        record::delete::<Consumer>(&mut change, id).await?;
        change.commit().await
    }
}
