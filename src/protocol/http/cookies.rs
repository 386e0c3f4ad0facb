//! The cookies of one VU (RFC 6265, by `cookie_store`). What is sent to an origin is remembered as text, so that a VU whose cookies do
//! not change costs next to nothing; at the latest after a second it is put together anew, because cookies expire.

use std::time::Duration;

use cookie_store::CookieStore;
use tokio::time::Instant;

use crate::protocol::dial::Origin;

/// How long a `Cookie` header is used again.
const FRESH: Duration = Duration::from_secs(1);
/// Headers that are remembered.
const MOST: usize = 16;

/// A jar of cookies.
#[derive(Default)]
pub(super) struct Jar {
    store: CookieStore,
    known: Vec<Known>,
    empty: bool,
}

/// A header that was put together before.
struct Known {
    origin: Origin,
    /// `None`: no cookie of this jar is for some paths only.
    path: Option<String>,
    at: Instant,
    header: String,
}

impl Jar {
    pub(super) fn new() -> Self {
        Self { empty: true, ..Self::default() }
    }

    /// Throws all cookies away; costs nothing where there is none.
    pub(super) fn clear(&mut self) {
        if !self.empty {
            *self = Self::new();
        }
    }

    /// The `Cookie` header for a request, without the name; empty when there is none to send.
    pub(super) fn header(&mut self, origin: &Origin, path: &str, now: Instant) -> &str {
        if self.empty {
            return "";
        }
        let fits = |known: &Known| known.origin == *origin && known.path.as_deref().is_none_or(|known| known == path);
        let found = self.known.iter().position(fits);
        let fresh = found.filter(|&at| self.known.get(at).is_some_and(|known| now.saturating_duration_since(known.at) < FRESH));
        let at = match fresh {
            Some(at) => at,
            None => {
                let known = self.put_together(origin, path, now);
                let at = found.unwrap_or(self.known.len()) % MOST;
                match self.known.get_mut(at) {
                    Some(slot) => *slot = known,
                    None => self.known.push(known),
                }
                at
            }
        };
        self.known.get(at).map_or("", |known| &known.header)
    }

    fn put_together(&self, origin: &Origin, path: &str, now: Instant) -> Known {
        let mut header = String::new();
        if let Some(url) = address(origin, path) {
            for (name, value) in self.store.get_request_values(&url) {
                let separator = if header.is_empty() { "" } else { "; " };
                header.extend([separator, name, "=", value]);
            }
        }
        let anywhere = self.store.iter_any().all(|cookie| String::from(&cookie.path) == "/");
        Known { origin: origin.clone(), path: if anywhere { None } else { Some(path.to_owned()) }, at: now, header }
    }

    /// Takes in the `Set-Cookie` headers of an answer; those that are not valid or not for this origin are passed over, as by browsers.
    pub(super) fn take(&mut self, set_cookies: &[String], origin: &Origin, path: &str) {
        let Some(url) = address(origin, path) else { return };
        for text in set_cookies {
            if self.store.parse(text, &url).is_ok() {
                self.empty = false;
                self.known.clear();
            }
        }
    }
}

fn address(origin: &Origin, path: &str) -> Option<url::Url> {
    url::Url::parse(&format!("{}://{}{path}", origin.scheme(), origin.authority())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    fn jar(set: &[&str]) -> Jar {
        let mut jar = Jar::new();
        let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
        jar.take(&set, &origin("https://shop.example"), "/login");
        jar
    }

    #[tokio::test(start_paused = true)]
    async fn cookies_go_back_where_they_belong() {
        let mut jar = jar(&["session=abc; HttpOnly", "tenant=7; Path=/", "card=1; Path=/cards; Secure", "x=; Domain=evil.example"]);
        let now = Instant::now();
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split("; ").map(str::to_owned).collect();
            parts.sort();
            parts.join("; ")
        };
        let shop = origin("https://shop.example");
        assert_eq!(sorted(jar.header(&shop, "/", now)), "session=abc; tenant=7");
        assert_eq!(sorted(jar.header(&shop, "/cards/3?x=1", now)), "card=1; session=abc; tenant=7");
        assert_eq!(sorted(jar.header(&shop, "/", now)), "session=abc; tenant=7");
        assert_eq!(sorted(jar.header(&origin("http://shop.example"), "/cards", now)), "session=abc; tenant=7");
        assert_eq!(jar.header(&origin("https://evil.example"), "/", now), "");
        assert_eq!(Jar::new().header(&shop, "/", now), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_used_again_until_a_cookie_changes() {
        let mut jar = jar(&["a=1; Path=/"]);
        let (shop, now) = (origin("https://shop.example"), Instant::now());
        assert_eq!(jar.header(&shop, "/1", now), "a=1");
        let text = jar.header(&shop, "/2", now).as_ptr();
        assert_eq!((jar.known.len(), jar.header(&shop, "/3", now).as_ptr()), (1, text));
        jar.take(&["a=2; Path=/".into()], &shop, "/");
        assert_eq!(jar.header(&shop, "/1", now), "a=2");
        jar.take(&["a=2; Path=/; Max-Age=0".into()], &shop, "/");
        assert_eq!(jar.header(&shop, "/1", now), "");
        for number in 0..100 {
            jar.take(&["b=1; Path=/b".into()], &shop, "/b");
            jar.header(&shop, &format!("/{number}"), now);
        }
        assert!(jar.known.len() <= MOST);
    }
}
