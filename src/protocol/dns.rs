//! Name lookup with a cache that all load threads of a run share. Asked when a connection is opened, never per request.
//! How long an answer is used is the caller's to say: scenarios of one run may differ in it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a lookup comes to.
pub type Looked = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
/// Looks a name up, always anew.
pub type Lookup = Arc<dyn Fn(String) -> Looked + Send + Sync>;

/// The last answer for one name. Its lock is held while the name is looked up: others wait for that answer instead of asking too.
type Entry = Arc<tokio::sync::Mutex<Option<Answer>>>;

struct Answer {
    at: Instant,
    addresses: Vec<IpAddr>,
    /// How often it was used: addresses are taken in turn.
    turn: usize,
}

/// A cache of names. Cloning shares it.
#[derive(Clone)]
pub struct Dns {
    lookup: Lookup,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Default for Dns {
    fn default() -> Self {
        Self::new(Arc::new(|host| Box::pin(system(host))))
    }
}

/// The system's resolver.
async fn system(host: String) -> std::io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

impl Dns {
    /// An empty cache over this way to look names up; `default` asks the system.
    pub fn new(lookup: Lookup) -> Self {
        Self { lookup, entries: Arc::default() }
    }

    /// The addresses of a name, to be tried in this order. An answer younger than `ttl` is used again; those of its addresses that
    /// are of the first one's family (IPv4 or IPv6) come first in turn, so that load spreads over them. Failures are not kept.
    pub async fn resolve(&self, host: &str, ttl: Duration) -> std::io::Result<Vec<IpAddr>> {
        if ttl.is_zero() {
            return (self.lookup)(host.to_owned()).await;
        }
        let entry = self.entry(host);
        let mut kept = entry.lock().await;
        if let Some(answer) = kept.as_mut().filter(|answer| answer.at.elapsed() < ttl) {
            return Ok(answer.next());
        }
        let addresses = (self.lookup)(host.to_owned()).await?;
        Ok(kept.insert(Answer { at: Instant::now(), addresses, turn: 0 }).next())
    }

    fn entry(&self, host: &str) -> Entry {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get(host) {
            Some(entry) => entry.clone(),
            None => entries.entry(host.to_owned()).or_default().clone(),
        }
    }
}

impl Answer {
    fn next(&mut self) -> Vec<IpAddr> {
        let mut addresses = self.addresses.clone();
        let Some(first) = addresses.first().copied() else { return addresses };
        let family = addresses.iter().take_while(|address| address.is_ipv4() == first.is_ipv4()).count();
        if let Some(turning) = addresses.get_mut(..family) {
            turning.rotate_left(self.turn % family);
        }
        self.turn = self.turn.wrapping_add(1);
        addresses
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// A resolver that answers 127.0.0.1, then 127.0.0.2 …
    fn counting() -> Dns {
        let asked = Arc::new(AtomicU8::new(0));
        Dns::new(Arc::new(move |_| {
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(vec![IpAddr::from([127, 0, 0, number])])
            })
        }))
    }

    async fn last_byte(dns: &Dns, host: &str, ttl: Duration) -> u8 {
        match dns.resolve(host, ttl).await.unwrap().as_slice() {
            [IpAddr::V4(address)] => address.octets()[3],
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_for_its_time_and_a_changed_one_is_seen_after_it() {
        let (dns, ttl) = (counting(), Duration::from_secs(10));
        assert_eq!(last_byte(&dns, "a", ttl).await, 1);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(last_byte(&dns, "a", ttl).await, 1);
        assert_eq!(last_byte(&dns, "b", ttl).await, 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(last_byte(&dns.clone(), "a", ttl).await, 3);
        // No time to live: every connection asks, and what the cache holds stays as it is.
        assert_eq!(last_byte(&dns, "a", Duration::ZERO).await, 4);
        assert_eq!(last_byte(&dns, "a", ttl).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_ask_at_once_cause_one_lookup() {
        let (dns, ttl) = (counting(), Duration::from_secs(10));
        let all = futures_util::future::join_all((0..100).map(|_| last_byte(&dns, "a", ttl))).await;
        assert_eq!(all, vec![1; 100]);
    }

    #[tokio::test]
    async fn addresses_of_the_first_family_take_turns() {
        let list: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "::1"].map(|text| text.parse().unwrap()).to_vec();
        let answer = list.clone();
        let dns = Dns::new(Arc::new(move |_| {
            let answer = answer.clone();
            Box::pin(async { Ok(answer) })
        }));
        let mut firsts = Vec::new();
        for _ in 0..3 {
            let order = dns.resolve("a", Duration::from_secs(1)).await.unwrap();
            assert_eq!((order.len(), order[2]), (3, list[2]));
            firsts.push(order[0]);
        }
        assert_eq!(firsts, [list[0], list[1], list[0]]);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let calls = Arc::new(AtomicU8::new(0));
        let dns = Dns::new(Arc::new(move |_| {
            let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(async move { if first { Err(std::io::Error::other("no answer")) } else { Ok(vec![IpAddr::from([127, 0, 0, 1])]) } })
        }));
        assert!(dns.resolve("a", Duration::from_secs(9)).await.is_err());
        assert!(dns.resolve("a", Duration::from_secs(9)).await.is_ok());
    }
}
