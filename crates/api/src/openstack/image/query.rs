//! The query of a list of images: filters, order and page.

use crate::params::Params;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::image::List;
use corten_store::images::{
    Comparison, Condition, MemberStatus, NumberColumn, TextColumn, VisibilityFilter,
};
use corten_store::record::Direction;

/// Glance's `limit_param_default` and `api_limit_max`.
pub const DEFAULT_LIMIT: i64 = 25;
pub const MAX_LIMIT: i64 = 1000;

const SORT_KEYS: [&str; 8] = [
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "id",
    "created_at",
    "updated_at",
];

pub fn read(params: &Params) -> Result<List, Refusal> {
    let mut list = List {
        visibility: VisibilityFilter::Usual,
        member_status: Some(MemberStatus::Accepted),
        conditions: Vec::new(),
        order: order(params)?,
        marker: None,
        limit: limit(params)?,
    };
    let mut hidden = false;
    for (name, value) in &params.0 {
        match name.as_str() {
            "limit" | "sort" | "sort_key" | "sort_dir" => {}
            "marker" => list.marker = Some(marker(value)?),
            "visibility" => list.visibility = visibility(value)?,
            "member_status" => list.member_status = member_status(value)?,
            "os_hidden" => hidden = truth("os_hidden", value)?,
            "changes-since" => {
                return Err(Refusal::invalid(
                    "The \"changes-since\" filter is no longer available on v2.",
                ));
            }
            _ => list.conditions.push(condition(name, value)?),
        }
    }
    list.conditions.push(Condition::Number(
        NumberColumn::Hidden,
        Comparison::Equal,
        i64::from(hidden),
    ));
    Ok(list)
}

fn condition(name: &str, value: &str) -> Result<Condition, Refusal> {
    let text = |column| Ok(Condition::Text(column, alternatives(value)));
    let exact = |column| Ok(Condition::Text(column, vec![value.to_owned()]));
    let number =
        |column, comparison| Ok(Condition::Number(column, comparison, whole(name, value)?));
    match name {
        "id" => text(TextColumn::Id),
        "name" => text(TextColumn::Name),
        "status" => text(TextColumn::Status),
        "disk_format" => text(TextColumn::DiskFormat),
        "container_format" => text(TextColumn::ContainerFormat),
        "owner" => exact(TextColumn::Owner),
        "checksum" => exact(TextColumn::Checksum),
        "os_hash_value" => exact(TextColumn::HashValue),
        "size" => number(NumberColumn::Size, Comparison::Equal),
        "size_min" => number(NumberColumn::Size, Comparison::AtLeast),
        "size_max" => number(NumberColumn::Size, Comparison::AtMost),
        "min_disk" => number(NumberColumn::MinDisk, Comparison::Equal),
        "min_ram" => number(NumberColumn::MinRam, Comparison::Equal),
        "protected" => {
            let protected = i64::from(truth("protected", value)?);
            Ok(Condition::Number(
                NumberColumn::Protected,
                Comparison::Equal,
                protected,
            ))
        }
        "created_at" => moment(NumberColumn::CreatedAt, name, value),
        "updated_at" => moment(NumberColumn::UpdatedAt, name, value),
        "tag" => Ok(Condition::Tag(value.trim().to_owned())),
        _ => Ok(Condition::Property {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// `in:a,"b,c"` means either; `eq:a` and `a` mean just that. Any other text with a colon is a plain value.
fn alternatives(value: &str) -> Vec<String> {
    if let Some(value) = value.strip_prefix("eq:") {
        return vec![value.to_owned()];
    }
    let Some(list) = value.strip_prefix("in:") else {
        return vec![value.to_owned()];
    };
    let mut values = vec![String::new()];
    let mut quoted = false;
    for character in list.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(String::new()),
            other => {
                if let Some(last) = values.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    values
}

fn whole(name: &str, value: &str) -> Result<i64, Refusal> {
    value.parse().map_err(|_| {
        Refusal::invalid(format!(
            "Cannot filter by {name}: '{value}' is not a whole number."
        ))
    })
}

fn truth(name: &str, value: &str) -> Result<bool, Refusal> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::invalid(format!(
            "Invalid value '{value}' for '{name}' filter. Valid values are 'true' or 'false'."
        ))),
    }
}

/// `gt:2026-11-20T12:00:00Z` and the like. Moments are shown in whole seconds, so they are compared in these.
fn moment(column: NumberColumn, name: &str, value: &str) -> Result<Condition, Refusal> {
    let (comparison, text) = match value.split_once(':') {
        Some(("gt", text)) => (Comparison::Greater, text),
        Some(("gte", text)) => (Comparison::AtLeast, text),
        Some(("lt", text)) => (Comparison::Less, text),
        Some(("lte", text)) => (Comparison::AtMost, text),
        Some(("eq", text)) => (Comparison::Equal, text),
        Some(("neq", text)) => (Comparison::Different, text),
        _ => (Comparison::Equal, value),
    };
    let moment = Timestamp::parse_iso8601(text).ok_or_else(|| {
        Refusal::invalid(format!(
            "Cannot filter by {name}: '{value}' is not a date and time such as gte:2026-11-20T12:00:00Z."
        ))
    })?;
    Ok(Condition::Second(
        column,
        comparison,
        moment.micros() / 1_000_000,
    ))
}

fn marker(value: &str) -> Result<ImageId, Refusal> {
    value.parse().map_err(|_| {
        Refusal::invalid(format!(
            "Invalid marker: '{value}' is not the id of an image."
        ))
    })
}

fn visibility(value: &str) -> Result<VisibilityFilter, Refusal> {
    if value == "all" {
        return Ok(VisibilityFilter::All);
    }
    let known = value.parse().map(VisibilityFilter::Only);
    known.map_err(|()| {
        Refusal::invalid(format!(
            "Invalid visibility value: {value}. It is community, public, private, shared or all."
        ))
    })
}

fn member_status(value: &str) -> Result<Option<MemberStatus>, Refusal> {
    if value == "all" {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|()| {
        Refusal::invalid(format!(
            "Invalid status: {value}. It is pending, accepted, rejected or all."
        ))
    })
}

fn limit(params: &Params) -> Result<i64, Refusal> {
    let Some(text) = params.get("limit") else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit: i64 = text
        .parse()
        .map_err(|_| Refusal::invalid(format!("limit param must be an integer, not '{text}'")))?;
    if limit < 0 {
        return Err(Refusal::invalid(format!(
            "limit param must be positive, not {limit}"
        )));
    }
    Ok(limit.min(MAX_LIMIT))
}

/// `sort=name:asc,size`, or `sort_key` and `sort_dir`, each once or in pairs.
fn order(params: &Params) -> Result<Vec<(&'static str, Direction)>, Refusal> {
    let (keys, directions) = (params.all("sort_key"), params.all("sort_dir"));
    let Some(sort) = params.get("sort") else {
        return classic_order(&keys, &directions);
    };
    if !keys.is_empty() || !directions.is_empty() {
        return Err(Refusal::invalid(
            "Old and new sorting syntax cannot be combined",
        ));
    }
    sort.split(',')
        .map(|item| match item.split_once(':') {
            Some((key, direction)) => Ok((sort_key(key.trim())?, sort_dir(direction.trim())?)),
            None => Ok((sort_key(item.trim())?, Direction::Descending)),
        })
        .collect()
}

fn classic_order(
    keys: &[&str],
    directions: &[&str],
) -> Result<Vec<(&'static str, Direction)>, Refusal> {
    let keys = if keys.is_empty() {
        &["created_at"]
    } else {
        keys
    };
    let keys: Vec<_> = keys
        .iter()
        .map(|key| sort_key(key.trim()))
        .collect::<Result<_, _>>()?;
    let directions: Vec<_> = directions
        .iter()
        .map(|direction| sort_dir(direction.trim()))
        .collect::<Result<_, _>>()?;
    match directions.as_slice() {
        [] => Ok(keys
            .into_iter()
            .map(|key| (key, Direction::Descending))
            .collect()),
        [one] => Ok(keys.into_iter().map(|key| (key, *one)).collect()),
        several if several.len() == keys.len() => Ok(keys.into_iter().zip(directions).collect()),
        _ => Err(Refusal::invalid(
            "Number of sort dirs does not match the number of sort keys",
        )),
    }
}

fn sort_key(key: &str) -> Result<&'static str, Refusal> {
    SORT_KEYS
        .iter()
        .find(|known| **known == key)
        .copied()
        .ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid sort key: {key}. It must be one of the following: {}.",
                SORT_KEYS.join(", ")
            ))
        })
}

fn sort_dir(direction: &str) -> Result<Direction, Refusal> {
    match direction {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        _ => Err(Refusal::invalid(format!(
            "Invalid sort direction: {direction}. It is asc or desc."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn both_ways_to_sort_are_read() {
        let order = |pairs: &[(&str, &str)]| read(&params(pairs)).map(|list| list.order);
        assert_eq!(
            order(&[("sort", "name:asc,size")]).unwrap(),
            [
                ("name", Direction::Ascending),
                ("size", Direction::Descending)
            ]
        );
        assert_eq!(
            order(&[("sort_key", "size"), ("sort_dir", "asc")]).unwrap(),
            [("size", Direction::Ascending)]
        );
        assert_eq!(order(&[]).unwrap(), [("created_at", Direction::Descending)]);
        for bad in [
            vec![("sort", "colour")],
            vec![("sort", "name:up")],
            vec![("sort", "name"), ("sort_key", "name")],
            vec![
                ("sort_key", "name"),
                ("sort_dir", "asc"),
                ("sort_dir", "desc"),
            ],
        ] {
            assert!(order(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_of_alternatives_keep_quoted_commas() {
        assert_eq!(alternatives(r#"in:a,"b,c",d"#), ["a", "b,c", "d"]);
        assert_eq!(alternatives("with:colon"), ["with:colon"]);
        assert_eq!(alternatives("eq:x"), ["x"]);
    }

    #[test]
    fn wrong_filters_are_refused() {
        for (name, value) in [
            ("limit", "x"),
            ("limit", "-1"),
            ("marker", "x"),
            ("visibility", "secret"),
            ("member_status", "maybe"),
            ("os_hidden", "perhaps"),
            ("protected", "1"),
            ("size_min", "big"),
            ("created_at", "gt:yesterday"),
            ("changes-since", "2026-01-01"),
        ] {
            assert!(read(&params(&[(name, value)])).is_err(), "{name}={value}");
        }
        assert_eq!(
            read(&params(&[("limit", "5000")])).unwrap().limit,
            MAX_LIMIT
        );
    }
}
