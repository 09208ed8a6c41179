//! Pages of lists that are small enough to be read whole.

use crate::openstack::image::query::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::params::Params;
use corten_model::refusal::Refusal;

/// What comes after `marker`, at most `limit`; and whether there is as much as was asked for.
pub struct Page<T> {
    pub items: Vec<T>,
    pub is_full: bool,
}

/// Cuts a page out of a list that is sorted newest first.
pub fn page<T>(
    mut items: Vec<T>,
    params: &Params,
    name: impl Fn(&T) -> &str,
) -> Result<Page<T>, Refusal> {
    match params.get("sort_dir").unwrap_or("desc") {
        "desc" => {}
        "asc" => items.reverse(),
        other => {
            return Err(Refusal::invalid(format!(
                "Invalid sort direction: {other}. It is asc or desc."
            )));
        }
    }
    if let Some(marker) = params.get("marker") {
        let place = items.iter().position(|item| name(item) == marker);
        let place = place.ok_or_else(|| {
            Refusal::not_found(format!("The marker '{marker}' could not be found."))
        })?;
        items.drain(..=place);
    }
    let limit = match params.get("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|limit| *limit >= 0)
            .ok_or_else(|| {
                Refusal::invalid(format!(
                    "limit param must be a whole number >= 0, not '{text}'"
                ))
            })?,
    };
    let limit = usize::try_from(limit.min(MAX_LIMIT)).unwrap_or_default();
    items.truncate(limit);
    Ok(Page {
        is_full: items.len() == limit,
        items,
    })
}
