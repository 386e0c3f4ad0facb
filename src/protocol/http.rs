//! HTTP/1.1: one keep-alive connection per VU and host, through hyper's connection API (its task lives on the VU's own thread).
//! Every way to fail becomes exactly one `Reason`. Redirects are not followed: a 3xx is an answer like any other.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::dial::{Broken, Course, Dialer, Origin};
use super::redact::{LOOKED_AT, secrets_of, shown};
use super::stream::{Meter, Metered, Metering};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::{Outcome, Phases};
use crate::model::request::{Body, HttpRequest};

/// Largest body that is kept for checks.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// A request that is ready to be sent again and again.
#[derive(Debug)]
pub struct Prepared {
    origin: Origin,
    parts: http::request::Parts,
    body: Bytes,
    timeout: Duration,
    keep_body: bool,
    /// Credentials that it sends: hidden wherever an answer repeats them.
    secrets: Vec<String>,
}

impl Prepared {
    /// From a profile's request; `Err` says what cannot be sent.
    pub fn new(request: &HttpRequest, timeout: Duration, keep_body: bool) -> Result<Self, String> {
        let origin = Origin::of(&request.address.origin).ok_or("the address has no host")?;
        let path = request.address.path.source();
        let headers: Vec<(String, String)> = request.headers.iter().map(|(name, value)| (name.clone(), value.source())).collect();
        let mut built = http::Request::builder().method(request.method.as_str()).uri(&path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            built = built.header(http::header::HOST, origin.authority());
        }
        for (name, value) in &headers {
            built = built.header(name, value);
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            built = built.header(http::header::USER_AGENT, concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        }
        let (parts, ()) = built.body(()).map_err(|error| error.to_string())?.into_parts();
        let body = match &request.body {
            Body::Text(text) => Bytes::from(text.source()),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Empty | Body::Multipart(_) => Bytes::new(),
        };
        let secrets = secrets_of(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Ok(Self { origin, parts, body, timeout, keep_body, secrets })
    }

    /// The status and the first characters of a failed answer's body, on one line, secrets redacted.
    pub fn message_of(&self, status: u16, body: &[u8]) -> String {
        let text = shown(body, &self.secrets);
        if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }
    }

    /// True when asking twice does no harm (RFC 9110, 9.2.2): after a kept connection broke, only such a request is asked again
    /// although it may have arrived.
    fn is_idempotent(&self) -> bool {
        self.parts.method.is_idempotent()
    }

    fn request(&self) -> http::Request<Full<Bytes>> {
        http::Request::from_parts(self.parts.clone(), Full::new(self.body.clone()))
    }
}

struct Connection {
    origin: Origin,
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
    dialer: Dialer,
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

impl HttpClient {
    /// A client without connections.
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, connections: Vec::new() }
    }

    /// Sends a request and reads its answer, within the request's time.
    pub async fn send(&mut self, request: &Prepared) -> Exchange {
        let mut progress = Progress { course: Course(Phase::Connecting), wire: None };
        let mut exchange = Exchange::default();
        let sent = timeout_at(Instant::now() + request.timeout, self.exchange(request, &mut exchange, &mut progress)).await;
        if let Some((meter, began)) = &progress.wire {
            measure(&meter.read(), *began, &mut exchange.outcome);
        }
        let broken = match sent {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(broken),
            Err(_) => Some(Broken(progress.timed_out(request), format!("no answer within {} ms", request.timeout.as_millis()))),
        };
        if let Some(Broken(reason, message)) = broken {
            self.connections.retain(|connection| connection.origin != request.origin);
            exchange.outcome.failure = Some(reason);
            exchange.outcome.message = Some(message);
        }
        exchange
    }

    async fn exchange(&mut self, request: &Prepared, exchange: &mut Exchange, progress: &mut Progress) -> Result<(), Broken> {
        loop {
            let kept = self.idle_connection(request, progress).await;
            let reused = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(request, &mut exchange.outcome, progress).await?,
            };
            connection.meter.begin();
            progress.send_on(&connection.meter);
            match connection.sender.try_send_request(request.request()).await {
                Ok(response) => {
                    read_answer(request, response, exchange).await?;
                    self.connections.push(connection);
                    return Ok(());
                }
                Err(mut failed) => {
                    let metered = connection.meter.read();
                    let never_left = failed.take_message().is_some() || metered.sent == 0;
                    // The server may close a kept connection at any time: that alone is no failure, so the request is asked again
                    // on another connection, unless it may have been carried out already and must not be twice.
                    if reused && metered.received == 0 && (never_left || request.is_idempotent()) {
                        continue;
                    }
                    return Err(broken_by(failed.error()));
                }
            }
        }
    }

    /// A kept connection to the request's host that is still open.
    async fn idle_connection(&mut self, request: &Prepared, progress: &mut Progress) -> Option<Connection> {
        progress.course = Course(Phase::Sending);
        while let Some(at) = self.connections.iter().position(|kept| kept.origin == request.origin) {
            let mut connection = self.connections.swap_remove(at);
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self, request: &Prepared, outcome: &mut Outcome, progress: &mut Progress) -> Result<Connection, Broken> {
        *progress = Progress { course: Course(Phase::Connecting), wire: None };
        let dialed = self.dialer.dial(&request.origin, &["http/1.1"], &mut progress.course, outcome).await?;
        if dialed.alpn.is_some_and(|chosen| chosen != b"http/1.1") {
            return Err(Broken(Reason::Protocol, "the server has chosen a protocol that was not offered".into()));
        }
        let (stream, meter) = Metering::new(dialed.transport);
        let io = TokioIo::new(stream);
        let (sender, driver) = http1::handshake(io).await.map_err(|error| broken_by(&error))?;
        let task = tokio::task::spawn_local(async move {
            // How the connection ends is seen by the request that uses it.
            let _ = driver.await;
        });
        Ok(Connection { origin: request.origin.clone(), sender, meter, task })
    }
}

/// How far a request has come; read when its time is up.
struct Progress {
    course: Course,
    /// The connection it was given to, and since when.
    wire: Option<(Rc<Meter>, Instant)>,
}

impl Progress {
    fn send_on(&mut self, meter: &Rc<Meter>) {
        *self = Self { course: Course(Phase::Sending), wire: Some((meter.clone(), Instant::now())) };
    }

    /// The reason of a request whose time is up.
    fn timed_out(&self, request: &Prepared) -> Reason {
        let Some((meter, _)) = &self.wire else {
            return self.course.timed_out();
        };
        let metered = meter.read();
        Reason::Timeout(if metered.received > 0 {
            Phase::Receiving
        } else if metered.sent <= request.body.len() as u64 {
            // Not even as much as its body; there is a head before it, too.
            Phase::Sending
        } else {
            Phase::Waiting
        })
    }
}

/// Fills in what the wire saw of this request. The parts add up to the time since `began`, also when the server answered before
/// it had read everything.
fn measure(metered: &Metered, began: Instant, outcome: &mut Outcome) {
    let ended = Instant::now();
    let first = metered.first_read.unwrap_or(ended);
    let written = metered.last_write.unwrap_or(began).min(first);
    outcome.phases = Phases {
        sending: written.saturating_duration_since(began),
        waiting: first.saturating_duration_since(written),
        receiving: ended.saturating_duration_since(first),
        ..outcome.phases
    };
    outcome.bytes_sent = metered.sent;
    outcome.bytes_received = metered.received;
}

async fn read_answer(request: &Prepared, response: http::Response<hyper::body::Incoming>, exchange: &mut Exchange) -> Result<(), Broken> {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let limit = if request.keep_body { BODY_LIMIT } else { LOOKED_AT };
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
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    let mut io = None;
    while let Some(inner) = source {
        io = io.or(inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    let reason = match io {
        // Cut off by the peer or by the network between.
        Some(
            ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable,
        ) => Reason::Reset,
        Some(ErrorKind::UnexpectedEof) => Reason::ClosedEarly,
        _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => Reason::ClosedEarly,
        _ => Reason::Protocol,
    };
    Broken(reason, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::template::{Encoding, Template};

    fn get(url: &str, headers: &[(&str, &str)]) -> HttpRequest {
        let origin = url::Url::parse(url).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).into(), Template::literal(*value, Encoding::Header))).collect();
        HttpRequest { headers, ..HttpRequest::new("GET", &origin) }
    }

    fn prepared(headers: &[(&str, &str)]) -> Prepared {
        Prepared::new(&get("http://127.0.0.1/", headers), Duration::from_secs(1), false).unwrap()
    }

    #[test]
    fn messages_have_the_status_and_are_short() {
        assert_eq!(prepared(&[]).message_of(503, b"sorry,  too\n many"), "status 503: sorry, too many");
        assert_eq!(prepared(&[]).message_of(500, b""), "status 500");
        assert!(prepared(&[]).message_of(500, &[b"token=a ".as_slice(); 100].concat()).chars().count() <= 500);
    }

    #[test]
    fn an_answer_that_repeats_what_was_sent_does_not_give_it_away() {
        let request = prepared(&[("Authorization", "Bearer s3cr3t-value"), ("X-Api-Key", "k3y-value")]);
        assert_eq!(request.message_of(401, b"no user for s3cr3t-value or k3y-value"), "status 401: no user for <redacted> or <redacted>");
    }

    #[test]
    fn prepares_host_and_path() {
        let request = get("http://[::1]:8080/a/b?c=d#e", &[("X-A", "1")]);
        let prepared = Prepared::new(&request, Duration::from_secs(1), false).unwrap();
        assert_eq!(
            (prepared.origin.host.as_str(), prepared.origin.port, prepared.parts.uri.to_string().as_str()),
            ("::1", 8080, "/a/b?c=d")
        );
        assert_eq!(prepared.parts.headers["host"], "[::1]:8080");
        let request = get("http://x/", &[("bad name", "1")]);
        assert!(Prepared::new(&request, Duration::from_secs(1), false).is_err());
    }
}
