//! Which hosts load may reach. Names are asked about before anything is sent, addresses when a connection is opened, after the name was
//! resolved: a redirect leads to allowed names only, and a changed DNS entry neither to cloud metadata services, nor to what production
//! resolves to, nor out of the networks that the target allows, if it names any. Without networks any other address is accepted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::network::{Network, is_metadata_service};

/// The allow list of one target.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// `host` in lower case and port.
    allowed: Vec<(String, u16)>,
    /// Where addresses must lie; empty: anywhere.
    networks: Vec<Network>,
    /// Addresses that are not loaded, with what they are. Of the machine itself only these ports, because there they tell services apart.
    denied: BTreeMap<(IpAddr, Option<u16>), String>,
}

impl Guard {
    /// From `host:port` texts, networks, and the base address of a target; other texts are left out (configuration refuses them).
    pub fn new(allow: &[String], base_url: Option<&url::Url>) -> Self {
        let mut allowed: Vec<(String, u16)> = allow
            .iter()
            .filter(|text| !text.contains('/'))
            .filter_map(|text| {
                let (host, port) = text.rsplit_once(':')?;
                Some((host.trim_matches(['[', ']']).to_ascii_lowercase(), port.parse().ok()?))
            })
            .collect();
        if let Some((host, port)) = base_url.and_then(host_and_port) {
            allowed.push((host, port));
        }
        Self { allowed, networks: allow.iter().filter_map(|text| Network::parse(text)).collect(), denied: BTreeMap::new() }
    }

    /// Denies an address from now on; `what` says what it is, after "it is". A loopback address is denied on this port only.
    pub fn deny(&mut self, address: IpAddr, port: u16, what: &str) {
        let address = address.to_canonical();
        self.denied.insert((address, address.is_loopback().then_some(port)), what.to_owned());
    }

    /// Whether a request may name this host and port.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        self.allowed.iter().any(|(name, number)| *name == host && *number == port)
    }

    /// Why a connection must not go to this resolved address; `None`: it may.
    pub fn refuses(&self, address: IpAddr, port: u16) -> Option<String> {
        let address = address.to_canonical();
        if is_metadata_service(address) {
            return Some("it is a metadata service, which is never loaded".into());
        }
        let denied = self.denied.get(&(address, None)).or_else(|| self.denied.get(&(address, Some(port))));
        if let Some(what) = denied {
            return Some(format!("it is {what}"));
        }
        let outside = !self.networks.is_empty() && !self.networks.iter().any(|network| network.contains(address));
        outside.then(|| "it lies outside of the networks that the target allows".into())
    }
}

/// Host without brackets, in lower case, and port of an address.
pub fn host_and_port(url: &url::Url) -> Option<(String, u16)> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
    Some((host, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_and_ports_and_never_the_metadata_service() {
        let base = url::Url::parse("http://Shop.internal:8080/base").unwrap();
        let guard = Guard::new(&["grpc.shop.internal:9090".into(), "[::1]:80".into(), "169.254.169.254:80".into()], Some(&base));
        assert!(guard.allows("shop.internal", 8080) && guard.allows("GRPC.shop.internal", 9090) && guard.allows("[::1]", 80));
        assert!(!guard.allows("shop.internal", 8081) && !guard.allows("evil.example", 8080));
        for (address, refused) in [("169.254.169.254", true), ("::ffff:169.254.169.254", true), ("127.0.0.1", false), ("8.8.8.8", false)] {
            assert_eq!(guard.refuses(address.parse().unwrap(), 80).is_some(), refused, "{address}");
        }
    }

    #[test]
    fn networks_bound_the_addresses_and_not_the_names() {
        let base = url::Url::parse("http://shop.internal:8080").unwrap();
        let guard = Guard::new(&["10.2.0.0/16".into(), "fd00::/8".into()], Some(&base));
        assert!(guard.allows("shop.internal", 8080) && !guard.allows("10.2.0.1", 8080), "a network allows no name");
        for (address, refused) in [
            ("10.2.3.4", false),
            ("::ffff:10.2.3.4", false),
            ("10.3.0.1", true),
            ("fd12::1", false),
            ("::1", true),
            ("169.254.169.254", true),
        ] {
            assert_eq!(guard.refuses(address.parse().unwrap(), 8080).is_some(), refused, "{address}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_on_every_port_but_on_this_machine() {
        let mut guard = Guard::new(&["shop.internal:8080".into()], None);
        guard.deny("10.0.0.9".parse().unwrap(), 443, "an address of production");
        guard.deny("127.0.0.1".parse().unwrap(), 443, "an address of production");
        assert_eq!(guard.refuses("::ffff:10.0.0.9".parse().unwrap(), 8080).as_deref(), Some("it is an address of production"));
        assert!(guard.refuses("127.0.0.1".parse().unwrap(), 443).is_some());
        assert_eq!(guard.refuses("127.0.0.1".parse().unwrap(), 8080), None);
        assert_eq!(guard.refuses("10.0.0.8".parse().unwrap(), 443), None);
    }
}
