//! The kernel's own packet filter, where it stands between guests and the host.
//!
//! Rules match devices by the beginning of their names, so they are in force before a device is made and need no change
//! when one comes or goes. Each table is rendered whole and replaces the one before in a single transaction.

use super::names::Names;
use crate::daemons::{MachineError, Namespace};

/// Drops what the kernel receives from the switch's devices. The userspace datapath reads frames beside the kernel, which
/// would otherwise answer them: past port security and every security group. The kernel's datapath takes frames before
/// the filter sees them, so nothing is lost there.
///
/// Only IPv4, IPv6 and ARP have receivers in the kernel.
pub async fn guard(
    names: &Names,
    namespace: &Namespace,
    underlay: Option<&str>,
) -> Result<(), MachineError> {
    replace(namespace, guard_rules(names, underlay)).await
}

/// The same for network cards that the switch has whole.
pub async fn guard_cards(
    names: &Names,
    namespace: &Namespace,
    cards: impl Iterator<Item = &String>,
) -> Result<(), MachineError> {
    let cards = cards.map(|card| dropped(card)).collect();
    replace(namespace, guard_tables(&names.table("cards"), cards)).await
}

/// Drops what guests and the world behind an external network send to the machine itself, except pings, answers to what
/// the machine began, and what IPv6 needs to find neighbours.
pub async fn shield(names: &Names) -> Result<(), MachineError> {
    replace(&Namespace::Own, shield_rules(names)).await
}

/// Removes all of them.
pub async fn remove(names: &Names, namespace: &Namespace) -> Result<(), MachineError> {
    let gone = |family: &str, table: &str| {
        format!("add table {family} {table}\ndelete table {family} {table}\n")
    };
    for purpose in ["guard", "cards"] {
        let table = names.table(purpose);
        replace(namespace, gone("inet", &table) + &gone("arp", &table)).await?;
    }
    replace(&Namespace::Own, gone("inet", &names.table("shield"))).await
}

async fn replace(namespace: &Namespace, rules: String) -> Result<(), MachineError> {
    namespace
        .program("nft")
        .args(["-f", "-"])
        .input(rules)
        .run()
        .await
        .map(drop)
}

fn guard_rules(names: &Names, underlay: Option<&str>) -> String {
    let mut rules = vec![dropped(&format!("{}*", names.guarded()))];
    rules.extend(underlay.map(dropped));
    guard_tables(&names.table("guard"), rules)
}

fn dropped(device: &str) -> String {
    format!("iifname \"{device}\" drop")
}

fn guard_tables(table: &str, rules: Vec<String>) -> String {
    let rules = rules.join("\n    ");
    // Before the kernel puts fragments together and tracks connections.
    whole_table("inet", table, "prerouting", -450, &rules)
        + &whole_table("arp", table, "input", 0, &rules)
}

fn shield_rules(names: &Names) -> String {
    let prefix = names.external_prefix();
    let rules = format!(
        "iifname != \"{prefix}*\" accept
    ct state established,related accept
    icmp type echo-request accept
    icmpv6 type {{ echo-request, nd-neighbor-solicit, nd-neighbor-advert }} accept
    drop"
    );
    whole_table("inet", &names.table("shield"), "input", -10, &rules)
}

/// Adding first makes deleting possible, whether or not the table was there.
fn whole_table(family: &str, table: &str, hook: &str, priority: i32, rules: &str) -> String {
    format!(
        "add table {family} {table}
delete table {family} {table}
table {family} {table} {{
  chain {hook} {{
    type filter hook {hook} priority {priority}; policy accept;
    {rules}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_as_a_whole() {
        let rules = guard_rules(&Names::new("00aa"), Some("eth1"));
        assert_eq!(
            rules.lines().take(9).collect::<Vec<_>>(),
            [
                "add table inet corten_00aa_guard",
                "delete table inet corten_00aa_guard",
                "table inet corten_00aa_guard {",
                "  chain prerouting {",
                "    type filter hook prerouting priority -450; policy accept;",
                "    iifname \"c00aa*\" drop",
                "    iifname \"eth1\" drop",
                "  }",
                "}",
            ]
        );
        assert!(shield_rules(&Names::new("00aa")).contains("iifname != \"cext00aa*\" accept"));
    }
}
