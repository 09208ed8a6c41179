//! A node's record from a document: what each attribute may hold, and which values are secret.

use super::kit::Values;
use corten_model::refusal::Refusal;
use corten_operations::metal::driver::{self, Driver};
use corten_operations::metal::machine::HIDDEN;
use corten_operations::metal::node::Edit;
use corten_operations::metal::secrets::is_secret;
use corten_store::metal::Object;
use corten_store::metal::node::Node;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A node with what a document says of it. `driver` is the one that the document names; `reset`: the parts of the
/// driver that the document does not name (by `named`) work the default way.
pub fn edited(
    before: &Node,
    document: Map<String, Value>,
    driver: &Driver,
    named: &BTreeSet<String>,
    reset: bool,
) -> Result<Edit, Refusal> {
    let mut values = Values(document);
    let mut secrets = BTreeMap::new();
    let driver_info = sorted_out(
        before,
        "driver_info",
        values.object("driver_info")?,
        &mut secrets,
    );
    let instance_info = sorted_out(
        before,
        "instance_info",
        values.object("instance_info")?,
        &mut secrets,
    );
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    let node = Node {
        name: values.text("name")?,
        driver: driver.name.to_owned(),
        interfaces: interfaces(before, &mut values, driver, named, reset)?,
        driver_info,
        properties: values.object("properties")?,
        instance_info,
        network_data: values.object("network_data")?,
        resource_class: values.text("resource_class")?,
        // Groups are told apart without regard to case.
        conductor_group: values
            .text("conductor_group")?
            .unwrap_or_default()
            .to_lowercase(),
        owner: values.text("owner")?,
        lessee: values.text("lessee")?,
        shard: values.text("shard")?,
        description: values.text("description")?,
        chassis_id: values.id("chassis_uuid")?,
        parent_id: values.id("parent_node")?,
        instance_id: values.id("instance_uuid")?,
        instance_name: values.text("instance_name")?,
        automated_clean: values.truth("automated_clean")?,
        disable_power_off: values.truth("disable_power_off")?.unwrap_or_default(),
        protected: values.truth("protected")?.unwrap_or_default(),
        protected_reason: values.text("protected_reason")?,
        retired: values.truth("retired")?.unwrap_or_default(),
        retired_reason: values.text("retired_reason")?,
        maintenance: values.truth("maintenance")?.unwrap_or_default(),
        maintenance_reason: values.text("maintenance_reason")?,
        standard,
        ..before.clone()
    };
    Ok(Edit { node, secrets })
}

/// Which way each part of the driver works.
fn interfaces(
    before: &Node,
    values: &mut Values,
    driver: &Driver,
    named: &BTreeSet<String>,
    reset: bool,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut interfaces = BTreeMap::new();
    for (kind, _) in driver::KINDS {
        let field = format!("{kind}_interface");
        let asked = values.text(&field)?;
        let way = match asked {
            _ if reset && !named.contains(&field) => driver.default_way(kind).to_owned(),
            Some(way) => way,
            None => driver.default_way(kind).to_owned(),
        };
        let kept = before.driver_part(kind) == way && before.driver == driver.name;
        if !kept {
            driver.check(kind, &way)?;
        }
        interfaces.insert((*kind).to_owned(), way);
    }
    Ok(interfaces)
}

/// Takes the secrets out of an object. One that is hidden is left as it was; one that is gone is taken away.
fn sorted_out(
    before: &Node,
    name: &str,
    object: Object,
    secrets: &mut BTreeMap<String, Option<String>>,
) -> Object {
    let mut open = Object::new();
    let mut kept = BTreeSet::new();
    for (key, value) in object {
        let place = format!("{name}/{key}");
        if before.secrets.contains_key(&place) && value == HIDDEN {
            kept.insert(place);
        } else if is_secret(&key, &value) && !value.is_null() {
            kept.insert(place.clone());
            secrets.insert(place, Some(value.to_string()));
        } else {
            open.insert(key, value);
        }
    }
    let prefix = format!("{name}/");
    for place in before.secrets.keys() {
        if place.starts_with(&prefix) && !kept.contains(place) {
            secrets.insert(place.clone(), None);
        }
    }
    open
}
