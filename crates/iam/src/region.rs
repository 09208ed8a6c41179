//! Regions of the catalog. They form a tree.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::{Given, merge_extra};
use crate::policy::Target;
use corten_model::refusal::Refusal;
use corten_store::identity::Extra;
use corten_store::identity::region::Region;
use corten_store::{Error, Failure, Query, Tx, record};

pub struct NewRegion {
    /// Made up if absent.
    pub id: Option<String>,
    pub description: Option<String>,
    pub parent_region_id: Option<String>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct RegionChanges {
    pub description: Option<Option<String>>,
    pub parent_region_id: Given<String>,
    pub extra: Extra,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find region: {id}."))
}

/// The region with this id; made, as Keystone does for an endpoint's, if it is not there.
pub(crate) async fn ensure(tx: &mut Tx, id: &str) -> Result<(), Failure> {
    if record::get::<Region>(tx, id).await?.is_none() {
        check_id(id)?;
        let region = Region {
            id: id.to_owned(),
            description: String::new(),
            parent_region_id: None,
            extra: Extra::new(),
        };
        record::insert(tx, &region).await?;
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), Refusal> {
    if id.is_empty() || id.contains('\0') || id.chars().count() > 255 {
        return Err(Refusal::invalid(
            "The id of a region has 1 to 255 characters.",
        ));
    }
    Ok(())
}

/// Refuses a parent that is not there, or that is below the region itself.
async fn check_parent(tx: &mut Tx, id: &str, parent: &str) -> Result<(), Failure> {
    let mut next = Some(parent.to_owned());
    while let Some(above) = next {
        if above == id {
            return Err(Refusal::invalid(format!(
                "Region {parent} is below region {id} and cannot be its parent."
            ))
            .into());
        }
        next = record::get::<Region>(tx, &above)
            .await?
            .ok_or_else(missing(&above))?
            .parent_region_id;
    }
    Ok(())
}

impl Iam {
    pub async fn create_region(&self, actor: &Actor, new: NewRegion) -> Result<Region, Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        let NewRegion {
            id,
            description,
            parent_region_id,
            extra,
        } = new;
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(new_id);
        check_id(&id)?;
        let mut change = self.change().await?;
        if let Some(parent) = &parent_region_id {
            check_parent(&mut change, &id, parent).await?;
        }
        let region = Region {
            id,
            description: description.unwrap_or_default(),
            parent_region_id,
            extra,
        };
        record::insert(&mut change, &region)
            .await
            .map_err(|error| match error {
                Error::Exists { .. } => {
                    Failure::from(Refusal::conflict(format!("Region {} exists.", region.id)))
                }
                other => other.into(),
            })?;
        change.commit().await?;
        Ok(region)
    }

    pub async fn region(&self, actor: &Actor, id: &str) -> Result<Region, Failure> {
        let found = record::get::<Region>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::REGIONS_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn regions(&self, actor: &Actor) -> Result<Vec<Region>, Failure> {
        self.policy
            .check(actor, action::REGIONS_READ, &Target::cloud())?;
        Ok(Query::new().all(&mut self.read().await?).await?)
    }

    pub async fn update_region(
        &self,
        actor: &Actor,
        id: &str,
        changes: RegionChanges,
    ) -> Result<Region, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Region>(&mut change, id).await?;
        let mut region = self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let RegionChanges {
            description,
            parent_region_id,
            extra,
        } = changes;
        if let Some(description) = description {
            region.description = description.unwrap_or_default();
        }
        if let Some(parent) = parent_region_id {
            if let Some(parent) = &parent {
                check_parent(&mut change, id, parent).await?;
            }
            region.parent_region_id = parent;
        }
        merge_extra(&mut region.extra, extra);
        record::update(&mut change, &region).await?;
        change.commit().await?;
        Ok(region)
    }

    pub async fn delete_region(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Region>(&mut change, id).await?;
        self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        match record::delete::<Region>(&mut change, id).await {
            Ok(_) => change.commit().await,
            Err(Error::Referenced { .. }) => Err(Refusal::forbidden(format!(
                "Unable to delete region {id}: regions below it or endpoints in it are still there."
            ))
            .into()),
            Err(error) => Err(error.into()),
        }
    }
}
