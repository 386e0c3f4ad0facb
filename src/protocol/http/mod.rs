//! HTTP/1.1 and HTTP/2 for load: connections kept or shared as the scenario says, redirects followed hop by hop, cookies per VU, bodies
//! decompressed. Every way to fail becomes exactly one `Reason`. `http1` is the fast path; what is unusual costs only who uses it.

mod coding;
mod cookies;
mod exchange;
pub mod form;
mod http1;
mod http2;
mod pool;
mod prepared;
mod reader;
mod redirect;
mod timer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use self::cookies::Jar;
pub use self::exchange::{Exchange, Headers, Keep};
use self::http1::{Circumstances, Http1};
use self::http2::Http2;
pub use self::pool::HttpPool;
use self::pool::{Connection, Lanes};
use self::prepared::Leg;
pub use self::prepared::{Call, Outline, Prepared, address};
use self::redirect::{follow, is_redirect, too_many};
use self::timer::Timer;
use super::dial::{Broken, Course, Origin};
use super::ending::{Again, BREATH, TRIES};
use super::redact::LOOKED_AT;
use crate::model::failure::{Phase, Reason};
use crate::model::request::{Connections, HttpVersion};

/// Largest body whose memory is used again.
const WORTH_KEEPING: usize = 64 * 1024;

/// Why a request failed, and whether it may be sent again.
struct Fault {
    broken: Broken,
    again: Again,
}

impl Fault {
    /// Of a request that is not sent again.
    fn last(broken: Broken) -> Self {
        Self { broken, again: Again::No }
    }
}

/// The HTTP side of one VU.
pub struct HttpClient {
    pool: Rc<HttpPool>,
    /// Its own connections, one place per origin; empty while a request is on it.
    kept: Vec<(Arc<Origin>, Option<Connection>)>,
    /// Instead, once it has siblings: what they share with it.
    family: Option<Rc<Lanes>>,
    jar: Option<Rc<RefCell<Jar>>>,
    timer: Timer,
    /// Where a request is put together that was not prepared as a whole.
    head: Vec<u8>,
    cookie: String,
    /// Memory of exchanges that were given back.
    spare: (Vec<u8>, HeaderMap),
}

impl HttpClient {
    /// A client without connections and without cookies.
    pub fn new(pool: Rc<HttpPool>) -> Self {
        let jar = pool.cookies.then(|| Rc::new(RefCell::new(Jar::new())));
        Self::related(pool, jar, None)
    }

    /// Another client of the same VU, for requests at the same time: the same cookies, and the same connections, as in a browser. One
    /// of HTTP/2 carries them all; of HTTP/1.1 each takes one that is idle, or opens another.
    #[must_use]
    pub fn sibling(&mut self) -> Self {
        if matches!(self.pool.connections, Connections::PerVu | Connections::PerIteration) && self.family.is_none() {
            let family = Rc::new(Lanes::default());
            for (origin, place) in self.kept.drain(..) {
                if let Some(connection) = place {
                    family.put(&origin, connection);
                }
            }
            self.family = Some(family);
        }
        Self::related(self.pool.clone(), self.jar.clone(), self.family.clone())
    }

    fn related(pool: Rc<HttpPool>, jar: Option<Rc<RefCell<Jar>>>, family: Option<Rc<Lanes>>) -> Self {
        Self {
            pool,
            kept: Vec::new(),
            family,
            jar,
            timer: Timer::default(),
            head: Vec::new(),
            cookie: String::new(),
            spare: Default::default(),
        }
    }

    /// Forgets all cookies, as a new user has none.
    pub fn forget_cookies(&mut self) {
        if let Some(jar) = &self.jar {
            jar.borrow_mut().clear();
        }
    }

    /// Closes the connections of its own.
    pub fn hang_up(&mut self) {
        self.kept.clear();
        self.family.iter().for_each(|family| family.clear());
    }

    /// The `Cookie` header that this VU sends to an address by another protocol (opening a WebSocket); `None`: no cookie is for it.
    pub fn cookies_for(&self, origin: &Origin, path: &str) -> Option<String> {
        let mut jar = self.jar.as_ref()?.borrow_mut();
        Some(jar.header(origin, path, Instant::now()).to_owned()).filter(|cookies| !cookies.is_empty())
    }

    /// Keeps the cookies that an answer to another protocol has set.
    pub fn keep_cookies(&self, origin: &Origin, path: &str, answer: &HeaderMap) {
        let Some(jar) = &self.jar else { return };
        let set = answer.get_all(http::header::SET_COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        jar.borrow_mut().take(&set.collect::<Vec<_>>(), origin, path);
    }

    /// Gives an exchange back whose answer is no longer needed, so that its memory serves the next one.
    pub fn recycle(&mut self, exchange: Exchange) {
        let Exchange { mut body, mut headers, .. } = exchange;
        if body.capacity() <= WORTH_KEEPING {
            body.clear();
            headers.clear();
            self.spare = (body, headers);
        }
    }

    /// Sends a request, follows its redirects and reads the answer, all within the request's time. Must run within a `LocalSet`.
    pub async fn send(&mut self, request: &Prepared, call: Call<'_>) -> Exchange {
        let began = call.now.unwrap_or_else(Instant::now);
        let mut exchange = Exchange::new(began);
        (exchange.body, exchange.headers) = std::mem::take(&mut self.spare);
        if let Err(Broken(reason, message)) = self.trip(request, &call, began, &mut exchange).await {
            let timed_out = matches!(reason, Reason::Timeout(_)) || reason == Reason::ConnectTimeout && message.is_empty();
            let message = if timed_out { format!("no answer within {} ms", request.timeout.as_millis()) } else { message };
            exchange.status = None;
            exchange.ended = Instant::now();
            exchange.outcome.failure = Some(reason);
            exchange.outcome.message = Some(message);
        }
        exchange
    }

    /// The request and what its redirects lead to.
    async fn trip(&mut self, request: &Prepared, call: &Call<'_>, began: Instant, exchange: &mut Exchange) -> Result<(), Broken> {
        let deadline = began + request.timeout;
        let (mut hop, mut began, mut followed) = (None, began, 0);
        loop {
            let leg = request.leg(call, hop.as_ref())?;
            let mut cookie = std::mem::take(&mut self.cookie);
            self.bring_cookies(request, &leg, began, &mut cookie);
            let with_cookie = Leg { cookie: Some(cookie.as_str()).filter(|cookie| !cookie.is_empty()), ..leg };
            let sent = self.attempt(request, &with_cookie, (began, deadline), exchange).await;
            self.cookie = cookie;
            sent?;
            self.take_cookies(&leg, exchange);
            let status = exchange.status.unwrap_or_default();
            let Some(location) = exchange.location.take().filter(|_| is_redirect(status)) else {
                return undo_compression(request, status, exchange);
            };
            if followed == request.redirects {
                return Err(too_many(request.redirects, &location));
            }
            followed += 1;
            let next = follow(&leg, status, &location)?;
            hop = Some(next);
            began = exchange.ended;
            exchange.hop();
        }
    }

    /// One request to one origin, on a connection that is kept or opened for it. What attempts before the last one took is in its figures.
    async fn attempt(
        &mut self,
        request: &Prepared,
        leg: &Leg<'_>,
        (mut began, deadline): (Instant, Instant),
        exchange: &mut Exchange,
    ) -> Result<(), Broken> {
        let mut tries = 0;
        loop {
            let (mut connection, reused) = match self.kept(leg.origin) {
                Some(connection) => (connection, true),
                None => {
                    let opened = Box::pin(self.open(leg.origin, deadline, exchange)).await?;
                    began = Instant::now();
                    opened
                }
            };
            let fault = match &mut connection {
                Connection::One(one) => {
                    let mut head = std::mem::take(&mut self.head);
                    let (timer, scratch) = (&mut self.timer, &self.pool.scratch);
                    let circumstances = Circumstances { interest: &request.interest, began, deadline, timer, scratch };
                    let sent = one.exchange(request.message(leg, &mut head), circumstances, exchange).await;
                    self.head = head;
                    sent
                }
                // Apart, so that a VU of HTTP/1.1 has no room for it.
                Connection::Two(two) => Box::pin(two.exchange(request, leg, (began, deadline), &mut self.timer, exchange)).await,
            };
            let Err(fault) = fault else {
                self.keep(request, leg.origin, connection);
                return Ok(());
            };
            let over_two = matches!(&connection, Connection::Two(_));
            if let Connection::Two(two) = &connection
                && two.is_open()
            {
                self.keep(request, leg.origin, connection);
            }
            // The server may close a kept connection while nobody uses it: that alone is no failure. A new one has no such excuse.
            let may = match fault.again {
                Again::No => false,
                Again::Harmless => request.is_idempotent(),
                Again::Unseen | Again::Refused | Again::Crowded => true,
            };
            // Nor is it asked without end.
            tries += u32::from(over_two && fault.again != Again::Crowded);
            if !(reused && may && tries < TRIES) {
                return Err(fault.broken);
            }
            if fault.again == Again::Refused {
                sleep(BREATH).await;
                exchange.outcome.phases.blocked += BREATH;
            }
            exchange.forget_answer();
            exchange.outcome.resent += 1;
            began = Instant::now();
        }
    }

    /// A kept connection to an origin that is still open.
    fn kept(&mut self, origin: &Origin) -> Option<Connection> {
        match self.pool.connections {
            Connections::PerRequest => None,
            Connections::Shared => self.pool.lanes.take(origin),
            Connections::PerVu | Connections::PerIteration => {
                if let Some(family) = &self.family {
                    return family.take(origin);
                }
                let (_, place) = self.kept.iter_mut().find(|(kept, _)| is_same(kept, origin))?;
                let mut connection = place.take()?;
                connection.is_usable().then_some(connection)
            }
        }
    }

    fn keep(&mut self, request: &Prepared, origin: &Origin, connection: Connection) {
        let usable = match &connection {
            Connection::One(one) => one.is_reusable(),
            Connection::Two(two) => two.is_open(),
        };
        if !usable {
            return;
        }
        match self.pool.connections {
            Connections::PerRequest => {}
            Connections::Shared => self.pool.lanes.put(origin, connection),
            Connections::PerVu | Connections::PerIteration => {
                match (&self.family, self.kept.iter_mut().find(|(kept, _)| is_same(kept, origin))) {
                    (Some(family), _) => family.put(origin, connection),
                    (None, Some((_, place))) => *place = Some(connection),
                    (None, None) => {
                        let origin = if is_same(&request.origin, origin) { request.origin.clone() } else { Arc::new(origin.clone()) };
                        self.kept.push((origin, Some(connection)));
                    }
                }
            }
        }
    }

    /// A new connection, or one that somebody else has opened meanwhile for all (then `true`).
    async fn open(&self, origin: &Origin, deadline: Instant, exchange: &mut Exchange) -> Result<(Connection, bool), Broken> {
        let mut course = Course(Phase::Connecting);
        let opening = async {
            let Some((lanes, gate)) = self.gate(origin) else {
                return Ok((self.dial(origin, &mut course, exchange).await?, false));
            };
            let asked = Instant::now();
            let held = gate.lock().await;
            exchange.outcome.phases.blocked += asked.elapsed();
            if let Some(connection) = lanes.take(origin) {
                return Ok((connection, true));
            }
            // Somebody has found out that there is nothing to share: no need for one after the other.
            let held = lanes.gate(origin).map(|_| held);
            let connection = self.dial(origin, &mut course, exchange).await?;
            match &connection {
                Connection::One(_) => lanes.only_one(origin),
                Connection::Two(two) => lanes.put(origin, Connection::Two(two.clone())),
            }
            drop(held);
            Ok((connection, false))
        };
        match timeout_at(deadline, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Broken(course.timed_out(), String::new())),
        }
    }

    /// Where a connection lies that others may share, and what to hold while it is opened; `None` when it is nobody else's, or can
    /// carry one request at a time only.
    fn gate(&self, origin: &Origin) -> Option<(&Lanes, Rc<Mutex<()>>)> {
        let lanes = match self.pool.connections {
            Connections::PerRequest => None,
            Connections::Shared => Some(&self.pool.lanes),
            Connections::PerVu | Connections::PerIteration => self.family.as_deref(),
        };
        let lanes = lanes.filter(|_| self.pool.may_be_two(origin))?;
        lanes.gate(origin).map(|gate| (lanes, gate))
    }

    async fn dial(&self, origin: &Origin, course: &mut Course, exchange: &mut Exchange) -> Result<Connection, Broken> {
        let dialed = self.pool.dialer.dial(origin, self.pool.alpn(), course, &mut exchange.outcome).await?;
        let chosen = dialed.alpn.as_deref();
        let is_two = match self.pool.version {
            HttpVersion::Http1 => false,
            HttpVersion::Auto => chosen == Some(b"h2"),
            HttpVersion::Http2 if origin.tls && chosen != Some(b"h2") => {
                return Err(Broken(Reason::Protocol, "the server does not offer HTTP/2 (ALPN `h2`)".into()));
            }
            HttpVersion::Http2 => true,
        };
        if !is_two {
            return Ok(Connection::One(Box::new(Http1::new(dialed.transport, exchange.outcome.phases.connecting))));
        }
        course.0 = Phase::Sending;
        Ok(Connection::Two(Rc::new(Http2::open(dialed.transport, exchange.outcome.phases.connecting).await?)))
    }

    /// Puts the `Cookie` header of a request into `into`: what the author has set, then what the jar holds.
    fn bring_cookies(&self, request: &Prepared, leg: &Leg<'_>, now: Instant, into: &mut String) {
        into.clear();
        let Some(jar) = &self.jar else { return };
        let mut jar = jar.borrow_mut();
        let kept = jar.header(leg.origin, leg.path, now);
        if kept.is_empty() {
            return;
        }
        if let Some(own) = request.own_cookie(leg) {
            into.extend([own, "; "]);
        }
        into.push_str(kept);
    }

    fn take_cookies(&self, leg: &Leg<'_>, exchange: &Exchange) {
        if let Some(jar) = self.jar.as_ref().filter(|_| !exchange.for_jar.is_empty()) {
            jar.borrow_mut().take(&exchange.for_jar, leg.origin, leg.path);
        }
    }
}

/// Whether two origins are the same; mostly they are one.
fn is_same(one: &Arc<Origin>, other: &Origin) -> bool {
    std::ptr::eq(&raw const **one, other) || **one == *other
}

/// Undoes the compression of what was kept of a body.
fn undo_compression(request: &Prepared, status: u16, exchange: &mut Exchange) -> Result<(), Broken> {
    let Some(coding) = exchange.coding.filter(|_| !exchange.body.is_empty()) else { return Ok(()) };
    if request.interest.body {
        exchange.body = coding.undo(&exchange.body, request.interest.body_limit)?;
    } else if status >= 400 {
        exchange.body = coding.undo_some(&exchange.body, LOOKED_AT);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::dial::Dialer;
    use super::super::dns::Dns;
    use super::super::tls::Tls;
    use super::*;
    use crate::model::request::{HttpOptions, TlsOptions};

    #[test]
    fn a_vu_takes_little_memory() {
        let options = HttpOptions::default();
        let dialer = Dialer::new(Arc::default(), Tls::new(&TlsOptions::default()).unwrap(), Dns::default());
        let mut client = HttpClient::new(HttpPool::new(&dialer, &options));
        let url = "http://127.0.0.1/".parse().unwrap();
        let outline = Outline {
            method: "GET",
            origin: &url,
            path: Some("/"),
            headers: &[],
            rendered: &[],
            body: bytes::Bytes::new(),
            keep: Keep::default(),
            redirects: 10,
            timeout: Duration::from_secs(1),
            options: &options,
        };
        let request = Prepared::new(outline).unwrap();
        // Each of thousands of VUs holds one of these for as long as it lives: what is rare lies apart.
        let on_its_way = size_of_val(&client.send(&request, Call::default()));
        let all = on_its_way + size_of::<HttpClient>() + size_of::<Http1>() + size_of::<Exchange>();
        assert!(all < 3_000, "{all} bytes, {on_its_way} of them while a request is on its way");
    }
}
