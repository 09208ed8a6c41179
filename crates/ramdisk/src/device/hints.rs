//! Chooses the root disk: by the node's hints, or the smallest that can hold a system.

use super::Disk;
use crate::protocol::RootDeviceHints;
use serde_json::Value;

/// Without hints, smaller disks (boot cards, controllers' own) are passed over, as by the stock agent.
const SMALLEST_BYTES: u64 = 4 << 30;
const GIB: u64 = 1 << 30;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HintError {
    #[error("the root device hint {hint} is '{value}': give {rule}")]
    Malformed {
        hint: &'static str,
        value: String,
        rule: &'static str,
    },
    #[error("no disk is what the root device hints {hints} ask for; there are: {disks}")]
    NoneMatches { hints: String, disks: String },
    #[error("no disk has 4 GiB and no root device hint names one; there are: {disks}")]
    NoneLargeEnough { disks: String },
}

/// The root disk; the smallest where several will do, then the first by name.
pub fn choose<'a>(
    disks: &'a [Disk],
    hints: Option<&RootDeviceHints>,
) -> Result<&'a Disk, HintError> {
    let mut fitting = Vec::new();
    for disk in disks.iter().filter(|disk| !disk.read_only) {
        let fits = match hints {
            Some(hints) => matches(disk, hints)?,
            None => disk.size_bytes >= SMALLEST_BYTES,
        };
        if fits {
            fitting.push(disk);
        }
    }
    fitting
        .into_iter()
        .min_by_key(|disk| (disk.size_bytes, &disk.name))
        .ok_or_else(|| {
            let disks = describe(disks);
            match hints {
                Some(hints) => HintError::NoneMatches {
                    hints: serde_json::to_string(hints).unwrap_or_default(),
                    disks,
                },
                None => HintError::NoneLargeEnough { disks },
            }
        })
}

fn describe(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "none at all".to_owned();
    }
    let each: Vec<String> = disks
        .iter()
        .map(|disk| {
            format!(
                "{} (serial {}, {} bytes)",
                disk.name,
                disk.serial.as_deref().unwrap_or("unknown"),
                disk.size_bytes
            )
        })
        .collect();
    each.join(", ")
}

fn matches(disk: &Disk, hints: &RootDeviceHints) -> Result<bool, HintError> {
    // Exhaustive, so that no hint is taken and not heeded.
    let RootDeviceHints {
        name,
        serial,
        wwn,
        model,
        vendor,
        hctl,
        size,
        rotational,
    } = hints;
    let path = disk.path().display().to_string();
    Ok(text("name", name, Some(&path))?
        && text("serial", serial, disk.serial.as_deref())?
        && text("wwn", wwn, disk.wwn.as_deref())?
        && text("model", model, disk.model.as_deref())?
        && text("vendor", vendor, disk.vendor.as_deref())?
        && text("hctl", hctl, disk.hctl.as_deref())?
        && number(size, disk.size_bytes / GIB)?
        && truth(rotational, disk.rotational)?)
}

/// Text is compared without regard to case.
fn text(
    hint: &'static str,
    wanted: &Option<String>,
    value: Option<&str>,
) -> Result<bool, HintError> {
    let Some(wanted) = wanted else {
        return Ok(true);
    };
    let equal = |wanted: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(wanted.trim()));
    if let Some(other) = wanted.strip_prefix("s!=") {
        Ok(!equal(other))
    } else if let Some(same) = wanted.strip_prefix("s==") {
        Ok(equal(same))
    } else if wanted.starts_with(['<', '>', '=', '!']) {
        Err(HintError::Malformed {
            hint,
            value: wanted.clone(),
            rule: "the value itself, or 's== VALUE', or 's!= VALUE'",
        })
    } else {
        Ok(equal(wanted))
    }
}

fn number(wanted: &Option<Value>, value: u64) -> Result<bool, HintError> {
    let malformed = |wanted: &Value| HintError::Malformed {
        hint: "size",
        value: wanted.to_string(),
        rule: "a number of GiB, or text: '== N', '>= N', '<= N', '> N', '< N'",
    };
    match wanted {
        None => Ok(true),
        Some(Value::Number(wanted)) => Ok(wanted.as_u64() == Some(value)),
        Some(wanted @ Value::String(text)) => {
            let digits = text.trim_start_matches(['<', '>', '=', ' ']);
            let than: u64 = digits.trim().parse().map_err(|_| malformed(wanted))?;
            match text[..text.len() - digits.len()].trim() {
                "" | "=" | "==" => Ok(value == than),
                ">=" => Ok(value >= than),
                "<=" => Ok(value <= than),
                ">" => Ok(value > than),
                "<" => Ok(value < than),
                _ => Err(malformed(wanted)),
            }
        }
        Some(wanted) => Err(malformed(wanted)),
    }
}

fn truth(wanted: &Option<Value>, value: bool) -> Result<bool, HintError> {
    let wanted = match wanted {
        None => return Ok(true),
        Some(Value::Bool(wanted)) => *wanted,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        Some(other) => {
            return Err(HintError::Malformed {
                hint: "rotational",
                value: other.to_string(),
                rule: "true or false",
            });
        }
    };
    Ok(wanted == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Transport;

    fn disk(name: &str, serial: &str, gib: u64) -> Disk {
        Disk {
            name: name.to_owned(),
            transport: Transport::Scsi,
            size_bytes: gib * GIB,
            model: Some("M".to_owned()),
            serial: Some(serial.to_owned()),
            wwn: None,
            vendor: None,
            hctl: None,
            rotational: false,
            read_only: false,
            logical_block_bytes: 512,
            physical_block_bytes: 512,
            discard_max_bytes: 0,
        }
    }

    fn chosen(hints: Value) -> Result<String, HintError> {
        let disks = [
            disk("sda", "A", 100),
            disk("sdb", "B", 10),
            disk("sdc", "C", 2),
        ];
        let hints: Option<RootDeviceHints> = serde_json::from_value(hints).unwrap();
        choose(&disks, hints.as_ref()).map(|disk| disk.name.clone())
    }

    #[test]
    fn hints_choose_and_without_them_the_smallest_that_is_large_enough() {
        use serde_json::json;
        assert_eq!(chosen(json!(null)).unwrap(), "sdb");
        assert_eq!(chosen(json!({"serial": "a"})).unwrap(), "sda");
        assert_eq!(
            chosen(json!({"serial": "s!= C", "size": ">= 11"})).unwrap(),
            "sda"
        );
        assert_eq!(chosen(json!({"size": 2})).unwrap(), "sdc");
        assert_eq!(
            chosen(json!({"name": "/dev/sdc", "rotational": "false"})).unwrap(),
            "sdc"
        );
    }

    #[test]
    fn what_cannot_be_met_or_understood_is_refused_with_the_disks_there_are() {
        use serde_json::json;
        let none = chosen(json!({"serial": "Z"})).unwrap_err().to_string();
        assert!(none.contains("sdb (serial B, 10737418240 bytes)"), "{none}");
        assert!(matches!(
            chosen(json!({"model": "<in> M"})),
            Err(HintError::Malformed { hint: "model", .. })
        ));
        assert!(chosen(json!({"size": "=> 3"})).is_err());
        assert!(serde_json::from_value::<RootDeviceHints>(json!({"by_moon": 1})).is_err());
    }
}
