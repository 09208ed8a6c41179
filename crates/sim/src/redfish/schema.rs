//! The types of all resources, in one table: `@odata.type` of each document and `$metadata` come from it.

/// A schema of DMTF's (DSP8010), and its version here; without one, for what has none.
const SCHEMAS: &[(&str, &str)] = &[
    ("AccountService", "v1_10_0"),
    ("ActionInfo", "v1_2_0"),
    ("AttributeRegistry", "v1_3_0"),
    ("Bios", "v1_2_0"),
    ("Chassis", "v1_21_0"),
    ("ComputerSystem", "v1_20_0"),
    ("Drive", "v1_16_0"),
    ("EthernetInterface", "v1_9_0"),
    ("Event", "v1_7_0"),
    ("EventDestination", "v1_13_0"),
    ("EventService", "v1_8_0"),
    ("LogEntry", "v1_15_0"),
    ("LogService", "v1_4_0"),
    ("Manager", "v1_17_0"),
    ("ManagerAccount", "v1_9_0"),
    ("ManagerNetworkProtocol", "v1_9_0"),
    ("Memory", "v1_17_0"),
    ("Message", "v1_1_2"),
    ("MessageRegistryFile", "v1_1_0"),
    ("NetworkAdapter", "v1_9_0"),
    ("NetworkDeviceFunction", "v1_9_0"),
    ("Power", "v1_7_0"),
    ("Processor", "v1_17_0"),
    ("Role", "v1_3_0"),
    ("SecureBoot", "v1_1_0"),
    ("Sensor", "v1_6_0"),
    ("ServiceRoot", "v1_14_0"),
    ("Session", "v1_5_0"),
    ("SessionService", "v1_1_0"),
    ("Settings", "v1_3_0"),
    ("SoftwareInventory", "v1_8_0"),
    ("Storage", "v1_14_0"),
    ("StorageController", "v1_6_0"),
    ("Task", "v1_7_0"),
    ("TaskService", "v1_2_0"),
    ("Thermal", "v1_7_0"),
    ("UpdateService", "v1_11_0"),
    ("VirtualMedia", "v1_6_0"),
];

const COLLECTIONS: &[&str] = &[
    "Chassis",
    "ComputerSystem",
    "EthernetInterface",
    "EventDestination",
    "LogEntry",
    "LogService",
    "Manager",
    "ManagerAccount",
    "Memory",
    "MessageRegistryFile",
    "NetworkAdapter",
    "NetworkDeviceFunction",
    "Processor",
    "Role",
    "Sensor",
    "Session",
    "SoftwareInventory",
    "Storage",
    "StorageController",
    "Task",
    "VirtualMedia",
];

const PLACE: &str = "http://redfish.dmtf.org/schemas/v1";

/// The type of a document: `#Bios.v1_2_0.Bios`.
pub(super) fn of(kind: &str) -> String {
    let version = SCHEMAS.iter().find(|(known, _)| *known == kind);
    match version {
        Some((_, version)) => format!("#{kind}.{version}.{kind}"),
        None => format!("#{kind}.{kind}"),
    }
}

pub(super) fn of_collection(kind: &str) -> String {
    format!("#{kind}Collection.{kind}Collection")
}

/// Where the JSON schema of a document of this type is published.
pub(super) fn json_schema(odata_type: &str) -> String {
    let mut parts = odata_type.trim_start_matches('#').split('.');
    let kind = parts.next().unwrap_or_default();
    match parts.next().filter(|part| part.starts_with('v')) {
        Some(version) => format!("{PLACE}/{kind}.{version}.json"),
        None => format!("{PLACE}/{kind}.json"),
    }
}

/// The document at `$metadata`: OData's description of the service, which leaves the types to their schemas.
pub(super) fn metadata() -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    let mut reference = |file: &str, namespaces: &[String]| {
        text.push_str(&format!(
            "  <edmx:Reference Uri=\"{PLACE}/{file}_v1.xml\">\n"
        ));
        for namespace in namespaces {
            text.push_str(&format!("    <edmx:Include Namespace=\"{namespace}\"/>\n"));
        }
        text.push_str("  </edmx:Reference>\n");
    };
    for (kind, version) in SCHEMAS {
        reference(kind, &[(*kind).to_owned(), format!("{kind}.{version}")]);
    }
    for kind in COLLECTIONS {
        let name = format!("{kind}Collection");
        reference(&name, std::slice::from_ref(&name));
    }
    text.push_str(&format!(
        "  <edmx:Reference Uri=\"{PLACE}/RedfishExtensions_v1.xml\">\n    \
         <edmx:Include Namespace=\"RedfishExtensions.v1_0_0\" Alias=\"Redfish\"/>\n  </edmx:Reference>\n  \
         <edmx:DataServices>\n    <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n      \
         <EntityContainer Name=\"Service\" Extends=\"{}.ServiceContainer\"/>\n    </Schema>\n  \
         </edmx:DataServices>\n</edmx:Edmx>\n",
        of("ServiceRoot").trim_start_matches('#').trim_end_matches(".ServiceRoot"),
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_in_the_metadata_once() {
        assert_eq!(of("Bios"), "#Bios.v1_2_0.Bios");
        assert!(json_schema(&of("Bios")).ends_with("/Bios.v1_2_0.json"));
        assert!(json_schema(&of_collection("Role")).ends_with("/RoleCollection.json"));
        let text = metadata();
        for (kind, version) in SCHEMAS {
            let include = format!("Namespace=\"{kind}.{version}\"");
            assert_eq!(text.matches(&include).count(), 1, "{kind}");
        }
    }
}
