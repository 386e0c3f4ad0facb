//! One HTTP/2 connection, alone or shared by many requests. Frames are the `h2` crate's, whose task lives on the load thread; every way
//! in which a stream or the connection can end becomes one reason.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use tokio::time::Instant;

use super::Fault;
use super::exchange::{Exchange, Interest};
use super::prepared::{Leg, Prepared};
use super::timer::Timer;
use crate::model::failure::{Phase, Reason};
use crate::protocol::dial::Broken;
use crate::protocol::ending::{Again, again, broken_by, is_race};
use crate::protocol::stream::{Meter, Metering, Transport};

/// How much the server may send ahead, per stream and per connection.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Largest head of an answer.
const HEAD_LIMIT: u32 = 64 * 1024;

/// One connection.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    meter: Rc<Meter>,
    task: tokio::task::JoinHandle<()>,
    in_flight: Cell<usize>,
    /// When the last answer began.
    answered: Cell<Instant>,
    /// No further request may use it.
    closed: Cell<bool>,
    /// How it ended, when that is known.
    end: Rc<RefCell<Option<End>>>,
    /// When the last request ended; before the first one, when the connection was opened.
    used: Cell<Instant>,
    /// How long connecting took.
    round_trip: Duration,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection ended.
struct End {
    broken: Broken,
    /// It was lost without a word of the server.
    lost: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    begun: bool,
    written: Option<Instant>,
    first: Option<Instant>,
}

impl Http2 {
    /// Begins HTTP/2 on a connection that took so long to be opened; must be called within a `LocalSet`.
    pub(super) async fn open(transport: Transport, round_trip: Duration) -> Result<Self, Broken> {
        let (stream, meter) = Metering::new(transport);
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        builder.max_header_list_size(HEAD_LIMIT);
        let (sender, connection) = builder.handshake(stream).await.map_err(|error| broken_by(&error))?;
        let end = Rc::<RefCell<Option<End>>>::default();
        let told = end.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                told.replace(Some(End { broken: broken_by(&error), lost: error.is_io() }));
            }
        });
        let now = Cell::new(Instant::now());
        let (in_flight, closed) = (Cell::new(0), Cell::new(false));
        Ok(Self { sender, meter, task, in_flight, answered: now.clone(), closed, end, used: now, round_trip })
    }

    /// Whether one more request can begin now.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.in_flight.get() < self.sender.current_max_send_streams()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.get() && !self.task.is_finished()
    }

    /// Sends a request and reads its answer into `exchange`, whose figures are filled in however it ends.
    pub(super) async fn exchange(
        &self,
        request: &Prepared,
        leg: &Leg<'_>,
        (began, deadline): (Instant, Instant),
        timer: &mut Timer,
        exchange: &mut Exchange,
    ) -> Result<(), Fault> {
        let head = head_of(request, leg).map_err(Fault::last)?;
        let body = leg.shared_body(request);
        let progress = Cell::new(Progress::default());
        let limit = self.sender.current_max_send_streams();
        let idle = if self.in_flight.get() == 0 { began.saturating_duration_since(self.used.get()) } else { Duration::ZERO };
        self.in_flight.set(self.in_flight.get() + 1);
        let room = Room(&self.in_flight);
        let result = timer.limit(deadline, self.run(head, body, &request.interest, &progress, exchange)).await;
        drop(room);
        let far = progress.get();
        self.measure(began, far, exchange);
        self.used.set(exchange.ended);
        let error = match result {
            Some(Ok(())) => return Ok(()),
            Some(Err(Failure::Wire(error))) => error,
            Some(Err(Failure::Answer(broken))) => return Err(Fault::last(broken)),
            None => {
                // A connection on which nothing was answered meanwhile may be dead.
                self.closed.set(self.closed.get() || self.answered.get() < began);
                let phase = match far {
                    Progress { first: Some(_), .. } => Phase::Receiving,
                    Progress { written: Some(_), .. } => Phase::Waiting,
                    Progress { .. } => Phase::Sending,
                };
                return Err(Fault::last(Broken(Reason::Timeout(phase), String::new())));
            }
        };
        let only_this_stream = error.is_reset();
        self.closed.set(self.closed.get() || !only_this_stream);
        let took = exchange.ended.saturating_duration_since(began);
        let mut fault = self.fault(&error, far, is_race(idle, took, self.round_trip));
        if fault.again == Again::Refused && self.sender.current_max_send_streams() < limit {
            fault.again = Again::Crowded;
        }
        Err(fault)
    }

    /// What the error of a stream comes to: when it ended with its connection, that one's reason. `race`: it may be the server's idle
    /// timeout.
    fn fault(&self, error: &h2::Error, far: Progress, race: bool) -> Fault {
        let end = self.end.borrow();
        let end = end.as_ref().filter(|_| error.is_io());
        let lost = error.is_io() && end.is_none_or(|end| end.lost);
        let again = if far.first.is_some() {
            Again::No
        } else if !far.begun && !error.is_reset() {
            Again::Unseen
        } else if lost && race {
            Again::Harmless
        } else {
            again(error)
        };
        Fault { broken: end.map_or_else(|| broken_by(error), |end| end.broken.clone()), again }
    }

    async fn run(
        &self,
        head: http::Request<()>,
        body: Bytes,
        interest: &Interest,
        progress: &Cell<Progress>,
        exchange: &mut Exchange,
    ) -> Result<(), Failure> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(head, body.is_empty())?;
        progress.set(Progress { begun: true, ..progress.get() });
        let mut sending = pin!(async {
            if !body.is_empty() {
                send_all(&mut stream, body).await?;
            }
            progress.set(Progress { written: Some(Instant::now()), ..progress.get() });
            Ok::<(), h2::Error>(())
        });
        let mut reading = pin!(self.read(answer, interest, progress, exchange));
        let mut is_sending = true;
        // The server may answer before it has read everything.
        loop {
            tokio::select! {
                biased;
                // That sending fails is told by the answer, too.
                _ = &mut sending, if is_sending => is_sending = false,
                done = &mut reading => return done,
            }
        }
    }

    async fn read(
        &self,
        answer: ResponseFuture,
        interest: &Interest,
        progress: &Cell<Progress>,
        exchange: &mut Exchange,
    ) -> Result<(), Failure> {
        let (head, mut body) = answer.await?.into_parts();
        let now = Instant::now();
        self.answered.set(now);
        progress.set(Progress { first: Some(now), ..progress.get() });
        let status = head.status.as_u16();
        for (name, value) in &head.headers {
            interest.header(name.as_str().as_bytes(), value.as_bytes(), exchange);
        }
        while let Some(piece) = body.data().await {
            let piece = piece?;
            // Only a stream that is over cannot give room back.
            let _ = body.flow_control().release_capacity(piece.len());
            interest.body(status, &piece, exchange).map_err(Failure::Answer)?;
        }
        if !body.is_end_stream() {
            body.trailers().await?;
        }
        exchange.status = Some(status);
        Ok(())
    }

    /// Fills in the figures. Bytes on the wire since the last request ended are counted with this one: together they are exact.
    fn measure(&self, began: Instant, progress: Progress, exchange: &mut Exchange) {
        let ended = Instant::now();
        let first = progress.first.unwrap_or(ended);
        let written = progress.written.unwrap_or(first).min(first).max(began);
        let outcome = &mut exchange.outcome;
        // Added: an attempt on another connection came before, at times.
        outcome.phases.sending += written.saturating_duration_since(began);
        outcome.phases.waiting += first.saturating_duration_since(written);
        outcome.phases.receiving += ended.saturating_duration_since(first);
        let metered = self.meter.read();
        self.meter.begin();
        outcome.bytes_sent += metered.sent;
        outcome.bytes_received += metered.received;
        exchange.ended = ended;
    }
}

/// Gives its place back when a request ends, however it does.
struct Room<'a>(&'a Cell<usize>);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

enum Failure {
    /// Of the stream or the connection.
    Wire(h2::Error),
    /// Of what came.
    Answer(Broken),
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::Wire(error)
    }
}

/// Sends a body as fast as the peer takes it.
async fn send_all(stream: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        // `None`: the stream is over; the answer says why.
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
        let piece = body.split_to(room?.min(body.len()));
        stream.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

/// The head of a request in HTTP/2: no `Host`, nothing that is of one connection (RFC 9113, 8.2.2).
fn head_of(request: &Prepared, leg: &Leg<'_>) -> Result<http::Request<()>, Broken> {
    const OF_CONNECTION: [&str; 6] = ["host", "connection", "keep-alive", "proxy-connection", "upgrade", "te"];
    let unsendable = |error: http::Error| Broken(Reason::Script("address".into()), format!("the request cannot be sent: {error}"));
    let brought = leg.brought_host();
    let authority = match request.host_for(leg) {
        Some(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        None => brought.map_or_else(|| leg.origin.authority(), str::to_owned),
    };
    let uri = http::Uri::builder().scheme(leg.origin.scheme()).authority(authority).path_and_query(leg.path);
    let mut head = http::Request::builder().method(leg.method).version(http::Version::HTTP_2);
    head = head.uri(uri.build().map_err(unsendable)?);
    for (name, value) in request.headers_of(leg) {
        if !OF_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            head = head.header(name, value);
        }
    }
    if let Some(cookie) = leg.cookie {
        head = head.header(http::header::COOKIE, cookie);
    }
    if !leg.body.is_empty() {
        head = head.header(http::header::CONTENT_LENGTH, leg.body.len());
    }
    head.body(()).map_err(unsendable)
}
