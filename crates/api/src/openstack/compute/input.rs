//! Nova's lenient scalars: a number may come as digits in a string, a truth value in many spellings, and a field that
//! is null is not the same as one that is absent.

use crate::params::parse_truth;
use corten_model::refusal::Refusal;
use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use std::fmt;

/// A field of a body: absent, null, or a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sent<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Sent<T> {
    /// The field is in the body, be it null.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value; null counts as not given.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub fn as_ref(&self) -> Sent<&T> {
        match self {
            Self::Value(value) => Sent::Value(value),
            Self::Null => Sent::Null,
            Self::Absent => Sent::Absent,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A whole number, as JSON number or as digits in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                i64::try_from(number)
                    .map(Whole)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                // JSON Schema counts 1.0 as an integer.
                if number.fract() == 0.0 && number.abs() < 9e15 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse() {
                    Ok(number) if plain => Ok(Whole(number)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

impl Whole {
    /// The number, if it lies within `least..=most`.
    pub fn within(self, field: &str, least: i64, most: i64) -> Result<i64, Refusal> {
        if (least..=most).contains(&self.0) {
            return Ok(self.0);
        }
        let (relation, bound) = if self.0 < least {
            ("less than the minimum of", least)
        } else {
            ("greater than the maximum of", most)
        };
        Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {}. {} is {relation} {bound}",
            self.0, self.0
        )))
    }

    /// A number that fits the databases of OpenStack: 0 to 2³¹ − 1.
    pub fn size(self, field: &str, least: u32) -> Result<u32, Refusal> {
        Ok(self
            .within(field, i64::from(least), i64::from(i32::MAX))?
            .unsigned_abs() as u32)
    }
}

/// A truth value, as JSON boolean or in one of OpenStack's spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth(pub bool);

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Truth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Truth, E> {
                Ok(Truth(truth))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Truth, E> {
                parse_truth(text)
                    .map(Truth)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Word)
    }
}

/// A text that may also come as a JSON number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum WordOrNumber {
    Word(String),
    Number(serde_json::Number),
}

impl WordOrNumber {
    pub fn into_text(self) -> String {
        match self {
            Self::Word(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Checks a name: 1 to 255 printable characters, no white space at either end.
pub fn name(field: &str, text: &str) -> Result<String, Refusal> {
    let length = text.chars().count();
    let wrong = |rule: &str| {
        let shown: String = text.chars().take(80).collect();
        Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {shown}. {rule}"
        ))
    };
    if length == 0 {
        return Err(wrong("'' is too short: a name has at least 1 character"));
    }
    if length > 255 {
        return Err(wrong(&format!(
            "The name is too long: it has {length} characters, at most 255 are allowed"
        )));
    }
    if text.trim() != text {
        return Err(wrong("A name has no white space at its start or end"));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("A name has only printable characters"));
    }
    Ok(text.to_owned())
}

/// Checks a free text of at most `most` characters; control characters other than line breaks and tabs are refused.
pub fn description(field: &str, text: &str, most: usize) -> Result<String, Refusal> {
    let length = text.chars().count();
    if length > most {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. It has {length} characters, at most {most} are allowed"
        )));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. It has unprintable characters"
        )));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_str;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(default)]
        field: Sent<String>,
    }

    #[test]
    fn absent_null_and_given_are_three_things() {
        assert_eq!(from_str::<Body>("{}").unwrap().field, Sent::Absent);
        assert_eq!(
            from_str::<Body>(r#"{"field": null}"#).unwrap().field,
            Sent::Null
        );
        assert_eq!(
            from_str::<Body>(r#"{"field": "x"}"#).unwrap().field,
            Sent::Value("x".to_owned())
        );
        assert!(from_str::<Body>(r#"{"field": 1}"#).is_err());
    }

    #[test]
    fn numbers_may_be_strings_of_digits() {
        assert_eq!(from_str::<Whole>("12").unwrap(), Whole(12));
        assert_eq!(from_str::<Whole>("\"12\"").unwrap(), Whole(12));
        assert_eq!(from_str::<Whole>("\"-1\"").unwrap(), Whole(-1));
        assert_eq!(from_str::<Whole>("1.0").unwrap(), Whole(1));
        for wrong in [
            "\"\"",
            "\"+1\"",
            "\" 1\"",
            "1.5",
            "true",
            "null",
            "\"1.0\"",
            "99999999999999999999",
        ] {
            assert!(from_str::<Whole>(wrong).is_err(), "{wrong}");
        }
        assert!(
            Whole(0)
                .size("ram", 1)
                .unwrap_err()
                .message
                .contains("less than the minimum of 1")
        );
    }

    #[test]
    fn truth_has_many_spellings() {
        assert_eq!(from_str::<Truth>("\"True\"").unwrap(), Truth(true));
        assert_eq!(from_str::<Truth>("false").unwrap(), Truth(false));
        assert!(from_str::<Truth>("\"maybe\"").is_err());
        assert!(from_str::<Truth>("1").is_err());
    }

    #[test]
    fn names_are_checked_and_the_rule_is_told() {
        assert!(name("name", "m1.tiny").is_ok());
        assert!(name("name", "").unwrap_err().message.contains("too short"));
        assert!(
            name("name", &"a".repeat(256))
                .unwrap_err()
                .message
                .contains("too long")
        );
        assert!(name("name", " a").is_err());
        assert!(name("name", "a\u{0}").is_err());
    }
}
