//! Where `web-download` may fetch from, so that no tenant makes the control plane ask what only it can reach.
//!
//! The operator's list of hosts goes before everything. Without one, a tenant reaches any host but this machine itself
//! and what only its own link has: loopback, link-local (the metadata of a cloud below this one), multicast and
//! unspecified addresses. An administrator reaches all. The rule is applied to the addresses that are connected to, of
//! each redirect as well: what a name resolved to before means nothing.

use crate::settings::Images as Settings;
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// How far a download may reach where the operator lists no hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Not to this machine, nor to what only its link has.
    #[default]
    Outside,
    Anywhere,
}

impl Reach {
    pub fn of(actor: &Actor) -> Self {
        if actor.is_admin() {
            Self::Anywhere
        } else {
            Self::Outside
        }
    }

    /// Are the addresses of this host looked at?
    fn checks(self, settings: &Settings, host: &str) -> bool {
        self == Self::Outside && !is_listed(settings, host)
    }
}

fn is_listed(settings: &Settings, host: &str) -> bool {
    let mut names = settings.web_download_hosts.iter();
    names.any(|name| name.eq_ignore_ascii_case(host))
}

/// The address that a host may not be reached at.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{host}' is at {address}, {what}; only an administrator fetches from there, or anyone if the operator lists the host in \
     images.web_download_hosts"
)]
pub(crate) struct OutOfReach {
    host: String,
    address: IpAddr,
    what: &'static str,
}

/// Why `uri` may not be fetched, if that can be told without looking up its host.
pub(crate) fn uri_refusal(settings: &Settings, reach: Reach, uri: &str) -> Option<Refusal> {
    let reason = match Url::parse(uri) {
        Err(error) => error.to_string(),
        Ok(url) => url_trouble(settings, reach, &url)?,
    };
    Some(Refusal::invalid(format!(
        "URI for web-download does not pass filtering: {uri}: {reason}."
    )))
}

/// What is wrong with a URL to fetch from, as far as it can be told without looking up its host.
pub(crate) fn url_trouble(settings: &Settings, reach: Reach, url: &Url) -> Option<String> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Some(format!(
            "the scheme is '{scheme}', only http and https are fetched"
        ));
    }
    let Some(host) = url.host_str() else {
        return Some("it names no host".to_owned());
    };
    let allowed = &settings.web_download_hosts;
    if !allowed.is_empty() && !is_listed(settings, host) {
        return Some(format!(
            "'{host}' is not one of the hosts that the operator allows (images.web_download_hosts): {}",
            allowed.join(", ")
        ));
    }
    // A name is looked up when it is connected to; an address is not.
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    match address {
        Ok(address) if reach.checks(settings, host) => {
            out_of_reach(host, address).map(|error| error.to_string())
        }
        _ => None,
    }
}

fn out_of_reach(host: &str, address: IpAddr) -> Option<OutOfReach> {
    let what = forbidden(address)?;
    Some(OutOfReach {
        host: host.to_owned(),
        address,
        what,
    })
}

/// What a tenant must not reach, in words.
fn forbidden(address: IpAddr) -> Option<&'static str> {
    // An address of IPv6 that stands for one of IPv4 is judged as both.
    if let IpAddr::V6(v6) = address
        && let Some(what) = embedded(v6).and_then(|v4| forbidden(IpAddr::V4(v4)))
    {
        return Some(what);
    }
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    // 0.0.0.0/8 is "this network", and Linux connects to itself there.
    let is_unspecified = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    if address.is_loopback() {
        Some("a loopback address")
    } else if is_link_local {
        Some("a link-local address")
    } else if is_unspecified {
        Some("an unspecified address")
    } else if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("a multicast address")
    } else if is_own(address) {
        Some("this machine's own address")
    } else {
        None
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291), translated (RFC 6052) or tunnelled (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => address.to_ipv4_mapped(),
    }
}

/// The kernel answers from the very address that is asked for only if that is one of its own. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

/// Looks up the hosts that a download connects to, and leaves out what is out of its reach.
pub(crate) struct Resolver {
    pub settings: Settings,
    pub reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let checks = self.reach.checks(&self.settings, &host);
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let found: Vec<_> = found.collect();
            let addresses = if checks {
                within_reach(&host, found)?
            } else {
                found
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn within_reach(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, OutOfReach> {
    let mut refused = None;
    let mut addresses = Vec::new();
    for address in found {
        match out_of_reach(host, address.ip()) {
            None => addresses.push(address),
            Some(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str]) -> Settings {
        Settings {
            web_download_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn only_web_addresses_of_allowed_hosts_are_fetched() {
        let any = settings(&[]);
        let ordinary = "http://example.org/x.qcow2";
        assert_eq!(uri_refusal(&any, Reach::Outside, ordinary), None);
        for bad in [
            "file:///etc/passwd",
            "ftp://example.org/x",
            "not a uri",
            "http://",
        ] {
            assert!(uri_refusal(&any, Reach::Anywhere, bad).is_some(), "{bad}");
        }
        let some = settings(&["images.example.org"]);
        let listed = "https://images.example.org/x";
        assert_eq!(uri_refusal(&some, Reach::Outside, listed), None);
        for reach in [Reach::Outside, Reach::Anywhere] {
            let refusal = uri_refusal(&some, reach, "https://169.254.169.254/latest").unwrap();
            assert!(
                refusal.message.contains("images.web_download_hosts"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_tenant_does_not_reach_this_machine_or_its_link() {
        let any = settings(&[]);
        for inside in [
            "http://127.0.0.1:8774/metrics",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest/meta-data",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[ff02::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:a9fe:a9fe::]/",
        ] {
            let refusal = uri_refusal(&any, Reach::Outside, inside).expect(inside);
            assert!(
                refusal.message.contains("images.web_download_hosts"),
                "{refusal}"
            );
            assert_eq!(uri_refusal(&any, Reach::Anywhere, inside), None, "{inside}");
        }
        for outside in ["http://192.0.2.7/x", "http://[2001:db8::7]/x"] {
            assert_eq!(
                uri_refusal(&any, Reach::Outside, outside),
                None,
                "{outside}"
            );
        }
        let listed = settings(&["127.0.0.1", "[::1]"]);
        for inside in ["http://127.0.0.1/x", "http://[::1]/x"] {
            assert_eq!(
                uri_refusal(&listed, Reach::Outside, inside),
                None,
                "{inside}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_it_has_when_it_is_connected_to() {
        let look_up = async |hosts: &[&str], reach: Reach| {
            let resolver = Resolver {
                settings: settings(hosts),
                reach,
            };
            let found = resolver.resolve("localhost".parse().unwrap()).await;
            found.map(|addresses| addresses.count())
        };
        let refused = look_up(&[], Reach::Outside).await.unwrap_err();
        let refused = refused.downcast_ref::<OutOfReach>().unwrap().to_string();
        assert!(refused.contains("a loopback address"), "{refused}");
        assert!(look_up(&[], Reach::Anywhere).await.unwrap() > 0);
        assert!(look_up(&["localhost"], Reach::Outside).await.unwrap() > 0);

        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let (inside, outside) = (address("127.0.0.1"), address("192.0.2.7"));
        let found = within_reach("both.example", vec![inside, outside]).unwrap();
        assert_eq!(found, [outside]);
    }

    #[test]
    fn this_machine_knows_its_own_addresses() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 7).into()));
    }
}
