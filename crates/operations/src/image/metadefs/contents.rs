//! What a namespace holds: the resources it is for, properties, objects and tags.

use super::{
    Association, NewAssociation, NewObject, Object, Property, Tag, check_distinct,
    check_unprotected, edit, no_such, tag_at, taken,
};
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_store::Failure;

pub async fn associate(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    new: NewAssociation,
) -> Result<Association, Failure> {
    edit(cx, actor, namespace, |row, now| {
        if row.resource_types.iter().any(|each| each.name == new.name) {
            return Err(taken("resource type association", &new.name));
        }
        let new = new.at(now);
        row.resource_types.push(new.clone());
        Ok(new)
    })
    .await
}

pub async fn dissociate(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, _| {
        let place = row.resource_types.iter().position(|each| each.name == name);
        let place = place.ok_or_else(|| no_such("resource type", name, row))?;
        check_unprotected(row)?;
        row.resource_types.remove(place);
        Ok(())
    })
    .await
}

pub async fn add_object(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    new: NewObject,
) -> Result<Object, Failure> {
    edit(cx, actor, namespace, |row, now| {
        if row.objects.iter().any(|each| each.name == new.name) {
            return Err(taken("object", &new.name));
        }
        let new = new.at(now);
        row.objects.push(new.clone());
        Ok(new)
    })
    .await
}

pub async fn update_object(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
    new: NewObject,
) -> Result<Object, Failure> {
    edit(cx, actor, namespace, |row, now| {
        let place = row.objects.iter().position(|each| each.name == name);
        let place = place.ok_or_else(|| no_such("object", name, row))?;
        if new.name != name && row.objects.iter().any(|each| each.name == new.name) {
            return Err(taken("object", &new.name));
        }
        let object = &mut row.objects[place];
        *object = Object {
            created_at: object.created_at,
            ..new.at(now)
        };
        Ok(object.clone())
    })
    .await
}

pub async fn remove_object(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, _| {
        let place = row.objects.iter().position(|each| each.name == name);
        let place = place.ok_or_else(|| no_such("object", name, row))?;
        check_unprotected(row)?;
        row.objects.remove(place);
        Ok(())
    })
    .await
}

pub async fn add_property(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    new: Property,
) -> Result<Property, Failure> {
    edit(cx, actor, namespace, |row, _| {
        if row.properties.iter().any(|each| each.name == new.name) {
            return Err(taken("property", &new.name));
        }
        row.properties.push(new.clone());
        Ok(new)
    })
    .await
}

pub async fn update_property(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
    new: Property,
) -> Result<Property, Failure> {
    edit(cx, actor, namespace, |row, _| {
        let place = row.properties.iter().position(|each| each.name == name);
        let place = place.ok_or_else(|| no_such("property", name, row))?;
        if new.name != name && row.properties.iter().any(|each| each.name == new.name) {
            return Err(taken("property", &new.name));
        }
        row.properties[place] = new.clone();
        Ok(new)
    })
    .await
}

pub async fn remove_property(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, _| {
        let place = row.properties.iter().position(|each| each.name == name);
        let place = place.ok_or_else(|| no_such("property", name, row))?;
        check_unprotected(row)?;
        row.properties.remove(place);
        Ok(())
    })
    .await
}

/// Gives a namespace tags: besides those it has (`append`) or in their place.
pub async fn set_tags(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    names: Vec<String>,
    append: bool,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, now| {
        let kept = if append {
            std::mem::take(&mut row.tags)
        } else {
            Vec::new()
        };
        let all = kept
            .iter()
            .map(|tag| tag.name.as_str())
            .chain(names.iter().map(String::as_str));
        check_distinct("tag", all)?;
        row.tags = kept;
        row.tags
            .extend(names.into_iter().map(|name| tag_at(name, now)));
        Ok(())
    })
    .await
}

pub async fn add_tag(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: String,
) -> Result<Tag, Failure> {
    edit(cx, actor, namespace, |row, now| {
        if row.tags.iter().any(|tag| tag.name == name) {
            return Err(taken("tag", &name));
        }
        let tag = tag_at(name, now);
        row.tags.push(tag.clone());
        Ok(tag)
    })
    .await
}

pub async fn rename_tag(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
    to: String,
) -> Result<Tag, Failure> {
    edit(cx, actor, namespace, |row, now| {
        let place = row.tags.iter().position(|tag| tag.name == name);
        let place = place.ok_or_else(|| no_such("tag", name, row))?;
        if to != name && row.tags.iter().any(|tag| tag.name == to) {
            return Err(taken("tag", &to));
        }
        row.tags[place].name = to;
        row.tags[place].updated_at = now;
        Ok(row.tags[place].clone())
    })
    .await
}

pub async fn remove_tag(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, _| {
        let place = row.tags.iter().position(|tag| tag.name == name);
        let place = place.ok_or_else(|| no_such("tag", name, row))?;
        check_unprotected(row)?;
        row.tags.remove(place);
        Ok(())
    })
    .await
}

/// What a namespace can be emptied of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Objects,
    Properties,
    Tags,
}

pub async fn clear(
    cx: &Context,
    actor: &Actor,
    namespace: &str,
    kind: Kind,
) -> Result<(), Failure> {
    edit(cx, actor, namespace, |row, _| {
        check_unprotected(row)?;
        match kind {
            Kind::Objects => row.objects.clear(),
            Kind::Properties => row.properties.clear(),
            Kind::Tags => row.tags.clear(),
        }
        Ok(())
    })
    .await
}
