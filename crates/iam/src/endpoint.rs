//! Endpoints of the catalog.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::catalog::URL_PLACES;
use crate::naming::{Given, merge_extra};
use crate::policy::Target;
use crate::{region, service};
use corten_model::refusal::Refusal;
use corten_store::identity::Extra;
use corten_store::identity::endpoint::{self, Endpoint};
use corten_store::{Failure, record};

pub struct NewEndpoint {
    pub service_id: String,
    pub interface: String,
    pub region_id: Option<String>,
    pub url: String,
    pub enabled: bool,
    pub extra: Extra,
}

#[derive(Default)]
pub struct EndpointChanges {
    pub service_id: Option<String>,
    pub interface: Option<String>,
    pub region_id: Given<String>,
    pub url: Option<String>,
    pub enabled: Option<bool>,
    pub extra: Extra,
}

pub(crate) fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find endpoint: {id}."))
}

const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

fn check_interface(interface: &str) -> Result<(), Refusal> {
    if INTERFACES.contains(&interface) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "'{interface}' is not an interface; there are {}.",
        INTERFACES.join(", ")
    )))
}

/// Refuses a URL with a place that nothing could fill in: services behind it would vanish from the catalog.
fn check_url(url: &str) -> Result<(), Refusal> {
    if url.is_empty() || url.len() > 225 {
        return Err(Refusal::invalid(
            "The URL of an endpoint has 1 to 225 characters.",
        ));
    }
    let mut rest = url;
    while let Some(start) = rest.find("$(").or_else(|| rest.find("%(")) {
        let inside = &rest[start + 2..];
        let name = inside.split(")s").next().unwrap_or_default();
        if !inside.contains(")s") || !URL_PLACES.contains(&name) {
            return Err(Refusal::invalid(format!(
                "The URL '{url}' asks for '{name}' to be filled in; that can be {}.",
                URL_PLACES.join(", ")
            )));
        }
        rest = &inside[name.len()..];
    }
    Ok(())
}

impl Iam {
    pub async fn create_endpoint(
        &self,
        actor: &Actor,
        new: NewEndpoint,
    ) -> Result<Endpoint, Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        let NewEndpoint {
            service_id,
            interface,
            region_id,
            url,
            enabled,
            extra,
        } = new;
        check_interface(&interface)?;
        check_url(&url)?;
        let mut change = self.change().await?;
        service::existing(&mut change, &service_id).await?;
        if let Some(region) = &region_id {
            region::ensure(&mut change, region).await?;
        }
        let endpoint = Endpoint {
            id: new_id(),
            service_id,
            interface,
            region_id,
            url,
            enabled,
            extra,
        };
        record::insert(&mut change, &endpoint).await?;
        change.commit().await?;
        Ok(endpoint)
    }

    pub async fn endpoint(&self, actor: &Actor, id: &str) -> Result<Endpoint, Failure> {
        let found = record::get::<Endpoint>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::CATALOG_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn endpoints(&self, actor: &Actor) -> Result<Vec<Endpoint>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        Ok(endpoint::all(&mut self.read().await?).await?)
    }

    pub async fn update_endpoint(
        &self,
        actor: &Actor,
        id: &str,
        changes: EndpointChanges,
    ) -> Result<Endpoint, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Endpoint>(&mut change, id).await?;
        let mut endpoint = self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let EndpointChanges {
            service_id,
            interface,
            region_id,
            url,
            enabled,
            extra,
        } = changes;
        if let Some(service_id) = service_id {
            endpoint.service_id = service::existing(&mut change, &service_id).await?.id;
        }
        if let Some(interface) = interface {
            check_interface(&interface)?;
            endpoint.interface = interface;
        }
        if let Some(region_id) = region_id {
            if let Some(region) = &region_id {
                region::ensure(&mut change, region).await?;
            }
            endpoint.region_id = region_id;
        }
        if let Some(url) = url {
            check_url(&url)?;
            endpoint.url = url;
        }
        endpoint.enabled = enabled.unwrap_or(endpoint.enabled);
        merge_extra(&mut endpoint.extra, extra);
        record::update(&mut change, &endpoint).await?;
        change.commit().await?;
        Ok(endpoint)
    }

    pub async fn delete_endpoint(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Endpoint>(&mut change, id).await?;
        self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        record::delete::<Endpoint>(&mut change, id).await?;
        change.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn a_url_may_ask_only_for_what_can_be_filled_in() {
        assert!(check_url("http://x/v1/$(project_id)s/%(user_id)s").is_ok());
        assert!(check_url("http://x/100%").is_ok());
        assert!(check_url("http://x/$(tenant)s").is_err());
        assert!(check_url("http://x/$(project_id").is_err());
        assert!(check_url("").is_err());
    }
}
