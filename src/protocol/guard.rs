//! Which hosts load may reach. Asked when a connection is opened, with the resolved address, so that neither a redirect nor a
//! changed DNS entry leads the load elsewhere. Deny by default; cloud metadata addresses are denied always.

use std::net::IpAddr;

use crate::model::network::is_metadata_service;

/// The allow list of one target.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// `host` in lower case and port.
    allowed: Vec<(String, u16)>,
}

impl Guard {
    /// From `host:port` texts and the base address of a target; texts without a port are left out (configuration refuses them).
    pub fn new(allow: &[String], base_url: Option<&url::Url>) -> Self {
        let mut allowed: Vec<(String, u16)> = allow
            .iter()
            .filter_map(|text| {
                let (host, port) = text.rsplit_once(':')?;
                Some((host.trim_matches(['[', ']']).to_ascii_lowercase(), port.parse().ok()?))
            })
            .collect();
        if let Some((host, port)) = base_url.and_then(host_and_port) {
            allowed.push((host, port));
        }
        Self { allowed }
    }

    /// Whether a request may name this host and port.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        self.allowed.iter().any(|(name, number)| *name == host && *number == port)
    }

    /// Whether a connection may go to this resolved address.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        !is_metadata_service(address)
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
        assert!(!guard.allows_address("169.254.169.254".parse().unwrap()));
        assert!(!guard.allows_address("::ffff:169.254.169.254".parse().unwrap()));
        assert!(guard.allows_address("127.0.0.1".parse().unwrap()));
    }
}
