//! Chassis: racks and other things that hold nodes.

use super::access::{self, Ident, Narrow, Page};
use crate::context::Context;
use corten_iam::action::baremetal::{CHASSIS_CREATE, CHASSIS_DELETE, CHASSIS_READ, CHASSIS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::metal::chassis::Chassis;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query, record};

const DESCRIPTION_MAX: usize = 255;

fn check(chassis: &Chassis) -> Result<(), Refusal> {
    match chassis
        .description
        .as_ref()
        .map(|text| text.chars().count())
    {
        Some(length) if length > DESCRIPTION_MAX => Err(Refusal::invalid(format!(
            "The description has {length} characters, and at most {DESCRIPTION_MAX} are taken."
        ))),
        _ => Ok(()),
    }
}

pub async fn create(cx: &Context, actor: &Actor, chassis: Chassis) -> Result<Chassis, Failure> {
    cx.policy.check(actor, CHASSIS_CREATE, &Target::cloud())?;
    check(&chassis)?;
    let mut tx = cx.store.write().await?;
    access::insert(&mut tx, &chassis, "chassis").await?;
    tx.commit().await?;
    Ok(chassis)
}

pub async fn list(cx: &Context, actor: &Actor, page: &Page) -> Result<Vec<Chassis>, Failure> {
    cx.policy.check(actor, CHASSIS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    access::page(&mut tx, Query::new(), Narrow::default(), page).await
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Chassis, Failure> {
    cx.policy.check(actor, CHASSIS_READ, &Target::cloud())?;
    access::get(&mut cx.store.read().await?, ident).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&Chassis) -> Result<Chassis, Refusal> + Send,
) -> Result<Chassis, Failure> {
    cx.policy.check(actor, CHASSIS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let before = access::get::<Chassis>(&mut tx, ident).await?;
    let mut chassis = edit(&before)?;
    check(&chassis)?;
    chassis.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &chassis).await?;
    tx.commit().await?;
    Ok(chassis)
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    cx.policy.check(actor, CHASSIS_DELETE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let chassis = access::get::<Chassis>(&mut tx, ident).await?;
    let nodes = Query::<Node>::new()
        .equals("chassis_id", &chassis.id)
        .count(&mut tx)
        .await?;
    if nodes > 0 {
        return Err(Refusal::invalid(format!(
            "Chassis {} is not empty: it holds {nodes} nodes. Take them out first.",
            chassis.id
        ))
        .into());
    }
    record::delete::<Chassis>(&mut tx, chassis.id).await?;
    tx.commit().await?;
    Ok(())
}
