//! Fields of an update that can be absent (leave it), null (clear it) or given.

use serde::{Deserialize, Deserializer};

/// `None` if the field is absent, `Some(None)` if it is null. Use with `#[serde(default, deserialize_with = …)]`.
pub fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
