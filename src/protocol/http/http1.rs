//! One HTTP/1.1 connection: the fast path. A request is one write and usually one read, into a buffer that all connections of a thread
//! share; no task, no channel, no timer and no allocation per request. The clock is read twice: at the start and at the answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Fault;
use super::exchange::{Exchange, Interest};
use super::reader::Reader;
use super::timer::Timer;
use crate::model::failure::{Phase, Reason};
use crate::protocol::dial::Broken;
use crate::protocol::ending::{Again, is_race};
use crate::protocol::stream::Transport;

/// A request of more bytes than this takes time to write; the end of a smaller one's writing is not told apart from its start.
const WORTH_TIMING: usize = 16 * 1024;

/// A request as it goes over the wire.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// Request line and headers, with the empty line.
    pub(super) head: &'a [u8],
    pub(super) body: &'a [u8],
    /// Its method is HEAD.
    pub(super) is_head: bool,
}

/// What a request needs besides its bytes.
pub(super) struct Circumstances<'a> {
    pub(super) interest: &'a Interest,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    pub(super) timer: &'a mut Timer,
    /// Where bytes are read into, by one connection after the other.
    pub(super) scratch: &'a RefCell<Box<[u8]>>,
}

/// One connection.
pub(super) struct Http1 {
    transport: Transport,
    reader: Reader,
    reusable: bool,
    /// When the last answer ended; before the first one, when the connection was opened.
    used: Instant,
    /// How long connecting took.
    round_trip: Duration,
}

/// A request on its way.
struct Turn<'a> {
    message: Message<'a>,
    circumstances: Circumstances<'a>,
    sent: usize,
    received: u64,
    /// How often something was read, the end of the connection included.
    reads: u32,
    /// When the last byte was written, if that took time.
    written: Option<Instant>,
    /// When the first byte of the answer was read.
    first: Option<Instant>,
    flushed: bool,
    /// Why not everything could be written; the server may have answered all the same.
    unwritten: Option<std::io::Error>,
}

impl Http1 {
    /// On a connection that took so long to be opened.
    pub(super) fn new(transport: Transport, round_trip: Duration) -> Self {
        Self { transport, reader: Reader::new(), reusable: true, used: Instant::now(), round_trip }
    }

    /// Whether another request can be sent: the last answer was complete, and the server has neither closed nor said more since.
    pub(super) fn is_fresh(&mut self) -> bool {
        self.reusable && self.transport.is_quiet()
    }

    /// Whether it is worth keeping.
    pub(super) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Sends a request and reads its answer into `exchange`, whose figures are filled in however it ends.
    pub(super) async fn exchange(
        &mut self,
        message: Message<'_>,
        circumstances: Circumstances<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), Fault> {
        self.reusable = false;
        self.reader.begin(message.is_head);
        let mut turn =
            Turn { message, circumstances, sent: 0, received: 0, reads: 0, written: None, first: None, flushed: false, unwritten: None };
        let result = poll_fn(|cx| self.poll_exchange(&mut turn, exchange, cx)).await;
        turn.measure(result.is_ok(), exchange);
        self.reusable = result.is_ok() && turn.flushed && self.reader.keeps_alive();
        let former = std::mem::replace(&mut self.used, exchange.ended);
        result.map_err(|broken| Fault { again: turn.again(&broken, former, self.round_trip, exchange.ended), broken })
    }

    fn poll_exchange(&mut self, turn: &mut Turn<'_>, exchange: &mut Exchange, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if !turn.flushed
            && turn.unwritten.is_none()
            && let Poll::Ready(Err(error)) = self.poll_send(turn, cx)
        {
            turn.unwritten = Some(error);
        }
        loop {
            match self.poll_receive(turn, exchange, cx) {
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(turn.unwritten.take().map_or(broken, |error| broken_by(&error)))),
                Poll::Pending if turn.circumstances.timer.is_over(turn.circumstances.deadline, cx) => {
                    return Poll::Ready(Err(turn.timed_out()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes what can be written.
    fn poll_send(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Message { head, body, .. } = turn.message;
        let all = head.len() + body.len();
        let mut transport = Pin::new(&mut self.transport);
        while turn.sent < all {
            let head = head.get(turn.sent..).unwrap_or_default();
            let body = body.get(turn.sent.saturating_sub(turn.message.head.len())..).unwrap_or_default();
            let polled = match (head, body) {
                (head, []) => transport.as_mut().poll_write(cx, head),
                ([], body) => transport.as_mut().poll_write(cx, body),
                (head, body) => transport.as_mut().poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
            };
            match ready!(polled)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => turn.sent += sent,
            }
            if all > WORTH_TIMING {
                turn.written = Some(Instant::now());
            }
        }
        ready!(transport.poll_flush(cx))?;
        turn.flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Reads what has come; `true` when the answer is complete.
    fn poll_receive(&mut self, turn: &mut Turn<'_>, exchange: &mut Exchange, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let mut scratch = turn.circumstances.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer)).map_err(|error| broken_by(&error))?;
        let bytes = buffer.filled();
        turn.reads += 1;
        if bytes.is_empty() {
            return Poll::Ready(self.reader.close(exchange).map(|()| true));
        }
        turn.received += bytes.len() as u64;
        turn.first.get_or_insert_with(Instant::now);
        let used = self.reader.feed(bytes, turn.circumstances.interest, exchange)?;
        if !self.reader.is_done() {
            return Poll::Ready(Ok(false));
        }
        if used < bytes.len() {
            return Poll::Ready(Err(Broken(Reason::Protocol, format!("{} bytes came after the end of the answer", bytes.len() - used))));
        }
        Poll::Ready(Ok(true))
    }
}

impl Turn<'_> {
    /// The reason of a request whose time is up.
    fn timed_out(&self) -> Broken {
        let phase = if self.received > 0 {
            Phase::Receiving
        } else if self.flushed {
            Phase::Waiting
        } else {
            Phase::Sending
        };
        Broken(Reason::Timeout(phase), String::new())
    }

    /// Whether a request that failed may be sent again, on a connection that was kept since `former`.
    fn again(&self, broken: &Broken, former: Instant, round_trip: Duration, ended: Instant) -> Again {
        let began = self.circumstances.began;
        if self.received > 0 || !matches!(broken.0, Reason::Reset | Reason::ClosedEarly) {
            Again::No
        } else if self.sent == 0 {
            Again::Unseen
        } else if is_race(began.saturating_duration_since(former), ended.saturating_duration_since(began), round_trip) {
            Again::Harmless
        } else {
            Again::No
        }
    }

    /// Fills in the figures. The parts add up to the time since it began, also when the server answered before it had read everything.
    fn measure(&self, complete: bool, exchange: &mut Exchange) {
        let began = self.circumstances.began;
        let ended = match self.first {
            // All of the answer came at once: its first byte was its last.
            Some(first) if complete && self.reads == 1 => first,
            _ => Instant::now(),
        };
        let first = self.first.unwrap_or(ended);
        let written = if self.flushed { self.written.unwrap_or(began).min(first) } else { first };
        let outcome = &mut exchange.outcome;
        // Added: an attempt on a connection that turned out to be closed came before, at times.
        outcome.phases.sending += written.saturating_duration_since(began);
        outcome.phases.waiting += first.saturating_duration_since(written);
        outcome.phases.receiving += ended.saturating_duration_since(first);
        outcome.bytes_sent += self.sent as u64;
        outcome.bytes_received += self.received;
        exchange.ended = ended;
    }
}

/// The reason behind an error of reading or writing.
pub(super) fn broken_by(error: &std::io::Error) -> Broken {
    let reason = if error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
        Reason::Tls
    } else if error.kind() == ErrorKind::UnexpectedEof {
        Reason::ClosedEarly
    } else {
        // Cut off by the peer or by the network between.
        Reason::Reset
    };
    Broken(reason, error.to_string())
}
