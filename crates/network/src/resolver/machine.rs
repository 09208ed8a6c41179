//! Who resolves names for this machine itself, as `resolv.conf` says.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

pub const DNS_PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The machine's own resolvers; none if it has none.
pub fn of_machine() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(Path::new(RESOLV_CONF));
    match text {
        Ok(text) => nameservers(&text),
        Err(error) => {
            tracing::warn!(%error, "{RESOLV_CONF} cannot be read, so guests cannot resolve names outside");
            Vec::new()
        }
    }
}

/// The name servers of a `resolv.conf`, in order. Link-local ones of IPv6 are of one interface only and are left out.
pub fn nameservers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    lines
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect()
}
