//! Addresses that are never asked for anything, whoever wants to: cloud metadata services give credentials to whoever can reach them. Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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
