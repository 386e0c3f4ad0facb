//! Names for the HTTP client of probes, captures and messages: the system's answers without cloud metadata services, so that no name that
//! somebody else controls leads there.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::model::network::is_metadata_service;
use crate::protocol::dns::Dns;

/// Looks names up.
#[derive(Clone, Default)]
pub(super) struct Names(Dns);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found = names.resolve(name.as_str(), Duration::ZERO).await?;
            let allowed: Vec<SocketAddr> = found.iter().filter(|ip| !is_metadata_service(**ip)).map(|ip| SocketAddr::new(*ip, 0)).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(format!("`{}` leads to a cloud metadata service, which is never asked", name.as_str()).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    fn names(answers: &[&str]) -> Names {
        let answers: Vec<IpAddr> = answers.iter().map(|text| text.parse().unwrap()).collect();
        Names(Dns::new(Arc::new(move |_| {
            let answers = answers.clone();
            Box::pin(async move { Ok(answers) })
        })))
    }

    #[tokio::test]
    async fn a_name_never_leads_to_a_metadata_service() {
        let ask = async |answers: &[&str]| names(answers).resolve("shop.internal".parse().unwrap()).await.map(Iterator::collect::<Vec<_>>);
        let found = ask(&["10.0.0.7", "169.254.169.254"]).await.unwrap();
        assert_eq!(found, ["10.0.0.7:0".parse().unwrap()]);
        let refused = ask(&["fd00:ec2::254"]).await.unwrap_err().to_string();
        assert!(refused.contains("`shop.internal` leads to a cloud metadata service"), "{refused}");
        assert_eq!(ask(&[]).await.unwrap(), []);
    }
}
