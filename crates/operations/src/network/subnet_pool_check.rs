//! What makes a subnet pool a good one. The texts are Neutron's where clients look into them.

use super::invalid_input;
use corten_model::refusal::Refusal;
use corten_store::network::subnet_pool::SubnetPool;
use ipnet::IpNet;

/// The lengths of prefixes that a pool was asked to give out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub default: Option<i64>,
}

/// Whether two ranges have an address in common.
pub(super) fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Prefixes of one family, joined where they touch.
pub(super) fn prefixes(asked: &[IpNet]) -> Result<Vec<IpNet>, Refusal> {
    let Some(first) = asked.first() else {
        return Err(
            Refusal::invalid("Empty subnet pool prefix list.").named("EmptySubnetPoolPrefixList")
        );
    };
    let is_ipv4 = first.addr().is_ipv4();
    if asked
        .iter()
        .any(|prefix| prefix.addr().is_ipv4() != is_ipv4)
    {
        return Err(
            Refusal::invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
                .named("PrefixVersionMismatch"),
        );
    }
    if let Some(all) = asked.iter().find(|prefix| prefix.prefix_len() == 0) {
        return Err(invalid_input(format!(
            "'{all}' is no prefix for a subnet pool: its length is 0"
        )));
    }
    let whole: Vec<IpNet> = asked.iter().map(IpNet::trunc).collect();
    Ok(IpNet::aggregate(&whole))
}

/// Neutron's bounds for a family: what is given out at the largest, and at the smallest.
fn widest(is_ipv4: bool) -> (u8, u8) {
    if is_ipv4 { (8, 32) } else { (64, 128) }
}

/// The pool's lengths: those that were asked for, in order, else what it has.
pub(super) fn lengths(pool: &mut SubnetPool, asked: Lengths) -> Result<(), Refusal> {
    let (_, longest) = widest(pool.ip_version() == 4);
    let version = pool.ip_version();
    if let Some(min) = asked.min {
        pool.min_prefix_len = length(min).filter(|min| *min <= longest).ok_or_else(|| {
            Refusal::invalid(format!(
                "Prefix '{min}' not supported in IPv{version} pool."
            ))
            .named("UnsupportedMinSubnetPoolPrefix")
        })?;
    }
    if let Some(max) = asked.max {
        pool.max_prefix_len = length(max)
            .filter(|max| *max <= longest)
            .ok_or_else(|| bounds("max_prefixlen", max, "ip_version_max", longest))?;
    }
    let (min, max) = (pool.min_prefix_len, pool.max_prefix_len);
    if max < min {
        return Err(bounds("max_prefixlen", max.into(), "min_prefixlen", min));
    }
    if let Some(default) = asked.default {
        pool.default_prefix_len = length(default)
            .ok_or_else(|| bounds("default_prefixlen", default, "max_prefixlen", max))?;
    }
    let default = pool.default_prefix_len;
    if default < min {
        return Err(bounds(
            "default_prefixlen",
            default.into(),
            "min_prefixlen",
            min,
        ));
    }
    if default > max {
        return Err(bounds(
            "default_prefixlen",
            default.into(),
            "max_prefixlen",
            max,
        ));
    }
    Ok(())
}

/// What a new pool has when nothing was asked for; its default is its shortest.
pub(super) fn usual_lengths(is_ipv4: bool, asked: Lengths) -> (u8, u8, u8) {
    let (min, max) = widest(is_ipv4);
    (min, max, asked.min.and_then(length).unwrap_or(min))
}

fn length(number: i64) -> Option<u8> {
    u8::try_from(number).ok()
}

fn bounds(kind: &str, length: i64, base_kind: &str, base: u8) -> Refusal {
    Refusal::invalid(format!(
        "Illegal prefix bounds: {kind}={length}, {base_kind}={base}."
    ))
    .named("IllegalSubnetPoolPrefixBounds")
}

/// Prefixes only grow: what is in the pool stays in it.
pub(super) fn grows(before: &[IpNet], after: &[IpNet]) -> Result<(), Refusal> {
    let is_kept = |old: &&IpNet| after.iter().any(|new| new.contains(*old));
    match before.iter().find(|old| !is_kept(old)) {
        None => Ok(()),
        Some(lost) => Err(Refusal::invalid(format!(
            "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes, and {lost} is not."
        ))
        .named("IllegalSubnetPoolPrefixUpdate")),
    }
}

/// What is left of ranges when others are taken out of them.
pub(super) fn without(ranges: &[IpNet], holes: &[IpNet]) -> Vec<IpNet> {
    let mut left = ranges.to_vec();
    for hole in holes {
        left = left
            .iter()
            .flat_map(|range| around(*range, *hole))
            .collect();
    }
    IpNet::aggregate(&left)
}

/// The parts of a range beside a hole in it: at each level the half without the hole.
fn around(range: IpNet, hole: IpNet) -> Vec<IpNet> {
    if !overlaps(&range, &hole) {
        return vec![range];
    }
    let mut parts = Vec::new();
    let mut rest = range;
    while rest.prefix_len() < hole.prefix_len() {
        let Ok(halves) = rest.subnets(rest.prefix_len() + 1) else {
            break;
        };
        for half in halves {
            if half.contains(&hole) {
                rest = half;
            } else {
                parts.push(half);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn prefixes_are_of_one_family_and_joined() {
        assert_eq!(
            prefixes(&nets(&["10.0.1.7/24", "10.0.0.0/24"])).unwrap(),
            nets(&["10.0.0.0/23"])
        );
        let name = |texts: &[&str]| prefixes(&nets(texts)).unwrap_err().name.unwrap();
        assert_eq!(name(&[]), "EmptySubnetPoolPrefixList");
        assert_eq!(name(&["10.0.0.0/8", "fd00::/48"]), "PrefixVersionMismatch");
        assert_eq!(name(&["0.0.0.0/0"]), "InvalidInput");
    }

    #[test]
    fn a_hole_leaves_what_is_around_it() {
        assert_eq!(
            without(&nets(&["10.0.0.0/22"]), &nets(&["10.0.1.0/24"])),
            nets(&["10.0.0.0/24", "10.0.2.0/23"])
        );
        assert!(without(&nets(&["10.0.0.0/24"]), &nets(&["10.0.0.0/8"])).is_empty());
        let apart = nets(&["10.0.0.0/24"]);
        assert_eq!(without(&apart, &nets(&["10.1.0.0/24"])), apart);
    }

    #[test]
    fn prefixes_only_grow() {
        let before = nets(&["10.0.0.0/24"]);
        assert!(grows(&before, &nets(&["10.0.0.0/16"])).is_ok());
        let refused = grows(&before, &nets(&["10.0.0.0/25"])).unwrap_err();
        assert_eq!(refused.name, Some("IllegalSubnetPoolPrefixUpdate"));
    }
}
