//! Runbooks: lists of steps for cleaning and service that an operator wrote down once.

use super::access::{self, Ident, Narrow, Page, is_name};
use super::{deploy_template, traits};
use crate::context::Context;
use corten_iam::action::Action;
use corten_iam::action::baremetal::{
    RUNBOOKS_PUBLISH, RUNBOOKS_READ, RUNBOOKS_READ_ALL, RUNBOOKS_WRITE,
};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_store::metal::runbook::Runbook;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;

fn may(cx: &Context, actor: &Actor, action: Action, runbook: &Runbook) -> Result<(), Refusal> {
    let target = runbook
        .owner
        .as_deref()
        .map_or_else(Target::cloud, |owner| {
            Target::project(&ProjectId::from(owner))
        });
    cx.policy.check(actor, action, &target)
}

fn sees(cx: &Context, actor: &Actor, runbook: &Runbook) -> bool {
    runbook.public
        || cx
            .policy
            .check(actor, RUNBOOKS_READ_ALL, &Target::cloud())
            .is_ok()
        || may(cx, actor, RUNBOOKS_READ, runbook).is_ok()
}

const DESCRIPTION_MAX: usize = 255;

async fn check(tx: &mut Tx, runbook: &Runbook) -> Result<(), Failure> {
    if !is_name(&runbook.name) {
        return Err(Refusal::invalid(format!(
            "'{}' is no name of a runbook: a name is up to 255 letters, digits, '-', '.', '_' and '~', and no UUID.",
            runbook.name
        ))
        .into());
    }
    let description = runbook.description.as_deref().unwrap_or_default();
    let length = description.chars().count();
    if length > DESCRIPTION_MAX {
        return Err(Refusal::invalid(format!(
            "Cannot set description: it has {length} characters, and at most {DESCRIPTION_MAX} are taken."
        ))
        .into());
    }
    runbook
        .traits
        .iter()
        .try_for_each(|word| traits::check(word))?;
    if runbook.steps.is_empty() {
        return Err(Refusal::invalid("No steps specified. There must be at least one.").into());
    }
    for step in &runbook.steps {
        deploy_template::check_interface(&step.interface)?;
    }
    if runbook.disable_ramdisk {
        return Err(Refusal::invalid(
            "disable_ramdisk cannot be true: every step of this cloud is run from within the server.",
        )
        .into());
    }
    let name = ("name", "name");
    access::check_free(tx, runbook, "runbook", name, &runbook.name).await
}

/// A runbook of whoever writes it down: an actor of a project owns it, the system's belongs to nobody.
pub async fn create(cx: &Context, actor: &Actor, mut runbook: Runbook) -> Result<Runbook, Failure> {
    if runbook.owner.is_none() && !runbook.public {
        runbook.owner = actor.project_id().map(ToString::to_string);
    }
    may(cx, actor, RUNBOOKS_WRITE, &runbook)?;
    if runbook.public {
        cx.policy.check(actor, RUNBOOKS_PUBLISH, &Target::cloud())?;
        runbook.owner = None;
    }
    let mut tx = cx.store.write().await?;
    check(&mut tx, &runbook).await?;
    access::insert(&mut tx, &runbook, "runbook").await?;
    tx.commit().await?;
    Ok(runbook)
}

pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    public: Option<bool>,
    page: &Page,
) -> Result<Vec<Runbook>, Failure> {
    let mut query = Query::new();
    if let Some(public) = public {
        query = query.equals("public", public);
    }
    if cx
        .policy
        .check(actor, RUNBOOKS_READ_ALL, &Target::cloud())
        .is_err()
    {
        let project = actor.project_id().ok_or_else(|| {
            Refusal::forbidden("A list of runbooks needs a token for the system or for a project.")
        })?;
        cx.policy
            .check(actor, RUNBOOKS_READ, &Target::project(project))?;
        query = query.either(("owner", project), ("public", true));
    }
    access::page(&mut cx.store.read().await?, query, narrow, page).await
}

async fn get(cx: &Context, actor: &Actor, tx: &mut Tx, ident: &Ident) -> Result<Runbook, Failure> {
    let runbook = access::get::<Runbook>(tx, ident).await?;
    if sees(cx, actor, &runbook) {
        return Ok(runbook);
    }
    Err(access::missing::<Runbook>(&ident.text).into())
}

/// A runbook that an actor may run.
pub(crate) async fn usable(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
) -> Result<Runbook, Failure> {
    get(cx, actor, tx, ident).await
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Runbook, Failure> {
    get(cx, actor, &mut cx.store.read().await?, ident).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&Runbook) -> Result<Runbook, Refusal> + Send,
) -> Result<Runbook, Failure> {
    let mut tx = cx.store.write().await?;
    let before = get(cx, actor, &mut tx, ident).await?;
    may(cx, actor, RUNBOOKS_WRITE, &before)?;
    let mut runbook = edit(&before)?;
    if runbook.public != before.public || runbook.owner != before.owner {
        cx.policy.check(actor, RUNBOOKS_PUBLISH, &Target::cloud())?;
    }
    if runbook.public {
        runbook.owner = None;
    }
    check(&mut tx, &runbook).await?;
    runbook.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &runbook).await?;
    tx.commit().await?;
    Ok(runbook)
}

/// Changes the traits beside its name.
pub async fn set_traits(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    change: impl FnOnce(&mut BTreeSet<String>) -> Result<(), Refusal> + Send,
) -> Result<(), Failure> {
    update(cx, actor, ident, |before| {
        let mut runbook = before.clone();
        change(&mut runbook.traits)?;
        Ok(runbook)
    })
    .await
    .map(|_| ())
}

pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let runbook = get(cx, actor, &mut tx, ident).await?;
    may(cx, actor, RUNBOOKS_WRITE, &runbook)?;
    record::delete::<Runbook>(&mut tx, runbook.id).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether an actor may write runbooks down, for themselves or for this owner.
pub fn may_create(cx: &Context, actor: &Actor, owner: Option<&str>) -> Result<(), Refusal> {
    let owner = owner.map(ProjectId::from);
    let target = owner.as_ref().or(actor.project_id());
    let target = target.map_or_else(Target::cloud, Target::project);
    cx.policy.check(actor, RUNBOOKS_WRITE, &target)
}
