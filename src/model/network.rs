//! Networks that load may be kept to, and addresses that are never asked for anything, whoever wants to: cloud metadata services give
//! credentials to whoever can reach them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 169.254.169.254 and fd00:ec2::254.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// Whether this is the address of a cloud metadata service, also when it is written as an IPv6 address.
pub fn is_metadata_service(address: IpAddr) -> bool {
    METADATA.contains(&address.to_canonical())
}

/// The same of a host as it stands in an address; a name is none.
pub fn names_metadata_service(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse().is_ok_and(is_metadata_service)
}

/// A network in the notation of RFC 4632 and RFC 4291: `10.2.0.0/16`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads one; `None` when it is none. Bits beyond the prefix do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
    }

    /// Whether an address lies in it; an IPv4 address that is written as an IPv6 one is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let left_out = |bits: u32| bits.saturating_sub(self.prefix.into());
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(left_out(32)).unwrap_or_default() == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(left_out(128)).unwrap_or_default() == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_its_prefix_says() {
        for (network, address, within) in [
            ("10.2.0.0/16", "10.2.255.1", true),
            ("10.2.0.0/16", "10.3.0.1", false),
            ("10.2.0.0/16", "::ffff:10.2.0.1", true),
            ("10.2.9.9/16", "10.2.0.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("10.2.3.4/32", "10.2.3.4", true),
            ("10.2.3.4/32", "10.2.3.5", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "::1", true),
            ("::1/128", "::2", false),
        ] {
            assert_eq!(Network::parse(network).unwrap().contains(address.parse().unwrap()), within, "{network} {address}");
        }
        for text in ["10.2.0.0", "10.2.0.0/33", "fd00::/129", "shop/16", "10.2/16", "10.2.0.0/-1", "/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_way_to_write_it_is_known() {
        for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "fd00:ec2::254", "[fd00:0ec2::0254]"] {
            assert!(names_metadata_service(host), "{host}");
        }
        for host in ["169.254.169.253", "metadata.internal", "[::1]", ""] {
            assert!(!names_metadata_service(host), "{host}");
        }
    }
}
