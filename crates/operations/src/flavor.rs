//! Flavors: who may see which, and the few things that can change about one.

use crate::context::Context;
use crate::extra_specs;
use corten_iam::action::compute::{FLAVORS_READ, FLAVORS_READ_PRIVATE, FLAVORS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{FlavorId, ProjectId};
use corten_model::lifecycle::InstanceClass;
use corten_model::refusal::Refusal;
use corten_store::flavors::{self, Flavor, FlavorAccess};
use corten_store::identity::project::Project;
use corten_store::{Error, Failure, Tx, record, sequences};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const SEQUENCE: &str = "flavors";

/// A flavor to be made; `None` as id makes one up.
#[derive(Debug, Clone)]
pub struct NewFlavor {
    pub id: Option<FlavorId>,
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u32,
    pub disk_gib: u32,
    pub ephemeral_gib: u32,
    pub swap_mib: u32,
    pub rxtx_factor: f64,
    pub is_public: bool,
    pub description: Option<String>,
}

/// Which flavors a list wants, and in which order.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// `Some(true)`: public and those of the actor's project; `Some(false)`: only private ones; `None`: all. Only an
    /// administrator can choose.
    pub is_public: Option<bool>,
    pub min_memory_mib: Option<i64>,
    pub min_disk_gib: Option<i64>,
    pub sort_key: SortKey,
    pub descending: bool,
}

/// What flavors can be sorted by, under the names of Nova's database columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortKey {
    #[default]
    FlavorId,
    /// The order of creation.
    Number,
    Name,
    CreatedAt,
    UpdatedAt,
    Description,
    Disabled,
    IsPublic,
    Memory,
    Disk,
    Ephemeral,
    Swap,
    Vcpus,
    RxtxFactor,
}

impl SortKey {
    const NAMES: [(&'static str, Self); 15] = [
        ("flavorid", Self::FlavorId),
        ("id", Self::Number),
        ("vcpu_weight", Self::Number),
        ("name", Self::Name),
        ("created_at", Self::CreatedAt),
        ("updated_at", Self::UpdatedAt),
        ("description", Self::Description),
        ("disabled", Self::Disabled),
        ("is_public", Self::IsPublic),
        ("memory_mb", Self::Memory),
        ("root_gb", Self::Disk),
        ("ephemeral_gb", Self::Ephemeral),
        ("swap", Self::Swap),
        ("vcpus", Self::Vcpus),
        ("rxtx_factor", Self::RxtxFactor),
    ];

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, key)| *key).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            Refusal::invalid(format!(
                "Invalid input for query parameters sort_key. Value: {text}. '{text}' is not one of {}",
                names.join(", ")
            ))
        })
    }

    fn compare(self, a: &Flavor, b: &Flavor) -> Ordering {
        match self {
            Self::FlavorId => a.id.cmp(&b.id),
            Self::Number => a.number.cmp(&b.number),
            Self::Name => a.name.cmp(&b.name),
            Self::CreatedAt => a.created_at.cmp(&b.created_at),
            Self::UpdatedAt => a.updated_at.cmp(&b.updated_at),
            Self::Description => a.description.cmp(&b.description),
            Self::Disabled => a.disabled.cmp(&b.disabled),
            Self::IsPublic => a.is_public.cmp(&b.is_public),
            Self::Memory => a.memory_mib.cmp(&b.memory_mib),
            Self::Disk => a.disk_gib.cmp(&b.disk_gib),
            Self::Ephemeral => a.ephemeral_gib.cmp(&b.ephemeral_gib),
            Self::Swap => a.swap_mib.cmp(&b.swap_mib),
            Self::Vcpus => a.vcpus.cmp(&b.vcpus),
            Self::RxtxFactor => a.rxtx_factor.total_cmp(&b.rxtx_factor),
        }
    }
}

impl Listing {
    fn wants(&self, flavor: &Flavor, ours: &BTreeSet<FlavorId>) -> bool {
        let visible = match self.is_public {
            None => true,
            Some(true) => flavor.is_public || ours.contains(&flavor.id),
            Some(false) => !flavor.is_public,
        };
        visible
            && self
                .min_memory_mib
                .is_none_or(|least| i64::from(flavor.memory_mib) >= least)
            && self
                .min_disk_gib
                .is_none_or(|least| i64::from(flavor.disk_gib) >= least)
    }

    fn sort(&self, flavors: &mut [Flavor]) {
        flavors.sort_by(|a, b| {
            let order = self.sort_key.compare(a, b).then(a.number.cmp(&b.number));
            if self.descending {
                order.reverse()
            } else {
                order
            }
        });
    }
}

fn sees_private(cx: &Context, actor: &Actor) -> bool {
    cx.policy
        .check(actor, FLAVORS_READ_PRIVATE, &Target::cloud())
        .is_ok()
}

pub fn missing(id: &FlavorId) -> Refusal {
    Refusal::no_such("Flavor", id)
}

/// The flavors that the actor may see. Who is no administrator sees the public ones and those of their project.
pub async fn list(cx: &Context, actor: &Actor, listing: &Listing) -> Result<Vec<Flavor>, Failure> {
    cx.policy.check(actor, FLAVORS_READ, &Target::cloud())?;
    let all_seeing = sees_private(cx, actor);
    let listing = if all_seeing {
        listing.clone()
    } else {
        Listing {
            is_public: Some(true),
            ..listing.clone()
        }
    };
    let mut tx = cx.store.read().await?;
    let ours = match actor.project_id() {
        Some(project) => flavors::access_for(&mut tx, project)
            .await?
            .into_iter()
            .map(|row| row.flavor_id)
            .collect(),
        None => BTreeSet::new(),
    };
    let mut found = flavors::all(&mut tx).await?;
    found.retain(|flavor| listing.wants(flavor, &ours) && (all_seeing || !flavor.disabled));
    listing.sort(&mut found);
    Ok(found)
}

pub async fn show(cx: &Context, actor: &Actor, id: &FlavorId) -> Result<Flavor, Failure> {
    let mut tx = cx.store.read().await?;
    visible(cx, &mut tx, actor, id).await
}

/// The flavor, if this actor may use it; what they may not use does not exist for them.
pub async fn visible(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: &FlavorId,
) -> Result<Flavor, Failure> {
    cx.policy.check(actor, FLAVORS_READ, &Target::cloud())?;
    let flavor = record::get::<Flavor>(tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    if flavor.is_public || sees_private(cx, actor) {
        return Ok(flavor);
    }
    let granted = match actor.project_id() {
        Some(project) => record::get::<FlavorAccess>(tx, FlavorAccess::key(id, project))
            .await?
            .is_some(),
        None => false,
    };
    if granted {
        Ok(flavor)
    } else {
        Err(missing(id).into())
    }
}

pub async fn create(cx: &Context, actor: &Actor, new: NewFlavor) -> Result<Flavor, Failure> {
    cx.policy.check(actor, FLAVORS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let flavor = insert(cx, &mut tx, new).await?;
    tx.commit().await?;
    Ok(flavor)
}

async fn insert(cx: &Context, tx: &mut Tx, new: NewFlavor) -> Result<Flavor, Failure> {
    let NewFlavor {
        id,
        name,
        vcpus,
        memory_mib,
        disk_gib,
        ephemeral_gib,
        swap_mib,
        rxtx_factor,
        is_public,
        description,
    } = new;
    let id = id.unwrap_or_else(|| FlavorId(Uuid::new_v4().to_string()));
    if flavors::by_name(tx, &name).await?.is_some() {
        return Err(Refusal::conflict(format!("Flavor with name {name} already exists.")).into());
    }
    let flavor = Flavor {
        number: sequences::next(tx, SEQUENCE).await?,
        id,
        name,
        class: InstanceClass::Vm,
        vcpus,
        memory_mib,
        disk_gib,
        ephemeral_gib,
        swap_mib,
        rxtx_factor,
        is_public,
        disabled: false,
        description,
        extra_specs: BTreeMap::new(),
        created_at: cx.now(),
        updated_at: None,
    };
    record::insert(tx, &flavor)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => {
                Refusal::conflict(format!("Flavor with ID {} already exists.", flavor.id)).into()
            }
            other => Failure::from(other),
        })?;
    Ok(flavor)
}

/// Changes the description, the only thing about a flavor's size that may change.
pub async fn describe(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    description: Option<String>,
) -> Result<Flavor, Failure> {
    change(cx, actor, id, |flavor| {
        flavor.description = description;
        Ok(())
    })
    .await
}

/// Locks, changes and writes a flavor.
async fn change(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    apply: impl FnOnce(&mut Flavor) -> Result<(), Refusal>,
) -> Result<Flavor, Failure> {
    cx.policy.check(actor, FLAVORS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let mut flavor = record::lock::<Flavor>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    apply(&mut flavor)?;
    flavor.updated_at = Some(cx.now());
    record::update(&mut tx, &flavor).await?;
    tx.commit().await?;
    Ok(flavor)
}

/// Servers that were made with it keep their size.
pub async fn delete(cx: &Context, actor: &Actor, id: &FlavorId) -> Result<(), Failure> {
    cx.policy.check(actor, FLAVORS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    if !record::delete::<Flavor>(&mut tx, id).await? {
        return Err(missing(id).into());
    }
    tx.commit().await?;
    Ok(())
}

/// Adds or replaces extra specs. `strict` also checks names and values of known namespaces (Nova from 2.86).
pub async fn set_extra_specs(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    specs: BTreeMap<String, String>,
    strict: bool,
) -> Result<Flavor, Failure> {
    for (key, value) in &specs {
        extra_specs::check(key, value, strict)?;
    }
    change(cx, actor, id, |flavor| {
        flavor.extra_specs.extend(specs);
        flavor.class = extra_specs::class(&flavor.extra_specs);
        Ok(())
    })
    .await
}

pub async fn unset_extra_spec(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    key: &str,
) -> Result<(), Failure> {
    change(cx, actor, id, |flavor| {
        flavor
            .extra_specs
            .remove(key)
            .ok_or_else(|| no_extra_spec(id, key))?;
        flavor.class = extra_specs::class(&flavor.extra_specs);
        Ok(())
    })
    .await?;
    Ok(())
}

pub fn no_extra_spec(id: &FlavorId, key: &str) -> Refusal {
    Refusal::not_found(format!("Flavor {id} has no extra specs with key {key}."))
}

/// The projects that may use a private flavor; a public one has no such list (404, as in Nova).
pub async fn access(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
) -> Result<Vec<FlavorAccess>, Failure> {
    cx.policy
        .check(actor, FLAVORS_READ_PRIVATE, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let flavor = record::get::<Flavor>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    if flavor.is_public {
        return Err(Refusal::not_found("Access list not available for public flavors.").into());
    }
    Ok(flavors::access_of(&mut tx, id).await?)
}

/// Lets a project use a flavor. `refuse_public`: a public flavor is a conflict (Nova from 2.7), not a useless row.
pub async fn grant(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    project: &ProjectId,
    refuse_public: bool,
) -> Result<Vec<FlavorAccess>, Failure> {
    cx.policy.check(actor, FLAVORS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    if record::get::<Project>(&mut tx, project).await?.is_none() {
        return Err(
            Refusal::invalid(format!("Project ID {project} is not a valid project.")).into(),
        );
    }
    let flavor = record::lock::<Flavor>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    if flavor.is_public && refuse_public {
        return Err(Refusal::conflict("Can not add access to a public flavor.").into());
    }
    let row = FlavorAccess {
        flavor_id: id.clone(),
        project_id: project.clone(),
    };
    record::insert(&mut tx, &row)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::from(Refusal::conflict(format!(
                "Flavor access already exists for flavor {id} and project {project} combination."
            ))),
            other => other.into(),
        })?;
    let rows = flavors::access_of(&mut tx, id).await?;
    tx.commit().await?;
    Ok(rows)
}

pub async fn revoke(
    cx: &Context,
    actor: &Actor,
    id: &FlavorId,
    project: &ProjectId,
) -> Result<Vec<FlavorAccess>, Failure> {
    cx.policy.check(actor, FLAVORS_WRITE, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    record::lock::<Flavor>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    if !record::delete::<FlavorAccess>(&mut tx, FlavorAccess::key(id, project)).await? {
        return Err(Refusal::not_found(format!(
            "Flavor access not found for {id} / {project} combination."
        ))
        .into());
    }
    let rows = flavors::access_of(&mut tx, id).await?;
    tx.commit().await?;
    Ok(rows)
}

/// The sizes a new cloud starts with: id, name, vCPUs, memory in MiB, root disk in GiB.
const FIRST: [(&str, &str, u32, u32, u32); 6] = [
    ("42", "m1.nano", 1, 64, 1),
    ("1", "m1.tiny", 1, 128, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
];

/// Makes the first flavors of a new cloud. Does nothing in a cloud that ever had a flavor, be they all deleted since.
pub async fn seed(cx: &Context) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    if !sequences::is_untouched(&mut tx, SEQUENCE).await? {
        return Ok(());
    }
    for (id, name, vcpus, memory_mib, disk_gib) in FIRST {
        let new = NewFlavor {
            id: Some(FlavorId::from(id)),
            name: name.to_owned(),
            vcpus,
            memory_mib,
            disk_gib,
            ephemeral_gib: 0,
            swap_mib: 0,
            rxtx_factor: 1.0,
            is_public: true,
            description: None,
        };
        insert(cx, &mut tx, new).await?;
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::time::Timestamp;

    fn flavor(number: i64, memory_mib: u32, is_public: bool) -> Flavor {
        Flavor {
            id: FlavorId(format!("f{number}")),
            number,
            name: format!("size-{number}"),
            class: InstanceClass::Vm,
            vcpus: 1,
            memory_mib,
            disk_gib: 1,
            ephemeral_gib: 0,
            swap_mib: 0,
            rxtx_factor: 1.0,
            is_public,
            disabled: false,
            description: None,
            extra_specs: BTreeMap::new(),
            created_at: Timestamp(number),
            updated_at: None,
        }
    }

    #[test]
    fn private_flavors_are_listed_for_those_who_have_access() {
        let ours = BTreeSet::from([FlavorId::from("f2")]);
        let listing = Listing {
            is_public: Some(true),
            ..Listing::default()
        };
        assert!(listing.wants(&flavor(1, 64, true), &ours));
        assert!(listing.wants(&flavor(2, 64, false), &ours));
        assert!(!listing.wants(&flavor(3, 64, false), &ours));
        let private = Listing {
            is_public: Some(false),
            ..Listing::default()
        };
        assert!(
            private.wants(&flavor(3, 64, false), &ours)
                && !private.wants(&flavor(1, 64, true), &ours)
        );
        assert!(Listing::default().wants(&flavor(3, 64, false), &ours));
    }

    #[test]
    fn lists_are_sorted_by_any_column_and_then_by_age() {
        let mut flavors = vec![
            flavor(3, 64, true),
            flavor(1, 128, true),
            flavor(2, 64, true),
        ];
        Listing {
            sort_key: SortKey::Memory,
            ..Listing::default()
        }
        .sort(&mut flavors);
        assert_eq!(
            flavors
                .iter()
                .map(|flavor| flavor.number)
                .collect::<Vec<_>>(),
            [2, 3, 1]
        );
        Listing {
            sort_key: SortKey::Name,
            descending: true,
            ..Listing::default()
        }
        .sort(&mut flavors);
        assert_eq!(
            flavors
                .iter()
                .map(|flavor| flavor.number)
                .collect::<Vec<_>>(),
            [3, 2, 1]
        );
        assert!(
            SortKey::parse("colour")
                .unwrap_err()
                .message
                .contains("memory_mb")
        );
    }
}
