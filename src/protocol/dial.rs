//! Opens connections for every protocol: name lookup, guard, TCP, TLS. The guard is asked at every connection, with the name and with
//! the address that it was resolved to. What each part took goes into the outcome, how far it came into a `Course`, for timeouts.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dns::Dns;
use super::guard::{Guard, host_and_port};
use super::stream::Transport;
use super::tls::Tls;
use crate::model::failure::{Phase, Reason};
use crate::model::measure::Outcome;

/// How long an address is given to answer before the next one is tried as well (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host in lower case, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Over TLS.
    pub tls: bool,
}

impl Origin {
    /// From an address; `None` when it has no host. `https` and `wss` are TLS.
    pub fn of(url: &url::Url) -> Option<Self> {
        let (host, port) = host_and_port(url)?;
        Some(Self { host, port, tls: matches!(url.scheme(), "https" | "wss") })
    }

    /// Host and port as the `Host` header and `:authority` say them: the scheme's own port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// A failure on the way: its reason, and what people may read about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Reason, pub(super) String);

/// How far a connection has come: what is read when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course(pub(super) Phase);

impl Course {
    /// The reason of a request whose time is up before its connection stands.
    pub(super) fn timed_out(self) -> Reason {
        if self.0 == Phase::Connecting { Reason::ConnectTimeout } else { Reason::Timeout(self.0) }
    }
}

/// A connection that stands.
pub(super) struct Dialed {
    pub(super) transport: Transport,
    /// The protocol that the peer has chosen by ALPN.
    pub(super) alpn: Option<Vec<u8>>,
}

/// Opens connections. Cheap to clone: guard, TLS settings and DNS cache are shared.
#[derive(Clone)]
pub struct Dialer {
    guard: Arc<Guard>,
    tls: Tls,
    dns: Dns,
    dns_ttl: Duration,
}

impl Dialer {
    /// A dialer that looks names up for every connection.
    pub fn new(guard: Arc<Guard>, tls: Tls, dns: Dns) -> Self {
        Self { guard, tls, dns, dns_ttl: Duration::ZERO }
    }

    /// The same dialer and cache, with addresses used for so long.
    #[must_use]
    pub fn with_dns_ttl(self, dns_ttl: Duration) -> Self {
        Self { dns_ttl, ..self }
    }

    /// Whether a request may name this host and port at all; the address is asked about when a connection is opened.
    pub(super) fn may_reach(&self, origin: &Origin) -> Result<(), Broken> {
        if self.guard.allows(&origin.host, origin.port) {
            return Ok(());
        }
        Err(Broken(Reason::BlockedByGuard, format!("{}:{} is not on the allow list", origin.host, origin.port)))
    }

    /// Opens a connection, offering the protocols `alpn` (most wanted first) when it is over TLS. The caller limits the time.
    pub(super) async fn dial(&self, origin: &Origin, alpn: &[&str], course: &mut Course, outcome: &mut Outcome) -> Result<Dialed, Broken> {
        self.may_reach(origin)?;
        let began = Instant::now();
        let addresses = self.resolve(origin, course).await?;
        let resolved = Instant::now();
        outcome.phases.dns = resolved - began;
        course.0 = Phase::Connecting;
        let tcp = self.connect(origin, &addresses).await?;
        let connected = Instant::now();
        outcome.phases.connecting = connected - resolved;
        outcome.connected = true;
        // Without it small requests wait for acknowledgements; a socket that cannot do it works all the same.
        let _ = tcp.set_nodelay(true);
        if !origin.tls {
            return Ok(Dialed { transport: Transport::Plain(tcp), alpn: None });
        }
        course.0 = Phase::Tls;
        let stream = self.handshake(origin, alpn, tcp).await?;
        outcome.phases.tls = connected.elapsed();
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Dialed { transport: Transport::Tls(Box::new(stream)), alpn })
    }

    async fn resolve(&self, origin: &Origin, course: &mut Course) -> Result<Vec<IpAddr>, Broken> {
        if let Ok(address) = origin.host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        course.0 = Phase::Dns;
        self.dns.resolve(&origin.host, self.dns_ttl).await.map_err(|error| Broken(Reason::Dns, error.to_string()))
    }

    /// Connects to the first address that answers. The next one is tried as soon as one fails, or has not answered for a while (RFC
    /// 8305): a black hole among several addresses does not take the whole time.
    async fn connect(&self, origin: &Origin, addresses: &[IpAddr]) -> Result<TcpStream, Broken> {
        let mut last = Broken(Reason::Dns, format!("{} has no address", origin.host));
        let (mut left, mut going) = (addresses.iter(), FuturesUnordered::new());
        loop {
            for &ip in left.by_ref() {
                let address = SocketAddr::new(ip, origin.port);
                if let Some(why) = self.guard.refuses(ip, origin.port) {
                    last = Broken(Reason::BlockedByGuard, format!("{address} is not loaded: {why}"));
                    continue;
                }
                going.push(TcpStream::connect(address));
                break;
            }
            let ended = if left.len() == 0 { going.next().await } else { timeout(HEAD_START, going.next()).await.unwrap_or_default() };
            match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = unconnected(&error),
                None if going.is_empty() => return Err(last),
                None => {}
            }
        }
    }

    async fn handshake(&self, origin: &Origin, alpn: &[&str], tcp: TcpStream) -> Result<TlsStream<TcpStream>, Broken> {
        let name = match &self.tls.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(origin.host.clone()).map_err(|error| Broken(Reason::Tls, error.to_string()))?,
        };
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connector = TlsConnector::from(self.tls.config.clone());
        connector.with_alpn(alpn).connect(name, tcp).await.map_err(|error| Broken(Reason::Tls, error.to_string()))
    }
}

/// The reason of a TCP connection that could not be opened.
fn unconnected(error: &std::io::Error) -> Broken {
    let kind = error.kind();
    if kind == ErrorKind::ConnectionRefused {
        Broken(Reason::ConnectRefused, error.to_string())
    } else if kind == ErrorKind::TimedOut {
        Broken(Reason::ConnectTimeout, error.to_string())
    } else if kind == ErrorKind::AddrNotAvailable {
        Broken(Reason::ConnectReset, format!("this machine has no local port left for another connection: {error}"))
    } else {
        Broken(Reason::ConnectReset, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::request::TlsOptions;

    fn dialer(allow: &str, addresses: &'static [&'static str]) -> Dialer {
        let dns = Dns::new(Arc::new(move |_| Box::pin(async { Ok(addresses.iter().filter_map(|text| text.parse().ok()).collect()) })));
        let guard = Guard::new(&[allow.into()], None);
        Dialer::new(Arc::new(guard), Tls::new(&TlsOptions::default()).unwrap(), dns)
    }

    async fn failure(dialer: &Dialer, url: &str) -> Reason {
        let origin = Origin::of(&url.parse().unwrap()).unwrap();
        let mut course = Course(Phase::Connecting);
        let dialed = dialer.dial(&origin, &[], &mut course, &mut Outcome::default()).await;
        dialed.err().expect("a connection that must not be").0
    }

    #[tokio::test]
    async fn a_name_that_leads_to_the_metadata_service_is_blocked_although_it_is_allowed() {
        let url = "http://shop.internal:8080/";
        assert_eq!(failure(&dialer("shop.internal:8080", &["169.254.169.254"]), url).await, Reason::BlockedByGuard);
        assert_eq!(failure(&dialer("shop.internal:8081", &["127.0.0.1"]), url).await, Reason::BlockedByGuard);
        assert_eq!(failure(&dialer("shop.internal:8080", &[]), url).await, Reason::Dns);
    }

    /// A name that leads somewhere else from the second lookup on.
    fn switching(guard: Guard, first: &'static str, then: &'static str) -> Dialer {
        let asked = std::sync::atomic::AtomicBool::new(false);
        let dns = Dns::new(Arc::new(move |_| {
            let address = if asked.swap(true, std::sync::atomic::Ordering::Relaxed) { then } else { first };
            Box::pin(async move { Ok(address.parse().into_iter().collect()) })
        }));
        Dialer::new(Arc::new(guard), Tls::new(&TlsOptions::default()).unwrap(), dns)
    }

    #[tokio::test]
    async fn a_name_that_is_switched_to_production_while_the_load_goes_on_is_blocked() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let allow = format!("shop.internal:{port}");
        let url = format!("http://{allow}/");
        let origin = Origin::of(&url.parse().unwrap()).unwrap();
        let mut denying = Guard::new(std::slice::from_ref(&allow), None);
        denying.deny("127.0.0.9".parse().unwrap(), port, "an address of the production target `live`");
        let bounded = Guard::new(&[allow.clone(), "127.0.0.1/32".into()], None);
        for (guard, said) in [(denying, "the production target `live`"), (bounded, "outside of the networks")] {
            let dialer = switching(guard, "127.0.0.1", "127.0.0.9");
            let (mut course, mut outcome) = (Course(Phase::Connecting), Outcome::default());
            dialer.dial(&origin, &[], &mut course, &mut outcome).await.unwrap();
            let blocked = dialer.dial(&origin, &[], &mut course, &mut outcome).await.err().unwrap();
            assert!(blocked.0 == Reason::BlockedByGuard && blocked.1.contains(said), "{blocked:?}");
        }
        // Without networks and without production nothing is known of the new address: it is tried, and nobody listens there.
        let dialer = switching(Guard::new(&[allow], None), "127.0.0.9", "127.0.0.9");
        assert_eq!(failure(&dialer, &url).await, Reason::ConnectRefused);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://shop.internal:{port}/").parse().unwrap();
        let dialer = dialer(&format!("shop.internal:{port}"), &["127.0.0.77", "127.0.0.1"]);
        let (mut course, mut outcome) = (Course(Phase::Connecting), Outcome::default());
        let dialed = dialer.dial(&Origin::of(&url).unwrap(), &["h2"], &mut course, &mut outcome).await.unwrap();
        assert!(outcome.connected && dialed.alpn.is_none() && matches!(dialed.transport, Transport::Plain(_)));
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_take_the_whole_time() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A queue that is full: whoever connects hears nothing.
        let hole = tokio::net::TcpSocket::new_v4().unwrap();
        hole.bind(SocketAddr::new("127.0.0.77".parse().unwrap(), port)).unwrap();
        let hole = hole.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(hole.local_addr().unwrap())).await {
            waiting.push(stream.unwrap());
        }
        let url = format!("http://shop.internal:{port}/").parse().unwrap();
        let dialer = dialer(&format!("shop.internal:{port}"), &["127.0.0.77", "127.0.0.1"]);
        let (origin, mut course, mut outcome) = (Origin::of(&url).unwrap(), Course(Phase::Connecting), Outcome::default());
        // Alone, it would take two minutes.
        let dialed = timeout(Duration::from_secs(60), dialer.dial(&origin, &[], &mut course, &mut outcome)).await;
        assert!(dialed.unwrap().is_ok());
        assert!(outcome.phases.connecting >= HEAD_START, "{:?}", outcome.phases);
    }

    #[test]
    fn authorities_are_what_the_host_header_says() {
        for (url, authority, tls) in [
            ("http://Shop.internal/a", "shop.internal", false),
            ("https://shop.internal", "shop.internal", true),
            ("https://shop.internal:80", "shop.internal:80", true),
            ("wss://[::1]:443/x", "[::1]", true),
            ("http://[::1]:8080/x", "[::1]:8080", false),
        ] {
            let origin = Origin::of(&url.parse().unwrap()).unwrap();
            assert_eq!((origin.authority().as_str(), origin.tls), (authority, tls), "{url}");
        }
        assert_eq!(Origin::of(&"data:text/plain,x".parse().unwrap()), None);
    }
}
