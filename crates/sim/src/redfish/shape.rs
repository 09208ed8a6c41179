//! Whose BMC a node has: what makers do otherwise than the standard says, as data (`shapes.toml`).

use super::resource::merge;
use crate::hardware::ModeAttribute;
use corten_bmc::{AttributeValue, Attributes};
use serde::Deserialize;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The form of a BMC: the standard's, or a maker's.
#[derive(Debug, Clone, Copy)]
pub struct Shape(&'static Data);

/// A name that no shape has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shape of a BMC is one of {known}, but {0:?} was given; name one of these", known = names())]
pub struct NoSuchShape(String);

fn names() -> String {
    let names: Vec<&str> = Shape::all().map(|shape| shape.name()).collect();
    names.join(", ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    System,
    Manager,
}

/// A log service. The first of a shape is the server's; the others are the BMC's own and stay empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogShape {
    pub(super) of: Owner,
    pub(super) id: String,
    pub(super) kind: String,
}

/// A drive of virtual media.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MediaShape {
    pub(super) id: String,
    pub(super) kinds: Vec<String>,
}

/// What a shape is made of; the default is the standard's. `{id}` in a name is the node's id.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Data {
    name: String,
    pub(super) system: String,
    pub(super) manager: String,
    pub(super) chassis: String,
    /// Of the service root.
    pub(super) vendor: Option<String>,
    pub(super) product: Option<String>,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) manager_model: String,
    /// Each part with firmware, and its version.
    pub(super) firmware: BTreeMap<String, String>,
    pub(super) bios: Attributes,
    /// The name of the settings beside `Bios`.
    pub(super) bios_settings: String,
    /// The settings tell all attributes, not only those that wait.
    pub(super) bios_whole: bool,
    /// The reset is an action of the settings.
    pub(super) bios_reset_in_settings: bool,
    /// The boot mode is this attribute; the override's mode is taken and does nothing.
    pub(super) boot_mode: Option<ModeAttribute>,
    /// An override in parts is refused.
    pub(super) boot_whole: bool,
    pub(super) boot_targets: Vec<String>,
    pub(super) reset_types: Vec<String>,
    /// The reset types are told in a document of their own.
    pub(super) reset_info: bool,
    /// To turn on what is on is refused.
    pub(super) on_once: bool,
    /// New settings are refused while some wait.
    pub(super) one_job: bool,
    /// Below the manager: the action that forgets all jobs.
    pub(super) clear_jobs: Option<String>,
    pub(super) logs: Vec<LogShape>,
    pub(super) media_of: Owner,
    pub(super) media: Vec<MediaShape>,
    /// Media are inserted and ejected by a PATCH; there are no actions.
    pub(super) media_by_patch: bool,
    /// The parameters of `InsertMedia`; others are refused.
    pub(super) insert_takes: Vec<String>,
    /// `IndicatorLED` in place of `LocationIndicatorActive`.
    pub(super) led: bool,
    /// Sensors are documents of their own, not tables in `Thermal` and `Power`.
    pub(super) sensor_documents: bool,
    /// Network cards are adapters of the chassis, not interfaces of the system.
    pub(super) adapters: bool,
    /// Links end with a slash.
    pub(super) slashes: bool,
    /// By type: merged into each such document.
    with: BTreeMap<String, Value>,
    /// By type: keys that such a document lacks.
    without: BTreeMap<String, Vec<String>>,
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

impl Default for Data {
    fn default() -> Self {
        let text = |value: &str| AttributeValue::Text(value.to_owned());
        let bios = [
            ("ProcVirtualization", text("Enabled")),
            ("LogicalProc", text("Enabled")),
            ("QuietBoot", AttributeValue::Flag(true)),
            ("BootTimeoutSecs", AttributeValue::Integer(5)),
        ];
        let slot = |id: &str, kinds: &[&str]| MediaShape {
            id: id.to_owned(),
            kinds: words(kinds),
        };
        Self {
            name: "standard".to_owned(),
            system: "{id}".to_owned(),
            manager: "{id}".to_owned(),
            chassis: "{id}".to_owned(),
            vendor: None,
            product: Some("Corten simulated servers".to_owned()),
            manufacturer: "Corten".to_owned(),
            model: "Simulated server".to_owned(),
            manager_model: "Simulated BMC".to_owned(),
            firmware: [("bios", "1.0.0"), ("bmc", "1.0.0")]
                .map(|(part, version)| (part.to_owned(), version.to_owned()))
                .into(),
            bios: bios.map(|(name, value)| (name.to_owned(), value)).into(),
            bios_settings: "Settings".to_owned(),
            bios_whole: false,
            bios_reset_in_settings: false,
            boot_mode: None,
            boot_whole: false,
            boot_targets: words(&[
                "None",
                "Pxe",
                "UefiHttp",
                "Hdd",
                "Cd",
                "Usb",
                "BiosSetup",
                "Diags",
            ]),
            reset_types: words(&[
                "On",
                "ForceOff",
                "GracefulShutdown",
                "GracefulRestart",
                "ForceRestart",
                "Nmi",
                "ForceOn",
                "PushPowerButton",
                "PowerCycle",
            ]),
            reset_info: false,
            on_once: false,
            one_job: false,
            clear_jobs: None,
            logs: vec![LogShape {
                of: Owner::System,
                id: "SEL".to_owned(),
                kind: "SEL".to_owned(),
            }],
            media_of: Owner::System,
            media: vec![
                slot("Cd", &["CD", "DVD"]),
                slot("Usb", &["USBStick", "Floppy"]),
            ],
            media_by_patch: false,
            insert_takes: words(&[
                "Image",
                "Inserted",
                "WriteProtected",
                "TransferMethod",
                "TransferProtocolType",
                "UserName",
                "Password",
            ]),
            led: false,
            sensor_documents: false,
            adapters: false,
            slashes: false,
            with: BTreeMap::new(),
            without: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    shape: Vec<Data>,
}

static STANDARD: LazyLock<Data> = LazyLock::new(Data::default);
static TABLE: LazyLock<Result<Table, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("shapes.toml")).map_err(|error| error.to_string())
});

impl Shape {
    /// As the standard has it, with all that is here.
    pub fn standard() -> Self {
        Self(&STANDARD)
    }

    /// `standard`, or a maker's: `dell`, `hpe`, `supermicro`, `lenovo`.
    pub fn named(name: &str) -> Result<Self, NoSuchShape> {
        let found = Self::all().find(|shape| shape.name() == name);
        found.ok_or_else(|| NoSuchShape(name.to_owned()))
    }

    /// The standard's first.
    pub fn all() -> impl Iterator<Item = Self> {
        let makers = TABLE.as_ref().map_or(&[] as &[Data], |table| &table.shape);
        std::iter::once(Self::standard()).chain(makers.iter().map(Self))
    }

    /// What [`Self::named`] finds it by.
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    pub(super) fn data(self) -> &'static Data {
        self.0
    }

    /// The registry that explains its BIOS attributes.
    pub(super) fn bios_registry(self) -> String {
        let mut name = self.0.name.clone();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        format!("{name}BiosAttributeRegistry")
    }

    /// Makes a document of the standard's one of this maker's.
    pub(super) fn bend(self, document: &mut Value) {
        let kind = document
            .get("@odata.type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let kind = kind
            .trim_start_matches('#')
            .split('.')
            .next()
            .unwrap_or_default();
        let kind = kind.to_owned();
        if let Some(with) = self.0.with.get(&kind) {
            merge(document, with);
        }
        for key in self.0.without.get(&kind).into_iter().flatten() {
            let (parent, key) = key.rsplit_once('/').unwrap_or(("", key));
            let parent = if parent.is_empty() {
                Some(&mut *document)
            } else {
                document.pointer_mut(&format!("/{parent}"))
            };
            if let Some(Value::Object(parent)) = parent {
                parent.remove(key);
            }
        }
        if self.0.slashes {
            end_links(document);
        }
    }
}

fn end_links(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(link) if key == "@odata.id" && !link.ends_with('/') => {
                        // Within a document: at the end of the document's own path.
                        *value = json!(match link.split_once('#') {
                            Some((path, place)) => format!("{path}/#{place}"),
                            None => format!("{link}/"),
                        });
                    }
                    other => end_links(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(end_links),
        _ => {}
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Shape {}

impl PartialOrd for Shape {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shape {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_each_shape_is_usable() {
        let table = TABLE.as_ref().unwrap();
        assert_eq!(table.shape.len(), 4);
        for shape in Shape::all() {
            let data = shape.data();
            assert_eq!(Shape::named(shape.name()), Ok(shape));
            assert!(!data.logs.is_empty() && !data.media.is_empty() && !data.bios.is_empty());
            if let Some(mode) = &data.boot_mode {
                let now = &data.bios[&mode.attribute];
                let known = [&mode.uefi, &mode.legacy];
                assert!(
                    known
                        .iter()
                        .any(|word| *now == AttributeValue::Text((*word).clone()))
                );
            }
        }
        let error = Shape::named("acme").unwrap_err().to_string();
        assert!(error.contains("supermicro"), "{error}");
    }

    #[test]
    fn a_document_is_bent_by_its_type() {
        let mut document = json!({
            "@odata.id": "/redfish/v1/Systems/1", "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "SKU": "x",
            "Bios": {"@odata.id": "/redfish/v1/Systems/1/Bios"},
        });
        Shape::named("hpe").unwrap().bend(&mut document);
        assert_eq!(document["Bios"]["@odata.id"], "/redfish/v1/Systems/1/Bios/");
    }
}
