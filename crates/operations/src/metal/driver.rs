//! Drivers: which hardware this cloud can speak to, which way each part of a driver works, and what it must know.

use super::Metal;
use crate::context::Context;
use corten_iam::action::baremetal::{DRIVERS_PASSTHRU, DRIVERS_READ};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::refusal::Refusal;
use std::collections::BTreeMap;

pub const FAKE: &str = "fake-hardware";
pub const REDFISH: &str = "redfish";
pub const IPMI: &str = "ipmi";

/// A hardware type.
#[derive(Debug)]
pub struct Driver {
    pub name: &'static str,
    pub parts: &'static [Part],
    /// Keys of `driver_info` with what they mean, of this driver alone.
    own_properties: &'static [Property],
}

/// A key of `driver_info`, and what it means.
pub type Property = (&'static str, &'static str);

/// Of each driver that boots servers.
const OF_BOOTS: &[Property] = &[
    (
        "deploy_kernel",
        "The kernel that the node is booted with in place of the settings' own: an image's UUID, or a file:// URL beside the \
         ramdisk of the settings. With deploy_ramdisk. Optional.",
    ),
    (
        "deploy_ramdisk",
        "The ramdisk that goes with deploy_kernel. Optional.",
    ),
    (
        "kernel_append_params",
        "More words for the kernel's command line, in place of provisioning.kernel_arguments, which %default% stands for. \
         Optional.",
    ),
];

impl Driver {
    /// Keys of `driver_info` with what they mean.
    pub fn properties(&self) -> impl Iterator<Item = Property> {
        let of_boots = if self.name == FAKE { &[] } else { OF_BOOTS };
        self.own_properties.iter().chain(of_boots).copied()
    }
}

/// One part of a driver: `power`, `boot`, …
#[derive(Debug)]
pub struct Part {
    pub kind: &'static str,
    /// The ways it can work; the first is the default.
    pub ways: &'static [&'static str],
}

macro_rules! parts {
    ($($kind:literal: [$($way:literal),+];)*) => {
        &[$(Part { kind: $kind, ways: &[$($way),+] },)*]
    };
}

const DRIVERS: &[Driver] = &[
    Driver {
        name: FAKE,
        parts: parts! {
            "bios": ["fake", "no-bios"];
            "boot": ["fake"];
            "console": ["fake", "no-console"];
            "deploy": ["fake"];
            "firmware": ["fake", "no-firmware"];
            "inspect": ["fake", "no-inspect"];
            "management": ["fake"];
            "network": ["noop", "flat"];
            "power": ["fake"];
            "raid": ["fake", "no-raid"];
            "rescue": ["fake", "no-rescue"];
            "storage": ["noop"];
            "vendor": ["fake", "no-vendor"];
        },
        own_properties: &[(
            "fake_note",
            "A word about the simulated server. Nothing reads it. Optional.",
        )],
    },
    Driver {
        name: REDFISH,
        parts: parts! {
            "bios": ["redfish", "no-bios"];
            "boot": ["redfish-virtual-media", "ipxe", "http-ipxe", "pxe"];
            "console": ["no-console", "ipmitool-sol"];
            "deploy": ["direct"];
            "firmware": ["redfish", "no-firmware"];
            "inspect": ["redfish", "agent", "no-inspect"];
            "management": ["redfish"];
            "network": ["noop"];
            "power": ["redfish"];
            "raid": ["agent", "no-raid"];
            "rescue": ["agent", "no-rescue"];
            "storage": ["noop"];
            "vendor": ["no-vendor"];
        },
        own_properties: &[
            (
                "redfish_address",
                "Where the BMC is: https://HOST[:PORT]. Without a scheme, https. Required.",
            ),
            (
                "redfish_system_id",
                "The path of the server in the BMC. Required if the BMC has several.",
            ),
            ("redfish_username", "Who logs in to the BMC. Required."),
            (
                "redfish_password",
                "The password. Sealed at rest, never shown. Required.",
            ),
            (
                "redfish_verify_ca",
                "Whose certificate is believed: true (the system's authorities, the default), false (anybody's), the \
                 SHA-256 of the one certificate, or authorities in PEM. Optional.",
            ),
            (
                "ipmi_address",
                "The BMC's IP address or host name for IPMI. Required for the console interface ipmitool-sol alone.",
            ),
            (
                "ipmi_port",
                "Its UDP port for IPMI. Optional, 623 by default.",
            ),
            (
                "ipmi_username",
                "Who logs in by IPMI. Required for the console interface ipmitool-sol alone.",
            ),
            (
                "ipmi_password",
                "The password for IPMI. Sealed at rest, never shown. Required for the console interface ipmitool-sol alone.",
            ),
            (
                "ipmi_cipher_suite",
                "The only cipher suite of IPMI to use. Optional: by default 17, and 3 where the BMC has no 17.",
            ),
        ],
    },
    Driver {
        name: IPMI,
        parts: parts! {
            "bios": ["no-bios"];
            "boot": ["ipxe", "pxe"];
            "console": ["ipmitool-sol", "no-console"];
            "deploy": ["direct"];
            "firmware": ["no-firmware"];
            "inspect": ["ipmitool", "agent", "no-inspect"];
            "management": ["ipmitool"];
            "network": ["noop"];
            "power": ["ipmitool"];
            "raid": ["agent", "no-raid"];
            "rescue": ["agent", "no-rescue"];
            "storage": ["noop"];
            "vendor": ["no-vendor"];
        },
        own_properties: &[
            (
                "ipmi_address",
                "The BMC's IP address or host name. Required.",
            ),
            ("ipmi_port", "The BMC's UDP port. Optional, 623 by default."),
            ("ipmi_username", "Who logs in to the BMC. Required."),
            (
                "ipmi_password",
                "The password. Sealed at rest, never shown. Required.",
            ),
            (
                "ipmi_cipher_suite",
                "The only cipher suite to use. Optional: by default 17, and 3 where the BMC has no 17.",
            ),
        ],
    },
];

/// Kinds of parts, in the order of the API, with the microversion that brought each.
pub const KINDS: &[(&str, u16)] = &[
    ("bios", 40),
    ("boot", 31),
    ("console", 31),
    ("deploy", 31),
    ("firmware", 86),
    ("inspect", 31),
    ("management", 31),
    ("network", 20),
    ("power", 31),
    ("raid", 31),
    ("rescue", 38),
    ("storage", 33),
    ("vendor", 31),
];

impl Driver {
    pub fn ways(&self, kind: &str) -> &'static [&'static str] {
        self.parts
            .iter()
            .find(|part| part.kind == kind)
            .map_or(&[], |part| part.ways)
    }

    pub fn default_way(&self, kind: &str) -> &'static str {
        self.ways(kind).first().copied().unwrap_or_default()
    }

    /// The default way of every part.
    pub fn defaults(&self) -> BTreeMap<String, String> {
        self.parts
            .iter()
            .map(|part| (part.kind.to_owned(), part.ways[0].to_owned()))
            .collect()
    }

    /// Refuses a way that a part of this driver cannot work.
    pub fn check(&self, kind: &str, way: &str) -> Result<(), Refusal> {
        let ways = self.ways(kind);
        if ways.contains(&way) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "Could not find the following interface in the '{kind}' interfaces of driver {}: {way}. Valid interfaces are {ways:?}.",
            self.name
        )))
    }
}

/// The drivers of this cloud. The simulated one is there only if the settings say so.
pub fn enabled(metal: &Metal) -> impl Iterator<Item = &'static Driver> {
    let simulated = metal.simulator.is_some();
    DRIVERS
        .iter()
        .filter(move |driver| simulated || driver.name != FAKE)
}

/// The driver of this name; `None` if this cloud does not have it.
pub fn find(metal: &Metal, name: &str) -> Option<&'static Driver> {
    enabled(metal).find(|driver| driver.name == name)
}

/// The driver that a node asks for: 400 if there is none.
pub fn of_node(metal: &Metal, name: &str) -> Result<&'static Driver, Refusal> {
    find(metal, name).ok_or_else(|| {
        let names: Vec<_> = enabled(metal).map(|driver| driver.name).collect();
        Refusal::invalid(format!(
            "No valid host was found. Reason: No conductor service registered which supports driver {name}. Drivers here: {}.",
            names.join(", ")
        ))
    })
}

pub fn list(cx: &Context, actor: &Actor) -> Result<Vec<&'static Driver>, Refusal> {
    cx.policy.check(actor, DRIVERS_READ, &Target::cloud())?;
    Ok(enabled(&cx.metal).collect())
}

pub fn show(cx: &Context, actor: &Actor, name: &str) -> Result<&'static Driver, Refusal> {
    cx.policy.check(actor, DRIVERS_READ, &Target::cloud())?;
    find(&cx.metal, name).ok_or_else(|| {
        Refusal::not_found(format!(
            "Could not find the following driver(s) or hardware type(s): {name}."
        ))
    })
}

/// No driver here has methods of its vendor's.
pub fn methods(cx: &Context, actor: &Actor, name: &str) -> Result<(), Refusal> {
    cx.policy.check(actor, DRIVERS_PASSTHRU, &Target::cloud())?;
    show(cx, actor, name).map(|_| ())
}
