//! Tolerant reading: a JSON document of a BMC, asked key by key.
//!
//! A key is named by its way through the objects, `Status/Health`. One that is absent or null is unknown; one of another type
//! is used if its meaning is plain (`"2"` for 2), and is an oddity either way.

use crate::error::BmcError;
use crate::oddity::{Oddities, shortened};
use serde_json::Value;

#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) path: String,
    value: Value,
    etag: Option<String>,
    oddities: Oddities,
}

impl Document {
    pub(super) fn new(path: &str, value: Value, etag: Option<String>, oddities: Oddities) -> Self {
        let etag = etag.or_else(|| Some(value.get("@odata.etag")?.as_str()?.to_owned()));
        Self {
            path: path.to_owned(),
            value,
            etag,
            oddities,
        }
    }

    /// Of the version that was read, for `If-Match`.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.value
            .pointer(&format!("/{key}"))
            .filter(|value| !value.is_null())
    }

    /// A text that says something; BMCs pad theirs with blanks.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = match self.get(key)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => {
                self.note(key, "a text", &number.to_string());
                number.to_string()
            }
            other => return self.unknown(key, "a text", other),
        };
        (!text.is_empty()).then_some(text)
    }

    /// A text that the standard requires; without it, an oddity.
    pub(super) fn required_text(&self, key: &str) -> Option<String> {
        let text = self.text(key);
        if text.is_none() && !self.has(key) {
            self.note(key, "a text", "nothing");
        }
        text
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.trim().parse::<f64>().is_ok() => {
                self.note(key, "a number", &format!("the text {text:?}"));
                text.trim().parse().ok()
            }
            other => self.unknown(key, "a number", other),
        }
    }

    /// A number of things: not negative.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        let number = self.number(key)?;
        if number < 0.0 {
            self.note(key, "a count", &number.to_string());
            return None;
        }
        Some(number.round() as u64)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => {
                self.note(key, "true or false", "the text \"true\"");
                Some(true)
            }
            Value::String(text) if text.eq_ignore_ascii_case("false") => {
                self.note(key, "true or false", "the text \"false\"");
                Some(false)
            }
            other => self.unknown(key, "true or false", other),
        }
    }

    /// One of a table of words; a word that is not in it is an oddity.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let meant = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if meant.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.note(key, &format!("one of {}", known.join(", ")), &text);
        }
        meant.map(|(_, meaning)| *meaning)
    }

    /// The value as it is; for keys whose values are free, as BIOS attributes.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Some(other) => self
                .unknown::<Vec<String>>(key, "a list", other)
                .unwrap_or_default(),
        }
    }

    /// The objects of a list; null members are left out.
    pub(super) fn list(&self, key: &str) -> Vec<Document> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.is_object())
                .map(|(index, item)| self.part(&format!("{key}/{index}"), item))
                .collect(),
            Some(other) => self
                .unknown::<Vec<Document>>(key, "a list", other)
                .unwrap_or_default(),
        }
    }

    fn part(&self, key: &str, value: &Value) -> Document {
        let path = match value.get("@odata.id").and_then(Value::as_str) {
            Some(path) => path.to_owned(),
            None => format!("{}#/{key}", self.path),
        };
        Document::new(&path, value.clone(), None, self.oddities.clone())
    }

    /// Where a link leads.
    pub(super) fn link(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Object(object) => match object.get("@odata.id") {
                Some(Value::String(path)) if !path.is_empty() => Some(path.clone()),
                _ => self.unknown(key, "a link", &Value::Object(object.clone())),
            },
            Value::String(path) if path.starts_with('/') => {
                self.note(key, "a link", "a text");
                Some(path.clone())
            }
            other => self.unknown(key, "a link", other),
        }
    }

    pub(super) fn links(&self, key: &str) -> Vec<String> {
        self.list(key)
            .iter()
            .filter_map(|item| item.text("@odata.id"))
            .collect()
    }

    /// An action and what can be given to it.
    pub(super) fn action(&self, name: &str) -> Option<Action> {
        let action = self.get(&format!("Actions/#{name}"))?;
        let action = self.part(&format!("Actions/#{name}"), action);
        let target = action.required_text("target")?;
        Some(Action { target, action })
    }

    fn note(&self, key: &str, expected: &str, found: &str) {
        let place = if self.path.contains('#') {
            format!("{}/{key}", self.path)
        } else {
            format!("{}#/{key}", self.path)
        };
        self.oddities.note(place, expected, found);
    }

    fn unknown<T>(&self, key: &str, expected: &str, found: &Value) -> Option<T> {
        self.note(key, expected, &found.to_string());
        None
    }

    /// The error of an answer without the one thing that was asked for.
    pub(super) fn without(&self, bmc: &str, key: &str, expected: &str) -> BmcError {
        let found = match self.get(key) {
            Some(value) => shortened(value.to_string()),
            None => "nothing".to_owned(),
        };
        BmcError::Odd {
            bmc: bmc.to_owned(),
            request: format!("GET {}", self.path),
            expected: format!("{expected} in {key}"),
            found,
        }
    }
}

pub(super) struct Action {
    pub(super) target: String,
    action: Document,
}

impl Action {
    /// What a parameter may be, if it is said beside the action.
    pub(super) fn allowed(&self, parameter: &str) -> Vec<String> {
        self.action
            .texts(&format!("{parameter}@Redfish.AllowableValues"))
    }

    /// The document that says it otherwise.
    pub(super) fn info(&self) -> Option<String> {
        self.action.text("@Redfish.ActionInfo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(value: Value) -> (Document, Oddities) {
        let oddities = Oddities::default();
        (Document::new("/s", value, None, oddities.clone()), oddities)
    }

    #[test]
    fn what_is_meant_is_read_and_what_is_odd_is_written_down() {
        let (document, oddities) = document(json!({
            "Model": "  R650 ", "Serial": 12345, "Cores": "8", "Enabled": "True", "Status": {"Health": "OK"},
            "Members": [null, {"@odata.id": "/s/1"}], "Null": null, "Empty": "",
        }));
        assert_eq!(document.text("Model").as_deref(), Some("R650"));
        assert_eq!(document.text("Status/Health").as_deref(), Some("OK"));
        assert_eq!(document.text("Null"), None);
        assert_eq!(document.text("Empty"), None);
        assert_eq!(document.links("Members"), ["/s/1"]);
        assert!(oddities.list().is_empty());

        assert_eq!(document.text("Serial").as_deref(), Some("12345"));
        assert_eq!(document.count("Cores"), Some(8));
        assert_eq!(document.flag("Enabled"), Some(true));
        assert_eq!(document.required_text("Name"), None);
        let places: Vec<String> = oddities.list().into_iter().map(|odd| odd.place).collect();
        assert_eq!(
            places,
            ["/s#/Cores", "/s#/Enabled", "/s#/Name", "/s#/Serial"]
        );
    }

    #[test]
    fn no_shape_of_an_answer_is_a_panic() {
        for odd in [
            json!(null),
            json!(3),
            json!("x"),
            json!([1]),
            json!({"K": {"@odata.id": 3}}),
            json!({"K": [[1]]}),
        ] {
            let (document, _) = document(odd);
            assert_eq!(document.text("K"), None);
            assert_eq!(document.number("K"), None);
            assert_eq!(document.flag("K"), None);
            assert_eq!(document.link("K"), None);
            assert!(document.links("K").is_empty());
            assert!(document.action("K").is_none());
            assert_eq!(document.word("K", &[("a", 1)]), None);
        }
    }
}
