//! HTTP/1.1: one keep-alive connection per VU and host, through hyper's connection API (its task lives on the VU's own thread).
//! Every way to fail becomes exactly one `Reason`. Redirects are not followed: a 3xx is an answer like any other.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::guard::{Guard, host_and_port};
use super::stream::{Meter, Metering, Transport};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::{Outcome, Phases};
use crate::model::profile::HttpRequest;

/// Largest body that is kept for checks.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// How much of a failed answer is kept for people.
const MESSAGE_LIMIT: usize = 300;

/// A request that is ready to be sent again and again.
#[derive(Debug)]
pub struct Prepared {
    host: String,
    port: u16,
    tls: bool,
    parts: http::request::Parts,
    body: Bytes,
    timeout: Duration,
    keep_body: bool,
}

impl Prepared {
    /// From a profile's request; `Err` says what cannot be sent.
    pub fn new(request: &HttpRequest, timeout: Duration, keep_body: bool) -> Result<Self, String> {
        let (host, port) = host_and_port(&request.url).ok_or("the address has no host")?;
        let path = &request.url[url::Position::BeforePath..url::Position::AfterQuery];
        let tls = request.url.scheme() == "https";
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let default_port = if tls { 443 } else { 80 };
        let authority = if port == default_port { shown } else { format!("{shown}:{port}") };
        let mut built = http::Request::builder().method(request.method.as_str()).uri(path);
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            built = built.header(http::header::HOST, authority);
        }
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            built = built.header(http::header::USER_AGENT, concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        }
        let (parts, ()) = built.body(()).map_err(|error| error.to_string())?.into_parts();
        let body = request.body.clone().unwrap_or_default();
        Ok(Self { host, port, tls, parts, body, timeout, keep_body })
    }

    fn request(&self) -> http::Request<Full<Bytes>> {
        http::Request::from_parts(self.parts.clone(), Full::new(self.body.clone()))
    }
}

/// What all VUs of a run share.
#[derive(Clone)]
pub struct HttpShared {
    /// Where load may go.
    pub guard: Arc<Guard>,
    /// TLS settings.
    pub tls: Arc<rustls::ClientConfig>,
}

/// TLS with the usual public roots, certificates verified.
pub fn default_tls() -> Arc<rustls::ClientConfig> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

struct Connection {
    host: String,
    port: u16,
    sender: http1::SendRequest<Full<Bytes>>,
    meter: Rc<Meter>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The HTTP side of one VU.
pub struct HttpClient {
    shared: HttpShared,
    connections: Vec<Connection>,
}

/// The answer to a request, with what checks need.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Figures; `failure` is set only when there is no complete answer.
    pub outcome: Outcome,
    /// Status, when there is an answer.
    pub status: Option<u16>,
    /// Body, when it was asked for or the status is 400 or more; in the latter case maybe cut.
    pub body: Vec<u8>,
}

/// A failure on the way, with what people may read about it.
struct Broken(Reason, String);

impl HttpClient {
    /// A client without connections.
    pub fn new(shared: HttpShared) -> Self {
        Self { shared, connections: Vec::new() }
    }

    /// Sends a request and reads its answer, within the request's time.
    pub async fn send(&mut self, request: &Prepared) -> Exchange {
        let began = Instant::now();
        let phase = Rc::new(Cell::new(Phase::Connecting));
        let mut exchange = Exchange::default();
        let sent = timeout_at(began + request.timeout, self.exchange(request, &mut exchange, &phase)).await;
        let broken = match sent {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(broken),
            Err(_) => {
                let reason = if phase.get() == Phase::Connecting { Reason::ConnectTimeout } else { Reason::Timeout(phase.get()) };
                Some(Broken(reason, format!("no answer within {} ms", request.timeout.as_millis())))
            }
        };
        if let Some(Broken(reason, message)) = broken {
            self.connections.retain(|connection| connection.host != request.host || connection.port != request.port);
            exchange.outcome.failure = Some(reason);
            exchange.outcome.message = Some(message);
        }
        exchange
    }

    async fn exchange(&mut self, request: &Prepared, exchange: &mut Exchange, phase: &Cell<Phase>) -> Result<(), Broken> {
        let mut reused = true;
        loop {
            let mut connection = match self.idle_connection(request).await {
                Some(connection) => connection,
                None => {
                    reused = false;
                    self.connect(request, &mut exchange.outcome, phase).await?
                }
            };
            connection.meter.begin();
            phase.set(Phase::Waiting);
            let began = Instant::now();
            match connection.sender.try_send_request(request.request()).await {
                Ok(response) => {
                    let read = read_answer(request, response, exchange, phase).await;
                    measure(&connection, began, &mut exchange.outcome);
                    read?;
                    self.connections.push(connection);
                    return Ok(());
                }
                Err(mut failed) => {
                    let metered = connection.meter.read();
                    // A kept connection that the server closed in the meantime: nothing was sent, nothing is lost by asking again.
                    if reused && (failed.take_message().is_some() || metered.received == 0 && metered.sent == 0) {
                        continue;
                    }
                    measure(&connection, began, &mut exchange.outcome);
                    return Err(broken_by(failed.error()));
                }
            }
        }
    }

    /// A kept connection to the request's host that is still open.
    async fn idle_connection(&mut self, request: &Prepared) -> Option<Connection> {
        while let Some(at) = self.connections.iter().position(|kept| kept.port == request.port && kept.host == request.host) {
            let mut connection = self.connections.swap_remove(at);
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self, request: &Prepared, outcome: &mut Outcome, phase: &Cell<Phase>) -> Result<Connection, Broken> {
        if !self.shared.guard.allows(&request.host, request.port) {
            return Err(Broken(Reason::BlockedByGuard, format!("{}:{} is not on the allow list", request.host, request.port)));
        }
        let began = Instant::now();
        let addresses = resolve(request, phase).await?;
        let resolved = Instant::now();
        outcome.phases.dns = resolved - began;
        phase.set(Phase::Connecting);
        let tcp = self.open(&addresses, request).await?;
        let connected = Instant::now();
        outcome.phases.connecting = connected - resolved;
        outcome.connected = true;
        let _ = tcp.set_nodelay(true);
        let inner = if request.tls {
            phase.set(Phase::Tls);
            let stream = self.handshake(request, tcp).await?;
            outcome.phases.tls = connected.elapsed();
            Transport::Tls(Box::new(stream))
        } else {
            Transport::Plain(tcp)
        };
        let meter = Rc::new(Meter::default());
        let io = TokioIo::new(Metering { inner, meter: meter.clone() });
        let (sender, driver) = http1::handshake(io).await.map_err(|error| broken_by(&error))?;
        let task = tokio::task::spawn_local(async move {
            // How the connection ends is seen by the request that uses it.
            let _ = driver.await;
        });
        Ok(Connection { host: request.host.clone(), port: request.port, sender, meter, task })
    }

    async fn open(&self, addresses: &[std::net::SocketAddr], request: &Prepared) -> Result<TcpStream, Broken> {
        let mut last = Broken(Reason::Dns, format!("{} has no address", request.host));
        for address in addresses {
            if !self.shared.guard.allows_address(address.ip()) {
                last = Broken(Reason::BlockedByGuard, format!("{address} is never loaded"));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let reason = if error.kind() == ErrorKind::ConnectionRefused {
                        Reason::ConnectRefused
                    } else if error.kind() == ErrorKind::TimedOut {
                        Reason::ConnectTimeout
                    } else {
                        Reason::ConnectReset
                    };
                    last = Broken(reason, error.to_string());
                }
            }
        }
        Err(last)
    }

    async fn handshake(&self, request: &Prepared, tcp: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Broken> {
        let name = ServerName::try_from(request.host.clone()).map_err(|error| Broken(Reason::Tls, error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(self.shared.tls.clone());
        connector.connect(name, tcp).await.map_err(|error| Broken(Reason::Tls, error.to_string()))
    }
}

async fn resolve(request: &Prepared, phase: &Cell<Phase>) -> Result<Vec<std::net::SocketAddr>, Broken> {
    if let Ok(address) = request.host.parse::<std::net::IpAddr>() {
        return Ok(vec![(address, request.port).into()]);
    }
    phase.set(Phase::Dns);
    match tokio::net::lookup_host((request.host.as_str(), request.port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Broken(Reason::Dns, error.to_string())),
    }
}

/// Fills in what the wire saw of this request.
fn measure(connection: &Connection, began: Instant, outcome: &mut Outcome) {
    let metered = connection.meter.read();
    let ended = Instant::now();
    let written = metered.last_write.unwrap_or(began);
    let first = metered.first_read.unwrap_or(ended);
    outcome.phases = Phases {
        sending: written.saturating_duration_since(began),
        waiting: first.saturating_duration_since(written),
        receiving: ended.saturating_duration_since(first),
        ..outcome.phases
    };
    outcome.bytes_sent = metered.sent;
    outcome.bytes_received = metered.received;
}

async fn read_answer(
    request: &Prepared,
    response: http::Response<hyper::body::Incoming>,
    exchange: &mut Exchange,
    phase: &Cell<Phase>,
) -> Result<(), Broken> {
    phase.set(Phase::Receiving);
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let limit = if request.keep_body { BODY_LIMIT } else { MESSAGE_LIMIT };
    let keep = request.keep_body || status >= 400;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_by(&error))?;
        let Some(data) = frame.data_ref().filter(|_| keep) else { continue };
        let room = limit.saturating_sub(exchange.body.len());
        if request.keep_body && data.len() > room {
            return Err(Broken(Reason::BodyTooLarge, format!("the body is larger than {BODY_LIMIT} bytes")));
        }
        exchange.body.extend_from_slice(&data[..data.len().min(room)]);
    }
    exchange.status = Some(status);
    Ok(())
}

/// The reason behind a hyper error.
fn broken_by(error: &hyper::Error) -> Broken {
    let mut source = std::error::Error::source(error);
    let mut io = None;
    while let Some(inner) = source {
        io = io.or(inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
        source = inner.source();
    }
    let reason = match io {
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted) => Reason::Reset,
        Some(ErrorKind::UnexpectedEof) => Reason::ClosedEarly,
        _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => Reason::ClosedEarly,
        _ => Reason::Protocol,
    };
    Broken(reason, error.to_string())
}

/// The status and the first characters of a failed answer's body, on one line, secrets redacted.
pub fn message_of(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MESSAGE_LIMIT)]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = redact(&text);
    if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }
}

/// Hides the values behind `password`, `token`, `secret`, `authorization` and `api_key` in JSON, forms and headers.
fn redact(text: &str) -> String {
    use std::sync::LazyLock;
    static SECRETS: LazyLock<Option<regex::Regex>> = LazyLock::new(|| {
        regex::Regex::new(r#"(?i)((?:password|passwd|token|secret|authorization|api[_-]?key)"?\s*[:=]\s*"?(?:bearer\s+)?)[^"\s,&}]+"#).ok()
    });
    match &*SECRETS {
        Some(secrets) => secrets.replace_all(text, "${1}<redacted>").into_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_keep_no_secrets() {
        assert_eq!(
            message_of(503, b"{\"error\":\n \"sorry, too many clients already\"}"),
            r#"status 503: {"error": "sorry, too many clients already"}"#
        );
        assert_eq!(
            message_of(400, br#"{"password": "hunter2", "token=abc"}"#),
            r#"status 400: {"password": "<redacted>", "token=<redacted>"}"#
        );
        assert_eq!(message_of(401, b"Authorization: Bearer abc.def"), "status 401: Authorization: Bearer <redacted>");
        assert_eq!(message_of(500, b""), "status 500");
    }

    #[test]
    fn prepares_host_and_path() {
        let url = url::Url::parse("http://[::1]:8080/a/b?c=d#e").unwrap();
        let request = HttpRequest { method: "GET".into(), url, headers: vec![("X-A".into(), "1".into())], body: None };
        let prepared = Prepared::new(&request, Duration::from_secs(1), false).unwrap();
        assert_eq!((prepared.host.as_str(), prepared.port, prepared.parts.uri.to_string().as_str()), ("::1", 8080, "/a/b?c=d"));
        assert_eq!(prepared.parts.headers["host"], "[::1]:8080");
        let url = url::Url::parse("http://x/").unwrap();
        let request = HttpRequest { method: "GET".into(), url, headers: vec![("bad name".into(), "1".into())], body: None };
        assert!(Prepared::new(&request, Duration::from_secs(1), false).is_err());
    }
}
