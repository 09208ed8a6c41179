//! Deploy templates: steps that a deployment runs besides its own.

use super::access::{self, Ident, Narrow, Page};
use super::{steps, traits};
use crate::context::Context;
use corten_iam::action::baremetal::{DEPLOY_TEMPLATES_READ, DEPLOY_TEMPLATES_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::metal::deploy_template::DeployTemplate;
use corten_store::{Failure, Query, Tx, record};

async fn check(tx: &mut Tx, template: &DeployTemplate) -> Result<(), Failure> {
    traits::check(&template.name)?;
    if template.steps.is_empty() {
        return Err(
            Refusal::invalid("No deploy steps specified. There must be at least one.").into(),
        );
    }
    for (index, step) in template.steps.iter().enumerate() {
        check_interface(&step.interface)?;
        let twice = template.steps[..index]
            .iter()
            .any(|other| other.interface == step.interface && other.step == step.step);
        if twice {
            return Err(Refusal::invalid(format!(
                "Duplicate deploy steps: {}.{} comes twice.",
                step.interface, step.step
            ))
            .into());
        }
    }
    let name = ("name", "name");
    access::check_free(tx, template, "deploy template", name, &template.name).await
}

/// Refuses an interface that has no steps.
pub(super) fn check_interface(interface: &str) -> Result<(), Refusal> {
    if steps::interfaces().any(|known| known == interface) {
        return Ok(());
    }
    let known: Vec<_> = steps::interfaces().collect();
    Err(Refusal::invalid(format!(
        "'{interface}' is no interface with steps: it is one of {}.",
        known.join(", ")
    )))
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    template: DeployTemplate,
) -> Result<DeployTemplate, Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    check(&mut tx, &template).await?;
    access::insert(&mut tx, &template, "deploy template").await?;
    tx.commit().await?;
    Ok(template)
}

pub async fn list(
    cx: &Context,
    actor: &Actor,
    page: &Page,
) -> Result<Vec<DeployTemplate>, Failure> {
    cx.policy
        .check(actor, DEPLOY_TEMPLATES_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    access::page(&mut tx, Query::new(), Narrow::default(), page).await
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<DeployTemplate, Failure> {
    cx.policy
        .check(actor, DEPLOY_TEMPLATES_READ, &Target::cloud())?;
    access::get(&mut cx.store.read().await?, ident).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&DeployTemplate) -> Result<DeployTemplate, Refusal> + Send,
) -> Result<DeployTemplate, Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    let before = access::get::<DeployTemplate>(&mut tx, ident).await?;
    let mut template = edit(&before)?;
    check(&mut tx, &template).await?;
    template.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &template).await?;
    tx.commit().await?;
    Ok(template)
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    may_write(cx, actor)?;
    let mut tx = cx.store.write().await?;
    let template = access::get::<DeployTemplate>(&mut tx, ident).await?;
    record::delete::<DeployTemplate>(&mut tx, template.id).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether an actor may write templates down.
pub fn may_write(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, DEPLOY_TEMPLATES_WRITE, &Target::cloud())
}
