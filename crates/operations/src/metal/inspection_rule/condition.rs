//! Conditions of rules, as pure decisions on what was found.
//!
//! Numbers and texts that are numbers compare as numbers. What was not found is null: it equals nothing but null, and is
//! neither less nor greater than anything.

use super::args::{Args, Names, items};
use super::text::{self, Absent, Data, Filling, shown};
use corten_store::metal::inspection_rule::RuleStep;
use ipnet::IpNet;
use regex::Regex;
use serde_json::Value;
use std::cmp::Ordering;
use std::net::IpAddr;

/// Conditions see values with their types, and null for what was not found.
const FILLING: Filling = Filling {
    typed: true,
    absent: Absent::Null,
};

/// One condition that was read.
#[derive(Debug)]
pub(super) struct Condition {
    /// It was written with a leading `!`.
    inverted: bool,
    test: Test,
    items: Option<Vec<Value>>,
    multiple: Multiple,
}

#[derive(Debug)]
enum Test {
    Compare {
        holds: fn(&Value, &Value) -> bool,
        values: Value,
        force_strings: bool,
    },
    Is {
        holds: fn(&Value) -> bool,
        value: Value,
    },
    InNet {
        address: Value,
        subnet: Value,
    },
    Finds {
        value: Value,
        regex: String,
        /// The whole value, not a part of it.
        whole: bool,
    },
    OneOf {
        value: Value,
        values: Value,
    },
}

/// Which results of a loop count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Multiple {
    Any,
    All,
    First,
    Last,
}

const COMPARED: Names = &[("values", true), ("force_strings", false)];
const VALUE: Names = &[("value", true)];

impl Condition {
    /// Reads a condition, or says what of it this cloud cannot do.
    pub(super) fn read(step: &RuleStep) -> Result<Self, String> {
        let (inverted, op) = match step.op.trim().strip_prefix('!') {
            Some(op) => (true, op.trim_start()),
            None => (false, step.op.trim()),
        };
        let items = items(step)?;
        Ok(Self {
            inverted,
            test: Test::read(op, step, items.as_deref())?,
            multiple: multiple(step, items.is_some())?,
            items,
        })
    }

    /// Whether it holds; an error is a value that cannot be judged.
    pub(super) fn holds(&self, data: &Data<'_>) -> Result<bool, String> {
        let Some(items) = &self.items else {
            return self.holds_once(data);
        };
        let mut results = Vec::new();
        for item in items {
            let item = text::fill(item, data, FILLING)?;
            let item = Some(&item);
            results.push(self.holds_once(&Data { item, ..*data })?);
        }
        Ok(match self.multiple {
            Multiple::Any => results.contains(&true),
            Multiple::All => !results.contains(&false),
            Multiple::First => results.first() == Some(&true),
            Multiple::Last => results.last() == Some(&true),
        })
    }

    fn holds_once(&self, data: &Data<'_>) -> Result<bool, String> {
        Ok(self.test.holds(data)? != self.inverted)
    }
}

fn multiple(step: &RuleStep, in_loop: bool) -> Result<Multiple, String> {
    match step.multiple.as_deref() {
        None => Ok(Multiple::Any),
        Some(word) if !in_loop => Err(format!(
            "'multiple' is {word}, and '{}' has no loop whose results it could choose from",
            step.op
        )),
        Some("any") => Ok(Multiple::Any),
        Some("all") => Ok(Multiple::All),
        Some("first") => Ok(Multiple::First),
        Some("last") => Ok(Multiple::Last),
        Some(other) => Err(format!(
            "'multiple' is {other}: it is one of any, all, first, last"
        )),
    }
}

impl Test {
    fn read(op: &str, step: &RuleStep, items: Option<&[Value]>) -> Result<Self, String> {
        let in_loop = items.is_some();
        let is = |holds: fn(&Value) -> bool| {
            let value = Args::read(step, VALUE)?.filled("value", in_loop)?;
            Ok(Self::Is { holds, value })
        };
        let compare = |holds: fn(&Value, &Value) -> bool| {
            let mut args = Args::read(step, COMPARED)?;
            let values = args.filled("values", in_loop)?;
            if !values.is_array() {
                return Err(format!("the values of '{op}' are {values}: give a list"));
            }
            let force_strings = args.truth("force_strings")?;
            Ok(Self::Compare {
                holds,
                values,
                force_strings,
            })
        };
        let finds = |whole| {
            let mut args = Args::read(step, &[("value", true), ("regex", true)])?;
            let value = args.filled("value", in_loop)?;
            let regex = args.text("regex")?;
            for item in items.map_or_else(|| vec![None], |items| items.iter().map(Some).collect()) {
                compiled(&of_item(&regex, item), whole)?;
            }
            Ok(Self::Finds {
                value,
                regex,
                whole,
            })
        };
        match op {
            "is-true" => is(is_true),
            "is-false" => is(is_false),
            "is-empty" => is(is_empty),
            "is-none" => is(Value::is_null),
            "eq" => compare(equal),
            "ne" => compare(|a, b| !equal(a, b)),
            "lt" => compare(|a, b| order(a, b) == Some(Ordering::Less)),
            "gt" => compare(|a, b| order(a, b) == Some(Ordering::Greater)),
            "le" => compare(|a, b| order(a, b).is_some_and(Ordering::is_le)),
            "ge" => compare(|a, b| order(a, b).is_some_and(Ordering::is_ge)),
            "matches" => finds(true),
            "contains" => finds(false),
            "in-net" => {
                let mut args = Args::read(step, &[("address", true), ("subnet", true)])?;
                let address = args.filled("address", in_loop)?;
                let subnet = args.filled("subnet", in_loop)?;
                if let Some(text) = subnet.as_str().filter(|text| !text.contains('{')) {
                    network(text)?;
                }
                Ok(Self::InNet { address, subnet })
            }
            "one-of" => {
                let mut args = Args::read(step, &[("value", true), ("values", true)])?;
                let value = args.filled("value", in_loop)?;
                let values = args.filled("values", in_loop)?;
                if !values.is_array() && !text::is_reference(&values) {
                    return Err(format!("the values of 'one-of' are {values}: give a list"));
                }
                Ok(Self::OneOf { value, values })
            }
            other => Err(format!(
                "'{other}' is no condition: it is one of is-true, is-false, is-empty, is-none, eq, ne, lt, gt, le, ge, \
                 matches, contains, in-net, one-of, each also with a leading '!'"
            )),
        }
    }

    fn holds(&self, data: &Data<'_>) -> Result<bool, String> {
        let fill = |value: &Value| text::fill(value, data, FILLING);
        match self {
            Self::Is { holds, value } => Ok(holds(&fill(value)?)),
            Self::Compare {
                holds,
                values,
                force_strings,
            } => {
                let mut values = match fill(values)? {
                    Value::Array(values) => values,
                    other => vec![other],
                };
                if *force_strings {
                    for value in &mut values {
                        *value = shown(value).into();
                    }
                }
                Ok(values.windows(2).all(|pair| holds(&pair[0], &pair[1])))
            }
            Self::InNet { address, subnet } => in_net(&fill(address)?, &fill(subnet)?),
            Self::Finds {
                value,
                regex,
                whole,
            } => {
                let value = fill(value)?;
                let regex = compiled(&of_item(regex, data.item), *whole)?;
                Ok(!value.is_null() && regex.is_match(&shown(&value)))
            }
            Self::OneOf { value, values } => {
                let value = fill(value)?;
                let values = fill(values)?;
                let values = values.as_array().map_or(&[][..], Vec::as_slice);
                Ok(values.iter().any(|other| equal(&value, other)))
            }
        }
    }
}

/// Braces belong to regular expressions: only one that is a reference to the item as a whole is filled in.
fn of_item(regex: &str, item: Option<&Value>) -> String {
    let data = Data {
        node: &Value::Null,
        inventory: &Value::Null,
        plugin_data: &Value::Null,
        item,
    };
    let text = Value::from(regex);
    match (item, text::is_reference(&text)) {
        (Some(_), true) => text::fill(&text, &data, FILLING).map_or_else(
            |_| regex.to_owned(),
            |filled| match filled {
                Value::String(filled) => filled,
                _ => regex.to_owned(),
            },
        ),
        _ => regex.to_owned(),
    }
}

fn compiled(regex: &str, whole: bool) -> Result<Regex, String> {
    let text = if whole {
        format!("^(?:{regex})$")
    } else {
        regex.to_owned()
    };
    Regex::new(&text)
        .map_err(|error| format!("the regular expression '{regex}' is not understood: {error}"))
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("'{text}' is no network: write it as 10.0.0.0/24"))
}

fn in_net(address: &Value, subnet: &Value) -> Result<bool, String> {
    let (Some(address), Some(subnet)) = (address.as_str(), subnet.as_str()) else {
        return Ok(false);
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("'{address}' is no IP address"))?;
    Ok(network(subnet)?.contains(&address))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), _) | (_, Value::Number(_)) => {
            number(a).is_some_and(|a| number(b) == Some(a))
        }
        (Value::Bool(_), Value::String(text)) => shown(a).eq_ignore_ascii_case(text),
        (Value::String(text), Value::Bool(_)) => shown(b).eq_ignore_ascii_case(text),
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (number(a), number(b), a, b) {
        (Some(a), Some(b), _, _) => a.partial_cmp(&b),
        (_, _, Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn is_word(value: &Value, words: [&str; 2]) -> bool {
    value
        .as_str()
        .is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text)))
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
        || value.as_f64().is_some_and(|number| number != 0.0)
        || is_word(value, ["yes", "true"])
}

fn is_false(value: &Value) -> bool {
    value.is_null()
        || value.as_bool() == Some(false)
        || value.as_f64() == Some(0.0)
        || is_word(value, ["no", "false"])
}

fn is_empty(value: &Value) -> bool {
    matches!(shown(value).as_str(), "" | "None" | "[]" | "{}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(condition: Value) -> Result<Condition, String> {
        Condition::read(&serde_json::from_value(condition).unwrap())
    }

    fn holds(condition: Value) -> bool {
        let inventory = json!({
            "cpu": {"count": 16, "architecture": "x86_64"},
            "system_vendor": {"manufacturer": "Dell Inc.", "product_name": "PowerEdge R640"},
            "bmc_address": "10.0.0.7",
            "disks": [],
        });
        let data = Data {
            node: &json!({"driver": "redfish", "maintenance": false}),
            inventory: &inventory,
            plugin_data: &json!({"found": "yes"}),
            item: None,
        };
        read(condition.clone()).unwrap().holds(&data).unwrap()
    }

    #[test]
    fn each_condition_holds_and_does_not() {
        let cpus = "{inventory[cpu][count]}";
        for (op, yes, no) in [
            (
                "eq",
                json!({"values": [cpus, 16, "16"]}),
                json!({"values": [cpus, 8]}),
            ),
            ("ne", json!([cpus, 8]), json!([cpus, "16"])),
            ("lt", json!([8, cpus, "100"]), json!([16, cpus])),
            ("gt", json!([100, cpus]), json!(["{inventory[gpu]}", 1])),
            ("le", json!([16, cpus]), json!([17, cpus])),
            ("ge", json!([16, cpus]), json!([15, cpus])),
            ("is-true", json!(["{plugin_data[found]}"]), json!([0])),
            (
                "is-false",
                json!({"value": "{node.maintenance}"}),
                json!(["x"]),
            ),
            ("is-empty", json!(["{inventory[disks]}"]), json!([cpus])),
            ("is-none", json!(["{inventory[gpu]}"]), json!([cpus])),
            (
                "contains",
                json!(["{inventory[system_vendor][manufacturer]}", "(?i)dell"]),
                json!(["{inventory[gpu]}", ".*"]),
            ),
            (
                "matches",
                json!({"value": "{inventory.system_vendor.product_name}", "regex": r"PowerEdge R\d{3}"}),
                json!({"value": "{inventory.system_vendor.product_name}", "regex": "PowerEdge"}),
            ),
            (
                "in-net",
                json!(["{inventory[bmc_address]}", "10.0.0.0/24"]),
                json!(["{inventory[bmc_address]}", "10.0.1.0/24"]),
            ),
            ("one-of", json!([cpus, [8, 16]]), json!([cpus, [8]])),
        ] {
            assert!(holds(json!({"op": op, "args": yes})), "{op} {yes}");
            assert!(!holds(json!({"op": op, "args": no})), "{op} {no}");
            let inverted = format!("! {op}");
            assert!(holds(json!({"op": inverted, "args": no})), "{op} {no}");
        }
        assert!(
            holds(json!({"op": "eq", "args": ["{{ inventory.cpu.count }}", 16]})),
            "with its type"
        );
        assert!(
            holds(
                json!({"op": "eq", "args": {"values": ["{node.maintenance}", "False"], "force_strings": true}})
            ),
            "as texts"
        );
    }

    #[test]
    fn a_loop_counts_the_results_that_it_says() {
        let model = |multiple: &str, models: [&str; 3]| {
            holds(json!({
                "op": "eq",
                "args": {"values": ["{inventory[system_vendor][product_name]}", "{item}"]},
                "loop": models,
                "multiple": multiple,
            }))
        };
        let (r640, other) = ("PowerEdge R640", "DL380");
        for (multiple, yes, no) in [
            ("any", [other, r640, other], [other; 3]),
            ("all", [r640; 3], [r640, other, r640]),
            ("first", [r640, other, other], [other, r640, r640]),
            ("last", [other, other, r640], [r640, r640, other]),
        ] {
            assert!(model(multiple, yes), "{multiple}");
            assert!(!model(multiple, no), "{multiple}");
        }
        assert!(holds(
            json!({"op": "contains", "args": ["{inventory[cpu][architecture]}", "{item}"], "loop": ["arm", "x86.*"]})
        ));
    }

    #[test]
    fn what_cannot_be_judged_is_refused_when_it_is_written_down() {
        for condition in [
            json!({"op": "likes", "args": [1]}),
            json!({"op": "!!eq", "args": [1, 1]}),
            json!({"op": "eq", "args": {"values": 1}}),
            json!({"op": "eq", "args": {"values": [1, 1], "other": 1}}),
            json!({"op": "matches", "args": {"value": "a"}}),
            json!({"op": "matches", "args": {"value": "a", "regex": "(?=b)"}}),
            json!({"op": "in-net", "args": ["10.0.0.1", "everywhere"]}),
            json!({"op": "is-true", "args": ["{item}"]}),
            json!({"op": "is-true", "args": [1], "multiple": "any"}),
            json!({"op": "is-true", "args": [1], "loop": [1], "multiple": "most"}),
            json!({"op": "one-of", "args": [1, 2]}),
            json!({"op": "is-true", "args": 1}),
        ] {
            assert!(read(condition.clone()).is_err(), "{condition}");
        }
    }
}
